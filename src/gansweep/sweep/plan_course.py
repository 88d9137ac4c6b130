"""What a point of a sweep does over its run, told before it starts: rates, scales and turns at a few steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from gansweep.assemble import active_phases, knobs, timetable
from gansweep.build import build_system
from gansweep.config.settings import PhaseTiming, Settings
from gansweep.engine.knobs import Knobs
from gansweep.engine.objective import charged_terms
from gansweep.engine.schedule import Timetable, piecewise
from gansweep.system import System

if TYPE_CHECKING:
    from gansweep.config.compose import Job

# A rate below this share of the greatest before it has as good as ended the run.
FADED = 0.01
_LOOKED_AT = 5000


@dataclass(frozen=True)
class Course:
    """One point: its number, name, overrides as given, settings, its system on the meta device, its timetable."""

    number: int
    name: str
    typed: tuple[str, ...]
    settings: Settings
    system: System
    plan: Timetable

    @cached_property
    def knobs(self) -> Knobs:
        """The numbers that may vary during the run."""
        return knobs(self.settings, self.system)

    @cached_property
    def charged(self) -> dict[str, list[str]]:
        """Phase -> its terms that have a number, for every phase that has a turn in the run."""
        names = [phase.name for phase in active_phases(self.settings, self.system, self.plan)]
        found = charged_terms(self.system, self.settings.scales, self.settings.terms, names)
        return {name: list(found[name]) for name in names}

    @cached_property
    def learns(self) -> dict[str, tuple[str, ...]]:
        """Phase -> the networks that it learns, for every phase that has a turn in the run."""
        return {phase.name: tuple(phase.learns) for phase in self.system.phases if phase.name in self.charged}

    def curve(self, knob: str) -> Mapping[str, Any] | None:
        """Return what describes the knob's curve, with `optimizer.lr` standing for every rate; None without one."""
        curves = self.settings.schedule.curves
        for name in (knob, f"model.{knob}"):
            if name in curves:
                return curves[name]
        is_rate = knob.startswith("optimizer.") and knob.endswith(".lr")
        return curves.get("optimizer.lr") if is_rate else None

    def turns(self, phase: str, step: int) -> float:
        """Return how many turns a phase has in a step, on the average of the timetable's period around `step`."""
        timing = self.settings.schedule.phases.get(phase)
        if timing is None:
            return 1.0
        first, end = _piece(timing, step, self.settings.steps)
        length = min(_period(timing, step), end - first, _LOOKED_AT)
        begin = min(step, end - length)
        return sum(self.plan.turns(phase, at) for at in range(begin, begin + length)) / length

    def fades(self, knob: str) -> int | None:
        """Return the first step before half the run at which a knob is below FADED times its greatest value so far."""
        if knob not in self.knobs.curves:
            return None
        half = self.settings.steps // 2
        stride = max(half // _LOOKED_AT, 1)
        greatest = 0.0
        for step in range(0, half, stride):
            value = abs(self.knobs.value(knob, step))
            if value < FADED * greatest:
                near = range(max(step - stride + 1, 0), step + 1)
                return next(at for at in near if abs(self.knobs.value(knob, at)) < FADED * greatest)
            greatest = max(greatest, value)
        return None


def courses(jobs: Sequence[Job]) -> list[Course]:
    """Return the points of checked jobs; the networks of one model are built once, so is its timetable."""
    systems: dict[str, System] = {}
    plans: dict[str, Timetable] = {}
    found = []
    for job in jobs:
        model = job.settings.model.model_dump_json()
        if model not in systems:
            with torch.device("meta"):
                systems[model] = build_system(job.settings)
        schedule = model + job.settings.schedule.model_dump_json(exclude={"curves"})
        if schedule not in plans:
            plans[schedule] = timetable(job.settings, systems[model])
        found.append(Course(job.number, job.name, job.overrides, job.settings, systems[model], plans[schedule]))
    return found


def marks(steps: int) -> list[int]:
    """Return the steps that are shown: the first, a quarter, half, three quarters, the last."""
    return sorted({0, steps // 4, steps // 2, 3 * steps // 4, steps - 1})


def table(course: Course) -> dict[str, list[float]]:
    """Return knob -> its values at `marks`: rates, scales of charged terms, other knobs with a curve; turns/<phase>."""
    at = marks(course.settings.steps)
    rates = [f"optimizer.{net}.lr" for net in course.system.nets if any(net in own for own in course.learns.values())]
    scales = [f"scales.{term}" for own in course.charged.values() for term in own]
    others = [name for name in course.knobs.curves if name.startswith("knobs.")]
    found = {name: [course.knobs.value(name, step) for step in at] for name in (*rates, *scales, *others)}
    for phase in course.plan.order:
        if phase != course.plan.counts:
            found[f"turns/{phase}"] = [course.turns(phase, step) for step in at]
    return found


def _piece(timing: PhaseTiming, step: int, steps: int) -> tuple[int, int]:
    """Return the first step, and the first one after, of the stretch around `step` in which the timing stays as is."""
    bounds = {0, steps, min(timing.start, steps), min(steps if timing.until is None else timing.until, steps)}
    for value in (timing.every, timing.repeat):
        bounds |= {start for start, _ in value if start < steps} if not isinstance(value, int) else set()
    return max(bound for bound in bounds if bound <= step), min(bound for bound in bounds if bound > step)


def _period(timing: PhaseTiming, step: int) -> int:
    period = piecewise(timing.every, step)
    if not isinstance(timing.repeat, int):
        now = [number for start, number in timing.repeat if start <= step][-1]
        period = math.lcm(period, 1 if isinstance(now, int) else now.every)
    return period
