"""Jobs on this machine: one process each, in a slot with a device or a share of the cores."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gansweep.runs.liveness import alive
from gansweep.sweep import faults, ledger
from gansweep.sweep.engines import Worker
from gansweep.sweep.fit import Needs, capacities, fits, free_here, told_of
from gansweep.sweep.ledger import RUNNING, Row
from gansweep.sweep.slots import Slot, slots
from gansweep.sweep.spawn import MEMORY_GB, owner, spawn


@dataclass
class Process:
    """A job that runs here: `process` is None for one that an earlier leader of the sweep started."""

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

    def fault(self, code: int) -> tuple[str, str]:
        """Return class and words for an end of which the job itself said nothing."""
        return faults.fault_of_exit(code, self.oom_kills)

    def tell(self, number: signal.Signals) -> None:
        """Send a signal to the job's process; one to kill it goes to all that it started, too."""
        if not self.pid:  # of another machine, or its leader was killed before it could note whom it had started
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if number == signal.SIGKILL:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)


class Machine:
    """Runs jobs as processes of this machine, as many at once as there are slots (see conf/hydra/launcher/pool)."""

    queues = lasting = False

    def __init__(self, directory: Path, launcher: Mapping[str, Any], on_cuda: bool) -> None:
        self.directory, self.launcher = directory, dict(launcher)
        self.slots = slots(launcher, on_cuda)
        self._needs, self._running = Needs(directory), list[Process]()
        self._free_here = free_here()
        devices = {slot.device for slot in self.slots if slot.device is not None}
        self._devices = len(devices)
        self._capacities = capacities(devices) if len(self.slots) > len(devices) > 0 else {}

    def room(self, taken: int) -> int:
        """Return 1 while a slot is free: its device may be another sweep's, which only taking it tells."""
        return min(len(self.slots), 1)

    def start(self, rows: Sequence[Row]) -> list[Worker]:
        """Start the first of the jobs in a slot whose device can be had, and has room for it."""
        row = next((row for row in rows if not ledger.held(row)), None)  # else an earlier process of it is still ending
        if row is None:
            return []
        slot = next((slot for slot in self.slots if self._fits(row, slot) and slot.take()), None)
        if slot is None:
            return []
        facts = {"attempt": row.attempt, "memory_halvings": row.memory_halvings, "place": slot.place}
        most = self.launcher.get("memory_gb")
        told = slot.environment() | told_of(row) | ({MEMORY_GB: str(most)} if most else {})
        try:
            ledger.state(self.directory, row.job, RUNNING, **facts)
            # Both are held by the job for as long as it lives, whatever becomes of this process: that it runs, and
            # that its device is in use.
            process = spawn(row, told, slot.held())
        finally:
            slot.hand_over()
        self.slots.remove(slot)
        row.owner = owner(process.pid)
        ledger.state(self.directory, row.job, RUNNING, owner=row.owner)
        worker = Process(row, slot, process, process.pid, faults.oom_kills())
        self._running.append(worker)
        return [worker]

    def _fits(self, row: Row, slot: Slot) -> bool:
        """Say whether the memory of the slot's device holds one more such job beside those of this sweep on it."""
        beside = [one for one in self._running if one.slot is not None and one.slot.device == slot.device]
        if not beside:  # the first place on a device: whoever has that, of whichever sweep, is alone until it measured
            return slot.device is None or slot.place < self._devices
        capacity = self._capacities.get(slot.device or "", self._free_here if slot.device is None else 0)
        measured = (self._needs.of(one.row) for one in beside)
        return fits(self._needs.of(row), measured, capacity, unmeasured=slot.device is None)

    def adopt(self, row: Row) -> Worker | None:
        """Return a job that still runs under a leader who is gone, in its slot."""
        if row.state == RUNNING and row.owner and alive(row.owner) is False:
            _end_group(row.owner)
        if row.state != RUNNING or not ledger.runs(row):
            return None
        slot = next((slot for slot in self.slots if slot.place == row.place), None)
        if slot is not None:
            self.slots.remove(slot)
        had = row.owner or {}
        worker = Process(row, slot, None, int(had["pid"]) if alive(had) else 0)
        self._running.append(worker)
        return worker

    def tell(self, workers: Sequence[Worker], number: signal.Signals) -> None:
        """Send a signal to several jobs."""
        for worker in workers:
            worker.tell(number)

    def free(self, worker: Worker) -> None:
        """Give a job's slot to others, once nothing is left of the job: what it forked would hold its device."""
        mine = next(one for one in self._running if one is worker)
        self._running.remove(mine)
        if mine.pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(mine.pid, signal.SIGKILL)
        if mine.slot is not None:
            self.slots.append(mine.slot)


def _end_group(gone: Mapping[str, Any]) -> None:
    """End what a job that is gone has left running: the processes of its group, which began after it."""
    import psutil

    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
            if os.getpgid(process.pid) == int(gone["pid"]) and process.create_time() >= float(gone["pid_start"]) - 2:
                process.kill()
