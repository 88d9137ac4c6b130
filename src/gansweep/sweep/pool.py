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

from gansweep.runs.liveness import alive
from gansweep.runs.provenance import FROZEN
from gansweep.sweep import faults, ledger
from gansweep.sweep.endings import prune, requeue, row_of, settle
from gansweep.sweep.freeze import CODE_DIR, ORIGIN_FILE
from gansweep.sweep.ledger import KILLED, OPEN, RUNNING, WAITING, Row, Sweep
from gansweep.sweep.slots import Slot

if TYPE_CHECKING:
    from gansweep.sweep.seeking import Seeker

_TICK_S = 0.1
# Who stops a whole machine tells every process of it, some of them twice: only a later one is meant as impatience.
_TOGETHER_S = 2.0


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
        if not self.pid:  # of another machine, or its leader was killed before it could note whom it had started
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
        self.workers: list[Worker] = []
        self.stop: signal.Signals | None = None
        self._given_up: dict[int, str] = {}
        self._kill_at = float("inf")
        self._stopped_at = self._looked_at = 0.0
        self._refused: OSError | None = None

    def run(self) -> bool:
        """Run until nothing waits and nothing runs; says whether it was stopped before.

        Where the file system refuses (a full disk) nothing more is started, what runs is seen to its end, and the
        OSError is raised then. Whatever else goes wrong here, no job is left running behind.
        """
        (self.directory / "logs").mkdir(exist_ok=True)
        self._adopt(ledger.load(self.directory))
        for row in ledger.load(self.directory).rows if self.seeker is not None else ():
            if row.state not in (*OPEN, KILLED):  # ended while nobody led, or just now
                self.seeker.ended(row)  # type: ignore[union-attr]
        with self._signals():
            try:
                while self._turn():
                    pass
            except BaseException:
                self._abandon()
                raise
        if self._refused is not None:
            raise self._refused
        return self.stop is not None

    def _turn(self) -> bool:
        """Reap, start, look; says whether there is anything left to do."""
        changed = False
        try:
            changed = self._reap()
            sweep = ledger.load(self.directory)
            may_start = self.stop is None and self._refused is None
            waiting = [row for row in sweep.rows if row.state == WAITING]
            if may_start and not waiting and self.free and self.seeker is not None and self.seeker.more(sweep):
                return True
            if may_start and waiting and self._start(waiting[0]):
                changed, sweep = True, ledger.load(self.directory)
            elif not changed and not self.workers and not (may_start and waiting):
                self.look(sweep)
                return False
            if changed or time.monotonic() - self._looked_at > 1:
                self.look(sweep)
                self._give_up(sweep)
                self._looked_at = time.monotonic()
        except OSError as error:
            self._refused = self._refused or error
            if not self.workers:
                return False
        if time.monotonic() > self._kill_at:
            self._tell_all(signal.SIGKILL)
            self._kill_at = float("inf")
        if not changed:
            time.sleep(_TICK_S)
        return True

    # Starting

    def _adopt(self, sweep: Sweep) -> None:
        """Take over jobs that still run under a leader who is gone; those that were killed with it wait again."""
        for row in sweep.rows:
            if row.state != RUNNING:
                continue
            if ledger.runs(row):
                slot = next((slot for slot in self.free if slot.place == row.place), None)
                if slot is not None:
                    self.free.remove(slot)
                owner = row.owner or {}
                self.workers.append(Worker(row, slot, None, int(owner["pid"]) if alive(owner) else 0))
            elif settle(row, "its process is gone (kill -9, out of memory, reboot or power loss)").state == KILLED:
                ledger.state(self.directory, row.job, WAITING)

    def _start(self, row: Row) -> bool:
        """Start a job in a free slot; says whether it could be started."""
        slot = next((slot for slot in self.free if slot.take()), None)
        if slot is None:
            return False
        facts = {"attempt": row.attempt, "memory_halvings": row.memory_halvings, "place": slot.place}
        try:
            ledger.state(self.directory, row.job, RUNNING, **facts)
            # Both are held by the job for as long as it lives, whatever becomes of this process: that it runs, and
            # that its device is in use.
            with row.log.open("ab") as log, ledger.marked(row) as mark:
                process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "gansweep.sweep.child", str(self.directory), str(row.job)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=os.environ | self._environment() | slot.environment(),
                    start_new_session=True,
                    pass_fds=(mark, *slot.held()),
                )
        finally:
            slot.hand_over()
        self.free.remove(slot)
        worker = Worker(row, slot, process, process.pid, faults.oom_kills())
        self.workers.append(worker)
        if self.stop is not None:  # said while the job was being started
            worker.tell(self.stop)
        row.owner = _owner(process.pid)
        ledger.state(self.directory, row.job, RUNNING, owner=row.owner)
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
                self.free.append(worker.slot)
            row = row_of(worker.row)
            if row.state == RUNNING:  # it did not say how it ended
                fault, reason = faults.fault_of_exit(code, worker.oom_kills)
                if self.stop is not None and code in (-signal.SIGINT, -signal.SIGTERM):
                    fault, reason = faults.STOPPED, "stopped before its first step"
                row = settle(row, reason, fault)
            if row.state == KILLED and row.job in self._given_up:
                row = prune(row, self._given_up[row.job])
            waits_again = self.stop is None and requeue(row, self.launcher.get("retries") or {})
            if self.seeker is not None and not waits_again:
                self.seeker.ended(row)
        return bool(done)

    def _give_up(self, sweep: Sweep) -> None:
        """Stop the jobs that the search gives up."""
        for job, reason in self.seeker.given_up(sweep) if self.seeker is not None and self.stop is None else ():
            worker = next((worker for worker in self.workers if worker.row.job == job), None)
            if worker is not None and job not in self._given_up:
                self._given_up[job] = reason
                worker.tell(signal.SIGTERM)

    # Stopping

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Pass Ctrl-C and SIGTERM on: jobs keep their state; after `grace_s`, or a second Ctrl-C, they are killed."""

        def ask(number: int, frame: object) -> None:
            now = time.monotonic()
            if self.stop is None:
                self._kill_at, self._stopped_at = now + float(self.launcher.get("grace_s", 60)), now
                self.stop = signal.Signals(number)
                self._tell_all(self.stop)
            elif number == signal.SIGINT and now - self._stopped_at > _TOGETHER_S:
                self._kill_at = now

        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _tell_all(self, number: signal.Signals) -> None:
        for worker in list(self.workers):
            worker.tell(number)

    def _abandon(self) -> None:
        """Let the jobs of a leader that fails keep their state and end: nobody would reap them."""
        self._tell_all(signal.SIGTERM)
        until = time.monotonic() + float(self.launcher.get("grace_s", 60))
        while time.monotonic() < until and any(worker.ended() is None for worker in self.workers):
            time.sleep(_TICK_S)
        self._tell_all(signal.SIGKILL)


def _owner(pid: int) -> dict[str, Any]:
    import platform

    import psutil

    started = time.time()
    with contextlib.suppress(psutil.NoSuchProcess):
        started = psutil.Process(pid).create_time()
    return {"host": platform.node(), "pid": pid, "pid_start": started}
