"""`gansweep sync`: each run that was asked for, or all that lie here, sent to the tracker one after the other."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from gansweep.errors import GansweepError
from gansweep.sweep.report import SUMMARY_DIR


def sync_all(targets: Sequence[str], cwd: Path | None = None) -> int:
    """Send what `targets` (default: every run here, and the summaries of sweeps) still hold; returns the exit status.

    A run that cannot be sent does not keep the others from being sent; the first error is raised at the end. Once a
    tracker could not be reached, the other runs that go there are left out.
    """
    from gansweep.runs.store import all_runs, find_many, open_run
    from gansweep.runs.sync import TrackerAway, is_unsent, sync

    base = cwd or Path.cwd()
    if targets:
        found = [run for target in targets for run in find_many(target, base)]
    else:
        summaries = sorted((base / "multirun").glob(f"*/*/{SUMMARY_DIR}/run.json"))
        found = [*all_runs(base), *(open_run(path.parent) for path in summaries)]
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
