"""Reach check: before the first step, every charged term must move a weight that its phase learns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gansweep.engine.look import Looker, StepContext
from gansweep.engine.schedule import Entry
from gansweep.engine.step import EagerEngine


def unreached(engine: EagerEngine, batch: Mapping[str, Tensor], phases: Sequence[str], most: int = 8) -> list[str]:
    """Return `phase/term` of each charged term whose gradient on everything its phase learns is zero or not there.

    Looks at the first `most` samples of `batch`. Buffers and memory are put back; no weight is touched.
    """
    system = engine.system
    small = {
        name: value[:most] if name not in system.inputs or system.inputs[name].batched else value
        for name, value in batch.items()
    }
    count = len(next(iter(small.values())))
    buffers = [(b, b.clone()) for net in system.nets.values() for b in net.buffers()]
    lost: list[str] = []
    for name in phases:
        phase = engine.phases[name]
        # Each phase on its own: a shared forward is then computed as for this phase alone.
        context = StepContext([Entry(name, 0, 0)], system.shared, engine.updates)
        noise = engine.noise.draw(system.noise, count, 0)
        look = Looker(engine.nets, phase, context, 0, 0, small, noise, engine.knobs.group("knobs"), system.memory)
        parameters = engine.parameters_of(phase)
        for term, value in engine.terms(phase, look).items():
            reached = False
            if value.requires_grad:
                gradients = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
                reached = any(bool(g.count_nonzero()) for g in gradients if g is not None)
            if not reached:
                lost.append(f"{name}/{term}")
    with torch.no_grad():
        for buffer, before in buffers:
            buffer.copy_(before)
    return lost
