"""Points of a sweep held against each other over their seeds: which differ, and which only seem to: those are ties."""

from __future__ import annotations

import csv
import io
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gansweep.scoring.card import lower_is_better
from gansweep.sweep.seeds import Point
from gansweep.sweep.student import holm, mean_and_half, welch

LEVEL = 0.05
# Points that a look at a sweep compares: the pairs of more would take longer than reading its record.
LOOKED_AT_MOST = 60
SQUARED_ERROR = "val/squared_error"
_TIES_NAMED = 4
_METRICS_SHOWN = 4


@dataclass(frozen=True)
class Rivals:
    """The points under one metric, by their place.

    `pairs`: how many were compared, each having two seeds or more. `ties`: which a point cannot be told from. `best`:
    the point of the best mean, where it is known which way is better.
    """

    metric: str
    pairs: int
    ties: Mapping[int, tuple[int, ...]]
    best: int | None


def rivals(points: Sequence[Point], metric: str) -> Rivals:
    """Compare all pairs of points: Welch's t, and a difference counts where Holm's correction over all pairs lets it.

    So the chance that any two points of one mean are told apart is at most 5 % for each metric. The others are ties.
    """
    known = {place: point.values[metric] for place, point in enumerate(points) if metric in point.values}
    pairs = list(itertools.combinations([place for place, values in known.items() if len(values) > 1], 2))
    apart = holm([welch(known[one], known[other]) for one, other in pairs], LEVEL)
    ties: dict[int, list[int]] = {}
    for pair, differ in zip(pairs, apart, strict=True):
        for one, other in (pair, pair[::-1]):
            ties.setdefault(one, []).extend([] if differ else [other])
    means = {place: mean_and_half(values)[0] for place, values in known.items()}
    lower = smaller_is_better(metric)
    best = None if lower is None or not means else min(means, key=lambda at: means[at] if lower else -means[at])
    return Rivals(metric, len(pairs), {place: tuple(sorted(others)) for place, others in ties.items()}, best)


def smaller_is_better(metric: str) -> bool | None:
    """Say which way a metric is better; None for losses: an adversary's is neither."""
    return lower_is_better(metric) if "/" not in metric else True if metric == SQUARED_ERROR else None


def metrics(points: Sequence[Point]) -> list[str]:
    """Return what the points ended with: scores first, then the squared error of held-out pictures, then losses."""
    found = dict.fromkeys(name for point in points for name in point.values)
    return sorted(found, key=lambda name: 0 if "/" not in name else 1 if name == SQUARED_ERROR else 2)


def shown(points: Sequence[Point]) -> list[str]:
    """Return the metrics that tables and pictures have room for."""
    return metrics(points)[:_METRICS_SHOWN]


def label(place: int) -> str:
    """Return what a point is called in tables and pictures."""
    return f"#{place + 1}"


def in_words(found: Rivals | None, place: int) -> str:
    """Return what stands behind a point's mean: best, whom it ties with, or nothing."""
    if found is None:
        return ""
    ties = found.ties.get(place, ())
    named = ", ".join(label(other) for other in ties[:_TIES_NAMED])
    more = f" and {len(ties) - _TIES_NAMED} more" if len(ties) > _TIES_NAMED else ""
    words = ["best"] if found.best == place else []
    return ", ".join([*words, *([f"tie with {named}{more}"] if ties else [])])


def cell(point: Point, metric: str, found: Rivals | None, place: int) -> str:
    """Return what a table says of a point under a metric: mean, half its interval, and how it stands to the others."""
    if metric not in point.values:
        return "–"
    mean, half = mean_and_half(point.values[metric])
    told = f"{mean:.4g} ± {float(f'{half:.2g}'):g}" if math.isfinite(half) else f"{mean:.4g} (one seed)"
    return f"{told} {in_words(found, place)}".rstrip()


def rule(compared: Sequence[Rivals]) -> str:
    """Return in one line how points were compared; empty when none were."""
    pairs = max((one.pairs for one in compared), default=0)
    if not pairs:
        return ""
    many = f"Holm's correction for the {pairs} pairs of each metric" if pairs > 1 else "one pair of each metric"
    return f"tie: the means differ by no more than noise (Welch's t at {LEVEL:.0%}, {many})"


def as_plain(points: Sequence[Point]) -> list[dict[str, Any]]:
    """Return the points as JSON types: of each metric mean, half the 95 % interval, values, best, and whom it ties.

    `best` and `ties` are left out where there are too many points to compare, `ties` is None for one seed.
    """
    found: list[dict[str, Any]] = [
        {
            "point": label(place),
            "overrides": list(point.overrides),
            "jobs": list(point.jobs),
            "finished": point.finished,
            "metrics": {},
        }
        for place, point in enumerate(points)
    ]
    for metric in metrics(points):
        own = rivals(points, metric) if len(points) <= LOOKED_AT_MOST else None
        for place, point in enumerate(points):
            if metric not in point.values:
                continue
            mean, half = mean_and_half(point.values[metric])
            told: dict[str, Any] = {
                "mean": mean,
                "half": half if math.isfinite(half) else None,
                "values": list(point.values[metric]),
            }
            if own is not None:
                ties = [label(other) for other in own.ties[place]] if place in own.ties else None
                told |= {"best": own.best == place, "ties": ties}
            found[place]["metrics"][metric] = told
    return found


def as_csv(points: Sequence[Point]) -> str:
    """Return the points as CSV, one line for each metric of each point."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["point", "overrides", "metric", "seeds", "mean", "half_of_95_percent", "best", "tie_with"])
    for metric in metrics(points):
        own = rivals(points, metric)
        for place, point in enumerate(points):
            if metric in point.values:
                mean, half = mean_and_half(point.values[metric])
                cells = [len(point.values[metric]), mean, half if math.isfinite(half) else ""]
                ties = " ".join(label(other) for other in own.ties.get(place, ()))
                best = "best" if own.best == place else ""
                writer.writerow([label(place), " ".join(point.overrides), metric, *cells, best, ties])
    return out.getvalue()
