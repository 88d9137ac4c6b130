"""Classes of what ends a job: what a retry depends on, and what the table of failures names."""

from __future__ import annotations

import signal
from pathlib import Path

from gansweep.errors import NoRoom, was_disk_full

OUT_OF_MEMORY = "out of memory"
DISK_FULL = "disk full"
REFUSED = "refused"
ERROR = "error"
STOPPED = "stopped"
GONE = "killed"

# What torch and the C library say when memory runs out, beside errors of a class of their own.
_NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "std::bad_alloc", "step needs")
_CGROUP_EVENTS = Path("/sys/fs/cgroup/memory.events")


def fault_of(error: BaseException) -> str:
    """Return the class of an exception that ended a job, looking through what it was raised from."""
    if was_disk_full(error) or isinstance(error, NoRoom):
        return DISK_FULL
    found: BaseException | None = error
    while found is not None:
        text = str(found).lower()
        if isinstance(found, MemoryError) or any(words in text for words in _NO_MEMORY):
            return OUT_OF_MEMORY
        found = found.__cause__ or found.__context__
    return ERROR


def fault_of_exit(code: int, oom_kills_before: int) -> tuple[str, str]:
    """Return class and words for a process that ended without saying why: `code` as subprocess gives it."""
    if code < 0:
        name = signal.Signals(-code).name
        if -code == signal.SIGKILL and oom_kills() > oom_kills_before:
            return OUT_OF_MEMORY, "killed by the system: memory ran out (SIGKILL)"
        return GONE, f"its process was killed ({name})"
    return ERROR, f"its process ended with status {code} and said nothing more"


def oom_kills() -> int:
    """Return how many processes of this machine or container the system has killed for want of memory, as it counts."""
    try:
        lines = _CGROUP_EVENTS.read_text().splitlines()
        return int(dict(line.split() for line in lines).get("oom_kill", "0"))
    except (OSError, ValueError):
        return 0
