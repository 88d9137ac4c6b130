"""HDGAN's generator: a sentence and noise become pictures of several sizes in one forward pass.

After Zhang, Xie and Yang 2018 (arXiv 1802.09178), with the layers of the published code. Sentences are (B, E), noise
(B, L), pictures (B, C, S, S) in [-1, 1] for each size S in px, the smallest first.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gansweep.nets.blocks import weighted
from gansweep.nets.hdgan_blocks import ConvBlock, Enlarge, Pcn, PictureHead, Residual, norm_layer

START_PX = 4
SKIPS = ("none", "upsample", "short")
_SKIP_FACTOR = 8
# A skip leads from 4, 8 and 16 px to what is eight times as large.
_SKIP_TO_PX = (32, 64, 128)


class Conditioning(nn.Module):
    """Conditioning augmentation (Zhang et al. 2017, section 3.2): a sentence becomes a distribution of codes.

    Mean and log-deviation, (B, code) each, come from one linear layer and leave through a leaky ReLU of 0.2, as
    published: both are damped below 0.
    """

    def __init__(self, embedding: int, code: int):
        super().__init__()
        self.project = nn.Linear(embedding, 2 * code)

    def forward(self, sentence: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and logarithm of the deviation of the sentence's codes."""
        mean, log_deviation = F.leaky_relu(self.project(sentence), 0.2).chunk(2, dim=1)
        return mean, log_deviation


class Start(nn.Module):
    """Linear layer from code and noise to features of 4 px, normalised as a vector, without activation.

    The linear layer has a bias in front of its norm, as published.
    """

    def __init__(self, length: int, width: int, norm: str):
        super().__init__()
        self.width = width
        features = width * START_PX**2
        self.project = weighted(nn.Linear(length, features), norm)
        self.norm = norm_layer(norm, features, flat=True)

    def forward(self, code: Tensor) -> Tensor:
        """Return features (B, width, 4, 4)."""
        return self.norm(self.project(code)).unflatten(1, (self.width, START_PX, START_PX))


