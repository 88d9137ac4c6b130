"""How a job's end is entered where it could not say so itself, and whether it is run once more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gansweep.runs.launch import start_sender
from gansweep.runs.liveness import GONE, mark_failed
from gansweep.runs.rundir import is_run_dir, update
from gansweep.sweep import faults, ledger
from gansweep.sweep.freeze import frozen_point
from gansweep.sweep.ledger import FAILED, FINISHED, KILLED, PRUNED, WAITING, Row


def row_of(row: Row) -> Row:
    """Return a job's row as the record has it now."""
    return next(now for now in ledger.load(row.sweep_dir).rows if now.job == row.job)


def settle(row: Row, reason: str, fault: str = faults.GONE) -> Row:
    """Enter the end of a job whose process said nothing, in the run's own record too; returns its row."""
    from gansweep.look import losses_of
    from gansweep.runs.store import open_run, reconcile

    ended = FAILED if fault == faults.ERROR else KILLED
    facts: dict[str, Any] = {"state": ended, "reason": reason, "fault": fault}
    if is_run_dir(row.dir):
        run = reconcile(open_run(row.dir), lambda line: None)
        facts |= {"run_id": run.id, "losses": losses_of(row.dir)}
        if run.status in (FINISHED, FAILED):  # it had ended, and was killed while it said so
            facts |= {"state": run.status, "reason": run.record.get("reason"), "fault": None}
        elif run.record["pid"] == (row.owner or {}).get("pid") and run.record.get("reason") not in (None, GONE):
            # It had been stopped, had kept its state, and was killed while it waited for the tracker.
            facts |= {"reason": run.record["reason"], "fault": faults.STOPPED}
        elif ended == FAILED and run.status == KILLED:
            start_sender(mark_failed(run, reason))
    ledger.append(row.sweep_dir, {"kind": "state", "job": row.job, **facts})
    return row_of(row)


def requeue(row: Row, retries: Mapping[str, Any]) -> bool:
    """Let a job that met a fault for which `retries` has a number wait again; says whether it does.

    Where memory ran out it is another attempt, with batches in twice as many parts; else the same run goes on.
    """
    if row.fault == faults.OUT_OF_MEMORY:
        return row.memory_halvings < int(retries.get("out_of_memory", 1)) and _in_more_parts(row)
    key = {faults.GONE: "killed", faults.ERROR: "error"}.get(row.fault or "")
    if row.state not in (FAILED, KILLED) or key is None:
        return False
    times = sum(1 for entry in ledger.history(row.sweep_dir, row.job) if entry.get("fault") == row.fault)
    if times > int(retries.get(key, 0)):
        return False
    ledger.state(row.sweep_dir, row.job, WAITING)
    return True


def _in_more_parts(row: Row) -> bool:
    settings = frozen_point(row.sweep_dir, row.job)
    parts = settings.runtime.accumulate * 2 ** (row.memory_halvings + 1)
    if settings.batch_size % parts:
        return False
    if is_run_dir(row.dir):
        update(row.dir, superseded=True)
        _tag(row, "gansweep.superseded_by", f"attempt {row.attempt + 1} of job {row.job}")
    why = f"memory ran out: another attempt takes its batches in {parts} parts"
    facts = {"attempt": row.attempt + 1, "memory_halvings": row.memory_halvings + 1, "why": why}
    ledger.state(row.sweep_dir, row.job, WAITING, **facts)
    return True


def prune(row: Row, reason: str) -> Row:
    """Enter that a job which was stopped was given up, in the run's own record too; returns its row."""
    ledger.state(row.sweep_dir, row.job, PRUNED, reason=reason, fault=None)
    if is_run_dir(row.dir):
        _tag(row, "gansweep.pruned", reason)
    return row_of(row)


def _tag(row: Row, key: str, value: str) -> None:
    from gansweep.runs.launch import start_sender
    from gansweep.runs.store import open_run
    from gansweep.runs.tracker import note

    run = open_run(row.dir)
    note(run, {}, 0, tags={key: value})
    start_sender(run)  # its own has ended with it
