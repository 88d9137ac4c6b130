"""What a step needs of memory is known before the run, and a batch that cannot fit is refused with figures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch

from gansweep import preflight
from gansweep.config.settings import Settings
from gansweep.data import open_data
from gansweep.engine.distributed import World
from gansweep.engine.trial import LiveBytes
from gansweep.errors import UserError
from gansweep.learner import Learner, build_learner
from gansweep.preflight import available_bytes, refuse_too_large_a_step
from gansweep.train import train

CPU = torch.device("cpu")


def _learner(settings: Settings) -> Learner:
    return build_learner(settings, open_data(settings.data, progress=False), CPU, World())


def test_live_bytes_are_those_that_live_at_one_time() -> None:
    with LiveBytes() as live:
        a = torch.zeros(1000)  # 4000
        b = a.view(10, 100)[2:] + 1  # 3200 more; the views are a's own memory
        del a
        c = torch.ones(100)  # 400, in the place of a's 4000
        del b, c
    assert live.peak == 4000 + 3200


def test_what_autograd_keeps_lives() -> None:
    x = torch.ones(1000, requires_grad=True)
    with LiveBytes() as live:
        y = (x.exp() * 2).sum()  # exp's result is kept for its gradient
        held = live._live
        y.backward()
    assert held >= 4000 and live.peak >= 8000


def test_a_step_that_fits_is_let_through_and_learns_nothing(compose: Callable[..., Settings]) -> None:
    settings = compose("model=vaegan", "batch_size=24")
    learner = _learner(settings)
    before = {name: value.detach().clone() for name, value in learner.engine.tensors().items()}
    refuse_too_large_a_step(settings, learner, CPU)
    after = learner.engine.tensors()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not any(learner.engine.updates.values())


def test_the_line_through_two_small_steps_meets_a_larger_one(compose: Callable[..., Settings]) -> None:
    learner = _learner(compose("model=vaegan", "batch_size=40"))
    trial = preflight._Trial(learner, CPU)
    assert trial.line(8, 16).at(40) == pytest.approx(trial.peak(40), rel=0.03)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_too_large_a_batch_is_refused_and_the_one_it_names_is_taken(
    accumulate: int, compose: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = compose("model=vaegan", "batch_size=40", f"runtime.accumulate={accumulate}")
    needed = preflight._Trial(_learner(settings), CPU).peak(40) or 0
    monkeypatch.setattr(preflight, "available_bytes", lambda device: int(needed * 0.8))
    told = r"batch_size=40: a step needs .* GiB on cpu .* largest that fits is (\d+)"
    with pytest.raises(UserError, match=told) as refusal:
        train(settings, tmp_path / "run", [])
    assert not (tmp_path / "run").exists()
    named = int(str(refusal.value).split("largest that fits is ")[1].split(",")[0])
    assert 0 < named < 40 and named % accumulate == 0
    smaller = compose("model=vaegan", f"batch_size={named}", f"runtime.accumulate={accumulate}")
    refuse_too_large_a_step(smaller, _learner(smaller), CPU)


def test_a_container_has_less_than_its_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(preflight, "_CGROUP", tmp_path)
    assert available_bytes(CPU) == pytest.approx(psutil.virtual_memory().available, rel=0.2)
    own = psutil.Process().memory_info().rss
    (tmp_path / "memory.max").write_text(f"{own + 2**20}\n")
    assert available_bytes(CPU) <= 2**21
    (tmp_path / "memory.max").write_text("max\n")
    assert available_bytes(CPU) > 2**21
