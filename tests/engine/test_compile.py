"""Compiled networks: the same losses, with penalties, in eager and recorded steps. aot_eager: no C++ is built here."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gansweep.engine.drive import Eager
from gansweep.engine.step import EagerEngine
from gansweep.runs.meter import Meter
from small import VAE_SCALES, VAEGAN_SCALES, engine, pictures, timetable, vae, vaegan


def _losses(ours: EagerEngine) -> dict[str, float]:
    meter, plan = Meter(), timetable(ours.system)
    for step in range(3):
        Eager(ours, dict).take(step, plan.at(step), [{"image": pictures(4, seed=step)}], meter)
    return meter.read()


@pytest.mark.parametrize("case", ["vae", "vaegan, penalties"])
def test_compiled_networks_learn_the_same(case: str) -> None:
    def make() -> EagerEngine:
        torch.manual_seed(0)
        scales: dict[str, Any] = {**VAEGAN_SCALES, "gp": 10.0, "r1": 1.0}
        return engine(vae(), VAE_SCALES) if case == "vae" else engine(vaegan(), scales, ema_decay=0.9)

    torch._dynamo.reset()
    compiled = make()
    compiled.nets.compile(backend="aot_eager")
    left, right = _losses(compiled), _losses(make())
    assert list(left) == list(right)
    for key, value in left.items():
        assert value == pytest.approx(right[key], rel=1e-9, abs=1e-12), key
    assert torch._dynamo.utils.counters["frames"]["ok"] > 0, "nothing was compiled"
