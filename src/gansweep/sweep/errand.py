"""A job on a cluster's node: what Slurm or Ray runs there. It starts the job's own process and sees it to its end.

What became of the job is entered into the sweep's record here, on the node: whoever leads the sweep may be gone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gansweep.sweep import faults, ledger, slurm_queue
from gansweep.sweep.endings import row_of, settle
from gansweep.sweep.ledger import KILLED, OPEN, RUNNING, WAITING, Row
from gansweep.sweep.spawn import ENDS_WITH, owner, spawn

_TICK_S = 0.1
_GAVE_WAY = "its time on the cluster was up, or it had to give way: it waits again"


class Errand:
    """One job of the sweep in `directory`, to be called once on a node; `told` joins the environment of its process.

    `grace_s`: how long the process may take to keep its state and end when it is asked to.
    """

    def __init__(self, directory: Path, job: int, told: Mapping[str, str], grace_s: float) -> None:
        self.directory, self.job, self.told, self.grace_s = str(directory), job, dict(told), grace_s
        self._process: subprocess.Popen[bytes] | None = None
        self._asked = self._gives_way = False

    def __call__(self) -> str:
        """Run the job to its end; returns the state it is in then."""
        # Slurm's warning makes submitit call `checkpoint` wherever this process stands: not while it has the record's
        # lock, then. The job's own process, which the warning is not meant for, inherits this.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
        row = self._row()
        if row.state not in (*OPEN, KILLED):  # it has ended meanwhile
            return row.state
        # Who leads the sweep says stop; a cluster that wants its node back says so to every process, the job's too.
        signal.signal(signal.SIGINT, lambda number, frame: self._ask())
        signal.signal(signal.SIGTERM, lambda number, frame: self._ask(gives_way=True))
        until = time.monotonic() + self.grace_s
        while ledger.held(row) and time.monotonic() < until:  # an earlier process of it is still ending
            time.sleep(_TICK_S)
        before = faults.oom_kills()
        facts = {"attempt": row.attempt, "memory_halvings": row.memory_halvings, "ticket": slurm_queue.this_ticket()}
        ledger.state(row.sweep_dir, row.job, RUNNING, **facts)
        cwd = ledger.load(row.sweep_dir).cwd
        told = self.told | {ENDS_WITH: str(os.getpid())}
        self._process = process = spawn(row, told, own_group=False, cwd=cwd if cwd.is_dir() else None)
        if self._asked:
            process.terminate()
        ledger.state(row.sweep_dir, row.job, RUNNING, owner=owner(process.pid))
        self._see_to_its_end(process)
        row = self._settled(process.wait(), before)
        if row.state == KILLED and self._gives_way and slurm_queue.requeue_this():
            ledger.state(row.sweep_dir, row.job, WAITING, why=_GAVE_WAY)
        return self._row().state

    def _see_to_its_end(self, process: subprocess.Popen[bytes]) -> None:
        try:
            while not _over(process):
                signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR2])
                time.sleep(_TICK_S)
                signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
        except KeyboardInterrupt:  # how Ray asks
            self._ask()
            self._wait()
        except Exception as error:  # submitit's, raised out of the warning's handler
            row = self._row()
            if type(error).__name__ == "UncompletedJobError" and row.state == WAITING:
                why = "its time on the cluster was up, and its requeues (hydra.launcher.requeues) are used up"
                ledger.state(row.sweep_dir, row.job, KILLED, reason=why, fault=faults.STOPPED)
            raise

    def _settled(self, code: int, oom_kills_before: int) -> Row:
        """Enter the end of a process that did not say itself how it ended; returns the job's row."""
        row = self._row()
        if row.state in OPEN:  # it did not say how it ended
            fault, reason = faults.fault_of_exit(code, oom_kills_before)
            if self._asked and code < 0:
                fault, reason = faults.STOPPED, "stopped before its first step"
            row = settle(row, reason, fault)
        return row

    def checkpoint(self) -> Any:
        """Let the job keep its state and wait again, and return how to go on; None when it has ended meanwhile.

        submitit calls this when Slurm says that a job's time is nearly up, or that it must give way, and has it
        queued again.
        """
        from submitit.helpers import DelayedSubmission

        self._ask()
        self._wait()
        row = self._row()
        if row.state in OPEN:
            row = settle(row, "had to give way before it could keep its state", faults.GONE)
        if row.state != KILLED:
            return None
        ledger.state(row.sweep_dir, row.job, WAITING, why=_GAVE_WAY)
        return DelayedSubmission(Errand(Path(self.directory), self.job, self.told, self.grace_s))

    def _ask(self, gives_way: bool = False) -> None:
        """Ask the job to keep its state and end; asked before it began, it is told as soon as it has."""
        self._asked, self._gives_way = True, self._gives_way or gives_way
        if self._process is not None and not _over(self._process):
            self._process.terminate()

    def _wait(self) -> None:
        # Of the time that is left some is for the record and for being queued again.
        until = time.monotonic() + max(self.grace_s - 15, self.grace_s / 2)
        while self._process is not None and not _over(self._process):
            if time.monotonic() > until:
                self._process.kill()
            time.sleep(_TICK_S)

    def _row(self) -> Row:
        return row_of(Row(self.job, [], "", Path(self.directory)))


def _over(process: subprocess.Popen[bytes]) -> bool:
    """Say whether a process has ended, without reaping it: a signal's handler may ask in the midst of a wait."""
    if process.returncode is not None:
        return True
    found = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    return found is not None
