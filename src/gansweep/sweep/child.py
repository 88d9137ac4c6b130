"""One job of a sweep in a process of its own: `python -m gansweep.sweep.child SWEEP JOB`.

It reads the frozen settings, goes on where an earlier attempt stopped, and enters into the sweep's record itself how it
ended, so that nothing is lost when the process that leads the sweep is killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from gansweep.errors import GansweepError, refused_by_system
from gansweep.sweep import ledger
from gansweep.sweep.faults import DISK_FULL, ERROR, REFUSED, STOPPED, fault_of
from gansweep.sweep.spawn import ENDS_WITH, MEMORY_GB

_PR_SET_PDEATHSIG = 1
# Of what a job says of its end the record keeps so much; all of it is in the log.
_LETTERS_MOST = 1000
_EXIT = {ledger.FINISHED: 0, ledger.KILLED: 130}


def main(words: list[str] | None = None) -> int:
    """Run one job to its end; returns the exit status. Everything that is said goes to the job's log."""
    directory, number = (words or sys.argv[1:])[:2]
    sweep_dir, job = Path(directory), int(number)
    if os.getcwd() not in sys.path:  # a user's module that was not loaded when the sweep began
        sys.path.append(os.getcwd())
    _limit_memory()
    _end_with_parent()
    row = next(row for row in ledger.load(sweep_dir).rows if row.job == job)
    facts = _ended(sweep_dir, row)
    with contextlib.suppress(OSError):  # a full disk: who leads the sweep finds the run's own record
        ledger.append(sweep_dir, {"kind": "state", "job": job, **facts})
    return _EXIT.get(facts["state"], 1)


def _limit_memory() -> None:
    """Hold this process to hydra.launcher.memory_gb, where the sweep has that."""
    most_gb = os.environ.get(MEMORY_GB)
    if most_gb:
        most = int(float(most_gb) * 1e9)
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _end_with_parent() -> None:
    """Be asked to end when the process that stands for this one before a cluster is killed: nobody else would know."""
    parent = os.environ.get(ENDS_WITH)
    if parent:
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # see errand
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR2])
    if parent and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != int(parent):  # it was killed before this line
            sys.exit(1)


def _ended(sweep_dir: Path, row: ledger.Row) -> dict[str, Any]:
    """Train the job and return how that ended, as fields of its row."""
    try:
        outcome = _train(sweep_dir, row)
    except GansweepError as error:
        fault = fault_of(error)
        said = str(error)
        print(f"gansweep: {said}", file=sys.stderr)
        return _facts(row, ledger.FAILED, said, fault if fault != ERROR or error.exit_code == 1 else REFUSED)
    except Exception as error:
        traceback.print_exception(error)
        fault = fault_of(error)
        told = refused_by_system(error) if isinstance(error, OSError) and fault == DISK_FULL else _first_line(error)
        return _facts(row, ledger.FAILED, told, fault)
    if outcome.status == ledger.KILLED:
        return _facts(row, ledger.KILLED, outcome.message or "stopped", STOPPED)
    return _facts(row, outcome.status, outcome.message or None, None)


def _train(sweep_dir: Path, row: ledger.Row) -> Any:
    from gansweep.runs.rundir import is_run_dir
    from gansweep.sweep.freeze import frozen_point
    from gansweep.train import resume, train

    settings = frozen_point(sweep_dir, row.job)
    runtime = settings.runtime.model_copy(
        update={"progress": False, "accumulate": settings.runtime.accumulate * 2**row.memory_halvings}
    )
    settings = settings.model_copy(update={"runtime": runtime})
    sweep = {"id": ledger.load(sweep_dir).id, "job": row.job}
    if is_run_dir(row.dir):
        return resume(str(row.dir), settings)
    return train(settings, row.dir, row.overrides, sweep)


def _facts(row: ledger.Row, name: str, reason: str | None, fault: str | None) -> dict[str, Any]:
    from gansweep.look import losses_of
    from gansweep.runs.rundir import is_run_dir, read

    run_id = str(read(row.dir)["run_id"]) if is_run_dir(row.dir) else None
    losses = losses_of(row.dir) if run_id else {}
    said = None if reason is None else reason[:_LETTERS_MOST]
    return {"state": name, "reason": said, "fault": fault, "run_id": run_id, "losses": losses}


def _first_line(error: Exception) -> str:
    first = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
