"""The spool: a run's metrics, pictures and files as JSON lines in run_dir/spool.jsonl, appended first, sent later.

Lines: {"kind": "scalar", "key", "value", "step", "t"}; {"kind": "image", "key", "path", "step", "t"};
{"kind": "file", "path", "to", "t"}; {"kind": "tags", "tags", "t"}; {"kind": "start", "record", "t"}; {"kind": "resume",
"t"}; {"kind": "finish", "status", "reason", "t"}. `t` is the original time in ms since 1970: a replay with the same
time is stored once by MLflow. Paths inside the run directory are relative to it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from gansweep.errors import RunFailed

SPOOL_FILE = "spool.jsonl"
OFFSET_FILE = "spool.offset"
# How much a loss of power (not a kill) may take with it.
_FSYNC_EVERY_S = 10.0
_TAIL_BYTES = 64 * 1024
_NOT_JSON = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}

# The fields, besides `t`, that a line of a kind cannot be read without.
_FIELDS: dict[str, dict[str, tuple[type, ...]]] = {
    "scalar": {"key": (str,), "value": (int, float), "step": (int,)},
    "image": {"key": (str,), "path": (str,), "step": (int,)},
    "file": {"path": (str,), "to": (str,)},
    "forget": {"path": (str,), "to": (str,)},
    "tags": {"tags": (dict,)},
    "start": {"record": (dict,)},
    "finish": {"status": (str,)},
}


class Point(NamedTuple):
    """One value of one metric; `time_ms` since 1970."""

    key: str
    value: float
    step: int
    time_ms: int


class Spool:
    """The writing end. `repair` mends a line that a kill tore; `resume` also skips what is already in the file.

    Every call appends with one write in append mode, so that the trainer and a process that adds a score may both
    write.
    """

    def __init__(self, run_dir: Path, *, resume: bool = False, repair: bool = False) -> None:
        self.path = run_dir / SPOOL_FILE
        if resume or repair:
            repair_tail(self.path)
        self._seen: set[tuple[str, str, int]] = seen(self.path) if resume else set()
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._keys: dict[str, str] = {}
        self._synced_s = time.monotonic()
        self._torn = False

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Append one line per value, in one write; RunFailed when the disk refuses.

        On resume, a (key, step) that is there already is skipped.
        """
        now_ms = time.time_ns() // 1_000_000
        lines = []
        for key, value in values.items():
            if self._seen and ("scalar", key, step) in self._seen:
                continue
            name = self._keys.get(key)
            if name is None:
                name = self._keys[key] = json.dumps(key, ensure_ascii=False)
            number = repr(float(value))
            number = _NOT_JSON.get(number, number)
            lines.append(f'{{"kind":"scalar","key":{name},"value":{number},"step":{step},"t":{now_ms}}}\n')
        if lines:
            self._write("".join(lines))

    def append(self, kind: str, **fields: Any) -> None:
        """Append one line; `t` is now unless given. On resume an image whose (key, step) is there is skipped."""
        if self._seen and kind == "image" and (kind, fields["key"], fields["step"]) in self._seen:
            return
        fields.setdefault("t", time.time_ns() // 1_000_000)
        self._write(json.dumps({"kind": kind, **fields}, ensure_ascii=False) + "\n")

    def sync(self) -> None:
        """Make what was appended outlive a loss of power."""
        os.fsync(self._file)
        self._synced_s = time.monotonic()

    def close(self) -> None:
        """Sync and close; harmless when closed."""
        if self._file >= 0:
            try:
                self.sync()
            finally:
                os.close(self._file)
                self._file = -1

    def _write(self, text: str) -> None:
        data = (b"\n" if self._torn else b"") + text.encode("utf-8")
        try:
            while data:
                data = data[os.write(self._file, data) :]
            if time.monotonic() - self._synced_s > _FSYNC_EVERY_S:
                self.sync()
        except OSError as error:
            self._torn = True  # part of a line may be there: what follows must not be glued to it
            raise RunFailed(f"{self.path} cannot be written: {error.strerror}") from error
        self._torn = False


def repair_tail(path: Path) -> None:
    """End the file with a whole line: complete a last line that lacks only its newline, cut off a torn one.

    What is cut lies behind the last newline, where no reader has been: the sender's offset stays valid.
    """
    if not path.exists() or path.stat().st_size == 0:
        return
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        start = size
        tail = b""
        while start > 0 and b"\n" not in tail:
            start = max(0, start - _TAIL_BYTES)
            file.seek(start)
            tail = file.read(size - start)
        rest = tail[tail.rfind(b"\n") + 1 :]
        if not rest:
            return
        if _parse(rest) is not None:
            file.write(b"\n")  # the position is the end of the file
        else:
            file.truncate(size - len(rest))


def lines(path: Path, offset: int = 0) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Yield (offset behind it, content) of every whole line from `offset`; None for what cannot be read."""
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            yield offset, _parse(line)


def points(run_dir: Path) -> list[Point]:
    """Return every metric value in a run's spool, in the order of writing."""
    found = (entry for _, entry in lines(run_dir / SPOOL_FILE) if entry and entry["kind"] == "scalar")
    return [Point(e["key"], float(e["value"]), int(e["step"]), int(e["t"])) for e in found]


def last_values(run_dir: Path) -> dict[str, tuple[float, int]]:
    """Return metric -> (latest value, its step) from the end of a run's spool (64 KiB), without reading all of it."""
    latest = {}
    for entry in _tail(run_dir):
        if entry["kind"] == "scalar":
            latest[entry["key"]] = (float(entry["value"]), int(entry["step"]))
    return latest


def last_step(run_dir: Path) -> int | None:
    """Return the highest step at the end of a run's spool, or None when it has no metric."""
    return max((int(entry["step"]) for entry in _tail(run_dir) if entry["kind"] == "scalar"), default=None)


def last_time(run_dir: Path) -> int:
    """Return the time (ms) of the last line of a run's spool, or now when it has none."""
    return max((int(entry["t"]) for entry in _tail(run_dir)), default=time.time_ns() // 1_000_000)


def seen(path: Path) -> set[tuple[str, str, int]]:
    """Return the (kind, key, step) of all metrics and images in a spool."""
    kinds = ("scalar", "image")
    return {(e["kind"], e["key"], int(e["step"])) for _, e in lines(path) if e and e["kind"] in kinds}


def read_offset(run_dir: Path) -> int:
    """Return how many bytes of the spool have been sent."""
    try:
        return int((run_dir / OFFSET_FILE).read_text())
    except (FileNotFoundError, ValueError):
        return 0


def write_offset(run_dir: Path, offset: int) -> None:
    """Note that `offset` bytes of the spool have been sent; by rename, so that it is never half a number."""
    temporary = run_dir / f".{OFFSET_FILE}.{os.getpid()}.tmp"
    temporary.write_text(str(offset))
    os.replace(temporary, run_dir / OFFSET_FILE)


def unsent_bytes(run_dir: Path) -> int:
    """Return how many bytes of the spool wait to be sent."""
    path = run_dir / SPOOL_FILE
    return max(0, path.stat().st_size - read_offset(run_dir)) if path.exists() else 0


def _tail(run_dir: Path) -> list[dict[str, Any]]:
    path = run_dir / SPOOL_FILE
    if not path.exists():
        return []
    start = max(0, path.stat().st_size - _TAIL_BYTES)
    entries = [entry for _, entry in lines(path, start)]  # the first may be the end of a line: not JSON
    return [entry for entry in entries if entry]


def _parse(line: bytes) -> dict[str, Any] | None:
    """Return a line's entry; None for what is no JSON, or lacks a field of its kind: readers then need not look."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict) or not isinstance(entry.get("kind"), str):
        return None
    needed = {"t": (int,)} | _FIELDS.get(entry["kind"], {})
    whole = all(isinstance(entry.get(name), types) for name, types in needed.items())
    return entry if whole and (entry["kind"] != "start" or _is_start(entry["record"])) else None


def _is_start(record: dict[str, Any]) -> bool:
    files = record.get("files")
    return (
        isinstance(record.get("params"), dict)
        and isinstance(files, list)
        and all(isinstance(file, str) for file in files)
        and isinstance(record.get("dataset"), (dict, type(None)))
    )
