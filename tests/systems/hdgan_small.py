"""HDGAN, thin, for tests: two outputs of 16 and 32 px, sentences of 12 numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gansweep.engine.look import Looker, StepContext
from gansweep.engine.schedule import Entry
from gansweep.engine.step import EagerEngine
from gansweep.systems.hdgan import Hdgan
from small import pictures

GEN: dict[str, Any] = {
    "norm": "batch",
    "act": "relu",
    "slope": 0.2,
    "arch": "nested",
    "hid_dim": 2,
    "res_blocks": 1,
    "reduce_dim_at": [8, 32, 128, 256],
    "skip": "none",
    "detach": True,
    "stage_width": 4,
    "stage_res_blocks": 2,
}
DIS: dict[str, Any] = {
    "norm": "batch",
    "act": "lrelu",
    "slope": 0.2,
    "hid_dim": 2,
    "text_code": 4,
    "image_head": "global",
    "head_256": "patch",
    "joint_1x1": True,
    "share_trunk": False,
}
NO_REPLAY = {"capacity": 0, "fraction": 0.5, "policy": "lowest"}
SENTENCE = 12


def hdgan(sizes_px: tuple[int, ...] = (16, 32), gen: Any = None, dis: Any = None, **changes: Any) -> Hdgan:
    given: dict[str, Any] = {
        "size_px": sizes_px[-1],
        "channels": 3,
        "outputs": {f"at_{sizes_px[-1]}": {f"px_{size}": 1.0 for size in sizes_px}},
        "embedding": SENTENCE,
        "latent": 5,
        "code": 3,
        "generator": {**GEN, **(gen or {})},
        "discriminator": {**DIS, **(dis or {})},
        "init": "dcgan",
        "gan_loss": "lsgan",
        "replay": NO_REPLAY,
        "reduction": {"kld": "mean"},
    }
    return Hdgan(**{**given, **changes})


def scales(system: Hdgan, **changes: float | None) -> dict[str, float | None]:
    """Return a number for every term of the outputs that are there, each another one, and null for the rest."""
    names = [name for phase in system.phases for name in phase.terms]
    there = {str(size) for size in system.sizes_px} | {"kld"}
    return {
        name: 0.5 + 0.25 * n if name.rpartition("_")[2] in there else None for n, name in enumerate(names)
    } | changes


def batch(system: Hdgan, count: int = 4, seed: int = 0, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Return random pictures at every size, right and wrong ones, and sentences."""
    found: dict[str, Tensor] = {}
    for n, (name, spec) in enumerate(system.inputs.items()):
        if spec.kind == "image":
            found[name] = pictures(count, spec.shape[-1], seed=100 * seed + n, dtype=dtype)
        else:
            generator = torch.Generator().manual_seed(100 * seed + n)
            found[name] = torch.randn(count, *spec.shape, generator=generator, dtype=dtype)
    return found


def looker(ours: EagerEngine, phase_name: str, count: int = 4, seed: int = 0) -> Looker:
    """Return what one turn of a phase sees, by itself."""
    system: Any = ours.system
    context = StepContext([(Entry(phase_name, 0, 0),)], system.shared, ours.updates)
    noise = ours.noise.draw(system.noise, count, 0)
    knobs = ours.knobs.group("knobs")
    phase = ours.phases[phase_name]
    return Looker(ours.nets, phase, context, 0, 0, batch(system, count, seed), noise, knobs, system.memory)
