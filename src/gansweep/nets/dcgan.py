"""DCGAN's two networks (Radford et al. 2016), with the layers of the example that PyTorch ships.

Codes are (B, L), pictures (B, C, S, S), logits (B, 1). Every kernel is 4 px: a code becomes 4 px of features, then each
level doubles the side; the discriminator is the way back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from gansweep.nets.blocks import activation, biased, downs, normalise, ups, weighted

KERNEL = 4


class Generator(nn.Module):
    """Transposed convolutions from a code to a picture that is not yet activated; `widths` as the discriminator's."""

    def __init__(self, channels: int, widths: Sequence[int], latent: int, part: Mapping[str, Any]):
        super().__init__()
        first = nn.ConvTranspose2d(latent, widths[-1], KERNEL, bias=biased(part))
        self.project = weighted(first, part["norm"])
        self.norm = normalise(part["norm"], widths[-1])
        self.act = activation(part["act"], part["slope"])
        self.up = ups(channels, widths, KERNEL, part)

    def forward(self, code: Tensor) -> Tensor:
        """Return pictures before their output activation, (B, C, S, S)."""
        return self.up(self.act(self.norm(self.project(code[:, :, None, None]))))


class Discriminator(nn.Module):
    """Convolutions of stride 2 down to 4 px, and one over what is left: a logit for each picture."""

    def __init__(self, channels: int, widths: Sequence[int], part: Mapping[str, Any]):
        super().__init__()
        # The example has no bias on its first layer, which no norm follows. With a norm of each picture by itself
        # (layer, instance, group) such a network is blind to contrast, D(c x) = D(x) for c > 0: its fakes stay grey.
        first_bias = biased(part) or part["norm"] != "batch"
        self.down = downs(channels, widths, KERNEL, part, first_bias)
        # No bias: as in the example; a Wasserstein critic's would have no gradient at all.
        self.head = weighted(nn.Conv2d(widths[-1], 1, KERNEL, bias=False), part["norm"])

    def forward(self, pictures: Tensor) -> Tensor:
        """Return one logit a picture, (B, 1)."""
        return self.head(self.down(pictures)).flatten(1)
