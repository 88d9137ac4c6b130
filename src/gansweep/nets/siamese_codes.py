"""The two networks of 27 July: a generator told the pose and light to paint, a discriminator that classifies.

Both have the plain trunk, one channel wider at its end, and take the mean over the pixels left. Pictures are
(B, C, S, S), S a multiple of 16.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gansweep.nets.blocks import scaled, weighted
from gansweep.nets.siamese import decoder, end_px, plain_trunk

WIDTH = 320


class CodesGenerator(nn.Module):
    """Trunk `enc` and mean over the pixels; noise, pose and light beside it; linear layer `join`; decoder `dec`.

    `codes` are the lengths of what stands beside the picture's own code.
    """

    def __init__(
        self,
        size_px: int,
        channels: int,
        codes: Sequence[int],
        factor: float,
        encoder: Mapping[str, Any],
        decoder_part: Mapping[str, Any],
    ):
        super().__init__()
        self.width, self.end_px = scaled(WIDTH, factor), end_px(size_px)
        self.enc = plain_trunk(channels, self.width + 1, factor, encoder)
        self.join = nn.Linear(self.width + 1 + sum(codes), self.width * self.end_px**2)
        self.dec = decoder(channels, self.width, factor, decoder_part)

    def forward(self, pictures: Tensor, *codes: Tensor) -> Tensor:
        """Return pictures before their activation, (B, C, S, S); codes are (B, length), in the order of `codes`."""
        joint = self.join(torch.cat([self.enc(pictures).mean((2, 3)), *codes], 1))
        return self.dec(joint.unflatten(1, (self.width, self.end_px, self.end_px)))


class CodesDiscriminator(nn.Module):
    """Plain trunk, mean over the pixels left, one linear layer for identity, pose, light and real or fake each."""

    def __init__(
        self,
        size_px: int,
        channels: int,
        identities: int,
        poses: int,
        lights: int,
        factor: float,
        part: Mapping[str, Any],
    ):
        super().__init__()
        end_px(size_px)
        width = scaled(WIDTH, factor) + 1
        self.trunk = plain_trunk(channels, width, factor, part)
        self.identity, self.pose, self.light, self.real = (
            weighted(nn.Linear(width, count), part["norm"]) for count in (identities, poses, lights, 1)
        )

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return logits of identity, pose and light, (B, classes) each, and of real or fake, (B, 1)."""
        features = self.trunk(pictures).mean((2, 3))
        return self.identity(features), self.pose(features), self.light(features), self.real(features)
