"""The graph engine, on a CPU recorder with a CUDA graph's manners: the eager engine's numbers, to rounding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from tape import Tape

from gansweep.engine.drive import Eager
from gansweep.engine.graph import Graph, open_driver
from gansweep.engine.step import EagerEngine
from gansweep.errors import UserError
from gansweep.runs.meter import Meter
from small import (
    DCGAN_SCALES,
    DIS,
    N_CRITIC,
    VAE_SCALES,
    VAEGAN_SCALES,
    WGAN_GP_SCALES,
    dcgan,
    engine,
    pictures,
    timetable,
    vae,
    vaegan,
    wgan_gp,
)

CURVES = {
    "optimizer.lr": {"kind": "decay", "multiply_by": 0.5, "every_steps": 1},
    "scales.kld": {"kind": "warmup", "steps": 3},
}
ALL_ON = {**VAEGAN_SCALES, "r1": 1.0, "gp": 10.0}


def _cases() -> dict[str, Callable[[], EagerEngine]]:
    return {
        "vae": lambda: engine(vae(), VAE_SCALES, ema_decay=0.9, optimizer={"clip_norm": 0.5}),
        "vaegan, penalties, curves": lambda: engine(vaegan(), ALL_ON, ema_decay=0.9, curves=CURVES),
        "vaegan, spectral, accumulating": lambda: engine(
            vaegan(discriminator={**DIS, "norm": "spectral"}), VAEGAN_SCALES, micro_batches=2
        ),
        "vaegan, clipped critic": lambda: engine(
            vaegan(gan_loss="wgan", clip=0.01), VAEGAN_SCALES, optimizer={"kind": "rmsprop"}
        ),
        "vaegan, sgd": lambda: engine(vaegan(), VAEGAN_SCALES, optimizer={"kind": "sgd", "momentum": 0.9}),
        "dcgan, penalty": lambda: engine(dcgan(prior="uniform"), {**DCGAN_SCALES, "r1": 5.0}, ema_decay=0.9),
        "wgan_gp": lambda: engine(wgan_gp(), WGAN_GP_SCALES, optimizer={"betas": [0.0, 0.9]}),
    }


TURNS = {"wgan_gp": N_CRITIC}


def _twins(make: Callable[[], EagerEngine]) -> tuple[EagerEngine, EagerEngine]:
    made = []
    for _ in range(2):
        torch.manual_seed(0)
        made.append(make())
    return made[0], made[1]


def _raws(step: int, count: int) -> list[dict[str, torch.Tensor]]:
    return [{"image": pictures(4, seed=10 * step + n)} for n in range(count)]


def _run(driver: Any, plan: Any, steps: int, meter: Meter) -> None:
    for step in range(steps):
        driver.take(step, plan.at(step), _raws(step, plan.batches(step)), meter)


@pytest.mark.parametrize("case", _cases())
def test_replayed_steps_are_the_eager_engines(case: str) -> None:
    ours, theirs = _twins(_cases()[case])
    tape, left, right = Tape(), Meter(), Meter()
    plan = timetable(ours.system, TURNS.get(case))
    _run(Graph(ours, dict, tape), plan, 5, left)
    _run(Eager(theirs, dict), plan, 5, right)
    assert tape.recordings == 1
    _same_metrics(left.read(), right.read())
    _same_state(ours, theirs)


def _same_metrics(left: Mapping[str, float], right: Mapping[str, float]) -> None:
    assert list(left) == list(right)
    for key, value in left.items():
        assert value == pytest.approx(right[key], rel=1e-9, abs=1e-12), key


def _same_state(ours: EagerEngine, theirs: EagerEngine) -> None:
    left, right = ours.tensors(), theirs.tensors()
    assert list(left) == list(right)
    for name, value in left.items():
        torch.testing.assert_close(value, right[name], rtol=1e-9, atol=1e-11, msg=name)
    assert ours.updates == theirs.updates


class _Turns:
    """One phase's timetable."""

    def __init__(self, **given: Any) -> None:
        self.every, self.repeat, self.start, self.until = 1, 1, 0, None
        self.new_batch, self.watch = True, False
        vars(self).update(given)


def test_each_pattern_of_turns_is_recorded_once_and_keeps_the_others_work() -> None:
    ours, theirs = _twins(lambda: engine(vaegan(), ALL_ON, ema_decay=0.9))
    plan = timetable(ours.system, {"dis": _Turns(repeat=[[0, 1], [2, 5], [5, 1]]), "enc": _Turns(every=2)})
    tape, left, right = Tape(), Meter(), Meter()
    _run(Graph(ours, dict, tape), plan, 8, left)
    _run(Eager(theirs, dict), plan, 8, right)
    assert tape.recordings == len({plan.at(step) for step in range(8)}) == 4
    _same_metrics(left.read(), right.read())
    _same_state(ours, theirs)


def test_a_recording_in_the_middle_of_a_run_learns_nothing_from_its_trial_steps() -> None:
    ours = engine(vaegan(), VAEGAN_SCALES, ema_decay=0.9)
    plan, meter = timetable(ours.system), Meter()
    Eager(ours, dict).take(0, plan.at(0), _raws(0, 1), meter)
    before = {name: value.detach().clone() for name, value in ours.tensors().items()}
    driver = Graph(ours, dict, _Refuses())
    with pytest.raises(UserError, match="cannot be recorded: no graphs today"):
        driver.take(1, plan.at(1), _raws(1, 1), meter)
    after = ours.tensors()
    assert list(before) == list(after)
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert ours.updates == {"enc": 1, "dec": 1, "dis": 1}


class _Refuses(Tape):
    """Cannot record."""

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        raise RuntimeError("no graphs today\nand a long story")


def test_what_cannot_be_recorded_goes_on_eagerly_and_says_why_once() -> None:
    ours, theirs = _twins(lambda: engine(vaegan(), VAEGAN_SCALES))
    said: list[str] = []
    plan, left, right = timetable(ours.system), Meter(), Meter()
    _run(Graph(ours, dict, _Refuses(), said.append), plan, 3, left)
    _run(Eager(theirs, dict), plan, 3, right)
    assert said == ["engine: eager from step 0 on, because the step cannot be recorded: no graphs today"]
    _same_metrics(left.read(), right.read())
    _same_state(ours, theirs)


def test_a_number_that_python_froze_is_found_out() -> None:
    """The recorder itself: it must not run Python again, or the tests above would pass whatever the step did."""
    factor, x, out = [1.0], torch.ones(2), torch.zeros(2)

    def work() -> None:
        out.copy_(x * factor[0])

    replay = Tape().record(work)
    factor[0] = 7.0
    x.fill_(3.0)
    replay()
    assert out.tolist() == [3.0, 3.0]


def test_the_engine_asked_for_is_the_one_that_comes() -> None:
    ours = engine(vae(), VAE_SCALES)
    cpu = torch.device("cpu")
    assert open_driver("auto", ours, dict, cpu, print).kind == "eager"
    assert open_driver("eager", ours, dict, cpu, print).kind == "eager"
    with pytest.raises(UserError, match=r"runtime.engine=graph: needs CUDA"):
        open_driver("graph", ours, dict, cpu, print)


def test_metrics_of_every_step_are_there_when_the_ring_was_full_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gansweep.runs.meter.CAPACITY", 3)
    ours, theirs = _twins(lambda: engine(vae(), VAE_SCALES))
    plan, left, right = timetable(ours.system), Meter(), Meter()
    _run(Graph(ours, dict, Tape()), plan, 8, left)
    _run(Eager(theirs, dict), plan, 8, right)
    _same_metrics(left.read(), right.read())
