"""The eager engine on CUDA: no synchronisation in the step, the CPU's first losses, every optimizer."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from gansweep.engine.step import EagerEngine
from small import VAE_SCALES, VAEGAN_SCALES, engine, pictures, timetable, vae, vaegan

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
CURVES = {"optimizer.lr": {"kind": "decay", "multiply_by": 0.5, "every_steps": 3}}


def _on_cuda(system: Any, scales: dict[str, float | None], **options: Any) -> EagerEngine:
    for net in system.nets.values():
        net.to("cuda", memory_format=torch.channels_last)
    return engine(system, scales, dtype=torch.float32, device="cuda", **options)


@pytest.mark.parametrize("kind", ["adam", "adamw", "rmsprop", "sgd"])
def test_twenty_steps_never_wait_for_the_device(kind: str) -> None:
    torch.manual_seed(0)
    scales = {**VAEGAN_SCALES, "gp": 10.0, "r1": 1.0}
    ours = _on_cuda(vaegan(), scales, ema_decay=0.9, curves=CURVES, optimizer={"kind": kind, "clip_norm": 1.0})
    plan = timetable(ours.system)
    batch = {"image": pictures(8, dtype=torch.float32).cuda()}
    ours.step(0, plan.at(0), [batch])
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step in range(1, 21):
            metrics = ours.step(step, plan.at(step), [batch])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(torch.isfinite(value) for value in metrics.values())


@pytest.mark.parametrize("name", ["vae", "vaegan"])
def test_the_first_losses_are_the_cpus(name: str) -> None:
    torch.manual_seed(0)
    make, scales = {"vae": (vae, VAE_SCALES), "vaegan": (vaegan, VAEGAN_SCALES)}[name]
    on_cpu = make()
    on_cuda = copy.deepcopy(on_cpu)
    engines = engine(on_cpu, scales), engine(on_cuda, scales, device="cuda")
    # The streams of the two devices differ, so both look at the CPU's noise.
    engines[1].noise.draw = lambda *args: {k: v.cuda() for k, v in engines[0].noise.draw(*args).items()}  # type: ignore[method-assign]
    plan, batch = timetable(on_cpu), {"image": pictures(8)}
    left = engines[0].step(0, plan.at(0), [batch])
    right = engines[1].step(0, plan.at(0), [{"image": batch["image"].cuda()}])
    for key, value in left.items():
        assert right[key].item() == pytest.approx(value.item(), rel=1e-9), key
