"""HDGAN from conf/ to grids and checkpoints, on coloured shapes with the words that name them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gansweep.config.compose import session
from gansweep.config.settings import Settings
from gansweep.errors import UserError
from gansweep.runs import checkpoint
from gansweep.train import train

SMALL = [
    "model=hdgan",
    "data=folder",
    "data._target_=systems.test_hdgan_runs.Shapes",
    "data.val_fraction=0.2",
    "tracker=none",
    "runtime.threads=1",
    "runtime.device=cpu",
    "batch_size=4",
    "model.embedding=12",
    "model.code=3",
    "model.width_factor=0.02",
    "steps=3",
    "log_every=1",
    "sample_every=3",
    "val_every=3",
    "checkpoint_every=2",
]
TWO = [
    "data.size=32",
    "+data.args.sizes=[16]",
    "+model.outputs.at_32={px_16:1.0,px_32:0.5}",
    *(f"+scales.{kind}_{size}=1.0" for kind in ("d_pair", "d_img", "pair", "img") for size in (16, 32)),
]


class Shapes:
    """Squares in six colours and two sizes on white, at `size` px and at each of `sizes`; a class is a colour."""

    def __init__(self, size: int = 32, sizes: tuple[int, ...] = ()) -> None:
        self.size, self.sizes = size, sizes
        self.words = np.random.default_rng(0).standard_normal((8, 12)).astype(np.float32)

    def __len__(self) -> int:
        return 30

    def __getitem__(self, number: int) -> dict[str, Any]:
        colour, large = number % 6, number % 2
        others = {f"image_{size}": self._drawn(size, colour, large) for size in self.sizes}
        sentence = self.words[colour] + self.words[6 + large]
        return {"image": self._drawn(self.size, colour, large), "label": colour, "embedding": sentence, **others}

    def _drawn(self, size: int, colour: int, large: int) -> Any:
        picture = np.full((3, size, size), 255, np.uint8)
        edge = size // (4 if large else 3)
        tint = [255 * (colour >> bit & 1) for bit in range(3)]
        picture[:, edge:-edge, edge:-edge] = np.array(tint, np.uint8)[:, None, None]
        return picture


def settings(*overrides: str) -> Settings:
    with session() as hydra:
        return hydra.job(0, hydra.normal([*SMALL, *overrides])).settings


def _told(outcome: Any, *sizes: int) -> None:
    assert (outcome.status, outcome.step) == ("FINISHED", 3)
    assert all(map(math.isfinite, outcome.last_losses.values()))
    terms = {f"dis/d_{kind}_{size}" for kind in ("pair", "img") for size in sizes}
    terms |= {f"gen/{kind}_{size}" for kind in ("pair", "img") for size in sizes} | {"gen/kld"}
    logged = {name for name in outcome.last_losses if f"{name}_weighted" in outcome.last_losses}
    assert {name for name in logged if not name.startswith("val/")} == terms


def test_one_output_trains_from_its_preset(tmp_path: Path) -> None:
    outcome = train(settings("data.size=64", "+data.args.size=64"), tmp_path / "run", [])
    _told(outcome, 64)
    assert {path.name for path in (tmp_path / "run" / "grids").iterdir()} == {"samples"}
    assert "val/dis/gap_64" in outcome.last_losses


def test_each_output_has_its_grid_and_the_buffer_is_in_the_checkpoint(tmp_path: Path) -> None:
    replay = ["model.replay.capacity=7", "schedule.phases.dis.repeat=2"]
    outcome = train(settings(*TWO, *replay), tmp_path / "run", [])
    _told(outcome, 16, 32)
    assert outcome.last_losses["turns/dis_per_step"] == 2 and outcome.last_losses["dis/replay_filled"] == 1
    assert {path.name for path in (tmp_path / "run" / "grids").iterdir()} == {"samples_16", "samples_32"}
    memory = checkpoint.load(tmp_path / "run" / "checkpoints" / "last.pt")["memory"]
    assert {name: tuple(tensor.shape) for name, tensor in memory.items()} == {
        "replay_key": (7,),
        "replay_embedding": (7, 12),
        "replay_image_16": (7, 3, 16, 16),
        "replay_image_32": (7, 3, 32, 32),
    }
    assert memory["replay_image_32"].dtype == torch.uint8 and memory["replay_key"].isfinite().all()


def test_a_number_for_a_missing_output_stops_the_run_before_it_begins(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"scales\.d_pair_256: no output of 256 px, only of 64; say .*=null"):
        train(settings("data.size=64", "+data.args.size=64", "scales.d_pair_256=1"), tmp_path / "run", [])


def test_pictures_without_a_second_size_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no field 'image_16'"):
        train(settings(*TWO, "data.args.sizes=[]"), tmp_path / "run", [])
