"""What Slurm is asked and told: the state of jobs (squeue), the size of arrays, cancelling, queueing again."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from gansweep.sweep.ledger import Row

_ASK_WAIT_S = 30.0
# What Slurm says, for some minutes, of jobs that it has done with; then it knows nothing of them.
OVER = frozenset(("", "COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL"))
OVER |= {"DEADLINE", "OUT_OF_MEMORY", "REVOKED"}
_CANCELLED_AT_ONCE = 200
_LARGEST_ARRAY = 1001


class Queue:
    """What squeue says of a sweep's owner's jobs, `every_s` seconds after its last answer; `answers` counts these."""

    def __init__(self, every_s: float, directory: Path) -> None:
        self.every_s, self.answers, self.user = every_s, 0, directory.stat().st_uid
        self._asked_at = float("-inf")
        self._states: dict[str, str] | None = None

    def states(self) -> dict[str, str] | None:
        """Return ticket → state (PENDING, RUNNING, COMPLETED …); None while Slurm gives no answer."""
        if time.monotonic() - self._asked_at >= self.every_s:
            self._states = _squeue(self.user)
            self._asked_at = time.monotonic()
            self.answers += self._states is not None
        return self._states

    def state_of(self, ticket: str) -> str | None:
        """Return a job's state, "" of one that Slurm no longer knows; None while it gives no answer."""
        states = self.states()
        return None if states is None else states.get(ticket, "")


def _squeue(user: int) -> dict[str, str] | None:
    if shutil.which("squeue") is None:
        return None
    command = ["squeue", f"--user={user}", "--array", "--noheader", "--states=all", "--format=%i %T"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=_ASK_WAIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if said.returncode != 0:
        return None
    return dict(line.split()[:2] for line in said.stdout.splitlines() if len(line.split()) >= 2)


@lru_cache(maxsize=8)
def queue_here(directory: Path) -> Queue:
    """Return the queue of a sweep's owner, for single questions."""
    return Queue(2.0, directory)


def in_queue(row: Row) -> bool | None:
    """Say whether Slurm has yet to do with a job; None when it cannot be asked from here."""
    state = queue_here(row.sweep_dir).state_of(row.ticket or "")
    return None if state is None else state not in OVER


def largest_array() -> int:
    """Return how many jobs an array may have on this cluster (Slurm's own default where it does not say)."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        command = ["scontrol", "show", "config"]
        said = subprocess.run(command, capture_output=True, text=True, timeout=_ASK_WAIT_S, check=False).stdout
        found = re.search(r"^MaxArraySize\s*=\s*(\d+)", said, re.MULTILINE)
        return max(int(found[1]), 1) if found else _LARGEST_ARRAY
    return _LARGEST_ARRAY


def this_ticket() -> str | None:
    """Return what Slurm calls the job that this process belongs to; None outside of Slurm."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array else os.environ.get("SLURM_JOB_ID")


def requeue_this() -> bool:
    """Have the job that this process belongs to queued again, where Slurm wants its node back; says whether it was.

    A job that somebody cancelled is no longer running by Slurm's account, and stays cancelled.
    """
    ticket = this_ticket()
    states = _squeue(os.getuid()) if ticket else None
    if ticket is None or states is None or states.get(ticket) != "RUNNING":
        return False
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        command = ["scontrol", "requeue", ticket]
        return subprocess.run(command, capture_output=True, timeout=_ASK_WAIT_S, check=False).returncode == 0
    return False


def cancel(tickets: Sequence[str], gently: bool) -> None:
    """Cancel jobs; `gently`: only ask what runs of them to keep its state and end."""
    for first in range(0, len(tickets), _CANCELLED_AT_ONCE):
        some = tickets[first : first + _CANCELLED_AT_ONCE]
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            command = ["scancel", *(["--signal=INT"] if gently else []), *some]
            subprocess.run(command, capture_output=True, timeout=_ASK_WAIT_S, check=False)
