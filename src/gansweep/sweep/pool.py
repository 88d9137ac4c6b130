"""The pool: one process for each job, as many at once as there are slots, until all are done or somebody says stop."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gansweep.runs.provenance import FROZEN
from gansweep.sweep import faults, ledger
from gansweep.sweep.freeze import CODE_DIR, ORIGIN_FILE, frozen_point
from gansweep.sweep.ledger import FAILED, KILLED, PRUNED, RUNNING, WAITING, Row, Sweep
from gansweep.sweep.slots import Slot

if TYPE_CHECKING:
    from gansweep.sweep.seeking import Seeker

_TICK_S = 0.1
GRACE_S = 60.0


@dataclass
class Worker:
    """A job that runs: `process` is None for one that an earlier leader of the sweep started."""

    row: Row
    slot: Slot | None
    process: subprocess.Popen[bytes] | None
    pid: int
    oom_kills: int = 0

    def ended(self) -> int | None:
        """Return the exit status of a job that ended (-9 and the like for signals), None while it runs."""
        if self.process is not None:
            return self.process.poll()
        return None if ledger.runs(self.row) else -signal.SIGKILL

    def tell(self, number: signal.Signals) -> None:
        """Send a signal to the job's process; one to kill it goes to all that it started, too."""
        if not self.pid:  # its leader was killed before it could note whom it had started
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if number == signal.SIGKILL:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)


