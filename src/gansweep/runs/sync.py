"""`gansweep sync`: sends what a run's sender could not, in the foreground."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import filelock

from gansweep.errors import Missing, UserError
from gansweep.runs import rundir
from gansweep.runs.launch import LOCK_FILE
from gansweep.runs.liveness import reconcile
from gansweep.runs.outbox import Outbox
from gansweep.runs.rundir import Run, say
from gansweep.runs.sender import sender_at_work
from gansweep.runs.spool import unsent_bytes

_LOCK_WAIT_S = 30.0


def sync(
    run_dir: Path,
    *,
    limit_s: float = 300.0,
    progress: Callable[[int, int], None] | None = None,
    report: Callable[[str], None] = say,
) -> int:
    """Send what of the run is not in MLflow yet and return the bytes of spool sent (0: nothing was left).

    `progress` is called with (bytes sent, bytes there were). Tries an unreachable tracker until `limit_s` seconds are
    over, then raises Missing. UserError for a run that has no tracker. A sender that waits for the tracker is told to
    leave; one whose trainer still runs goes on instead of us.
    """
    run = reconcile(Run(run_dir.absolute(), rundir.read(run_dir)), report, send=False)
    tracking = run.record.get("tracking") or {}
    if tracking.get("kind") != "mlflow":
        raise UserError(f"{run_dir}: run {run.id[:8]} was made with tracker=none; there is nothing to send it to")
    total = unsent_bytes(run.dir)
    deadline = time.monotonic() + limit_s
    if run.status == "RUNNING" and sender_at_work(run.dir):
        report(f"run {run.id[:8]} is running and its sender is at work; waiting for it")
        return _watch(run, total, deadline, progress)
    _dismiss_sender(run.dir)
    try:
        with filelock.FileLock(run.dir / LOCK_FILE, timeout=_LOCK_WAIT_S):
            _send_all(run, total, deadline, progress, report)
    except filelock.Timeout:
        raise Missing(f"{run_dir}: another process is sending this run and does not end; try again later") from None
    return total


def _send_all(
    run: Run,
    total: int,
    deadline: float,
    progress: Callable[[int, int], None] | None,
    report: Callable[[str], None],
) -> None:
    from gansweep.runs.mlflow import Unreachable

    box = Outbox(run.dir)
    begun = box.offset
    backoff_s = 0.5
    while True:
        box.read()
        if box.empty:
            break
        try:
            box.send()
            backoff_s = 0.5
        except Unreachable as error:
            if time.monotonic() + backoff_s > deadline:
                uri = run.record["tracking"]["uri"]
                raise Missing(
                    f"tracker {uri} cannot be reached ({error}); try again later: gansweep sync {run.dir}"
                ) from error
            time.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, 10.0)
        if progress:
            progress(box.offset - begun, max(total, box.offset - begun))
    if box.refused:
        report(f"{box.refused} entries were refused by the tracker and passed over; see above")


def _watch(run: Run, total: int, deadline: float, progress: Callable[[int, int], None] | None) -> int:
    """Wait until what is unsent now has been sent by the run's own sender."""
    from gansweep.runs.spool import read_offset

    goal = read_offset(run.dir) + total
    while (left := goal - read_offset(run.dir)) > 0:
        if progress:
            progress(total - left, total)
        state = sender_at_work(run.dir)
        if state is None or time.monotonic() > deadline:
            error = (state or {}).get("error") or "its sender has ended"
            raise Missing(
                f"run {run.id[:8]} is not wholly in the tracker ({error}); try again: gansweep sync {run.dir}"
            )
        time.sleep(0.2)
    return total


def _dismiss_sender(run_dir: Path) -> None:
    """End a sender that is left over from the run: it notes its offset after each success, so it may end anywhere."""
    state = sender_at_work(run_dir)
    if state is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(state["pid"]), signal.SIGTERM)
