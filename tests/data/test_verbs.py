from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gansweep.data import open_data, verbs
from gansweep.data.cache import place_of
from gansweep.data.folder import Folder
from gansweep.errors import UserError

from .conftest import Draw, Settings


@pytest.fixture
def cfg(settings: Settings, pictures: Path, draw: Draw) -> Any:
    for number in range(12):
        draw(f"{'cat' if number % 3 else 'dog'}/{number}.png")
    (pictures / "cat" / "1.txt").write_text("a cat")
    return settings("folder", path=str(pictures), size=8, val_fraction=0.2)


def test_build_says_where_and_that_it_was_there(cfg: Any) -> None:
    first, second = verbs.build(cfg), verbs.build(cfg)
    place = place_of(Folder(cfg))
    assert f"12 pictures of 8 px, in colour, packed in {place}" in first
    assert f"already packed in {place}" in second
    assert open_data(cfg).fingerprint in first


def test_settings_that_cannot_be_met_are_told_as_in_training(settings: Settings, tmp_path: Path) -> None:
    wrong = settings("folder", path=str(tmp_path / "nowhere"))
    for verb in (verbs.build, verbs.check, lambda cfg: verbs.inspect(cfg, tmp_path / "sheet.png")):
        with pytest.raises(UserError, match=r"data.path=.*nowhere does not exist"):
            verb(wrong)
    assert not (tmp_path / "cache").exists() and not (tmp_path / "sheet.png").exists()


def test_inspect_describes_and_draws(cfg: Any, tmp_path: Path) -> None:
    text = verbs.inspect(cfg, tmp_path / "out" / "sheet.png")
    train, val = len(open_data(cfg).split("train")), len(open_data(cfg).split("val"))
    for part in (
        "cat 8, dog 4",
        "'a cat'",
        f"{train} for training, {val} held out",
        str(tmp_path / "out" / "sheet.png"),
    ):
        assert part in text
    with Image.open(tmp_path / "out" / "sheet.png") as sheet:
        assert sheet.size == (4 * 50 + 2, 3 * 50 + 2)  # 12 tiles of 8 px, six times enlarged, 2 px between
        colours = np.asarray(sheet)
    assert (colours[0, 0] == 255).all() and colours.std() > 20


def test_a_sheet_of_many_large_pictures_stays_small(settings: Settings, tmp_path: Path) -> None:
    verbs.inspect(settings("emoji", size=256, limit=101), tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (10 * 130 + 2, 10 * 130 + 2)


def test_check_counts_files_and_compares_the_packed_set(cfg: Any) -> None:
    assert verbs.check(cfg) == "data=folder: 12 of 12 pictures can be used; not packed yet"
    verbs.build(cfg)
    assert "is intact" in verbs.check(cfg)
    images = place_of(Folder(cfg)) / "images.npy"
    raw = bytearray(images.read_bytes())
    raw[-1] ^= 1
    images.write_bytes(raw)
    with pytest.raises(UserError, match=r"damaged .* remove it"):
        verbs.check(cfg)


def test_check_reports_unusable_pictures(cfg: Any, pictures: Path) -> None:
    (pictures / "cat" / "page.jpg").write_text("<html>")
    with pytest.raises(UserError, match=r"1 of 13 pictures cannot be used: 1 not a picture\n  cat/page.jpg"):
        verbs.check(cfg)
    assert Path("bad_files.csv").exists()
    allowed = cfg.model_copy(update={"on_bad": "skip", "max_bad_fraction": 0.5})
    assert verbs.check(allowed).startswith("data=folder: 12 of 13 pictures can be used")
