"""The record of a sweep: sweep.jsonl in its directory, a line for each thing that happened, appended, never changed.

Lines: {"kind": "sweep", "id", "overrides", …} first; {"kind": "point", "job", "overrides", "name"} for each point;
{"kind": "state", "job", "state", "attempt", …} whenever a job's state changes; {"kind": "owner", …} for each process
that led the sweep; {"kind": "ticket", …} for each job in a cluster's queue. What the sweep is now is their sum. Parent
and jobs append, each under the lock; a line that a kill tore is left out, and nothing else is lost.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import platform
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gansweep.errors import UserError
from gansweep.runs.rundir import SWEEP_FILE, timestamp

WAITING, RUNNING, FINISHED, FAILED, KILLED = "WAITING", "RUNNING", "FINISHED", "FAILED", "KILLED"
PRUNED = "PRUNED"  # given up by a search, for it looked bad
OPEN = (WAITING, RUNNING)
_SAYS_SO_S = 5.0
_STATES = (*OPEN, FINISHED, FAILED, KILLED, PRUNED)


@dataclass
class Row:
    """One point of a sweep and what became of it.

    `attempt` counts runs from 1: one that is gone on with stays the same run; another way of running it is another.
    `owner` is the process {"host", "pid", "pid_start"} that runs it, `fault` a short class of what ended it (see
    `faults`), `losses` the last logged ones. `memory_halvings`: how often its batches were taken in twice as many parts
    because memory ran out. `place`: which of the sweep's slots it has. `ticket`: what a cluster calls it.
    """

    job: int
    overrides: list[str]
    name: str
    sweep_dir: Path
    state: str = WAITING
    attempt: int = 1
    owner: dict[str, Any] | None = None
    run_id: str | None = None
    reason: str | None = None
    fault: str | None = None
    memory_halvings: int = 0
    place: int | None = None
    ticket: str | None = None
    losses: dict[str, float] = field(default_factory=dict)

    @property
    def dir(self) -> Path:
        """The run's directory; each attempt has one of its own, and none is ever written over."""
        return self.sweep_dir / (str(self.job) if self.attempt == 1 else f"{self.job}-{self.attempt}")

    @property
    def log(self) -> Path:
        """What the job's processes printed, one after the other."""
        return self.sweep_dir / "logs" / f"{self.job}.log"


@dataclass
class Sweep:
    """A sweep: its id (time and four hex digits), what was asked for and where, its rows by job, who led it last."""

    id: str
    dir: Path
    overrides: list[str]
    rows: list[Row]
    settings: dict[str, Any] = field(default_factory=dict)
    cwd: Path = field(default_factory=Path.cwd)
    owner: dict[str, Any] | None = None
    damaged: int = 0

    @property
    def unfinished(self) -> list[Row]:
        """The jobs that did not finish, for whatever reason but that a search gave them up."""
        return [row for row in self.rows if row.state not in (FINISHED, PRUNED)]


def new_id(now: datetime.datetime | None = None) -> str:
    """Return a sweep id that sorts by time."""
    return (now or datetime.datetime.now()).strftime("%Y%m%d-%H%M%S-") + uuid.uuid4().hex[:4]


def begin(
    directory: Path, sweep_id: str, overrides: Sequence[str], points: Sequence[Any], settings: Mapping[str, Any]
) -> None:
    """Write the record of a sweep that is about to start; `points` have `number`, `overrides` and `name`."""
    head = {"kind": "sweep", "id": sweep_id, "overrides": list(overrides), "settings": dict(settings)}
    head["cwd"] = os.getcwd()
    lines = [
        {"kind": "point", "job": point.number, "overrides": list(point.overrides), "name": point.name}
        for point in points
    ]
    append(directory, head, *lines, new=True)


