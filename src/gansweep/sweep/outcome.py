"""What a search has found so far, told from its sweep's directory alone: neither the study nor Optuna is needed.

search.json beside the record says what is looked for, over which ranges, and how much each of them matters; its leader
keeps it up to date. The values are in the runs' spools.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from gansweep.runs.rundir import write_json
from gansweep.sweep.ledger import FINISHED, WAITING, Row, Sweep
from gansweep.sweep.logged import latest
from gansweep.sweep.space import Axis

SEARCH_FILE = "search.json"
IMPORTANCE_BY = "PED-ANOVA"
# Importance compares the best points with all: of fewer it says nothing.
IMPORTANCE_FROM = 10


@dataclass(frozen=True)
class Objective:
    """A metric that is to become small, or great where `maximize`."""

    name: str
    maximize: bool


@dataclass(frozen=True)
class Weights:
    """How much each key mattered for each objective: shares that sum to 1, told from `counted` finished points."""

    by_objective: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    counted: int = 0


@dataclass(frozen=True)
class Outcome:
    """A search as it stands.

    `values`: job -> objective -> its last value, of finished ones what counts, of others how far they came. `best`: the
    finished jobs that none beats, one unless there are several objectives, by job.
    """

    wanted: tuple[Objective, ...]
    along: tuple[Axis, ...]
    weights: Weights
    values: Mapping[int, Mapping[str, float]]
    best: tuple[int, ...]

    def counted(self, row: Row) -> list[float] | None:
        """Return the objectives' values of a job that finished with all of them, else None."""
        found = [self.values.get(row.job, {}).get(one.name, math.nan) for one in self.wanted]
        return found if row.state == FINISHED and all(map(math.isfinite, found)) else None


def save(directory: Path, wanted: Sequence[Objective], along: Sequence[Axis], weights: Weights | None = None) -> None:
    """Write what a search looks for and over what; without `weights` those that were there stay."""
    if weights is None:
        _, _, weights = _saved(directory) or ((), (), Weights())
    content = {"objectives": [asdict(one) for one in wanted], "axes": [asdict(axis) for axis in along]}
    write_json(directory / SEARCH_FILE, content | {"importance": asdict(weights)})


def _saved(directory: Path) -> tuple[tuple[Objective, ...], tuple[Axis, ...], Weights] | None:
    try:
        content = json.loads((directory / SEARCH_FILE).read_text(encoding="utf-8"))
        wanted = tuple(Objective(**one) for one in content["objectives"])
        along = tuple(Axis(**{**one, "choices": tuple(one["choices"])}) for one in content["axes"])
        return wanted, along, Weights(**content["importance"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def objective_names(directory: Path) -> list[str]:
    """Return what the search in a sweep's directory looks for; nothing where there is no search."""
    saved = _saved(directory)
    return [one.name for one in saved[0]] if saved is not None else []


def outcome(sweep: Sweep) -> Outcome | None:
    """Return how the search stands whose sweep this is; None for a sweep that is no search."""
    saved = _saved(sweep.dir)
    if saved is None:
        return None
    wanted, along, weights = saved
    names = [one.name for one in wanted]
    values = {row.job: latest(row.dir, names) for row in sweep.rows if row.state != WAITING}
    told = Outcome(wanted, along, weights, values, ())
    counted = {row.job: found for row in sweep.rows if (found := told.counted(row)) is not None}
    return Outcome(wanted, along, weights, values, tuple(front(counted, wanted)))


def front(values: Mapping[int, Sequence[float]], wanted: Sequence[Objective]) -> list[int]:
    """Return the jobs that none beats: no other is as good in every objective and better in one; rising.

    Of one objective the first of the best alone.
    """
    turned = {
        job: tuple(-value if one.maximize else value for one, value in zip(wanted, found, strict=True))
        for job, found in values.items()
    }
    ordered = sorted(turned, key=lambda job: (turned[job], job))
    if len(wanted) == 1:
        return ordered[:1]
    kept: list[int] = []
    for job in ordered:  # whoever beats a job stands before it
        if not any(_beats(turned[other], turned[job]) for other in kept):
            kept.append(job)
    return sorted(kept)


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def in_lines(found: Outcome, sweep: Sweep) -> list[str]:
    """Return what a search has found in lines: its best points with their values, and what mattered."""
    rows = {row.job: row for row in sweep.rows}
    names = [one.name for one in found.wanted]
    if not found.best:
        return ["no point gave a value"]
    head = "best" if len(names) == 1 else f"best by {' and '.join(names)} (none of the others beats one of them in all)"
    lines = []
    for job in found.best:
        values = ", ".join(f"{name} {found.values[job][name]:.4g}" for name in names)
        lines.append(f"{head}: job {job}: {values}: {' '.join(rows[job].overrides)}")
        head = "  and"
    return lines + importance_lines(found)


def importance_lines(found: Outcome) -> list[str]:
    """Return, for each objective, a line that says how much each key mattered, or one that it is not known yet."""
    if not found.weights.by_objective:
        return [f"what mattered is told from {IMPORTANCE_FROM} finished points on"]
    lines = []
    for name, shares in found.weights.by_objective.items():
        told = ", ".join(f"{key} {share:.0%}" for key, share in shares.items())
        lines.append(f"what mattered for {name}: {told} ({IMPORTANCE_BY}, {found.weights.counted} finished points)")
    return lines
