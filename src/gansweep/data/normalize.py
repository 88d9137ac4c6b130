"""Between stored bytes and what networks see: tanh [-1, 1], unit [0, 1], zscore (each image: mean 0, deviation 1)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gansweep.errors import UserError, nearest

KINDS = ("tanh", "unit", "zscore")

# Below the deviation of any 8-bit image that is not constant, so that it acts on constant ones only.
_LEAST_STD = 1e-6


def check_kind(kind: str) -> None:
    """Raise UserError unless `kind` is tanh, unit or zscore."""
    if kind not in KINDS:
        raise UserError(f"data.normalize={kind} is unknown{nearest(kind, KINDS)}")


def invertible(kind: str) -> bool:
    """Say whether `to_uint8` gives back the very bytes `normalize` was given; zscore forgets mean and deviation."""
    check_kind(kind)
    return kind != "zscore"


def normalize(images: Tensor, kind: str, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return uint8 images (B, C, H, W) as floats: tanh in [-1, 1], unit in [0, 1], zscore standardised per image.

    The statistics of zscore are over all pixels and channels of one image, with the population's deviation; a constant
    image becomes zeros. The memory format of `images` is kept.
    """
    check_kind(kind)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    if kind == "zscore":
        values = images.to(wide)
        values.sub_(values.mean(dim=(1, 2, 3), keepdim=True))
        # The norm of what is left is the deviation times sqrt(pixels); torch.std_mean takes thirteen times as long.
        std = torch.linalg.vector_norm(values, dim=(1, 2, 3), keepdim=True) / math.sqrt(values[0].numel())
        return values.div_(std.clamp_min(_LEAST_STD)).to(dtype)
    # Multiplying converts and scales in one pass over the bytes.
    if wide == torch.float64:
        images = images.to(wide)
    values = images * (1 / 127.5 if kind == "tanh" else 1 / 255)
    if kind == "tanh":
        values.sub_(1.0)
    return values.to(dtype)


def to_uint8(images: Tensor, kind: str) -> Tensor:
    """Return floats (B, C, H, W) in the range of `kind` as uint8, rounded once and clamped.

    Exact for tanh and unit. A zscore image cannot be undone: it is stretched so that its least value is 0 and its
    greatest 255. Not-a-number becomes 0.
    """
    check_kind(kind)
    values = images.detach().to(torch.float64 if images.dtype == torch.float64 else torch.float32)
    if kind == "zscore":
        least = values.amin(dim=(1, 2, 3), keepdim=True)
        span = (values.amax(dim=(1, 2, 3), keepdim=True) - least).clamp_min(_LEAST_STD)
        values = (values - least) / span * 255
    elif kind == "tanh":
        values = (values + 1) * 127.5
    else:
        values = values * 255
    return torch.nan_to_num(values, nan=0.0, posinf=255.0, neginf=0.0).round_().clamp_(0, 255).to(torch.uint8)