class Skip(nn.Module):
    """Features of an eighth of the side, enlarged, joined to those of the stream by a convolution of 1 px and a norm.

    `upsample` enlarges in three steps, each halving the channels; `short` in one, with an eighth of them.
    """

    def __init__(self, kind: str, width_from: int, width: int, part: Mapping[str, Any]):
        super().__init__()
        factors = (2, 2, 2) if kind == "upsample" else (_SKIP_FACTOR,)
        layers: list[nn.Module] = []
        for factor in factors:
            thinner = max(1, width_from // factor)
            layers += [Enlarge(factor), Pcn(width_from, thinner, part)]
            width_from = thinner
        self.up = nn.Sequential(*layers)
        self.join = ConvBlock(width + width_from, width, 1, part, bare=True)

    def forward(self, features: Tensor, early: Tensor) -> Tensor:
        """Return features of the stream's shape; `early` has an eighth of their side."""
        return self.join(torch.cat([features, self.up(early)], 1))


class Stream(nn.Module):
    """From 4 px up, doubling: enlarge, halve the channels at `reduce_dim_at`, residual blocks; a picture at each size.

    `width` is the number of channels at 4 px. The last features, and with them the deepest layers, are of the largest
    of `sizes_px`.
    """

    def __init__(self, sizes_px: Sequence[int], channels: int, width: int, part: Mapping[str, Any]):
        super().__init__()
        self.scales, self.skips, self.heads = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        widths: dict[int, int] = {}
        side_px = START_PX
        while side_px <= max(sizes_px):
            layers: list[nn.Module] = [] if side_px == START_PX else [Enlarge()]
            if side_px in part["reduce_dim_at"]:
                layers.append(Pcn(width, max(1, width // 2), part))
                width = max(1, width // 2)
            layers += [Residual(width, part) for _ in range(part["res_blocks"])]
            self.scales[str(side_px)] = nn.Sequential(*layers)
            widths[side_px] = width
            if part["skip"] != "none" and side_px in _SKIP_TO_PX:
                self.skips[str(side_px)] = Skip(part["skip"], widths[side_px // _SKIP_FACTOR], width, part)
            if side_px in sizes_px:
                self.heads[str(side_px)] = PictureHead(width, channels)
            side_px *= 2

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        """Return the pictures of each size, the smallest first."""
        kept: dict[int, Tensor] = {}
        pictures: list[Tensor] = []
        for name, scale in self.scales.items():
            side_px = int(name)
            features = scale(features)
            if name in self.skips:
                features = self.skips[name](features, kept[side_px // _SKIP_FACTOR])
            kept[side_px] = features
            if name in self.heads:
                pictures.append(self.heads[name](features))
        return tuple(pictures)


class Stage(nn.Module):
    """A small generator from a picture and the sentence's code to a picture of `factor` times the side."""

    def __init__(self, channels: int, code: int, width: int, blocks: int, factor: int, part: Mapping[str, Any]):
        super().__init__()
        layers: list[nn.Module] = [Pcn(channels + code, width, part)]
        layers += [Residual(width, part) for _ in range(blocks)]
        while factor > 1:
            layers += [Enlarge(), Pcn(width, width, part)]
            factor //= 2
        self.body = nn.Sequential(*layers, PictureHead(width, channels))

    def forward(self, picture: Tensor, code: Tensor) -> Tensor:
        """Return the larger picture."""
        spread = code[:, :, None, None].expand(-1, -1, *picture.shape[2:])
        return self.body(torch.cat([picture, spread], 1))


class MultiStage(nn.Module):
    """A stream for the smallest size, and a `Stage` from each picture to the next larger one.

    With `detach` a stage learns nothing through the picture that it was given, only through the code. The first stage
    has `stage_width` channels, each further one half as many.
    """

    def __init__(
        self,
        sizes_px: Sequence[int],
        channels: int,
        code: int,
        width: int,
        stage_width: int,
        part: Mapping[str, Any],
    ):
        super().__init__()
        self.detach = bool(part["detach"])
        self.base = Stream(sizes_px[:1], channels, width, part)
        self.stages = nn.ModuleDict()
        for n, (small, large) in enumerate(itertools.pairwise(sizes_px)):
            wide = max(1, stage_width >> n)
            self.stages[str(large)] = Stage(channels, code, wide, part["stage_res_blocks"], large // small, part)

    def forward(self, features: Tensor, code: Tensor) -> tuple[Tensor, ...]:
        """Return the pictures of each size, the smallest first."""
        pictures = [*self.base(features)]
        for stage in self.stages.values():
            below = pictures[-1].detach() if self.detach else pictures[-1]
            pictures.append(stage(below, code))
        return tuple(pictures)


class Generator(nn.Module):
    """Conditioning, start, and a stream (`arch` nested) or stages (`arch` multistage); `hid` channels times 8 at 4 px.

    `part` is the table model.generator. Returns a plain tuple, so that a handle may change its parts' precision.
    """

    def __init__(
        self,
        sizes_px: Sequence[int],
        channels: int,
        embedding: int,
        latent: int,
        code: int,
        hid: int,
        stage_width: int,
        part: Mapping[str, Any],
    ):
        super().__init__()
        self.condition = Conditioning(embedding, code)
        self.start = Start(code + latent, 8 * hid, part["norm"])
        if part["arch"] == "multistage":
            self.paint: nn.Module = MultiStage(sizes_px, channels, code, 8 * hid, stage_width, part)
        else:
            self.paint = Stream(sizes_px, channels, 8 * hid, part)

    def forward(self, sentence: Tensor, noise: Tensor, eps: Tensor) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
        """Return the pictures, the smallest first, and mean and log-deviation of the sentence's code, (B, code) each.

        `eps` (B, code) draws the code, mean + eps · exp(log-deviation): always, in evaluation too.
        """
        mean, log_deviation = self.condition(sentence)
        code = mean + eps * log_deviation.exp()
        features = self.start(torch.cat([code, noise], 1))
        pictures = self.paint(features, code) if isinstance(self.paint, MultiStage) else self.paint(features)
        return pictures, mean, log_deviation
