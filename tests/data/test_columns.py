"""Columns of packed sets: written once, found again, shared where equal, part of the fingerprint."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from gansweep.data import open_data, verbs
from gansweep.data.cache import place_of
from gansweep.data.columns import Repeated, check_name
from gansweep.data.folder import Folder
from gansweep.data.relations import Listed
from gansweep.data.source import Item, Picture
from gansweep.errors import UserError

from .conftest import Draw, Settings

COUNT = 7


def columns_of(number: int) -> dict[str, Any]:
    return {
        "pose": number % 3,
        "loudness": np.float64(number / 2),
        "image_40": np.full((3, 40, 40), number, dtype=np.uint8),
        "mask": np.full((1, 32, 32), number % 2, dtype=np.uint8),
        "codes": np.arange(5) + number,
    }


class Columned(Folder):
    """A folder whose pictures come with columns made of their names."""

    def picture(self, item: Item) -> Picture:
        picture = super().picture(item)
        return Picture(picture.pixels, picture.box, columns_of(int(item.id[0])))

    def relations(self, fields: Any) -> Any:
        return {"first": Listed(np.zeros(len(fields["id"]), dtype=np.int64))}


@pytest.fixture
def cfg(settings: Settings, pictures: Path, draw: Draw, monkeypatch: pytest.MonkeyPatch) -> Any:
    for number in range(COUNT):
        draw(f"{number}.png")
    module = ModuleType("columned")
    module.Columned = Columned  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "columned", module)
    return settings("folder", path=str(pictures), size=8, _target_="columned.Columned")


@pytest.mark.parametrize("ram_limit_mb", [1024, 0])
def test_columns_are_found_as_they_were_written(cfg: Any, ram_limit_mb: int) -> None:
    for _ in range(2):  # packed, then read
        dataset = open_data(cfg.model_copy(update={"ram_limit_mb": ram_limit_mb}))
        for name, value in columns_of(0).items():
            column = dataset.column(name)
            expected = np.stack([columns_of(number)[name] for number in range(COUNT)])
            np.testing.assert_array_equal(column, expected)
            assert column.dtype == (np.uint8 if np.ndim(value) == 3 else "f4" if name == "loudness" else "i8")
        assert isinstance(dataset.stored("image_40"), np.memmap) == (ram_limit_mb == 0)
        assert dataset.related("first", np.arange(COUNT), 0, 0).tolist() == [0] * COUNT


def test_equal_pixels_are_kept_once(cfg: Any) -> None:
    mask = open_data(cfg).stored("mask")
    assert isinstance(mask, Repeated) and len(mask.values) == 2 and mask.of.tolist() == [0, 1, 0, 1, 0, 1, 0]
    assert mask.shape == (COUNT, 1, 32, 32) and mask.nbytes == 2 * 32 * 32 + 8 * COUNT


def test_columns_enter_the_fingerprint_and_check_finds_damage(cfg: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fingerprint = open_data(cfg).fingerprint
    assert "is intact" in verbs.check(cfg)
    path = place_of(Columned(cfg)) / "image_40.npy"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(UserError, match=r"damaged .* remove it"):
        verbs.check(cfg)
    monkeypatch.setitem(cfg.__dict__, "cache_dir", cfg.cache_dir + "2")
    monkeypatch.setattr(sys.modules[__name__], "columns_of", lambda number: {"pose": number})
    assert open_data(cfg).fingerprint != fingerprint


def test_a_truncated_column_is_packed_anew(cfg: Any) -> None:
    before = open_data(cfg).fingerprint
    (place_of(Columned(cfg)) / "image_40.npy").write_bytes(b"short")
    assert open_data(cfg).fingerprint == before


@pytest.mark.parametrize(
    ("at_three", "said"),
    [
        ({"pose": 1}, "3.png came with the columns pose, where the first picture has codes, image_40, "),
        ({**columns_of(3), "codes": np.arange(4)}, r"'codes' of 3.png is int64 \(4,\), where .* int64 \(5,\)"),
        ({**columns_of(3), "codes": np.array(["a"])}, "'codes' of 3.png is <U1; give numbers"),
    ],
)
def test_pictures_must_be_alike(cfg: Any, at_three: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = columns_of
    change = lambda number: at_three if number == 3 else usual(number)  # noqa: E731
    monkeypatch.setattr(sys.modules[__name__], "columns_of", change)
    with pytest.raises(UserError, match=said):
        open_data(cfg)


@pytest.mark.parametrize("name", ["image", "Pose", "a.b", "../x", "rows", ""])
def test_names_that_no_column_can_have(name: str) -> None:
    with pytest.raises(UserError, match="no column can be named"):
        check_name(name)
