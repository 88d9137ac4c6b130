"""TensorFlow 1's bilinear resize, which the FID Inception's graph of 2015 has inside it."""

from __future__ import annotations

import torch
from torch import Tensor


def resize_tf1(images: Tensor, size_px: int) -> Tensor:
    """Resize float images (N, C, H, W) to (N, C, size_px, size_px) as TensorFlow 1 did: bilinear, no half-pixel shift.

    Output pixel i reads input position i * H/size_px (float32, as there), between its floor and the next pixel, at the
    border the same pixel twice; no antialiasing.
    """
    images = _resize_axis(images, size_px, axis=3)
    return _resize_axis(images, size_px, axis=2)


def _resize_axis(images: Tensor, size_px: int, axis: int) -> Tensor:
    source_px = images.shape[axis]
    if source_px == size_px:
        return images
    # All of it on the images' device: a table sent there would make the host wait for it.
    step_px = float(torch.tensor(source_px / size_px, dtype=torch.float32))
    position = torch.arange(size_px, dtype=torch.float32, device=images.device) * step_px
    low = position.floor().long().clamp_max(source_px - 1)
    high = (low + 1).clamp_max(source_px - 1)
    share = (position - low).view((1, 1, size_px, 1) if axis == 2 else (1, 1, 1, size_px)).to(images.dtype)
    below, above = images.index_select(axis, low), images.index_select(axis, high)
    return below + (above - below) * share
