"""`gansweep sync`: runs sent to the tracker one after the other; what the senders of a sweep's runs could not send."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gansweep.errors import GansweepError
from gansweep.sweep.report import SUMMARY_DIR

if TYPE_CHECKING:
    from gansweep.runs.rundir import Run


def sync_all(targets: Sequence[str], cwd: Path | None = None) -> int:
    """Send what `targets` (default: every run here, and the summaries of sweeps) still hold; returns the exit status.

    A run that cannot be sent does not keep the others from being sent; the first error is raised at the end. Once a
    tracker could not be reached, the other runs that go there are left out.
    """
    from gansweep.runs.store import all_runs, find_many, names_sweep
    from gansweep.runs.sync import TrackerAway, is_unsent, sync

    base = cwd or Path.cwd()
    if targets:
        found = []
        for target in targets:
            more = _beside(base / Path(target).expanduser()) if names_sweep(target, base) else ()
            found += [*find_many(target, base), *(run for run in more if is_unsent(run))]
    else:
        beside = (run for path in sorted((base / "multirun").glob("*/*")) for run in _beside(path))
        found = [*all_runs(base), *beside]
        found = [run for run in found if (run.record.get("tracking") or {}).get("kind") == "mlflow"]
        found = [run for run in found if is_unsent(run)]
    sent = left_out = 0
    away: set[str] = set()
    first: GansweepError | None = None
    for run in found:
        if (run.record.get("tracking") or {}).get("uri") in away:
            left_out += 1
            continue
        try:
            if sync(run.dir):
                sent += 1
                print(f"run {run.id[:8]} ({run.name}): sent, {os.path.relpath(run.dir, base)}")
        except GansweepError as error:
            first = first or error
            if isinstance(error, TrackerAway):
                away.add(error.uri)
    if left_out:
        print(f"{left_out} other runs go to the same tracker and were not tried")
    if first is not None:
        raise first
    print("nothing was left to send" if not sent else f"{sent} of {len(found)} runs sent")
    return 0


def _beside(sweep_dir: Path) -> Iterator[Run]:
    """Yield the tracked runs of a sweep that are no results: its summary, attempts that others took the place of."""
    from gansweep.runs.store import open_run

    for path in sorted(sweep_dir.glob("*/run.json")):
        run = open_run(path.parent)
        aside = path.parent.name == SUMMARY_DIR or run.record.get("superseded")
        if aside and (run.record.get("tracking") or {}).get("kind") == "mlflow":
            yield run


def send_rest(sweep_dir: Path) -> None:
    """Send what is left of a sweep's runs whose senders are gone: killed with a machine, or given up on a tracker.

    For the end of a sweep: a tracker that cannot be reached is tried once, and what stays unsent is told on stderr.
    """
    from gansweep.runs.launch import read_state
    from gansweep.runs.liveness import alive
    from gansweep.runs.spool import unsent_bytes
    from gansweep.runs.store import open_run
    from gansweep.runs.sync import sync

    for path in sorted(sweep_dir.glob("*/run.json")):
        try:
            run = open_run(path.parent)
            tracked = (run.record.get("tracking") or {}).get("kind") == "mlflow"
            if not tracked or run.status == "RUNNING" or not unsent_bytes(run.dir):
                continue
            state = read_state(run.dir)
            if state.get("state") != "done" and alive(state) is not False:
                continue  # its own sender is at it, here or elsewhere
            sync(run.dir, limit_s=0.0)
        except GansweepError as error:
            print(f"gansweep: {error}", file=sys.stderr)
            return
