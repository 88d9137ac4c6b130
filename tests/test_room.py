"""The room that checkpoints will take, told from a system that is not built, held against what they then take."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gansweep.assemble import check
from gansweep.config.settings import Settings
from gansweep.errors import UserError
from gansweep.room import SPARE_BYTES, Need, need, refuse_without_room
from gansweep.train import train

Compose = Callable[..., Settings]


@pytest.mark.parametrize(
    "overrides",
    [
        ["model=vaegan"],
        ["model=vae", "optimizer=rmsprop"],
        ["model=vae", "optimizer=sgd", "optimizer.momentum=0.9"],
        ["model=vae", "optimizer=sgd", "optimizer.momentum=0", "runtime.precision=fp64"],
        ["model=vaegan", "runtime.ema_decay=0.9", "runtime.precision=fp64", "optimizer.dis.kind=sgd"],
    ],
    ids=str,
)
def test_what_is_asked_for_is_what_a_checkpoint_takes(compose: Compose, tmp_path: Path, overrides: list[str]) -> None:
    wide = ["model.width_factor=1", "sample_every=0", "val_every=0", "steps=2", "checkpoint_every=0"]
    settings = compose(*overrides, *wide)
    told = need(settings, check(settings))
    train(settings, tmp_path / "run", [])
    taken = (tmp_path / "run" / "checkpoints" / "last.pt").stat().st_size
    assert told.files == 1
    assert told.one == pytest.approx(taken, rel=0.06)


@pytest.mark.parametrize(
    ("overrides", "files"),
    [
        (["checkpoint.keep=3"], 3),
        (["checkpoint.keep=30"], 7),
        (["checkpoint.keep=null"], 7),
        (["checkpoint.keep=null", "checkpoint_every=0"], 1),
        (["checkpoint.keep=1", "checkpoint.best_by=fit/l1"], 2),
    ],
    ids=str,
)
def test_only_the_files_that_stay_are_counted(compose: Compose, overrides: list[str], files: int) -> None:
    settings = compose("model=vae", "steps=65", "checkpoint_every=10", *overrides)
    assert need(settings, check(settings)).files == files


def test_several_runs_are_counted_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs = [Need(10 * 2**20, 3), Need(20 * 2**20, 1)]
    exactly = SPARE_BYTES + (30 + 20 + 20) * 2**20
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=exactly))
    refuse_without_room(tmp_path / "not" / "yet", needs)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=exactly - 1))
    with pytest.raises(UserError, match=r"no room .*: 134 MiB needed, 134 MiB free .*: hydra\.sweep\.dir=DIR"):
        refuse_without_room(tmp_path / "not" / "yet", needs, "hydra.sweep.dir")
