"""The VAE-GAN's three networks: a strided encoder, a transposed-convolution decoder, a VGG-like discriminator.

Pictures are (B, C, S, S), codes (B, L), logits (B, 1). Convolutions keep (S) or halve (S/2) the side exactly.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gansweep.nets.blocks import ConfigError, Down, activation, biased, downs, normalise, ups, weighted


class Encoder(nn.Module):
    """Strided convolutions, then two linear heads: the code's mean and log-variance, each (B, latent)."""

    def __init__(self, size_px: int, channels: int, widths: Sequence[int], latent: int, part: Mapping[str, Any]):
        super().__init__()
        # As published: biases on the first layer, which has no norm, and (conv_bias) in front of the others' norms too.
        self.down = downs(channels, widths, part["kernel"], part, first_bias=True)
        features = widths[-1] * (size_px >> len(widths)) ** 2
        self.mean = nn.Linear(features, latent)
        self.log_variance = nn.Linear(features, latent)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of the code, (B, latent) each."""
        features = self.down(pictures).flatten(1)
        return self.mean(features), self.log_variance(features)


class Decoder(nn.Module):
    """Linear projection to the smallest picture, then transposed convolutions; what comes out is not yet activated."""

    def __init__(self, size_px: int, channels: int, widths: Sequence[int], latent: int, part: Mapping[str, Any]):
        super().__init__()
        self.side_px = size_px >> len(widths)
        self.width = widths[-1]
        features = self.width * self.side_px**2
        self.project = weighted(nn.Linear(latent, features, bias=biased(part)), part["norm"])
        # As published: the projection is normalised as a vector; a batch norm here has one weight for each feature.
        self.norm = normalise(part["norm"], features, flat=True)
        self.act = activation(part["act"], part["slope"])
        self.up = ups(channels, widths, part["kernel"], part)

    def forward(self, code: Tensor) -> Tensor:
        """Return pictures before their output activation, (B, C, S, S)."""
        start = self.act(self.norm(self.project(code)))
        return self.up(start.unflatten(1, (self.width, self.side_px, self.side_px)))


class Discriminator(nn.Module):
    """Blocks of convolutions, each block halving the side, then a head of linear layers down to one logit.

    `blocks` is a list of {channels, convs}; a block halves by max-pooling after its convolutions (`pool`, as published)
    or by the stride of its last one (`stride`).
    """

    def __init__(
        self,
        size_px: int,
        channels: int,
        blocks: Sequence[Mapping[str, int]],
        head: Sequence[int],
        part: Mapping[str, Any],
    ):
        super().__init__()
        if part["kernel"] % 2 == 0 and (part["downsample"] == "pool" or any(block["convs"] > 1 for block in blocks)):
            raise ConfigError(
                f"model.discriminator.kernel={part['kernel']}: convolutions of stride 1 need an odd kernel"
            )
        self.blocks = nn.ModuleList()
        before = channels
        for block in blocks:
            layers: list[nn.Module] = []
            for n in range(block["convs"]):
                stride = 2 if part["downsample"] == "stride" and n == block["convs"] - 1 else 1
                layers.append(Down(before, block["channels"], part["kernel"], stride, biased(part), part))
                before = block["channels"]
            if part["downsample"] == "pool":
                layers.append(nn.MaxPool2d(2))
            self.blocks.append(nn.Sequential(*layers))
        sizes = [before * (size_px >> len(blocks)) ** 2, *head, 1]
        linears: list[nn.Module] = []
        for n, (wide, narrow) in enumerate(itertools.pairwise(sizes)):
            if n:
                linears.append(activation(part["head_act"], part["slope"]))
            linears.append(weighted(nn.Linear(wide, narrow), part["norm"]))
        self.head = nn.Sequential(*linears)

    def forward(self, pictures: Tensor, feature_block: int | None = None) -> Tensor:
        """Return one logit a picture, (B, 1); or the features that leave block `feature_block` (1 is the first)."""
        for n, block in enumerate(self.blocks, start=1):
            pictures = block(pictures)
            if n == feature_block:
                return pictures
        return self.head(torch.flatten(pictures, 1))
