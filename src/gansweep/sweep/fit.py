"""Whether one more job fits beside those that run: by what the trial step of such a job measured (see preflight).

A job writes what it was measured to need as soon as it knows (`NEEDS`); until then a device that several jobs are to
share has that one alone. On a CPU jobs that were never measured may start beside others: its memory is shared anyway.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gansweep.errors import UserError
from gansweep.runs.needs import FILE_SUFFIX
from gansweep.sweep.ledger import Row

# Of a device's memory: what a driver, a desktop and fragments take is nobody's.
SHARE = 0.9
_ASK_WAIT_S = 20.0
_MIB = 2**20
# What makes a step larger or smaller; jobs that are alike in this need alike.
_SHAPES = ("model", "data", "batch_size", "runtime", "optimizer", "terms")


def fits(need: int | None, beside: Iterable[int | None], capacity: int, unmeasured: bool) -> bool:
    """Say whether a job that needs `need` bytes fits into `capacity` with those that run (None: not measured yet).

    The first job always may begin: whether it fits alone, its own trial step tells. `unmeasured`: whether jobs of which
    nothing is known may share.
    """
    running = list(beside)
    if not running:
        return True
    if not unmeasured and (need is None or None in running):
        return False
    return sum(bytes_of or 0 for bytes_of in (need, *running)) <= capacity


class Needs:
    """What the jobs of one sweep were measured to need, by their shape."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._shapes: dict[tuple[int, int], str] = {}
        self._known: dict[str, int] = {}

    def of(self, row: Row) -> int | None:
        """Return the bytes that a job needs: by its own trial step, or by that of one of its shape; None before."""
        shape = self._shape(row)
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            self._known[shape] = int(json.loads(file_of(row).read_text())["bytes"])
        return self._known.get(shape)

    def _shape(self, row: Row) -> str:
        from gansweep.sweep.freeze import frozen_point

        key = (row.job, row.memory_halvings)
        if key not in self._shapes:
            try:
                content: dict[str, Any] = frozen_point(self.directory, row.job).model_dump(mode="json")
            except UserError:
                content = {"job": row.job}
            told = {name: content.get(name) for name in _SHAPES}
            told["charged"] = sorted(term for term, scale in content.get("scales", {}).items() if scale is not None)
            self._shapes[key] = json.dumps([told, row.memory_halvings], sort_keys=True)
        return self._shapes[key]


def file_of(row: Row) -> Path:
    """Return the file that a job writes its need to."""
    return row.log.with_suffix(FILE_SUFFIX)


def capacities(devices: Iterable[str]) -> Mapping[str, int]:
    """Return the bytes that jobs may have together on each GPU; a GPU that cannot be asked is not in it."""
    try:
        command = ["nvidia-smi", "--query-gpu=index,uuid,memory.total", "--format=csv,noheader,nounits"]
        said = subprocess.run(command, capture_output=True, text=True, timeout=_ASK_WAIT_S, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return {}
    found: dict[str, int] = {}
    for line in said.splitlines():
        with contextlib.suppress(ValueError):
            index, uuid, total = (part.strip() for part in line.split(","))
            found[index] = found[uuid] = int(SHARE * int(total) * _MIB)
    return {name: found[name] for name in devices if name in found}


def free_here() -> int:
    """Return the bytes of this machine's memory that jobs may have together, as they are free now."""
    import psutil

    return int(SHARE * psutil.virtual_memory().available)


def told_of(row: Row) -> dict[str, str]:
    """Return the environment by which a job knows where to write what it needs."""
    from gansweep.runs.needs import ASKED_FOR

    with contextlib.suppress(OSError):  # an attempt in smaller parts needs less
        os.unlink(file_of(row))
    return {ASKED_FOR: str(file_of(row))}