class Pool:
    """Runs the waiting jobs of one sweep; `launcher` has `memory_gb`, `grace_s`, `retries` (see conf/hydra/launcher).

    `look` is called after every change and every second with the sweep. Jobs are in process groups of their own: a
    Ctrl-C meets this process alone, which passes it on.
    """

    def __init__(
        self,
        directory: Path,
        slots: Sequence[Slot],
        launcher: Mapping[str, Any],
        look: Callable[[Sweep], None],
        seeker: Seeker | None = None,
    ):
        self.directory, self.free, self.launcher, self.look = directory, list(slots), dict(launcher), look
        self.seeker = seeker
        self._given_up: dict[int, str] = {}
        self.workers: list[Worker] = []
        self.stop: signal.Signals | None = None
        self._kill_at = float("inf")

    def run(self) -> bool:
        """Run until nothing waits and nothing runs; says whether it was stopped before."""
        (self.directory / "logs").mkdir(exist_ok=True)
        self._adopt(ledger.load(self.directory))
        sweep = ledger.load(self.directory)
        looked = 0.0
        with self._signals():
            while True:
                changed = self._reap()
                sweep = ledger.load(self.directory) if changed else sweep
                waiting = [row for row in sweep.rows if row.state == WAITING]
                if not waiting and self.stop is None and self.free and self.seeker and self.seeker.more(sweep):
                    sweep = ledger.load(self.directory)
                    waiting = [row for row in sweep.rows if row.state == WAITING]
                    changed = True
                if self.stop is None and waiting and self._start(waiting[0]):
                    sweep, changed = ledger.load(self.directory), True
                elif not self.workers and (self.stop is not None or not waiting) and not changed:
                    self.look(sweep)
                    return self.stop is not None
                if changed or time.monotonic() - looked > 1:
                    self.look(sweep)
                    self._give_up(sweep)
                    looked = time.monotonic()
                if time.monotonic() > self._kill_at:
                    self._tell_all(signal.SIGKILL)
                    self._kill_at = float("inf")
                if not changed:
                    time.sleep(_TICK_S)

    # Starting

    def _adopt(self, sweep: Sweep) -> None:
        """Take over jobs that still run under a leader who is gone; those whose process is gone too wait again."""
        for row in sweep.rows:
            if row.state != RUNNING:
                continue
            if not ledger.runs(row):
                self._settle(row, "its process is gone (kill -9, out of memory, reboot or power loss)", faults.GONE)
                ledger.state(self.directory, row.job, WAITING)
            else:
                slot = self.free.pop() if len(self.free) > 1 else None
                self.workers.append(Worker(row, slot, None, int((row.owner or {}).get("pid", 0))))

    def _start(self, row: Row) -> bool:
        """Start a job in a free slot; says whether it could be started."""
        slot = next((slot for slot in self.free if slot.take()), None)
        if slot is None:
            return False
        self.free.remove(slot)
        ledger.state(self.directory, row.job, RUNNING, attempt=row.attempt, memory_halvings=row.memory_halvings)
        # Held by the job for as long as it lives, whatever becomes of this process: how others know that it runs.
        with row.log.open("ab") as log, ledger.marked(row) as mark:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "gansweep.sweep.child", str(self.directory), str(row.job)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | self._environment() | slot.environment(),
                start_new_session=True,
                pass_fds=(mark,),
            )
        row.owner = _owner(process.pid)
        ledger.state(self.directory, row.job, RUNNING, owner=row.owner)
        self.workers.append(Worker(row, slot, process, process.pid, faults.oom_kills()))
        return True

    def _environment(self) -> dict[str, str]:
        """Return what every job is told: where its code is, and its share of memory."""
        code = str(self.directory / CODE_DIR)
        path = os.environ.get("PYTHONPATH")
        told = {"PYTHONPATH": f"{code}{os.pathsep}{path}" if path else code, FROZEN: str(self.directory / ORIGIN_FILE)}
        most = self.launcher.get("memory_gb")
        return told | ({"GANSWEEP_MEMORY_GB": str(most)} if most else {})

    # Ending

    def _reap(self) -> bool:
        """Enter what ended, and free its slot; says whether anything did."""
        done = [(worker, code) for worker in self.workers if (code := worker.ended()) is not None]
        for worker, code in done:
            self.workers.remove(worker)
            if worker.slot is not None:
                worker.slot.give_back()
                self.free.append(worker.slot)
            row = next(row for row in ledger.load(self.directory).rows if row.job == worker.row.job)
            if row.state == RUNNING:  # it did not say how it ended
                fault, reason = faults.fault_of_exit(code, worker.oom_kills)
                row = self._settle(row, reason, fault)
            if row.state == KILLED and row.job in self._given_up:
                row = self._prune(row)
            self._retry(row)
            if self.seeker is not None:
                self.seeker.ended(row)
        return bool(done)

    def _settle(self, row: Row, reason: str, fault: str) -> Row:
        """Enter the end of a job that could not say it itself, in the run's own record too."""
        from gansweep.look import losses_of
        from gansweep.runs.rundir import is_run_dir
        from gansweep.runs.store import open_run, reconcile

        facts: dict[str, Any] = {"state": KILLED, "reason": reason, "fault": fault}
        if is_run_dir(row.dir):
            run = reconcile(open_run(row.dir), lambda line: None)
            facts |= {"run_id": run.id, "losses": losses_of(row.dir)}
            if run.status != KILLED:  # it had ended, and was killed while it said so
                facts |= {"state": run.status, "reason": run.record.get("reason"), "fault": None}
        ledger.append(self.directory, {"kind": "state", "job": row.job, **facts})
        return next(again for again in ledger.load(self.directory).rows if again.job == row.job)

    def _retry(self, row: Row) -> None:
        """Let a job that met a fault for which a retry is asked for wait again: as another attempt, or going on."""
        retries = self.launcher.get("retries") or {}
        if self.stop is not None:
            return
        if row.fault == faults.OUT_OF_MEMORY and row.memory_halvings < int(retries.get("out_of_memory", 1)):
            settings = frozen_point(self.directory, row.job)
            parts = settings.runtime.accumulate * 2 ** (row.memory_halvings + 1)
            if settings.batch_size % parts == 0:
                _supersede(row)
                why = f"memory ran out: another attempt takes its batches in {parts} parts"
                facts = {"attempt": row.attempt + 1, "memory_halvings": row.memory_halvings + 1, "why": why}
                ledger.state(self.directory, row.job, WAITING, **facts)
        elif row.state in (FAILED, KILLED) and row.fault in (faults.GONE, faults.ERROR):
            key = {faults.GONE: "killed", faults.ERROR: "error"}[row.fault]
            if _times(self.directory, row, row.fault) <= int(retries.get(key, 0)):
                ledger.state(self.directory, row.job, WAITING)

    # Giving up

    def _give_up(self, sweep: Sweep) -> None:
        """Stop the jobs that the search gives up."""
        for job, reason in self.seeker.given_up(sweep) if self.seeker is not None and self.stop is None else ():
            worker = next((worker for worker in self.workers if worker.row.job == job), None)
            if worker is not None and job not in self._given_up:
                self._given_up[job] = reason
                worker.tell(signal.SIGTERM)

    def _prune(self, row: Row) -> Row:
        """Enter that a job which was stopped was given up, in the run's own record too."""
        from gansweep.runs.rundir import is_run_dir
        from gansweep.runs.store import open_run
        from gansweep.runs.tracker import note

        reason = self._given_up[row.job]
        ledger.state(self.directory, row.job, PRUNED, reason=reason, fault=None)
        if is_run_dir(row.dir):
            note(open_run(row.dir), {}, 0, tags={"gansweep.pruned": reason})
        return next(again for again in ledger.load(self.directory).rows if again.job == row.job)

    # Stopping

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Pass Ctrl-C and SIGTERM on: jobs keep their state and end; after `grace_s`, or a second, they are killed."""

        def ask(number: int, frame: object) -> None:
            grace = float(self.launcher.get("grace_s") or GRACE_S)
            self._kill_at = time.monotonic() + (0 if self.stop is not None else grace)
            self.stop = signal.Signals(number)
            self._tell_all(self.stop)

        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _tell_all(self, number: signal.Signals) -> None:
        for worker in list(self.workers):
            worker.tell(number)


def _owner(pid: int) -> dict[str, Any]:
    import platform

    import psutil

    started = time.time()
    with contextlib.suppress(psutil.NoSuchProcess):
        started = psutil.Process(pid).create_time()
    return {"host": platform.node(), "pid": pid, "pid_start": started}


def _supersede(row: Row) -> None:
    """Mark the run of an attempt that another one takes the place of, in its record and in the tracker."""
    from gansweep.runs.rundir import is_run_dir, update
    from gansweep.runs.store import open_run
    from gansweep.runs.tracker import note

    if is_run_dir(row.dir):
        update(row.dir, superseded=True)
        note(open_run(row.dir), {}, 0, tags={"gansweep.superseded_by": f"attempt {row.attempt + 1} of job {row.job}"})


def _times(directory: Path, row: Row, fault: str) -> int:
    """Return how often a job of the sweep ended by that fault."""
    return sum(1 for entry in ledger.history(directory, row.job) if entry.get("fault") == fault)
