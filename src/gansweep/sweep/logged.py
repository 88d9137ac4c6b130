"""What runs have logged of some metrics, read from their spools: whole, from the end, or only what is new."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from gansweep.runs.spool import SPOOL_FILE, lines

# The held-out losses of a run all have this before them.
HELD_OUT = "val/"


def series(run_dir: Path, name: str) -> list[tuple[int, float]]:
    """Return (step, value) of one metric of a run, by rising step; of one step the last value."""
    return Follower(run_dir, name).read()


class Follower:
    """Reads one metric of a run that goes on: each `read` parses only the lines that were ended since the last."""

    def __init__(self, run_dir: Path, name: str) -> None:
        self.path, self.name = run_dir / SPOOL_FILE, name
        self.offset = 0

    def read(self) -> list[tuple[int, float]]:
        """Return the new (step, value), by rising step; of one step the last value."""
        if self.offset and (not self.path.exists() or self.path.stat().st_size < self.offset):
            self.offset = 0  # another file than the one that was read
        found: dict[int, float] = {}
        for end, entry in lines(self.path, self.offset):
            self.offset = end
            if entry and entry["kind"] == "scalar" and entry["key"] == self.name:
                found[int(entry["step"])] = float(entry["value"])
        return sorted(found.items())


def latest(run_dir: Path, names: Iterable[str]) -> dict[str, float]:
    """Return the value at the highest step of each metric that a run has logged, parsing little of its spool.

    Losses (with a `/`) are written as the steps go, so that their last line is it; scores may be added afterwards.
    """
    found = {}
    for name in names:
        entries = _backwards(run_dir, json.dumps(name, ensure_ascii=False).encode())
        newest: dict[str, Any] | None = None
        for entry in entries:
            if entry["kind"] != "scalar" or entry["key"] != name:
                continue
            if newest is None or int(entry["step"]) > int(newest["step"]):
                newest = entry
            if "/" in name:
                break
        if newest is not None:
            found[name] = float(newest["value"])
    return found


def held_out(run_dir: Path) -> dict[str, float]:
    """Return the held-out losses (`val/...`) of the last step that has any."""
    found: dict[str, float] = {}
    step = None
    for entry in _backwards(run_dir, f'"{HELD_OUT}'.encode()):
        if entry["kind"] != "scalar" or not entry["key"].startswith(HELD_OUT):
            continue
        if step is not None and int(entry["step"]) != step:
            break
        step = int(entry["step"])
        found.setdefault(entry["key"], float(entry["value"]))
    return dict(reversed(found.items()))


def _backwards(run_dir: Path, wanted: bytes) -> Iterator[dict[str, Any]]:
    """Yield the entries of the whole lines that hold `wanted`, the last first."""
    path = run_dir / SPOOL_FILE
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            end = text.rfind(b"\n") + 1
            while (place := text.rfind(wanted, 0, end)) >= 0:
                end = text.rfind(b"\n", 0, place) + 1
                _, entry = next(lines(path, end), (0, None))
                if entry is not None:
                    yield entry
    except (OSError, ValueError):  # no spool, or an empty one, which cannot be mapped
        return
