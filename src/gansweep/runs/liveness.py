"""Whether the process of a run still lives, and what to do with a run whose process was killed."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from typing import Any

from gansweep.errors import UserError
from gansweep.runs import rundir
from gansweep.runs.reserve import give_back
from gansweep.runs.rundir import Run, say
from gansweep.runs.spool import SPOOL_FILE, Spool, last_step, last_time

# psutil derives a start time from the boot time, which moves a little when the clock is set.
_CLOCK_SLACK_S = 2.0
# A run of another machine (a container has a name of its own) that wrote nothing for so long is taken as not running.
SILENT_S = 600.0
GONE = "its process is gone (kill -9, out of memory, reboot or power loss)"


def this_process() -> dict[str, Any]:
    """Return {"host", "pid", "pid_start"} of this process; a pid alone is reused, its start time (unix s) is not."""
    import psutil

    return {"host": platform.node(), "pid": os.getpid(), "pid_start": psutil.Process().create_time()}


def alive(owner: Mapping[str, Any]) -> bool | None:
    """Say whether the process {"host", "pid", "pid_start"} lives; None when it is another machine's or not known."""
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
    except (KeyError, TypeError, ValueError, OverflowError):  # a damaged file
        return None


def silent_s(run: Run) -> float:
    """Return how many seconds ago the run last wrote a metric, a checkpoint or its record (not its sender's files)."""
    newest = float("-inf")
    for path in (run.dir / SPOOL_FILE, run.dir / rundir.RECORD_FILE, *run.checkpoints()):
        try:
            newest = max(newest, path.stat().st_mtime)
        except OSError:  # replaced just now
            continue
    return max(0.0, time.time() - newest)


def settle_before_resume(run: Run, report: Callable[[str], None] = say) -> Run:
    """Return `run`, which no process trains any more: one that says RUNNING and is not becomes KILLED.

    UserError when its process lives. A process of another machine cannot be seen from here: there the run counts as
    running until it has written nothing for `SILENT_S`, and what was concluded is said.
    """
    if run.status != "RUNNING":
        return run
    who = f"process {run.record['pid']} on {run.record['host']}"
    lives = alive(run.record)
    if lives:
        raise UserError(f"run {run.id[:8]} is still running ({who})")
    if lives is False:
        return reconcile(run, report)
    silence = silent_s(run)
    cannot = f"{who}, which cannot be seen from {platform.node()}"
    if silence < SILENT_S:
        raise UserError(
            f"run {run.id[:8]} may still be running ({cannot}): it wrote {silence:.0f} s ago; when it was stopped, try "
            f"again in {(SILENT_S - silence) / 60:.0f} min ({SILENT_S / 60:.0f} min of silence count as stopped)"
        )
    report(f"run {run.id[:8]} says RUNNING ({cannot}) but wrote nothing for {silence / 60:.0f} min: taken as stopped")
    mark_dead(run, elsewhere=True)
    return run


def mark_dead(run: Run, *, untold: bool = False, elsewhere: bool = False) -> bool:
    """Set a RUNNING run whose process is gone to KILLED, in run.json and in its spool; says whether it did.

    `untold` notes in run.json that no person has been told yet (the sender found out): `reconcile` then says it.
    `elsewhere`: also a run of another machine, whose process cannot be seen.
    """
    with rundir.locked(run.dir):
        run.reload()
        lives = alive(run.record)
        if run.status != "RUNNING" or lives or (lives is None and not elsewhere):
            return False
        give_back(run.dir)
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


def mark_failed(run: Run, reason: str) -> Run:
    """Return a run that was taken for killed, and is known to have failed, so entered in run.json and its spool."""
    with rundir.locked(run.dir):
        spool = Spool(run.dir, repair=True)
        spool.append("finish", status="FAILED", reason=reason, t=last_time(run.dir))
        spool.close()
        return rundir.update(run.dir, status="FAILED", reason=reason)


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
