"""What HDGAN's networks are made of: reflected 3 px convolutions, residual blocks, picture heads, and their norms.

Features are (B, C, S, S). Convolutions have no bias but where no norm layer brings one (`none`, `spectral`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gansweep.nets.blocks import NORMS, activation, normalise, weighted

HDGAN_NORMS = (*NORMS, "layer_as_coded")
"""The norms of blocks.py, and the layer norm that the original code had in the place of one."""


class LayerNormAsCoded(nn.Module):
    """What the original code called layer norm: weight · (x - mean) / (deviation + 1e-5 + bias), over each sample.

    The bias stands in the denominator and shifts nothing, so the layer cannot put its output anywhere but around 0, and
    a learnt bias below -deviation turns signs around. Kept for what was run with it; `layer` is the correct one.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor) -> Tensor:
        """Return the features (B, C, …) so treated; the deviation is the unbiased one."""
        axes = tuple(range(1, features.dim()))
        per_channel = (1, -1) + (1,) * (features.dim() - 2)
        mean, deviation = features.mean(axes, keepdim=True), features.std(axes, keepdim=True)
        return self.weight.view(per_channel) * (features - mean) / (deviation + 1e-5 + self.bias.view(per_channel))


def norm_layer(name: str, channels: int, flat: bool = False) -> nn.Module:
    """Return the norm `name`, one of HDGAN_NORMS, over `channels` of features or (`flat`) of vectors."""
    return LayerNormAsCoded(channels) if name == "layer_as_coded" else normalise(name, channels, flat)


def needs_bias(norm: str) -> bool:
    """Tell whether no norm layer stands behind a weighted layer, so that it needs a bias of its own."""
    return norm in ("none", "spectral")


class ConvBlock(nn.Sequential):
    """Convolution, norm, and (unless `bare`) activation; `reflect` fills the border with the picture's mirror image."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        part: Mapping[str, Any],
        stride: int = 1,
        padding: int = 0,
        reflect: bool = False,
        bare: bool = False,
    ):
        norm = part["norm"]
        own = 0 if reflect else padding
        conv = nn.Conv2d(channels_in, channels_out, kernel, stride, own, bias=needs_bias(norm))
        layers: list[nn.Module] = [nn.ReflectionPad2d(padding)] if reflect else []
        layers += [weighted(conv, norm), norm_layer(norm, channels_out)]
        super().__init__(*layers, *([] if bare else [activation(part["act"], part["slope"])]))


class Pcn(ConvBlock):
    """Mirrored border of 1 px, convolution of 3 px, norm, activation (the last not when `bare`); keeps the side."""

    def __init__(self, channels_in: int, channels_out: int, part: Mapping[str, Any], bare: bool = False):
        super().__init__(channels_in, channels_out, 3, part, padding=1, reflect=True, bare=bare)


class Residual(nn.Module):
    """x + Pcn(Pcn(x)), the second without activation, and none after the sum."""

    def __init__(self, channels: int, part: Mapping[str, Any]):
        super().__init__()
        self.body = nn.Sequential(Pcn(channels, channels, part), Pcn(channels, channels, part, bare=True))

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape."""
        return features + self.body(features)


class Enlarge(nn.Module):
    """Nearest-neighbour enlargement by a whole factor."""

    def __init__(self, factor: int = 2):
        super().__init__()
        self.factor = factor

    def forward(self, features: Tensor) -> Tensor:
        """Return features of `factor` times the side."""
        return F.interpolate(features, scale_factor=float(self.factor), mode="nearest")


class PictureHead(nn.Sequential):
    """Mirrored border, convolution of 3 px without bias, tanh: a picture in [-1, 1]."""

    def __init__(self, width: int, channels: int):
        super().__init__(nn.ReflectionPad2d(1), nn.Conv2d(width, channels, 3, bias=False), nn.Tanh())
