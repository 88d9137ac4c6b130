"""Code that a checkpoint's config names is refused, not run, unless the run's own config.yaml names the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gansweep.config.settings import Settings
from gansweep.errors import UserError
from gansweep.evaluate import evaluate
from gansweep.runs import checkpoint
from gansweep.sample import sample
from gansweep.train import resume, train
from gansweep.trust import foreign_code

OWN: dict[str, Any] = {
    "model": {"_target_": "mylab.Model"},
    "data": {"_target_": "mylab.Data"},
    "judge": {"_target_": "gansweep.metrics.lite0.Lite0Judge"},
    "terms": {"enc": {"mine": "mylab.loss"}},
    "schedule": {"curves": {"scales.kld": {"kind": "function", "path": "mylab.curve"}}},
}


def test_every_place_that_names_code_is_found() -> None:
    assert foreign_code(OWN) == {
        "model._target_": "mylab.Model",
        "data._target_": "mylab.Data",
        "terms.enc.mine": "mylab.loss",
        "schedule.curves.scales.kld.path": "mylab.curve",
    }
    assert foreign_code({"model": 3, "terms": None, "schedule": []}) == {}


@pytest.fixture
def evil(compose: Callable[..., Settings], tmp_path: Path) -> tuple[Path, Path]:
    """Return a checkpoint in its run directory whose config would run a command, and where the command would write."""
    mark = tmp_path / "ran"
    train(compose("model=vae", "steps=2"), tmp_path / "run", [])
    last = tmp_path / "run" / "checkpoints" / "last.pt"
    payload = checkpoint.load(last)
    payload["config"]["data"] |= {"_target_": "os.system", "args": {"command": f"touch {mark}"}}
    payload["config"]["steps"] = 4
    checkpoint.save(last, payload)
    return last, mark


def test_nothing_of_it_runs(evil: tuple[Path, Path], tmp_path: Path) -> None:
    last, mark = evil
    copied = tmp_path / "elsewhere.pt"
    copied.write_bytes(last.read_bytes())
    for attempt in (
        lambda: resume(str(tmp_path / "run")),
        lambda: sample(str(last), n=2, reconstruct=True),
        lambda: sample(str(copied), n=2, reconstruct=True),
        lambda: evaluate(str(last), ["judge=lite0", "eval.n=20"]),
    ):
        with pytest.raises(UserError, match=r"its config names code to run \(data\._target_=os\.system\)"):
            attempt()
        assert not mark.exists()


def test_a_loss_of_ones_own_still_resumes(compose: Callable[..., Settings], tmp_path: Path) -> None:
    settings = compose("model=vae", "steps=2", "terms.fit.mine=test_trust.own_loss", "+scales.mine=1")
    train(settings, tmp_path / "run", [])
    last = tmp_path / "run" / "checkpoints" / "last.pt"
    payload = checkpoint.load(last)
    payload["config"]["steps"] = 3
    checkpoint.save(last, payload)
    assert resume(str(tmp_path / "run")).step == 3


def own_loss(output: Any, target: Any) -> Any:
    return (output - target).abs().mean()
