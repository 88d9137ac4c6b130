"""Whether the process of a run still lives, and what to do with a run whose process was killed."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping
from typing import Any

from gansweep.runs import rundir
from gansweep.runs.rundir import Run, say
from gansweep.runs.spool import Spool, last_step, last_time

# psutil derives a start time from the boot time, which moves a little when the clock is set.
_CLOCK_SLACK_S = 2.0
GONE = "its process is gone (kill -9, out of memory, reboot or power loss)"


def this_process() -> dict[str, Any]:
    """Return {"host", "pid", "pid_start"} of this process; a pid alone is reused, its start time (unix s) is not."""
    import psutil

    return {"host": platform.node(), "pid": os.getpid(), "pid_start": psutil.Process().create_time()}


def alive(owner: Mapping[str, Any]) -> bool | None:
    """Say whether the process {"host", "pid", "pid_start"} lives; None when it is another machine's."""
    import psutil

    if owner.get("host") != platform.node():
        return None
    try:
        process = psutil.Process(int(owner["pid"]))
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return abs(process.create_time() - float(owner["pid_start"])) < _CLOCK_SLACK_S
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def mark_dead(run: Run, *, untold: bool = False) -> bool:
    """Set a RUNNING run whose process is gone to KILLED, in run.json and in its spool; says whether it did.

    `untold` notes in run.json that no person has been told yet (the sender found out): `reconcile` then says it.
    """
    with rundir.locked(run.dir):
        run.reload()
        if run.status != "RUNNING" or alive(run.record) is not False:
            return False
        spool = Spool(run.dir, repair=True)
        finished_ms = last_time(run.dir)
        spool.append("finish", status="KILLED", reason=GONE, t=finished_ms)
        spool.close()
        changes: dict[str, object] = {"status": "KILLED", "reason": GONE, "finished": rundir.timestamp(finished_ms)}
        changes["last_step"] = last_step(run.dir)
        if untold:
            changes["untold"] = True
        run.record = rundir.update(run.dir, **changes).record
    return True


def reconcile(run: Run, report: Callable[[str], None] = say, *, send: bool = True) -> Run:
    """Return `run`; one that says RUNNING although its process is gone becomes KILLED, reported in one line.

    A run of another machine is left alone. MLflow is told by the run's sender, which is started for it unless `send` is
    false.
    """
    try:
        newly = mark_dead(run)
    except OSError:  # somebody else's run, which may be read but not written
        return run
    if not newly and not run.record.get("untold"):
        return run
    if not newly:
        run.record = rundir.update(run.dir, untold=None).record
    step = run.record.get("last_step")
    where = f" after step {step}" if step is not None else ""
    report(f"run {run.id[:8]} ({run.name}) stopped{where}: {GONE}; its status is now KILLED")
    if newly and send:
        from gansweep.runs.launch import start_sender

        start_sender(run)
    return run
