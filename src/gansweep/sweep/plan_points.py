"""What differs between the points of a sweep: the keys that were varied, and those that follow them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gansweep.runs.record import flatten

if TYPE_CHECKING:
    from gansweep.config.compose import Job


@dataclass(frozen=True)
class Differences:
    """`columns`: varied key -> its value in each point. `follow`: each other key that differs -> whom it equals, or "".

    Values are texts as one would type them; "" where a point has no such key.
    """

    columns: dict[str, list[str]]
    follow: dict[str, str]


def flat(job: Job) -> dict[str, str]:
    """Return a point's settings by dotted key, as typed; its name, made of the others, is left out."""
    return flatten({**job.settings.model_dump(mode="json"), "name": None})


def differences(jobs: Sequence[Job]) -> Differences:
    """Return what differs between points. A varied choice of files stands for itself: `model=vae`."""
    values = [flat(job) for job in jobs]
    typed = [dict(_given(line) for line in job.overrides) for job in jobs]
    keys = dict.fromkeys(key for own in typed for key in own)
    varied = [key for key in keys if len({own.get(key) for own in typed}) > 1]
    columns = {}
    for key in varied:
        known = any(key in own for own in values)
        columns[key] = [(own if known else given).get(key, "") for own, given in zip(values, typed, strict=True)]
    differing = [key for key in _in_order(values) if len({own.get(key) for own in values}) > 1]
    follow = {}
    for key in differing:
        if key in columns or any(key.startswith(f"{stem}.") for stem in columns):
            continue
        column = [own.get(key, "") for own in values]
        follow[key] = next((name for name, given in columns.items() if given == column), "")
    return Differences(columns, follow)


def _given(line: str) -> tuple[str, str]:
    key, _, value = line.lstrip("+~").partition("=")
    return key, value


def _in_order(values: Sequence[Mapping[str, str]]) -> list[str]:
    return list(dict.fromkeys(key for own in values for key in own))


def listed(numbers: Sequence[int], total: int) -> str:
    """Return which points are meant: `all points`, `point 3`, `points 0-4, 9`."""
    if len(numbers) == total:
        return "all points" if total > 1 else "the run"
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    words = [f"{part[0]}-{part[-1]}" if len(part) > 2 else ", ".join(map(str, part)) for part in parts]
    return ("points " if len(numbers) > 1 else "point ") + ", ".join(words)
