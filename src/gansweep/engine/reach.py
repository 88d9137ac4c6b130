"""Reach check: before the first step, every charged term must move a weight that its phase learns.

Walks through each different step of the timetable as the engine will take it, without updating anything, so that a
shared forward used where it may not be is found here too (StaleUse), not in the middle of a run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gansweep.engine.look import Looker, StepContext
from gansweep.engine.schedule import Group
from gansweep.engine.step import EagerEngine
from gansweep.system import Phase


def unreached(engine: EagerEngine, batch: Mapping[str, Tensor], shapes: Sequence[Sequence[Group]]) -> list[str]:
    """Return `phase/term` of each charged term whose gradient on everything its phase learns is zero or not there.

    `batch` is what one turn looks at (a few samples are enough); `shapes` the timetable's different steps. Buffers are
    put back; no weight is touched. Raises StaleUse.
    """
    buffers = [(b, b.clone()) for net in engine.system.nets.values() for b in net.buffers()]
    lost: dict[str, None] = {}
    for groups in shapes:
        for name in _lost_in(engine, batch, groups):
            lost[name] = None
    with torch.no_grad():
        for buffer, before in buffers:
            buffer.copy_(before)
    return list(lost)


def _lost_in(engine: EagerEngine, batch: Mapping[str, Tensor], groups: Sequence[Group]) -> list[str]:
    system = engine.system
    updates = dict(engine.updates)
    context = StepContext(groups, system.shared, updates)
    count = len(next(iter(batch.values())))
    lost: list[str] = []
    position = 0
    for group in groups:
        for entry in group:
            phase = engine.phases[entry.phase]
            noise = engine.noise.draw(system.noise, count, 0, entry.draw)
            knobs = engine.knobs.group("knobs")
            look = Looker(engine.nets, phase, context, position, 0, batch, noise, knobs, system.memory)
            position += 1
            with torch.set_grad_enabled(not entry.watch):
                terms = engine.terms(phase, look)
            lost += (
                []
                if entry.watch
                else [f"{phase.name}/{name}" for name in terms if not _moves(engine, terms[name], phase)]
            )
        for entry in group:
            if not entry.watch:
                for net in engine.phases[entry.phase].learns:
                    updates[net] += 1
    return lost


def _moves(engine: EagerEngine, value: Tensor, phase: Phase) -> bool:
    if not value.requires_grad:
        return False
    gradients = torch.autograd.grad(value, engine.parameters_of(phase), retain_graph=True, allow_unused=True)
    return any(bool(g.count_nonzero()) for g in gradients if g is not None)
