"""One run's directory and its run.json, which several processes update: always under a lock, always by rename."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gansweep.errors import UserError
from gansweep.runs.record import RunRecord

RECORD_FILE = "run.json"
# What a sweep's own directory holds; `gansweep.sweep.ledger` writes it.
SWEEP_FILE = "sweep.jsonl"
# The kind of a run that trains; the summary of a sweep is a run of another kind.
TRAINING = "training"
# A helper that was stopped while it held the lock must not stop the training process for longer than this.
_LOCK_WAIT_S = 10.0
_NONE = type(None)
_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("run_id", "status"), (str,)),
    **dict.fromkeys(("name", "kind", "host", "mlflow_run_id", "created", "finished", "reason"), (str, _NONE)),
    **dict.fromkeys(("pid", "last_step", "steps"), (int, _NONE)),
    "pid_start": (float, int, _NONE),
    **dict.fromkeys(("tracking", "parent", "sweep"), (dict, _NONE)),
    "overrides": (list, _NONE),
}


@dataclass
class Run:
    """A run as its directory tells it; `record` is run.json as it was when last read (see `reload`)."""

    dir: Path
    record: dict[str, Any]

    @property
    def id(self) -> str:
        """Our own id: 32 hex digits, made before any tracker is asked."""
        return str(self.record["run_id"])

    @property
    def mlflow_run_id(self) -> str | None:
        """The id of the run in MLflow, once it has one."""
        value = self.record.get("mlflow_run_id")
        return str(value) if value else None

    @property
    def status(self) -> str:
        """RUNNING, FINISHED, FAILED or KILLED."""
        return str(self.record["status"])

    @property
    def name(self) -> str:
        """What the run is called in tables and in MLflow."""
        return str(self.record.get("name") or self.id[:8])

    @property
    def checkpoint_dir(self) -> Path:
        """Where the run's checkpoints are."""
        return self.dir / "checkpoints"

    def checkpoints(self) -> list[Path]:
        """Return the run's checkpoint files: step files by step, then best.pt and last.pt where they exist."""
        found = {path.name: path for path in self.checkpoint_dir.glob("*.pt") if not path.name.startswith(".")}
        named = [found.pop(name) for name in ("best.pt", "last.pt") if name in found]
        return sorted(found.values()) + named

    def reload(self) -> Run:
        """Read run.json again and return self."""
        self.record = read(self.dir)
        return self


def say(message: str) -> None:
    """Write one line about a run to stderr, in the form of gansweep's other messages; what cannot be said is not."""
    with contextlib.suppress(OSError):  # a full disk behind 2>: no reason to end a run
        print(f"gansweep: {message}", file=sys.stderr, flush=True)


def new_run_id() -> str:
    """Return a fresh run id: 32 hex digits."""
    return uuid.uuid4().hex


def timestamp(time_ms: int | None = None) -> str:
    """Return a time (ms since 1970; default: now) in UTC, ISO 8601 with milliseconds."""
    seconds = time.time() if time_ms is None else time_ms / 1000
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="milliseconds")


def is_run_dir(path: Path) -> bool:
    """Say whether `path` holds a run."""
    try:
        return (path / RECORD_FILE).is_file()
    except OSError:  # a folder that may not be looked into
        return False


def read(run_dir: Path) -> dict[str, Any]:
    """Return the content of run.json; UserError when it is missing or cannot be read."""
    path = run_dir / RECORD_FILE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{run_dir}: not a run directory (no {RECORD_FILE})") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
    if not isinstance(record, dict) or "run_id" not in record or "status" not in record:
        raise UserError(f"{path}: not a run's record (no run_id or status in it)")
    _check_types(path, record)
    return record


def _check_types(path: Path, record: dict[str, Any]) -> None:
    """Raise UserError when a field of the record at `path` is not of its type: somebody else has written to it."""
    for name, types in _TYPES.items():
        value = record.get(name)
        if not isinstance(value, types) or isinstance(value, bool):
            need = " or ".join("nothing" if kind is type(None) else kind.__name__ for kind in types)
            raise UserError(f"{path}: damaged ({name} is {value!r}, not {need})")
    if record["status"] == "RUNNING" and any(record.get(name) is None for name in ("host", "pid", "pid_start")):
        raise UserError(f"{path}: damaged (RUNNING, but without the host, pid and pid_start of its process)")


def create(run_dir: Path, record: RunRecord) -> Run:
    """Make `run_dir` with a run.json, RUNNING and this process's; UserError when it holds a run already."""
    from gansweep.runs.liveness import this_process

    run_dir.mkdir(parents=True, exist_ok=True)
    with locked(run_dir):
        if is_run_dir(run_dir):
            raise UserError(f"{run_dir}: already holds run {read(run_dir)['run_id'][:8]}; choose another directory")
        content: dict[str, Any] = {
            "run_id": record.run_id,
            "name": record.name,
            "kind": record.tags.get("gansweep.kind", TRAINING),
            "status": "RUNNING",
            **this_process(),
            "tracking": None,
            "mlflow_run_id": None,
            "commit": record.commit,
            "dirty": record.dirty,
            "parent": dict(record.parent) if record.parent else None,
            "sweep": dict(record.sweep) if record.sweep else None,
            "overrides": list(record.overrides),
            "note": record.note,
            "created": timestamp(),
            "finished": None,
            "last_step": None,
            "steps": record.steps,
            "reason": None,
        }
        write_json(run_dir / RECORD_FILE, content)
    return Run(run_dir, content)


def reopen(run_dir: Path) -> Run:
    """Set a run that stopped to RUNNING again, owned by this process (resume)."""
    from gansweep.runs.liveness import this_process

    return update(run_dir, status="RUNNING", finished=None, reason=None, untold=None, **this_process())


def update(run_dir: Path, **changes: Any) -> Run:
    """Change fields of run.json, leave the others as they are now, and return the run."""
    with locked(run_dir):
        record = read(run_dir)
        record.update(changes)
        if record.get("untold", True) is None:
            del record["untold"]
        write_json(run_dir / RECORD_FILE, record)
    return Run(run_dir, record)


def write_json(path: Path, content: object) -> None:
    """Write `content` as JSON to `path` by a temporary file and a rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=1, ensure_ascii=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


@contextlib.contextmanager
def claim(run_dir: Path) -> Iterator[None]:
    """Hold the right to train this run; UserError when another process holds it. Given back when a process dies."""
    import filelock

    lock = filelock.FileLock(run_dir / ".training.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise UserError(f"{run_dir}: another process is training this run") from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Hold the lock of `run_dir` (its run.json and the tail of its spool); goes on without it after ten seconds."""
    import filelock

    lock = filelock.FileLock(run_dir / ".run.lock", is_singleton=True)
    try:
        lock.acquire(timeout=_LOCK_WAIT_S)
    except filelock.Timeout:
        yield
        return
    try:
        yield
    finally:
        lock.release()
