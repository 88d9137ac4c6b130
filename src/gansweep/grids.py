"""Picture grids as PNG files: the one writer that training, sampling and the data verbs share.

Imports numpy only; Pillow is imported when a file is written, torch never.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gansweep.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

PADDING_GREY_LEVEL = 255


def to_array(images_uint8_nchw: Tensor | np.ndarray) -> np.ndarray:
    """Return images as a uint8 numpy array (N, C, H, W), N >= 1, C of 1 or 3; ValueError for anything else."""
    images: Any = images_uint8_nchw
    if hasattr(images, "detach"):
        images = images.detach().cpu().numpy()
    array = np.asarray(images)
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[1] not in (1, 3) or array.size == 0:
        raise ValueError(f"expected uint8 images (N, 1 or 3, H, W), got {array.dtype} {tuple(array.shape)}")
    return array


def make_grid(images_uint8_nchw: Tensor | np.ndarray, columns: int | None = None, padding_px: int = 2) -> np.ndarray:
    """Lay images out row by row on white; returns uint8 (height, width, 3), or (height, width) for one channel.

    `columns` None gives the squarest grid, ceil(sqrt(N)). `padding_px` >= 0 lies between the pictures and around them.
    The last row is filled up with white.
    """
    array = to_array(images_uint8_nchw)
    count, channels, height_px, width_px = array.shape
    columns = min(columns or math.ceil(math.sqrt(count)), count)
    if columns < 1 or padding_px < 0:
        raise ValueError(f"a grid needs columns >= 1 and padding_px >= 0, got {columns} and {padding_px}")
    rows = math.ceil(count / columns)
    step_y, step_x = height_px + padding_px, width_px + padding_px
    canvas_shape = (rows * step_y + padding_px, columns * step_x + padding_px, channels)
    canvas = np.full(canvas_shape, PADDING_GREY_LEVEL, dtype=np.uint8)
    for index in range(count):
        top = padding_px + (index // columns) * step_y
        left = padding_px + (index % columns) * step_x
        canvas[top : top + height_px, left : left + width_px] = array[index].transpose(1, 2, 0)
    return canvas[:, :, 0] if channels == 1 else canvas


def interleave(*sets_uint8_nchw: Tensor | np.ndarray) -> np.ndarray:
    """Zip image sets of equal shape picture by picture (original, copy, original, copy); returns uint8 (N, C, H, W)."""
    arrays = [to_array(images) for images in sets_uint8_nchw]
    if len({array.shape for array in arrays}) != 1:
        raise ValueError(f"sets to interleave differ in shape: {[array.shape for array in arrays]}")
    stacked = np.stack(arrays, axis=1)
    return stacked.reshape(-1, *arrays[0].shape[1:])


def save_png(hw_or_hwc_uint8: np.ndarray, path: str | os.PathLike[str]) -> Path:
    """Write one picture, (H, W) or (H, W, 3) uint8, as PNG; makes the folder; the file appears whole or not at all.

    UserError, in one line, where the file system refuses (a read-only folder, a file where a folder must be).
    """
    from PIL import Image

    target = Path(path)
    partial = target.with_name(f".{target.name}.{os.getpid()}.part") if target.name else target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            Image.fromarray(np.ascontiguousarray(hw_or_hwc_uint8)).save(partial, format="PNG")
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{target}: cannot be written ({error.strerror or error})") from error
    return target


def save_grid(
    images_uint8_nchw: Tensor | np.ndarray,
    path: str | os.PathLike[str],
    columns: int | None = None,
    padding_px: int = 2,
) -> Path:
    """Write uint8 images (N, 1 or 3, H, W) as one PNG grid (see `make_grid`) and return its path."""
    return save_png(make_grid(images_uint8_nchw, columns, padding_px), path)


def save_each(
    images_uint8_nchw: Tensor | np.ndarray, folder: str | os.PathLike[str], prefix: str = "", names: Sequence[str] = ()
) -> list[Path]:
    """Write each of uint8 images (N, 1 or 3, H, W) as its own PNG, numbered from 0 (or after `names`), in `folder`."""
    array = to_array(images_uint8_nchw)
    if names and len(names) != len(array):
        raise ValueError(f"{len(names)} names for {len(array)} images")
    paths = []
    for index, image in enumerate(array):
        name = names[index] if names else f"{index:05d}"
        picture = image[0] if image.shape[0] == 1 else image.transpose(1, 2, 0)
        paths.append(save_png(picture, Path(folder) / f"{prefix}{name}.png"))
    return paths
