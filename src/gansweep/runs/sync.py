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
from gansweep.runs.launch import LOCK_FILE, SENDER_LOG
from gansweep.runs.liveness import reconcile
from gansweep.runs.outbox import Outbox
from gansweep.runs.prepare import lacks_run
from gansweep.runs.rundir import Run, say
from gansweep.runs.sender import sender_at_work
from gansweep.runs.spool import read_offset, unsent_bytes
from gansweep.runs.wire import Unreachable

_LOCK_WAIT_S = 30.0
_LIMIT_S = 20.0
_WATCH_S = 300.0


class TrackerAway(Missing):
    """The tracker at `uri` could not be reached: other runs of it need not be tried now."""

    def __init__(self, message: str, uri: str) -> None:
        super().__init__(message)
        self.uri = uri


def is_unsent(run: Run) -> bool:
    """Say whether some of a tracked run is not in its tracker: unsent lines, or all of it when the store is new."""
    return unsent_bytes(run.dir) > 0 or _is_lost(run)


def _is_lost(run: Run) -> bool:
    tracking = run.record.get("tracking") or {}
    return run.mlflow_run_id is not None and lacks_run(str(tracking.get("uri")), run.mlflow_run_id)


def sync(
    run_dir: Path,
    *,
    limit_s: float = _LIMIT_S,
    progress: Callable[[int, int], None] | None = None,
    report: Callable[[str], None] = say,
) -> int:
    """Send what of the run is not in MLflow yet and return the bytes of spool sent (0: nothing was left).

    `progress` is called with (bytes sent, bytes there were). Tries an unreachable tracker until `limit_s` seconds are
    over, which it says at once, then raises TrackerAway. UserError for a run that has no tracker. A sender that waits
    for the tracker is told to leave; one whose trainer still runs goes on instead of us. A run that its store no longer
    has is sent again from its beginning.
    """
    run = reconcile(Run(run_dir.absolute(), rundir.read(run_dir)), report, send=False)
    tracking = run.record.get("tracking") or {}
    if tracking.get("kind") != "mlflow":
        raise UserError(f"{run_dir}: run {run.id[:8]} was made with tracker=none; there is nothing to send it to")
    if run.status == "RUNNING" and sender_at_work(run.dir):
        report(f"run {run.id[:8]} is running and its sender is at work; waiting for it")
        return _watch(run, max(limit_s, _WATCH_S), progress)
    _dismiss_sender(run.dir)
    try:
        with filelock.FileLock(run.dir / LOCK_FILE, timeout=_LOCK_WAIT_S):
            return _send_all(run, limit_s, progress, report)
    except filelock.Timeout:
        raise Missing(f"{run_dir}: another process is sending this run and does not end; try again later") from None


def _send_all(
    run: Run, limit_s: float, progress: Callable[[int, int], None] | None, report: Callable[[str], None]
) -> int:
    """Send from the offset to the end of the spool and return how many bytes that was."""
    with (run.dir / SENDER_LOG).open("a", encoding="utf-8") as log:
        box = Outbox(run.dir, log=log)
        if _is_lost(run):
            report(f"run {run.id[:8]} is not in {run.record['tracking']['uri']} any more; sending all of it again")
            box.begin_again()
        begun = box.offset
        while True:
            box.read()
            if box.empty:
                break
            _send_some(run, box, limit_s, report)
            begun = begun if box.offset >= begun else 0  # the store is new: all was to be sent again
            if progress:
                progress(box.offset - begun, max(box.offset - begun + unsent_bytes(run.dir), 1))
    if box.refused:
        report(f"the tracker refused {box.refused} entries of run {run.id[:8]}; which and why: {run.dir / SENDER_LOG}")
    return box.offset - begun


def _send_some(run: Run, box: Outbox, limit_s: float, report: Callable[[str], None]) -> None:
    """Send one chunk; a tracker that cannot be reached is told at once and tried for `limit_s`, then TrackerAway."""
    backoff_s, deadline = 0.5, 0.0
    while True:
        try:
            return box.send()
        except Unreachable as error:
            uri = str(run.record["tracking"]["uri"])
            if not deadline:
                deadline = time.monotonic() + limit_s
                if limit_s > 0:
                    until = time.strftime("%H:%M:%S", time.localtime(time.time() + limit_s))
                    report(f"tracker {uri} cannot be reached ({error}); trying until {until}")
            if time.monotonic() + backoff_s > deadline:
                again = f"try again later: gansweep sync {run.dir}"
                raise TrackerAway(f"tracker {uri} cannot be reached ({error}); {again}", uri) from error
            time.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, 10.0)


def _watch(run: Run, limit_s: float, progress: Callable[[int, int], None] | None) -> int:
    """Wait until what is unsent now has been sent by the run's own sender; one that says "unreachable" ends it."""
    total = unsent_bytes(run.dir)
    goal = read_offset(run.dir) + total
    deadline = time.monotonic() + limit_s
    away_since: float | None = None
    while (left := goal - read_offset(run.dir)) > 0:
        if progress:
            progress(total - left, total)
        state = sender_at_work(run.dir)
        away = state is not None and state.get("state") == "unreachable"
        away_since = (away_since or time.monotonic()) if away else None
        waited_out = away_since is not None and time.monotonic() - away_since > _LIMIT_S
        if state is None or waited_out or time.monotonic() > deadline:
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
