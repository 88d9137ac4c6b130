"""The scores of a run, each with the protocol it was taken under, as eval-is left them in the run's spool.

A score is never told without its protocol, and never set beside one of another protocol in silence.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from gansweep.runs.spool import SPOOL_FILE

# All that a score can be made of: tags, and metrics of no phase (no slash). Nearly every other line of a spool is a
# loss; parsing those too would make `runs` several times slower.
_OF_INTEREST = re.compile(rb'\{"kind": ?"(?:tags"|scalar", ?"key": ?"[^"/]*")')
_STD = "_std"
# What a protocol tells beside how the score was measured: which weights, and where it was computed.
_WHICH = ("step", "checkpoint")
_NOT_MEASURE = (*_WHICH, "device")


class Scored(TypedDict):
    """One score: mean and standard deviation over the splits, the step of its checkpoint (generator optimiser steps).

    `protocol` is what the tags `gansweep.<key>.*` say of it; empty when none were recorded. `std` is None likewise.
    """

    value: float
    std: float | None
    step: int
    protocol: dict[str, str]


class Compared(TypedDict):
    """The scores of two runs under one key: `differs` is part of the protocol -> (first, second), None where absent."""

    pair: list[Scored]
    differs: dict[str, list[str | None]]
    comparable: bool


def scores_of(run_dir: Path) -> dict[str, list[Scored]]:
    """Return key -> every score in the run's spool, by rising step; of one step, the last written is the last.

    eval-is writes a score's points first and its tags, which name the step, behind them: tags belong to the last
    point of their key and step that has none yet.
    """
    found: dict[str, list[Scored]] = {}
    for entry in _entries(run_dir / SPOOL_FILE):
        if entry["kind"] == "tags":
            _bind(entry["tags"], found)
        else:
            _add(found, entry["key"], float(entry["value"]), int(entry["step"]))
    return {key: sorted(scores, key=lambda score: score["step"]) for key, scores in found.items()}


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if not _OF_INTEREST.match(line):
                continue
            try:
                entry = json.loads(line)
            except ValueError:  # torn
                continue
            if entry["kind"] == "tags" or "/" not in entry["key"]:
                yield entry


def _add(found: dict[str, list[Scored]], key: str, value: float, step: int) -> None:
    """Note a point: a `<key>_std` behind its `<key>` belongs to it, anything else is a score of its own."""
    base = found.get(key.removesuffix(_STD), []) if key.endswith(_STD) else []
    if base and base[-1]["step"] == step and base[-1]["std"] is None:
        base[-1]["std"] = value
    else:
        found.setdefault(key, []).append({"value": value, "std": None, "step": step, "protocol": {}})


def _bind(tags: Mapping[str, str], found: Mapping[str, list[Scored]]) -> None:
    protocols: dict[str, dict[str, str]] = {}
    for tag, text in tags.items():
        # A judge's name may hold a dot: of `is_a` and `is_a.b`, the longer key owns the tag.
        owner = max((key for key in found if tag.startswith(f"gansweep.{key}.")), key=len, default=None)
        if owner is not None:
            protocols.setdefault(owner, {})[tag.removeprefix(f"gansweep.{owner}.")] = str(text)
    for key, protocol in protocols.items():
        step = protocol.get("step")
        waiting = [score for score in found[key] if not score["protocol"] and step in (None, str(score["step"]))]
        if waiting:
            waiting[-1]["protocol"] = protocol


def measure(score: Scored) -> dict[str, str]:
    """Return how the score was measured: its protocol without which weights were scored and on which device."""
    return {part: text for part, text in score["protocol"].items() if part not in _NOT_MEASURE}


def compare(first: Sequence[Scored], second: Sequence[Scored]) -> Compared:
    """Set the newest steps' scores of two runs beside each other; neither side may be empty.

    Of several scores of one step, two that were measured alike are taken when there are such. Comparable are scores
    whose protocols are recorded and agree, but for step, checkpoint and device.
    """
    newest = [[score for score in side[::-1] if score["step"] == side[-1]["step"]] for side in (first, second)]
    pairs = list(itertools.product(*newest))
    one, other = next((pair for pair in pairs if _alike(*pair)), pairs[0])
    return {"pair": [one, other], "differs": _differs(one, other), "comparable": _alike(one, other)}


def _alike(one: Scored, other: Scored) -> bool:
    return bool(one["protocol"]) and bool(other["protocol"]) and measure(one) == measure(other)


def _differs(one: Scored, other: Scored) -> dict[str, list[str | None]]:
    sides = one["protocol"], other["protocol"]
    if not all(sides):
        told = [("recorded" if side else None) for side in sides]
        return {"protocol": told} if told[0] != told[1] else {}
    parts = [part for part in dict.fromkeys([*sides[0], *sides[1]]) if part not in _WHICH]
    return {part: [side.get(part) for side in sides] for part in parts if len({side.get(part) for side in sides}) > 1}
