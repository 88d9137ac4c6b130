"""The siamese journal's discriminators: its plain trunk with a small head, or the one of super-resolution.

Pictures are (B, C, S, S), S a multiple of 16; logits (B, 1), never squashed: a sigmoid, where there is one, is the
loss's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from gansweep.nets.blocks import Down, activation, biased, normalise, scaled, weighted
from gansweep.nets.siamese import KERNEL, end_px, plain_trunk

TRUNK_WIDTH = 320
_SR_WIDTHS = (64, 128, 256, 512)
_SR_HIDDEN = 1024

ACTS = {"linear": "elu", "conv": "elu", "conv_elu": "elu", "sr": "lrelu"}
"""Kinds of discriminator and the activation that each was published with."""


class LinearDiscriminator(nn.Module):
    """Plain trunk, mean over the pixels left, one linear layer (GAN_1)."""

    def __init__(self, size_px: int, channels: int, factor: float, part: Mapping[str, Any]):
        super().__init__()
        end_px(size_px)
        width = scaled(TRUNK_WIDTH, factor)
        self.trunk = plain_trunk(channels, width, factor, part)
        self.head = weighted(nn.Linear(width, 1), part["norm"])

    def forward(self, pictures: Tensor) -> Tensor:
        """Return one logit a picture, (B, 1)."""
        return self.head(self.trunk(pictures).mean((2, 3)))


class ConvDiscriminator(nn.Module):
    """Plain trunk, one convolution over all that is left; `bounded` puts batch norm and ELU behind it (GAN_2, as run).

    ELU's lowest value is -1: a bounded discriminator cannot say less than sigmoid(-1) = 0.269 to any picture, so its
    loss on fakes has a floor of 0.313 and the generator's a ceiling of 1.313, however good either is.
    """

    def __init__(self, size_px: int, channels: int, factor: float, part: Mapping[str, Any], bounded: bool):
        super().__init__()
        width = scaled(TRUNK_WIDTH, factor)
        self.trunk = plain_trunk(channels, width, factor, part)
        self.head = weighted(nn.Conv2d(width, 1, end_px(size_px)), part["norm"])
        self.bound = nn.Sequential(nn.BatchNorm2d(1), nn.ELU()) if bounded else nn.Identity()

    def forward(self, pictures: Tensor) -> Tensor:
        """Return one logit a picture, (B, 1); at least -1 when bounded."""
        return self.bound(self.head(self.trunk(pictures))).flatten(1)


class SrDiscriminator(nn.Module):
    """Discriminator of super-resolution (after Ledig et al. 2017): pairs that widen, then halve; two linear layers.

    The first convolution has no norm; a convolution over all that is left stands before the linear layers.
    """

    def __init__(self, size_px: int, channels: int, factor: float, part: Mapping[str, Any]):
        super().__init__()
        layers: list[nn.Module] = []
        before = channels
        for width in (scaled(w, factor) for w in _SR_WIDTHS):
            own = part if layers or part["norm"] == "spectral" else {**part, "norm": "none"}
            layers += [
                Down(before, width, KERNEL, 1, biased(own), own),
                Down(width, width, KERNEL, 2, biased(part), part),
            ]
            before = width
        self.trunk = nn.Sequential(*layers)
        norm, hidden = part["norm"], scaled(_SR_HIDDEN, factor)
        self.reduce = nn.Sequential(
            weighted(nn.Conv2d(before, before, end_px(size_px), bias=biased(part)), norm),
            nn.Flatten(),
            # One pixel is left: normalised as a vector, which for batch norm is the same.
            normalise(norm, before, flat=True),
            activation(part["act"], part["slope"]),
        )
        self.head = nn.Sequential(
            weighted(nn.Linear(before, hidden), norm),
            activation(part["act"], part["slope"]),
            weighted(nn.Linear(hidden, 1), norm),
        )

    def forward(self, pictures: Tensor) -> Tensor:
        """Return one logit a picture, (B, 1)."""
        return self.head(self.reduce(self.trunk(pictures)))


def discriminator_of_kind(size_px: int, channels: int, factor: float, part: Mapping[str, Any]) -> nn.Module:
    """Return the discriminator that `part.kind` names; its own activation unless `part.act` names another."""
    kind = part["kind"]
    part = {**part, "act": part["act"] or ACTS[kind]}
    if kind == "linear":
        return LinearDiscriminator(size_px, channels, factor, part)
    if kind == "sr":
        return SrDiscriminator(size_px, channels, factor, part)
    return ConvDiscriminator(size_px, channels, factor, part, bounded=kind == "conv_elu")
