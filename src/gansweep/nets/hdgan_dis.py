"""HDGAN's discriminators: for each size of picture one with two heads, "does it fit the sentence?" and "is it real?".

After Zhang, Xie and Yang 2018 (arXiv 1802.09178), with the layers of the published code. Pictures are (B, C, S, S),
sentences (B, E); scores are raw: (B, 1) of the pair, (B, 1, h, w) of the picture alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gansweep.nets.blocks import ConfigError, activation, weighted
from gansweep.nets.hdgan_blocks import ConvBlock

IMAGE_HEADS = ("global", "local", "both")
HEADS_256 = ("patch", "full")
CODE_PX = 4
# Above this size the picture's code is 8 px before it is shrunk, and the release's image head looks at that.
PATCH_FROM_PX = 256
_LOCAL_FROM_PX = 128
_TRUNK_FROM_PX = 32


def strides(channels: int, widths: Sequence[int], part: Mapping[str, Any], first: bool) -> nn.Sequential:
    """Return a convolution of 3 px and stride 2 for each of `widths`; `first`: the first sees pictures, has no norm.

    As published that one has no bias either. With any norm but batch it has: a norm of each picture by itself would
    make the network blind to contrast.
    """
    layers: list[nn.Module] = []
    before = channels
    for n, width in enumerate(widths):
        if first and n == 0:
            conv = nn.Conv2d(before, width, 3, 2, 1, bias=part["norm"] not in ("batch", "layer_as_coded"))
            layers += [weighted(conv, part["norm"]), activation(part["act"], part["slope"])]
        else:
            layers.append(ConvBlock(before, width, 3, part, stride=2, padding=1))
        before = width
    return nn.Sequential(*layers)


class Level(nn.Module):
    """The discriminator of one size: encoder, code of the sentence, pair head, image heads.

    `enc` is the width of the picture's code. With `trunked` a trunk that all sizes share stands between `encode`, which
    then ends at `stem_px`, and the heads.
    """

    def __init__(
        self,
        size_px: int,
        channels: int,
        embedding: int,
        text: int,
        enc: int,
        part: Mapping[str, Any],
        stem_px: int | None = None,
    ):
        super().__init__()
        end_px, last = (2 * CODE_PX, enc) if stem_px is None else (stem_px, max(1, enc // 4))
        count = (size_px // end_px).bit_length() - 1
        self.encode = strides(channels, [max(1, last >> (count - 1 - n)) for n in range(count)], part, first=True)
        # From 8 px to 4: at 64 and 128 px the end of the encoder, at 256 px the pair head's own in the release.
        self.shrink = ConvBlock(enc, enc, 5, part) if stem_px is None else nn.Identity()
        self.patch = size_px >= PATCH_FROM_PX and part["head_256"] == "patch" and stem_px is None
        self.text = nn.Sequential(nn.Linear(embedding, text), activation("lrelu", 0.2))
        joined = enc if part["joint_1x1"] else enc + text
        self.join = ConvBlock(enc + text, enc, 1, part) if part["joint_1x1"] else nn.Identity()
        self.pair = weighted(nn.Conv2d(joined, 1, CODE_PX), part["norm"])
        self.looks_wide = size_px >= PATCH_FROM_PX and stem_px is None
        self.heads = nn.ModuleDict()
        # 64 px and below has a global head alone.
        if part["image_head"] != "local" or size_px < _LOCAL_FROM_PX:
            self.heads["global"] = weighted(nn.Conv2d(enc, 1, CODE_PX), part["norm"])
        if part["image_head"] != "global" and size_px >= _LOCAL_FROM_PX:
            self.heads["local"] = weighted(nn.Conv2d(enc, 1, 1), part["norm"])

    def judge(self, code: Tensor, sentence: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the pair's score, (B, 1), and each image head's scores, from the picture's code."""
        small = self.shrink(code)
        spread = self.text(sentence)[:, :, None, None].expand(-1, -1, *small.shape[2:])
        pair = self.pair(self.join(torch.cat([small, spread], 1))).flatten(1)
        seen = {"global": code if self.patch else small, "local": code if self.looks_wide else small}
        return pair, tuple(head(seen[name]) for name, head in self.heads.items())


class Discriminator(nn.Module):
    """One `Level` for each of `sizes_px`, with weights of their own, or (`share_trunk`) with a trunk in common.

    A shared trunk: each size has its own convolutions down to 32 px (half of the smallest size, if that is less), then
    all go through the same ones down to 4 px. `part` is the table model.discriminator; `enc` the width of the code.
    """

    def __init__(
        self, sizes_px: Sequence[int], channels: int, embedding: int, text: int, enc: int, part: Mapping[str, Any]
    ):
        super().__init__()
        stem_px = min(_TRUNK_FROM_PX, min(sizes_px) // 2) if part["share_trunk"] else None
        if stem_px is not None and stem_px <= CODE_PX:
            raise ConfigError(
                f"model.discriminator.share_trunk=true: an output of {min(sizes_px)} px leaves no trunk to share;"
                f" the smallest that does is {4 * CODE_PX} px"
            )
        self.levels = nn.ModuleDict(
            {str(size): Level(size, channels, embedding, text, enc, part, stem_px) for size in sizes_px}
        )
        self.trunk: nn.Module = nn.Identity()
        if stem_px is not None:
            count = (stem_px // CODE_PX).bit_length() - 1
            widths = [max(1, enc // 2), enc, enc][-count:]
            self.trunk = strides(max(1, enc // 4), widths, part, first=False)

    def forward(self, pictures: Tensor, sentence: Tensor, size_px: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return what the discriminator of `size_px` says: score of the pair (B, 1), scores of the picture alone."""
        level: Any = self.levels[str(size_px)]
        return level.judge(self.trunk(level.encode(pictures)), sentence)
