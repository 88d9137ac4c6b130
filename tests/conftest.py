"""Shared by all tests: one thread, one seed, a cache of its own, settings from the real conf/, a few pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gansweep.config.compose import session
from gansweep.config.settings import Settings


@pytest.fixture(autouse=True)
def _one_thread_and_seed() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def picture_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of 60 pictures, 20 px: coloured discs on white, in two classes."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:20, :20]
    for n in range(60):
        centre, radius = rng.uniform(6, 14, 2), rng.uniform(3, 7)
        inside = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < radius**2
        picture = np.full((20, 20, 3), 255, np.uint8)
        picture[inside] = rng.integers(0, 256, 3)
        place = folder / ("large" if radius > 5 else "small")
        place.mkdir(exist_ok=True)
        Image.fromarray(picture).save(place / f"{n:03d}.png")
    return folder


@pytest.fixture(scope="session")
def small_overrides(picture_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return overrides that make any model small, its data those pictures, and its record the run's directory alone."""
    cache = tmp_path_factory.mktemp("cache")
    return [
        "data=folder",
        f"data.path={picture_folder}",
        f"data.cache_dir={cache}",
        "data.size=16",
        "data.val_fraction=0.2",
        "tracker=none",
        "runtime.threads=1",
        "runtime.device=cpu",
        "batch_size=4",
        "model.latent=6",
        "model.width_factor=0.125",
    ]


@pytest.fixture
def compose(small_overrides: list[str]) -> Callable[..., Settings]:
    """Return a function from further overrides to the settings of a small run."""

    def make(*overrides: str) -> Settings:
        with session() as open_session:
            return open_session.jobs([*small_overrides, *overrides], multirun=False)[0].settings

    return make
