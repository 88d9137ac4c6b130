"""The convolutional VAE's two networks, driven by one list of {filters, kernel, stride}.

Convolutions are padded as TensorFlow's "same": the output's side is ceil(S / stride), with the odd pixel of padding at
the bottom and the right; a transposed convolution gives exactly S · stride. Pictures (B, C, S, S), codes (B, L).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from gansweep.nets.blocks import ConfigError, activation, nearest_multiples, normalise, weighted


def total_stride(conv: Sequence[Mapping[str, int]]) -> int:
    """Return the product of the list's strides."""
    stride = 1
    for entry in conv:
        stride *= entry["stride"]
    return stride


def bottleneck_px(size_px: int, conv: Sequence[Mapping[str, int]]) -> int:
    """Return the side of the smallest features; a size that the total stride does not divide is a ConfigError."""
    stride = total_stride(conv)
    if size_px < stride or size_px % stride:
        raise ConfigError(
            f"data.size={size_px}: not divided by the total stride {stride} of model.conv; "
            f"nearest: {nearest_multiples(size_px, stride)}"
        )
    return size_px // stride


class Same(nn.Module):
    """Convolution with "same" padding, norm, activation."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int, part: Mapping[str, Any]):
        super().__init__()
        self.kernel, self.stride = kernel, stride
        bias = part["norm"] in ("none", "spectral")
        self.conv = weighted(nn.Conv2d(channels_in, channels_out, kernel, stride, bias=bias), part["norm"])
        self.norm = normalise(part["norm"], channels_out)
        self.act = activation(part["act"], part["slope"])

    def forward(self, pictures: Tensor) -> Tensor:
        """Return (B, channels_out, ceil(S/stride), ceil(S/stride))."""
        side = pictures.shape[-1]
        padding = max((-(-side // self.stride) - 1) * self.stride + self.kernel - side, 0)
        before, after = padding // 2, padding - padding // 2
        return self.act(self.norm(self.conv(F.pad(pictures, (before, after, before, after)))))


class SameTranspose(nn.Module):
    """Transposed convolution that multiplies the side by the stride exactly, norm, activation."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int, part: Mapping[str, Any]):
        super().__init__()
        self.kernel, self.stride = kernel, stride
        bias = part["norm"] in ("none", "spectral")
        self.conv = weighted(nn.ConvTranspose2d(channels_in, channels_out, kernel, stride, bias=bias), part["norm"])
        self.norm = normalise(part["norm"], channels_out)
        self.act = activation(part["act"], part["slope"])

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, channels_out, S·stride, S·stride)."""
        side = features.shape[-1] * self.stride
        full = self.conv(features)
        # The transpose of "same": what the convolution would have padded is cut away again (or, where the kernel is
        # smaller than the stride, filled up with zeros).
        extra = full.shape[-1] - side
        before = max(self.kernel - self.stride, 0) // 2
        full = (
            full[..., before : before + side, before : before + side]
            if extra > 0
            else F.pad(full, (0, -extra, 0, -extra))
        )
        return self.act(self.norm(full))


class ConvEncoder(nn.Module):
    """The list's convolutions, a dense layer with ReLU, and two linear heads (mean, log-variance)."""

    def __init__(
        self,
        size_px: int,
        channels: int,
        conv: Sequence[Mapping[str, int]],
        dense: int,
        latent: int,
        part: Mapping[str, Any],
    ):
        super().__init__()
        layers: list[nn.Module] = []
        before = channels
        for entry in conv:
            layers.append(Same(before, entry["filters"], entry["kernel"], entry["stride"], part))
            before = entry["filters"]
        self.down = nn.Sequential(*layers)
        self.dense = nn.Linear(before * bottleneck_px(size_px, conv) ** 2, dense)
        self.mean = nn.Linear(dense, latent)
        self.log_variance = nn.Linear(dense, latent)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of the code, (B, latent) each."""
        features = F.relu(self.dense(self.down(pictures).flatten(1)))
        return self.mean(features), self.log_variance(features)


class ConvDecoder(nn.Module):
    """A dense layer with ReLU, the list reversed as transposed convolutions, and a last 3×3 one to the picture.

    Each reversed entry keeps its own stride, as in the journal's code, so the first one re-uses the last entry's
    filters. What comes out is not yet activated.
    """

    def __init__(
        self, size_px: int, channels: int, conv: Sequence[Mapping[str, int]], latent: int, part: Mapping[str, Any]
    ):
        super().__init__()
        self.side_px = bottleneck_px(size_px, conv)
        self.width = conv[-1]["filters"]
        self.dense = nn.Linear(latent, self.width * self.side_px**2)
        layers: list[nn.Module] = []
        before = self.width
        for entry in reversed(conv):
            layers.append(SameTranspose(before, entry["filters"], entry["kernel"], entry["stride"], part))
            before = entry["filters"]
        self.up = nn.Sequential(*layers)
        self.picture = SameTranspose(before, channels, 3, 1, {**part, "norm": "none", "act": "none"})

    def forward(self, code: Tensor) -> Tensor:
        """Return pictures before their output activation, (B, C, S, S)."""
        start = F.relu(self.dense(code)).unflatten(1, (self.width, self.side_px, self.side_px))
        return self.picture(self.up(start))
