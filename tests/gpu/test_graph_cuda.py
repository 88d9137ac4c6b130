"""The graph engine on CUDA: the eager engine's numbers, replays that never wait, one recording for each pattern.

Both sides compute without TF32, by deterministic algorithms, with capturable optimizers. Trajectories in float32 are
not compared: they drift apart by rounding alone.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from gansweep.arithmetic import set_arithmetic
from gansweep.engine.drive import Driver, Eager
from gansweep.engine.graph import CudaRecorder, Graph
from gansweep.engine.step import EagerEngine
from gansweep.runs.meter import Meter
from small import (
    DCGAN_SCALES,
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

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
DEVICE = "cuda"
# A rate that falls with every step: what a recording must not have frozen.
CURVES = {"optimizer.lr": {"kind": "decay", "multiply_by": 0.5, "every_steps": 1}}
SYSTEMS: dict[str, tuple[Callable[[], Any], Mapping[str, float | None], Any, dict[str, Any]]] = {
    "vae": (vae, VAE_SCALES, None, {}),
    "vaegan": (vaegan, {**VAEGAN_SCALES, "gp": 10.0, "r1": 1.0}, None, {}),
    "dcgan": (dcgan, DCGAN_SCALES, None, {"betas": [0.5, 0.999]}),
    "wgan_gp": (wgan_gp, WGAN_GP_SCALES, N_CRITIC, {"betas": [0.0, 0.9]}),
}


@pytest.fixture(autouse=True)
def _exact_arithmetic() -> Iterator[None]:
    set_arithmetic(SimpleNamespace(threads=None, tf32=False, deterministic=True))  # type: ignore[arg-type]
    yield
    set_arithmetic(SimpleNamespace(threads=None, tf32=False, deterministic=False))  # type: ignore[arg-type]
    torch.backends.cudnn.benchmark = False


def _engine(name: str, dtype: torch.dtype, **options: Any) -> EagerEngine:
    make, scales, _, optimizer = SYSTEMS[name]
    torch.manual_seed(0)
    return engine(make(), scales, dtype, device=DEVICE, curves=CURVES, optimizer=optimizer, ema_decay=0.9, **options)


def _graph(ours: EagerEngine) -> Graph:
    """A driver that records or raises: it may not fall back to eager."""
    return Graph(ours, dict, CudaRecorder(torch.device(DEVICE)))


def _plan(name: str, phases: Any = None) -> Any:
    make, _, own, _ = SYSTEMS[name]
    return timetable(make(), phases or own)


def _take(driver: Driver, plan: Any, steps: range, meter: Meter, dtype: torch.dtype) -> None:
    for step in steps:
        raws = [
            {"image": pictures(8, seed=10 * step + n, dtype=dtype).to(DEVICE, memory_format=torch.channels_last)}
            for n in range(plan.batches(step))
        ]
        driver.take(step, plan.at(step), raws, meter)


def _first_gradients(ours: EagerEngine) -> dict[str, Tensor]:
    """Each network's gradient in its last turn of the only step so far, flat: what Adam's first moment was made of."""
    found = {}
    for net, optimizer in ours.optimizers.items():
        share = 1 - optimizer.param_groups[0]["betas"][0]
        moments = [optimizer.state[p]["exp_avg"].flatten() / share for p in ours.learnt[net]]
        found[net] = torch.cat(moments).double().cpu()
    return found


@pytest.mark.parametrize("name", SYSTEMS)
def test_first_losses_and_gradients_are_the_eager_engines(name: str) -> None:
    recorded, plain = _engine(name, torch.float32), _engine(name, torch.float32)
    plan, left, right = _plan(name), Meter(), Meter()
    _take(_graph(recorded), plan, range(1), left, torch.float32)
    _take(Eager(plain, dict), plan, range(1), right, torch.float32)
    ours, theirs = left.read(), right.read()
    assert list(ours) == list(theirs)
    for key, value in ours.items():
        assert value == pytest.approx(theirs[key], rel=1e-5, abs=1e-7), key
    for net, gradient in _first_gradients(recorded).items():
        reference = _first_gradients(plain)[net]
        assert float((gradient - reference).norm() / reference.norm()) <= 1e-5, net


@pytest.mark.parametrize("name", SYSTEMS)
def test_five_steps_in_float64_are_the_eager_engines(name: str) -> None:
    recorded, plain = _engine(name, torch.float64), _engine(name, torch.float64)
    before = {key: value.detach().clone() for key, value in recorded.tensors().items()}
    plan, left, right = _plan(name), Meter(), Meter()
    _take(_graph(recorded), plan, range(5), left, torch.float64)
    _take(Eager(plain, dict), plan, range(5), right, torch.float64)
    ours, theirs = left.read(), right.read()
    for key, value in ours.items():
        assert value == pytest.approx(theirs[key], rel=1e-9, abs=1e-12), key
    _same_state(recorded, plain)
    for net, parameters in recorded.system.nets.items():
        for key, parameter in parameters.named_parameters():
            assert bool(torch.isfinite(parameter).all()), f"{net}.{key}"
            assert not torch.equal(parameter, before[f"nets.{net}.{key}"]), f"{net}.{key} did not move"


def _same_state(ours: EagerEngine, theirs: EagerEngine) -> None:
    left, right = ours.tensors(), theirs.tensors()
    assert list(left) == list(right)
    for name, value in left.items():
        torch.testing.assert_close(value, right[name], rtol=1e-9, atol=1e-11, msg=name)
    assert ours.updates == theirs.updates


def test_patterns_that_take_turns_share_a_pool_and_spoil_nothing() -> None:
    changing = {"dis": SimpleNamespace(every=1, start=0, until=None, new_batch=True, watch=False)}
    changing["dis"].repeat = [[0, 1], [2, 5], [4, 1], [6, 5]]
    recorded, plain = _engine("wgan_gp", torch.float64), _engine("wgan_gp", torch.float64)
    plan, left, right = _plan("wgan_gp", changing), Meter(), Meter()
    _take(_graph(recorded), plan, range(8), left, torch.float64)
    _take(Eager(plain, dict), plan, range(8), right, torch.float64)
    ours, theirs = left.read(), right.read()
    for key, value in ours.items():
        assert value == pytest.approx(theirs[key], rel=1e-9, abs=1e-12), key
    _same_state(recorded, plain)


@pytest.mark.parametrize("name", SYSTEMS)
def test_twenty_replays_never_wait_for_the_device(name: str) -> None:
    ours = _engine(name, torch.float32)
    driver, plan, meter = _graph(ours), _plan(name), Meter()
    batches = [{"image": pictures(8, seed=n, dtype=torch.float32).to(DEVICE)} for n in range(plan.batches(0))]
    driver.take(0, plan.at(0), batches, meter)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step in range(1, 21):
            driver.take(step, plan.at(step), batches, meter)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert meter.first_nonfinite() is None
    assert min(ours.updates.values()) == 21


@pytest.mark.parametrize("name", SYSTEMS)
def test_going_on_from_a_state_is_exact(name: str) -> None:
    straight, stopped = _engine(name, torch.float32), _engine(name, torch.float32)
    plan, meter = _plan(name), Meter()
    _take(_graph(straight), plan, range(5), meter, torch.float32)
    _take(_graph(stopped), plan, range(3), meter, torch.float32)
    resumed = _engine(name, torch.float32)
    resumed.load_state_dict(copy.deepcopy(stopped.state_dict()))
    _take(_graph(resumed), plan, range(3, 5), meter, torch.float32)
    wanted = straight.tensors()
    assert list(resumed.tensors()) == list(wanted)
    for key, value in resumed.tensors().items():
        assert torch.equal(value, wanted[key]), key


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vaegan", "wgan_gp"])
def test_compiled_networks_in_bf16_are_recorded_and_learn_the_same(name: str) -> None:
    compiled = _engine(name, torch.float32, low_precision=torch.bfloat16)
    plain = _engine(name, torch.float32, low_precision=torch.bfloat16)
    compiled.nets.compile()
    plan, left, right = _plan(name), Meter(), Meter()
    _take(_graph(compiled), plan, range(1), left, torch.float32)
    _take(Eager(plain, dict), plan, range(1), right, torch.float32)
    ours, theirs = left.read(), right.read()
    for phase in compiled.system.phases:
        key = f"{phase.name}/total"
        assert ours[key] == pytest.approx(theirs[key], rel=2e-2, abs=2e-2), key


def test_a_reading_of_the_meter_is_one_wait() -> None:
    ours = _engine("dcgan", torch.float32)
    driver, plan, meter = _graph(ours), _plan("dcgan"), Meter()
    _take(driver, plan, range(3), meter, torch.float32)
    torch.cuda.synchronize()
    with pytest.warns(UserWarning, match="synchronizing CUDA operation") as seen:
        torch.cuda.set_sync_debug_mode("warn")
        try:
            meter.read()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert sum("called a synchronizing" in str(one.message) for one in seen) == 1
