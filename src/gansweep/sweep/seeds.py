"""Seeds as an axis: `seeds=3` repeats every point of a sweep, and what the repeats say together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gansweep.errors import UserError
from gansweep.sweep.ledger import FINISHED, Row, Sweep
from gansweep.sweep.logged import held_out
from gansweep.sweep.student import mean_and_half

if TYPE_CHECKING:
    from gansweep.config.compose import Session

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
    try:
        first = int(hydra.compose(fixed).seed)
    except (TypeError, ValueError):
        raise UserError(f"seeds={text}: seed must be a whole number, to count on from") from None
    kept = [line for line in rest if line.partition("=")[0] != "seed"]
    return [*kept, "seed=" + ",".join(str(first + n) for n in range(int(text)))]


@dataclass(frozen=True)
class Point:
    """A point over its seeds: its `jobs`, how many `finished`, and of each metric what these ended with, one a seed.

    The metrics are scores, then held-out losses, then losses; a seed without one is left out of it. `own`: what sets it
    apart from the sweep's other points, in one line.
    """

    overrides: tuple[str, ...]
    jobs: tuple[int, ...]
    finished: int
    values: dict[str, tuple[float, ...]]
    own: str = ""

    @property
    def means(self) -> dict[str, tuple[float, float]]:
        """Of each metric the mean and half its 95 % interval (Student's), which is infinite with one seed."""
        return {name: mean_and_half(values) for name, values in self.values.items()}


def points(sweep: Sweep) -> list[Point]:
    """Return the points of a sweep that vary in more than their seed, each over its finished repeats.

    Empty where no point was repeated. Of scores those that were measured as most runs' were count.
    """
    if len({line for row in sweep.rows for line in row.overrides if _is_seed(line)}) < 2:
        return []
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in sweep.rows:
        groups.setdefault(tuple(line for line in row.overrides if not _is_seed(line)), []).append(row)
    if all(len(rows) < 2 for rows in groups.values()):
        return []
    scores, shared, found = _scores(sweep), set.intersection(*map(set, groups)), []
    for key, rows in groups.items():
        done = [row for row in rows if row.state == FINISHED]
        each = [scores.get(row.job, {}) | held_out(row.dir) | row.losses for row in done]
        values = {
            name: tuple(of[name] for of in each if math.isfinite(of.get(name, math.nan)))
            for name in dict.fromkeys(name for of in each for name in of)
        }
        own = " ".join(line for line in key if line not in shared) or "every job"
        values = {name: of for name, of in values.items() if of}
        found.append(Point(key, tuple(row.job for row in rows), len(done), values, own))
    return found


def _is_seed(line: str) -> bool:
    return line.partition("=")[0] == "seed"


def _scores(sweep: Sweep) -> dict[int, dict[str, float]]:
    """Return job -> metric -> its score at the last step scored, the mean where several seeds were drawn."""
    from gansweep.scoring.card import Card, cards_of
    from gansweep.scoring.words import order_of_keys

    alike: dict[str, dict[tuple[tuple[str, str], ...], dict[int, list[Card]]]] = {}
    for row in sweep.rows:
        for card in cards_of(row.dir) if row.state == FINISHED else ():
            if card.retracted is None:
                measure = tuple(sorted(card.compared().items()))
                alike.setdefault(card.key, {}).setdefault(measure, {}).setdefault(row.job, []).append(card)
    found: dict[int, dict[str, float]] = {}
    for key in order_of_keys(alike):
        for job, cards in max(alike[key].values(), key=len).items():
            last = max(card.step for card in cards)
            values = [card.value for card in cards if card.step == last]
            found.setdefault(job, {})[key] = math.fsum(values) / len(values)
    return found
