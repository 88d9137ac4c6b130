"""The VAE-GAN's three networks: a strided encoder, a transposed-convolution decoder, a VGG-like discriminator.

Pictures are (B, C, S, S), codes (B, L), logits (B, 1). Convolutions keep (S) or halve (S/2) the side exactly.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gansweep.nets.blocks import ConfigError, activation, choose, normalise, weighted


def halvings(size_px: int, levels: int | None, smallest_px: int = 4) -> int:
    """Return how often `size_px` is halved: down to `smallest_px` unless `levels` says otherwise.

    A size that the total stride does not divide is a ConfigError naming the nearest sizes that would do.
    """
    if levels is None:
        levels = 0
        while size_px > 0 and smallest_px << levels < size_px:
            levels += 1
        wanted = smallest_px << levels
        if wanted != size_px or levels == 0:
            near = f"{max(wanted // 2, 2 * smallest_px)} or {max(wanted, 4 * smallest_px)}"
            raise ConfigError(f"data.size={size_px}: not {smallest_px} px doubled some times; nearest: {near}")
    if levels < 1 or size_px % (1 << levels):
        stride = 1 << max(levels, 1)
        near = f"{size_px // stride * stride or stride} or {(size_px // stride + 1) * stride}"
        raise ConfigError(
            f"data.size={size_px}: not divided by the total stride {stride} of model.levels={levels}; nearest: {near}"
        )
    return levels


def scaled(width: int, factor: float) -> int:
    """Return `width` channels times `factor`, at least one."""
    return max(1, round(width * factor))


class Down(nn.Module):
    """Convolution with a stride, norm, activation."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, stride: int, bias: bool, part: Mapping[str, Any]
    ):
        super().__init__()
        conv = nn.Conv2d(channels_in, channels_out, kernel, stride, (kernel - 1) // 2, bias=bias)
        self.conv = weighted(conv, part["norm"])
        self.norm = normalise(part["norm"], channels_out)
        self.act = activation(part["act"], part["slope"])

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the picture's features, (B, channels_out, S/stride, S/stride)."""
        return self.act(self.norm(self.conv(pictures)))


class Encoder(nn.Module):
    """Strided convolutions, then two linear heads: the code's mean and log-variance, each (B, latent)."""

    def __init__(self, size_px: int, channels: int, widths: Sequence[int], latent: int, part: Mapping[str, Any]):
        super().__init__()
        layers: list[nn.Module] = []
        before = channels
        for level, width in enumerate(widths):
            # The published list has no norm on the first layer, and biases before the others' norms.
            own = {**part, "norm": "none" if level == 0 and part["norm"] != "spectral" else part["norm"]}
            bias = part["conv_bias"] or own["norm"] in ("none", "spectral")
            layers.append(Down(before, width, part["kernel"], 2, bias, own))
            before = width
        self.down = nn.Sequential(*layers)
        features = before * (size_px >> len(widths)) ** 2
        self.mean = nn.Linear(features, latent)
        self.log_variance = nn.Linear(features, latent)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of the code, (B, latent) each."""
        features = self.down(pictures).flatten(1)
        return self.mean(features), self.log_variance(features)


class Up(nn.Module):
    """Transposed convolution that doubles the side, norm, activation."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, part: Mapping[str, Any], last: bool = False):
        super().__init__()
        padding = (kernel - 1) // 2
        extra = 2 + 2 * padding - kernel
        norm = "none" if last and part["norm"] != "spectral" else part["norm"]
        bias = part["conv_bias"] or (norm in ("none", "spectral") and not last)
        conv = nn.ConvTranspose2d(channels_in, channels_out, kernel, 2, padding, extra, bias=bias)
        self.conv = weighted(conv, norm)
        self.norm = normalise(norm, channels_out)
        self.act = nn.Identity() if last else activation(part["act"], part["slope"])

    def forward(self, features: Tensor) -> Tensor:
        """Return features or a picture of twice the side."""
        return self.act(self.norm(self.conv(features)))


class Decoder(nn.Module):
    """Linear projection to the smallest picture, then transposed convolutions; what comes out is not yet activated."""

    def __init__(self, size_px: int, channels: int, widths: Sequence[int], latent: int, part: Mapping[str, Any]):
        super().__init__()
        self.side_px = size_px >> len(widths)
        self.width = widths[-1]
        features = self.width * self.side_px**2
        bias = part["conv_bias"] or part["norm"] in ("none", "spectral")
        self.project = weighted(nn.Linear(latent, features, bias=bias), part["norm"])
        # As published: the projection is normalised as a vector; a batch norm here has one weight for each feature.
        self.norm = normalise(part["norm"], features, flat=True)
        self.act = activation(part["act"], part["slope"])
        steps = [*reversed(widths[:-1]), channels]
        before = self.width
        ups: list[nn.Module] = []
        for level, width in enumerate(steps):
            ups.append(Up(before, width, part["kernel"], part, last=level == len(steps) - 1))
            before = width
        self.up = nn.Sequential(*ups)

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
        choose("model.discriminator.downsample", part["downsample"], ("pool", "stride"))
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
                bias = part["conv_bias"] or part["norm"] in ("none", "spectral")
                layers.append(Down(before, block["channels"], part["kernel"], stride, bias, part))
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
