"""Grids: layout to the pixel, file forms, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gansweep.errors import UserError
from gansweep.grids import interleave, make_grid, save_each, save_grid


def test_layout_is_row_by_row_with_white_padding() -> None:
    images = torch.arange(3, dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 3, 2, 2).contiguous()
    grid = make_grid(images, columns=2, padding_px=1)
    assert grid.shape == (7, 7, 3)
    assert (grid[1:3, 1:3] == 0).all() and (grid[1:3, 4:6] == 1).all() and (grid[4:6, 1:3] == 2).all()
    assert (grid[4:6, 4:6] == 255).all(), "the last row is filled up with white"
    assert (grid[0] == 255).all() and (grid[:, 3] == 255).all()


@pytest.mark.parametrize(("count", "columns", "shape"), [(16, None, (4, 4)), (5, None, (2, 3)), (2, 8, (1, 2))])
def test_columns_default_to_the_squarest_grid(count: int, columns: int | None, shape: tuple[int, int]) -> None:
    grid = make_grid(np.zeros((count, 1, 1, 1), np.uint8), columns, padding_px=0)
    assert grid.shape == shape


def test_saved_png_holds_the_pixels_and_leaves_no_partial_file(tmp_path: Path) -> None:
    images = torch.randint(0, 256, (4, 3, 5, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    path = save_grid(images, tmp_path / "new" / "grid.png")
    assert np.array_equal(np.asarray(Image.open(path)), make_grid(images))
    assert [p.name for p in path.parent.iterdir()] == ["grid.png"]


def test_grey_images_make_a_grey_png(tmp_path: Path) -> None:
    path = save_grid(np.full((1, 1, 4, 4), 7, np.uint8), tmp_path / "grey.png", padding_px=0)
    with Image.open(path) as picture:
        assert picture.mode == "L" and picture.getpixel((0, 0)) == 7


def test_each_image_becomes_its_own_numbered_file(tmp_path: Path) -> None:
    images = np.stack([np.full((3, 2, 2), level, np.uint8) for level in (10, 20)])
    paths = save_each(images, tmp_path, prefix="sample_")
    assert [p.name for p in paths] == ["sample_00000.png", "sample_00001.png"]
    assert np.asarray(Image.open(paths[1]))[0, 0].tolist() == [20, 20, 20]


def test_interleave_alternates_the_sets() -> None:
    zeros, ones = np.zeros((2, 3, 1, 1), np.uint8), np.ones((2, 3, 1, 1), np.uint8)
    assert interleave(zeros, ones)[:, 0, 0, 0].tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    "images",
    [np.zeros((1, 3, 2, 2), np.float32), np.zeros((3, 2, 2), np.uint8), np.zeros((0, 3, 2, 2), np.uint8)],
)
def test_anything_but_uint8_nchw_is_refused(images: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="uint8 images"):
        save_grid(images, tmp_path / "grid.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["file/grid.png", "folder", "/proc/nowhere/grid.png", "x" * 300, "."])
def test_a_place_that_cannot_be_written_is_told_in_one_line(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError) as caught:
        save_grid(np.zeros((1, 1, 2, 2), np.uint8), place)
    assert str(caught.value).startswith(f"{place}: cannot be written (") and "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]
