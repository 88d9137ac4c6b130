"""Timetable and curves: pure functions of the step.

The timetable says which phases have a turn in a step, on which batch and with which draw of the noise. A curve gives a
knob's value; all but `piecewise` are factors on the knob's own number, so that a sweep over that number still means
something.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gansweep.errors import UserError, nearest

Curve = Callable[[int, float], float]
"""A function of (step, the knob's own number) that gives the knob's value."""


@dataclass(frozen=True)
class Entry:
    """One turn: `phase` on the step's batch number `batch`, with noise of draw `draw`; `watch` learns nothing."""

    phase: str
    batch: int
    draw: int
    watch: bool = False


Group = tuple[Entry, ...]
_LOOKED_AHEAD = 2000


def piecewise(value: int | Sequence[Sequence[Any]], step: int) -> int:
    """Return a whole number that holds from a step on: 6, or [[0, 6], [10000, 4]].

    In place of the 4 a burst may stand, with `n`, `every` and `otherwise`: n in each every-th step from 10000 on.
    """
    if isinstance(value, int):
        return value
    begun, now = value[0]
    for start, number in value:
        if step >= start:
            begun, now = start, number
    if isinstance(now, int):
        return now
    burst: int = now.n if (step - begun) % now.every == 0 else now.otherwise
    return burst


def _periods(value: int | Sequence[Sequence[Any]], is_period: bool) -> list[int]:
    """Return after how many steps what `piecewise` gives comes round again: the numbers of `every`, a burst's own."""
    if isinstance(value, int):
        return [value] if is_period else []
    return [n if isinstance(n, int) else n.every for _, n in value if is_period or not isinstance(n, int)]


class Timetable:
    """Gives a step's groups from each phase's {every, repeat, from, until, new_batch, watch}.

    `order` is the system's phases, `counts` the phase whose turns are steps (it has exactly one turn in each step).
    """

    def __init__(
        self, order: Sequence[str], counts: str, phases: Mapping[str, Any], groups: Sequence[Sequence[str]] | None
    ):
        for name in phases:
            if name not in order:
                raise UserError(f"schedule.phases.{name}: the system has no such phase{nearest(name, order)}")
        self.order, self.counts, self.phases = tuple(order), counts, phases
        self.groups = [list(group) for group in groups] if groups else [[name] for name in order]
        listed = [name for group in self.groups for name in group]
        if sorted(listed) != sorted(order):
            raise UserError(f"schedule.groups: must hold each phase once ({', '.join(order)}), not {listed}")
        own = phases.get(counts)
        if own is not None and (own.every != 1 or own.repeat != 1 or own.start != 0 or own.until is not None):
            raise UserError(
                f"schedule.phases.{counts}: its turns are the steps; change the other phases' every and repeat"
            )
        for group in self.groups:
            for name in group:
                if len(group) > 1 and name in phases and phases[name].repeat != 1:
                    raise UserError(
                        f"schedule.groups: phase '{name}' has repeat={phases[name].repeat}, so it cannot share a group"
                    )

    def turns(self, name: str, step: int) -> int:
        """Return how many turns phase `name` has in `step`."""
        phase = self.phases.get(name)
        if phase is None:
            return 1
        if step < phase.start or (phase.until is not None and step >= phase.until):
            return 0
        return piecewise(phase.repeat, step) if (step - phase.start) % piecewise(phase.every, step) == 0 else 0

    def at(self, step: int) -> tuple[Group, ...]:
        """Return the step's groups, in order; the turn nearest to the counting phase has draw 0 and batch 0."""
        found: list[Group] = []
        before = True
        for group in self.groups:
            before = before and self.counts not in group
            rounds = max(max(self.turns(name, step) for name in group), 1)
            for n in range(rounds):
                number = rounds - 1 - n if before else n
                entries = [entry for name in group if (entry := self._entry(name, step, n, number)) is not None]
                if entries:
                    found.append(tuple(entries))
        return tuple(found)

    def _entry(self, name: str, step: int, n: int, number: int) -> Entry | None:
        phase = self.phases.get(name)
        if n < self.turns(name, step):
            fresh = phase is None or phase.new_batch
            return Entry(name, number if fresh else 0, number)
        return Entry(name, 0, 0, watch=True) if n == 0 and phase is not None and phase.watch else None

    def ever(self, name: str, steps: int) -> bool:
        """Tell whether phase `name` has a turn in any of the first `steps` steps."""
        phase = self.phases.get(name)
        if phase is None:
            return True
        start, end = phase.start, steps if phase.until is None else min(phase.until, steps)
        return start < end

    def shapes(self, steps: int) -> list[tuple[Group, ...]]:
        """Return the different steps that the first `steps` hold: what stands around each change of the timetable."""
        changes, periods = {0}, {1}
        for phase in self.phases.values():
            changes |= {phase.start, phase.until or 0}
            for value in (phase.every, phase.repeat):
                changes |= {start for start, _ in value} if not isinstance(value, int) else set()
            periods |= {*_periods(phase.every, True), *_periods(phase.repeat, False)}
        # Two periods meet anew after their common multiple; beyond some thousands of steps the rare meeting is let go.
        round_again = max(2 * max(periods), min(math.lcm(*periods), _LOOKED_AHEAD))
        near = {step for start in changes for step in range(start, start + round_again) if step < steps}
        return list(dict.fromkeys(self.at(step) for step in sorted(near)))

    def batches(self, step: int) -> int:
        """Return how many batches the step looks at."""
        return 1 + max((entry.batch for group in self.at(step) for entry in group), default=0)


# Curves


def _warmup(step: int, steps: int, start: float = 0.0) -> float:
    return start + (1 - start) * min(step / steps, 1.0)


def _linear(step: int, from_step: int, to_step: int, start: float = 1.0, end: float = 0.0) -> float:
    along = min(max((step - from_step) / (to_step - from_step), 0.0), 1.0)
    return start + (end - start) * along


def _cosine(step: int, steps: int, from_step: int = 0, end: float = 0.0) -> float:
    along = min(max((step - from_step) / steps, 0.0), 1.0)
    return end + (1 - end) * 0.5 * (1 + math.cos(math.pi * along))


def _decay(
    step: int,
    every_steps: int,
    multiply_by: float | None = None,
    decay_by: float | None = None,
    from_step: int = 0,
    floor: float = 0.0,
) -> float:
    if (multiply_by is None) == (decay_by is None):
        raise TypeError("needs multiply_by (0.5 halves) or decay_by (0.1 takes a tenth away), one of them")
    factor = multiply_by if multiply_by is not None else 1 - decay_by  # type: ignore[operator]
    return max(factor ** max((step - from_step) // every_steps, 0), floor)


def _switch(step: int, at_step: int) -> float:
    return 1.0 if step >= at_step else 0.0


CURVES: dict[str, Callable[..., float]] = {
    "warmup": _warmup,
    "linear": _linear,
    "cosine": _cosine,
    "decay": _decay,
    "switch": _switch,
}
"""Kinds of curve: each a factor on the knob's own number. `piecewise` gives values, `function` calls a dotted path."""


def _piecewise(values: Sequence[Sequence[float]], interpolate: bool = False) -> Curve:
    starts = [start for start, _ in values]
    if not starts or starts[0] != 0 or starts != sorted(set(starts)):
        raise ValueError("values are [[0, x], [later step, y], …] with growing steps")

    def curve(step: int, base: float) -> float:
        now = values[0][1]
        for (start, value), after in zip(values, [*values[1:], None], strict=True):
            if step >= start:
                now = value
                if interpolate and after is not None and step < after[0]:
                    now = value + (after[1] - value) * (step - start) / (after[0] - start)
        return now

    return curve


def build_curve(knob: str, config: Mapping[str, Any]) -> Curve:
    """Return the curve that `config` ({kind, …}) describes for `knob`; UserError when steps 0 and 1 cannot be had."""
    given = dict(config)
    kind = given.pop("kind", None)
    where = f"schedule.curves.{knob}"
    for key in ("steps", "every_steps", "multiply_by"):
        if isinstance(given.get(key, 1), int | float) and given.get(key, 1) <= 0:
            raise UserError(f"{where}.{key}={given[key]}: must be greater than 0")
    try:
        if kind == "piecewise":
            curve = _piecewise(**given)
        elif kind == "function":
            module, _, name = str(given.pop("path")).rpartition(".")
            function = getattr(importlib.import_module(module), name)
            curve = lambda step, base: function(step, base, **given)  # noqa: E731
        elif kind in CURVES:
            factor = CURVES[kind]
            curve = lambda step, base: base * factor(step, **given)  # noqa: E731
        else:
            raise UserError(
                f"{where}.kind={kind}: no such curve{nearest(str(kind), [*CURVES, 'piecewise', 'function'])}"
            )
        for step in (0, 1):
            float(curve(step, 1.0))
    except (TypeError, ValueError, KeyError, IndexError, ZeroDivisionError, ImportError, AttributeError) as error:
        raise UserError(f"{where} (kind={kind}): {str(error).replace(f'_{kind}() ', '').splitlines()[0]}") from None
    return curve
