"""The vows that keep capture, compile and packing open, held by every system (DESIGN: what a step may not do)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gansweep.engine.step import EagerEngine
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

HOST_READS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero")
GLOBAL_DRAWS = (
    "rand",
    "randn",
    "randint",
    "randperm",
    "bernoulli",
    "bernoulli_",
    "normal",
    "normal_",
    "uniform_",
    "dropout",
)


class Vows(TorchDispatchMode):
    """Refuses host reads, data-dependent shapes and global random draws; `allowed` generators are the engine's own."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in HOST_READS:
            raise AssertionError(f"host read: {func}")
        if name == "index" and any(t is not None and t.dtype in (torch.bool, torch.uint8) for t in args[1]):
            raise AssertionError(f"boolean index: {func}")
        if name in GLOBAL_DRAWS and (kwargs or {}).get("generator") is None:
            raise AssertionError(f"global random draw: {func}")
        return func(*args, **(kwargs or {}))


ALL_ON = {**VAEGAN_SCALES, "r1": 1.0, "gp": 10.0, "huber": 1.0, "huber_dec": 1.0, "feature": 0.1, "feature_dec": 0.1}


def _cases() -> dict[str, Any]:
    huge = {"clip_norm": 0.5}
    return {
        "vae": lambda: engine(vae(), {**VAE_SCALES, "huber": 1.0}, ema_decay=0.9, optimizer=huge),
        "vae, spectral": lambda: engine(vae(norm="spectral"), VAE_SCALES),
        "vaegan": lambda: engine(vaegan(), ALL_ON, ema_decay=0.9, optimizer=huge),
        "vaegan, accumulating": lambda: engine(vaegan(), VAEGAN_SCALES, micro_batches=2),
        "vaegan, joint batch": lambda: engine(vaegan(discriminator={**_dis(), "joint_batch": True}), VAEGAN_SCALES),
        "vaegan, hinge, spectral": lambda: engine(
            vaegan(gan_loss="hinge", discriminator={**_dis(), "norm": "spectral"}), ALL_ON
        ),
        "vaegan, clipped critic": lambda: engine(
            vaegan(gan_loss="wgan", clip=0.01), VAEGAN_SCALES, optimizer={"kind": "rmsprop"}
        ),
        "vaegan, sgd": lambda: engine(
            vaegan(gan_loss="lsgan"), VAEGAN_SCALES, optimizer={"kind": "sgd", "momentum": 0.9}
        ),
        "vaegan, adamw, curves": lambda: engine(
            vaegan(),
            VAEGAN_SCALES,
            optimizer={"kind": "adamw", "weight_decay": 0.1},
            curves={
                "optimizer.lr": {"kind": "decay", "multiply_by": 0.5, "every_steps": 1},
                "scales.kld": {"kind": "warmup", "steps": 3},
                "knobs.real_label": {"kind": "piecewise", "values": [[0, 1.0], [1, 0.9]]},
            },
        ),
        "dcgan": lambda: engine(dcgan(), {**DCGAN_SCALES, "r1": 5.0}, ema_decay=0.9, optimizer=huge),
        "dcgan, uniform prior, accumulating": lambda: engine(dcgan(prior="uniform"), DCGAN_SCALES, micro_batches=2),
        "wgan_gp": lambda: engine(wgan_gp(), WGAN_GP_SCALES),
        "wgan_gp, accumulating": lambda: engine(wgan_gp(), WGAN_GP_SCALES, micro_batches=2),
    }


TURNS = {"wgan_gp": N_CRITIC}


def _dis() -> dict[str, Any]:
    from small import DIS

    return DIS


@pytest.mark.parametrize("name", list(_cases()))
def test_a_step_reads_nothing_back_and_draws_only_from_its_own_streams(name: str) -> None:
    torch.manual_seed(0)
    ours: EagerEngine = _cases()[name]()
    plan = timetable(ours.system, TURNS.get(name))
    batches = [{"image": pictures(4, seed=n)} for n in range(plan.batches(0))]
    ours.step(0, plan.at(0), batches)  # optimizers make their state in the first step, once
    with Vows():
        for step in (1, 2):
            metrics = ours.step(step, plan.at(step), batches)
    assert all(torch.isfinite(value) for value in metrics.values()), metrics


def test_the_guard_itself_catches_what_it_should() -> None:
    x = torch.randn(4)
    for guilty in (
        lambda: x.sum().item(),
        lambda: bool(x.sum() > 0),
        lambda: float(x[0]),
        lambda: x[x > 0],
        lambda: x.nonzero(),
        lambda: torch.randn(3),
        lambda: torch.nn.functional.dropout(x, 0.5),
    ):
        with Vows(), pytest.raises(AssertionError):
            guilty()


def test_a_step_leaves_the_global_random_state_alone() -> None:
    ours = engine(vaegan(), VAEGAN_SCALES)
    before = torch.get_rng_state()
    ours.step(0, timetable(ours.system).at(0), [{"image": pictures(4)}])
    assert torch.equal(before, torch.get_rng_state())