def append(directory: Path, *entries: Mapping[str, Any], new: bool = False) -> None:
    """Append lines with the time, on the disk when this returns; OSError without a record that is not to be `new`."""
    text = "".join(json.dumps({**entry, "t": timestamp()}, ensure_ascii=False) + "\n" for entry in entries)
    file = os.open(directory / SWEEP_FILE, os.O_RDWR | os.O_APPEND | (os.O_CREAT if new else 0), 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        size = os.fstat(file).st_size
        torn = size > 0 and os.pread(file, 1, size - 1) != b"\n"
        data = (b"\n" if torn else b"") + text.encode()
        written = os.write(file, data)
        if written != len(data):  # a disk that is nearly full takes a part of it
            os.ftruncate(file, size)
            raise OSError(28, "No space left on device", str(directory / SWEEP_FILE))
        os.fsync(file)
    finally:
        os.close(file)


def state(directory: Path, job: int, name: str, **facts: Any) -> None:
    """Append that a job's state is now `name`, with whatever else is now known of it (fields of Row)."""
    append(directory, {"kind": "state", "job": job, "state": name, **facts})


def size_bytes(directory: Path) -> int:
    """Return how long the record is: one that has not grown says what it said. OSError when it is not there."""
    with (directory / SWEEP_FILE).open("rb") as file:
        with contextlib.suppress(OSError):  # as in load
            fcntl.flock(file, fcntl.LOCK_SH)
        return os.fstat(file.fileno()).st_size


def load(directory: Path) -> Sweep:
    """Read the record of the sweep in `directory`; UserError when there is none."""
    path = directory / SWEEP_FILE
    try:
        with path.open("rb") as file:
            with contextlib.suppress(OSError):  # on a file system of several hosts, a lock is what makes a read fresh
                fcntl.flock(file, fcntl.LOCK_SH)
            lines = file.read().splitlines()
    except OSError:
        raise UserError(f"{directory}: not a sweep's directory (no readable {SWEEP_FILE})") from None
    sweep: Sweep | None = None
    rows: dict[int, Row] = {}
    damaged = 0
    for line in lines:
        try:
            entry = json.loads(line)
            kind = entry["kind"]
            if kind == "sweep":
                sweep = sweep or _head(directory, entry)
            elif kind == "point":
                number = int(entry["job"])
                own = [str(text) for text in entry["overrides"]]
                rows.setdefault(number, Row(number, own, str(entry["name"]), directory))
            elif kind == "ticket":
                rows[int(entry["job"])].ticket = str(entry["ticket"])
            elif kind == "owner" and sweep is not None:
                sweep.owner = dict(entry["owner"])
            elif kind == "state":
                _enter(rows[int(entry["job"])], entry)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            damaged += 1
    if sweep is None:
        raise UserError(f"{path}: not a sweep's record (no readable first line)")
    sweep.rows, sweep.damaged = [rows[job] for job in sorted(rows)], damaged
    return sweep


def _head(directory: Path, entry: Mapping[str, Any]) -> Sweep:
    cwd = Path(entry.get("cwd") or Path.cwd())
    if not isinstance(entry["id"], str) or not isinstance(entry["overrides"], list):
        raise TypeError("id, overrides")
    return Sweep(entry["id"], directory, list(map(str, entry["overrides"])), [], dict(entry["settings"]), cwd)


def history(directory: Path, job: int) -> list[dict[str, Any]]:
    """Return every line that tells of one job, in order."""
    found = []
    for line in (directory / SWEEP_FILE).read_bytes().splitlines():
        with contextlib.suppress(ValueError, AttributeError):
            entry = json.loads(line)
            if entry.get("job") == job:
                found.append(entry)
    return found


_TYPES: dict[str, type] = {"owner": dict, "losses": dict, "attempt": int, "place": int, "memory_halvings": int}
_TYPES |= {"run_id": str, "reason": str, "fault": str, "ticket": str}


def _enter(row: Row, entry: Mapping[str, Any]) -> None:
    if entry["state"] not in _STATES:
        raise ValueError(entry["state"])
    for name, value in entry.items():
        if value is not None and name in _TYPES and not isinstance(value, _TYPES[name]):
            raise TypeError(name)
    if not all(isinstance(value, int | float) for value in (entry.get("losses") or {}).values()):
        raise TypeError("losses")
    row.state = entry["state"]
    if row.state in OPEN:
        row.reason = row.fault = None
    for name in ("attempt", "owner", "run_id", "reason", "fault", "memory_halvings", "place", "ticket", "losses"):
        if name in entry:
            setattr(row, name, entry[name])
    if row.state != RUNNING:
        row.owner = None


@contextlib.contextmanager
def marked(row: Row) -> Iterator[int]:
    """Yield a file that marks the job as running while any process has it open: to be handed to the job's own."""
    file = os.open(row.log.with_suffix(".running"), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield file
    finally:
        os.close(file)


def runs(row: Row) -> bool:
    """Say whether the job's process lives. On another machine than its own it is taken to live as long as it writes.

    Of a job in a cluster's queue the cluster is asked.
    """
    if row.ticket is not None:
        from gansweep.sweep.slurm_queue import in_queue

        known = in_queue(row)
        if known is not None:
            return known
    if row.owner is not None and row.owner.get("host") != platform.node():
        return _writes(row)
    return held(row)


def held(row: Row) -> bool:
    """Say whether a process of the job holds its mark: one here, or wherever locks of files reach."""
    try:
        file = os.open(row.log.with_suffix(".running"), os.O_RDWR)
    except OSError:  # it was never started
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def _writes(row: Row) -> bool:
    from gansweep.runs.liveness import SILENT_S, silent_s
    from gansweep.runs.rundir import is_run_dir
    from gansweep.runs.store import open_run

    return is_run_dir(row.dir) and silent_s(open_run(row.dir)) < SILENT_S


@contextlib.contextmanager
def led(directory: Path) -> Iterator[None]:
    """Hold the right to lead the sweep in `directory`; UserError when another process has it, naming it.

    The right ends with its process, however that ends.
    """
    import filelock

    from gansweep.runs.liveness import this_process

    lock = filelock.FileLock(directory / ".leader.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        who = _leader(directory)
        raise UserError(f"{directory}: another process leads this sweep{who}; gansweep sweep status looks on") from None
    try:
        append(directory, {"kind": "owner", "owner": this_process()})
        yield
    finally:
        lock.release()


def _leader(directory: Path) -> str:
    """Name who leads; one that has just taken the right may not have said so yet, and who led before is gone."""
    from gansweep.runs.liveness import alive

    until = time.monotonic() + _SAYS_SO_S
    while time.monotonic() < until:
        owner = load(directory).owner or {}
        if "pid" in owner and alive(owner) is not False:
            return f" (process {owner['pid']} on {owner['host']})"
        time.sleep(0.02)
    return ""
