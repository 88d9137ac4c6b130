"""The pool: a sweep's jobs in the hands of an engine, until all are done or somebody says stop."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gansweep.runs.liveness import GONE
from gansweep.sweep import faults, ledger
from gansweep.sweep.endings import prune, requeue, row_of, settle
from gansweep.sweep.engines import Engine, Worker
from gansweep.sweep.ledger import KILLED, OPEN, RUNNING, WAITING, Row, Sweep

if TYPE_CHECKING:
    from gansweep.sweep.seeking import Seeker

_TICK_S = 0.1
# Who stops a whole machine tells every process of it, some of them twice: only a later one is meant as impatience.
_TOGETHER_S = 2.0


class Pool:
    """Runs the waiting jobs of one sweep; `launcher` has `grace_s`, `retries`, `wait` (see conf/hydra/launcher).

    `look` is called after every change and every second with the sweep. Jobs are in process groups of their own: a
    Ctrl-C meets this process alone, which passes it on.
    """

    def __init__(
        self,
        directory: Path,
        engine: Engine,
        launcher: Mapping[str, Any],
        look: Callable[[Sweep], None],
        seeker: Seeker | None = None,
    ):
        self.directory, self.engine, self.launcher, self.look = directory, engine, dict(launcher), look
        self.seeker = seeker
        self.workers: list[Worker] = []
        self.stop: signal.Signals | None = None
        self._given_up: dict[int, str] = {}
        self._kill_at = float("inf")
        self._stopped_at = self._looked_at = 0.0
        self._refused: OSError | None = None
        self._read: tuple[int, Sweep] | None = None

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
            sweep = self._record()
            may_start = self.stop is None and self._refused is None
            if may_start and self._start(sweep):
                changed, sweep = True, self._record()
            elif not changed and self._nothing_left(may_start):
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

    def _record(self) -> Sweep:
        """Return the sweep as it is now; a record that has not grown is not read again."""
        size = ledger.size_bytes(self.directory)
        if self._read is None or self._read[0] != size:
            self._read = (size, ledger.load(self.directory))
        return self._read[1]

    def _nothing_left(self, may_start: bool) -> bool:
        """Say whether this process may go: all is done, or (launcher.wait=false) all is in the engine's queue."""
        if may_start and self._waiting(self._record()):
            return False
        return not self.workers or (self.stop is None and not self.launcher.get("wait", True))

    # Starting

    def _adopt(self, sweep: Sweep) -> None:
        """Take over jobs that still run under a leader who is gone; those that were killed with it wait again."""
        for row in sweep.rows:
            if row.state not in OPEN:
                continue
            worker = self.engine.adopt(row)
            if worker is not None:
                self.workers.append(worker)
            elif row.state == RUNNING and settle(row, GONE).state == KILLED:
                ledger.state(self.directory, row.job, WAITING)

    def _waiting(self, sweep: Sweep) -> list[Row]:
        """Return the jobs that wait and that the engine has not got yet."""
        taken = {worker.row.job for worker in self.workers}
        return [row for row in sweep.rows if row.state == WAITING and row.job not in taken]

    def _start(self, sweep: Sweep) -> bool:
        """Hand over as many waiting jobs as there is room for, new points of a search among them; says whether any."""
        waiting, room = self._waiting(sweep), self.engine.room(len(self.workers))
        if self.engine.queues and self.seeker is None:
            room = len(waiting)
        while self.seeker is not None and len(waiting) < room and self.seeker.more(sweep):
            sweep = self._record()
            waiting = self._waiting(sweep)
        offered = waiting if self.seeker is None else waiting[:room]
        started = self.engine.start(offered) if room > 0 and waiting else []
        self.workers += started
        for worker in started if self.stop is not None else ():  # said while the jobs were being started
            worker.tell(self.stop)  # type: ignore[arg-type]
        return bool(started)

    # Ending

    def _reap(self) -> bool:
        """Enter what ended, and free its slot; says whether anything did."""
        done = [(worker, code) for worker in self.workers if (code := worker.ended()) is not None]
        for worker, code in done:
            self.workers.remove(worker)
            self.engine.free(worker)
            row = row_of(worker.row)
            if row.state in OPEN:  # it did not say how it ended
                fault, reason = worker.fault(code)
                if self.stop is not None and code in (-signal.SIGINT, -signal.SIGTERM):
                    fault, reason = faults.STOPPED, "stopped before its first step"
                row = settle(row, reason, fault)
            if row.state == KILLED and row.job in self._given_up:
                row = prune(row, self._given_up[row.job])
            if row.fault == faults.DISK_FULL:  # the next ones would meet it too
                self._refused = self._refused or OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.directory))
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
                # Who stops a sweep again, while its table is made, is told nothing by losing it.
                signal.signal(number, signal.SIG_IGN if self.stop and number == signal.SIGTERM else handler)

    def _tell_all(self, number: signal.Signals) -> None:
        self.engine.tell(list(self.workers), number)

    def _abandon(self) -> None:
        """Let the jobs of a leader that fails keep their state and end, where nobody else would reap them."""
        if self.engine.lasting:
            return
        self._tell_all(signal.SIGTERM)
        until = time.monotonic() + float(self.launcher.get("grace_s", 60))
        while time.monotonic() < until and any(worker.ended() is None for worker in self.workers):
            time.sleep(_TICK_S)
        self._tell_all(signal.SIGKILL)
