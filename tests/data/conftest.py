"""Settings and tiny pictures for the tests of the data part."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from gansweep.config.settings import DataSettings

CONF = Path(__file__).parents[2] / "conf" / "data"

Settings = Callable[..., DataSettings]
Draw = Callable[..., Path]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings as conf/data gives them, with a cache of the test's own; the test runs in a folder of its own."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)

    def make(conf: str, /, **changes: Any) -> DataSettings:
        values = yaml.safe_load((CONF / f"{conf}.yaml").read_text(encoding="utf-8"))
        return DataSettings.model_validate({**values, "cache_dir": str(tmp_path / "cache"), **changes})

    return make


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """An empty folder to draw pictures into."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    return folder


@pytest.fixture
def draw(pictures: Path) -> Draw:
    """Draw one picture of random blocks (the same for the same name) and return its path."""

    def make(name: str, size: tuple[int, int] = (24, 24), mode: str = "RGB", **save: Any) -> Path:
        path = pictures / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(list(name.encode()))
        small = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(small).resize(size, Image.Resampling.NEAREST).convert(mode).save(path, **save)
        return path

    return make
