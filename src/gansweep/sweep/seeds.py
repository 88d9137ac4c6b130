"""Seeds as an axis: `seeds=3` repeats every point of a sweep, and what the repeats say together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gansweep.errors import UserError
from gansweep.sweep.ledger import FINISHED

if TYPE_CHECKING:
    from gansweep.config.compose import Session
    from gansweep.sweep.ledger import Sweep

_MOST = 100


def spread(overrides: Sequence[str], multirun: bool, hydra: Session) -> list[str]:
    """Return overrides with `seeds=N` written out as N values of seed, from the run's own seed on; as they are without.

    UserError outside of a sweep, for a number that is none or not from 2 to 100, and beside several seeds.
    """
    asked = [text for text in overrides if text.partition("=")[0] == "seeds"]
    if not asked:
        return list(overrides)
    text = asked[-1].partition("=")[2]
    if not multirun:
        raise UserError(f"seeds={text}: repeats the points of a sweep; add -m")
    if not text.isdecimal() or not 2 <= int(text) <= _MOST:
        raise UserError(f"seeds={text}: a whole number from 2 to {_MOST}, of repeats of every point")
    rest = [line for line in overrides if line not in asked]
    own = [line for line in hydra.parse(rest) if line.key_or_group == "seed"]
    if any(line.is_sweep_override() for line in own):
        raise UserError(f"seeds={text}: {own[-1].input_line} gives several seeds already; leave one of the two out")
    fixed = [line.input_line or "" for line in hydra.parse(hydra.normal(rest)) if not line.is_sweep_override()]
    first = int(hydra.compose(fixed).seed)
    kept = [line for line in rest if line.partition("=")[0] != "seed"]
    return [*kept, "seed=" + ",".join(str(first + n) for n in range(int(text)))]


@dataclass(frozen=True)
class Point:
    """A point over its seeds: its `jobs`, how many `finished`, and of each loss the mean and half a 95 % interval."""

    overrides: tuple[str, ...]
    jobs: tuple[int, ...]
    finished: int
    losses: dict[str, tuple[float, float]]


def points(sweep: Sweep) -> list[Point]:
    """Return the points of a sweep that vary in more than their seed, each over its finished repeats.

    The interval is Student's (n - 1 degrees of freedom) and needs two repeats: infinite with one. Empty where no point
    was repeated.
    """
    from scipy.stats import t as student

    if len({line for row in sweep.rows for line in row.overrides if line.partition("=")[0] == "seed"}) < 2:
        return []
    groups: dict[tuple[str, ...], list[int]] = {}
    for place, row in enumerate(sweep.rows):
        key = tuple(line for line in row.overrides if line.partition("=")[0] != "seed")
        groups.setdefault(key, []).append(place)
    if all(len(places) < 2 for places in groups.values()):
        return []
    found = []
    for key, places in groups.items():
        done = [sweep.rows[place] for place in places if sweep.rows[place].state == FINISHED]
        losses = {}
        for name in done[0].losses if done else ():
            values = [row.losses[name] for row in done if math.isfinite(row.losses.get(name, math.nan))]
            if values:
                losses[name] = _mean_and_half(values, student)
        found.append(Point(key, tuple(sweep.rows[place].job for place in places), len(done), losses))
    return found


def _mean_and_half(values: Sequence[float], student: object) -> tuple[float, float]:
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, math.inf
    spread_of = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
    return mean, float(student.ppf(0.975, len(values) - 1)) * spread_of / math.sqrt(len(values))  # type: ignore[attr-defined]
