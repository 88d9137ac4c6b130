"""Windows cut out of pictures that are kept larger than they are shown, anew in every batch, and means over squares.

Everything counts in whole levels, so that a batch is the same bytes wherever it is cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gansweep.errors import UserError

_MOST_PX = 2048
WIDE = "wide"
"""The name under which a feed keeps the pictures that windows are cut from."""


def sizes_asked(args: Mapping[str, Any], size_px: int) -> list[int]:
    """Return data.args.sizes, further sizes of a set's pictures in px, ascending, less data.size itself."""
    sizes = args.get("sizes") or []
    if not (isinstance(sizes, list) and all(type(size) is int and 4 <= size <= _MOST_PX for size in sizes)):
        raise UserError(f"data.args.sizes={sizes} must be a list of whole numbers from 4 to {_MOST_PX}: [64, 128]")
    return sorted(set(sizes) - {size_px})


def divided(sizes: list[int], size_px: int) -> dict[str, int]:
    """Return, for `image_S` of each further size, how many px of data.size are one of it; UserError for a fraction."""
    for size in sizes:
        if size > size_px or size_px % size:
            whole = [part for part in range(4, size_px) if size_px % part == 0]
            near = sorted(whole, key=lambda part: abs(part - size))[:3]
            nearest = f"; nearest: {', '.join(map(str, sorted(near)))}" if near else ""
            text = f"data.args.sizes: {size} px is no whole part of data.size={size_px}, of whose pixels it is the mean"
            raise UserError(f"{text}{nearest}")
    return {f"image_{size}": size_px // size for size in sizes}


def centre(pixels: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
    """Return the view of the middle of pictures (…, S, S)."""
    at = (pixels.shape[-1] - size_px) // 2
    return pixels[..., at : at + size_px, at : at + size_px]


def reduced(pixels: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Return pictures (…, S, S) with the mean of each `factor` by `factor` pixels as one, halves rounded up."""
    if factor == 1:
        return pixels
    # Whole rows and columns are added up: six times as fast as a sum over axes of two or four.
    sums: NDArray[np.uint32] = pixels[..., ::factor, :].astype(np.uint32)
    for at in range(1, factor):
        sums += pixels[..., at::factor, :]
    sums = sum((sums[..., at::factor] for at in range(1, factor)), start=sums[..., ::factor])
    return ((sums + factor * factor // 2) // (factor * factor)).astype(np.uint8)


def cut(wide: NDArray[np.uint8], corners: NDArray[np.int64], size_px: int, factor: int) -> NDArray[np.uint8]:
    """Return of pictures (B, C, S, S) the windows of `size_px` at their corners, (B, 2) as top, left, reduced."""
    windows = np.empty((*wide.shape[:2], size_px, size_px), dtype=np.uint8)
    for window, picture, (top, left) in zip(windows, wide, corners, strict=True):
        window[:] = picture[:, top : top + size_px, left : left + size_px]
    return reduced(windows, factor)


def cut_held(held: Tensor, rows: Tensor, corners: Tensor, size_px: int, factor: int) -> Tensor:
    """Do as `cut` for rows of pictures (N, S, S, C) that a device holds: (B, s, s, C)."""
    along = torch.arange(size_px, device=held.device)
    down, across = corners[:, 0, None] + along, corners[:, 1, None] + along
    windows = held[rows[:, None, None], down[:, :, None], across[:, None, :]]
    if factor == 1:
        return windows
    count, side, _, channels = windows.shape
    squares = windows.view(count, side // factor, factor, side // factor, factor, channels)
    sums = squares.sum(dim=(2, 4), dtype=torch.int32) + factor * factor // 2
    return torch.div(sums, factor * factor, rounding_mode="floor").to(torch.uint8)
