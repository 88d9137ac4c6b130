"""What is kept of a sweep: sweep.json in its directory, filled before the first job and after the last.

A job whose process died returned nothing; its own run.json then tells how far it came.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gansweep.errors import UserError
from gansweep.runs.rundir import SWEEP_FILE
from gansweep.sweep.job import LOG_FILE, JobResult

if TYPE_CHECKING:
    from gansweep.config.compose import Job

RECORD_FILE = SWEEP_FILE
NOT_RUN = "NOT RUN"


@dataclass
class Row:
    """One job of a sweep. `losses` are the last logged ones; `status` is NOT RUN until the job began."""

    job: int
    overrides: list[str]
    name: str
    status: str = NOT_RUN
    run_id: str | None = None
    losses: dict[str, float] = field(default_factory=dict)
    log: str = ""
    reason: str | None = None


@dataclass
class Sweep:
    """A sweep: its id (time and four hex digits), what was asked for, and one row per job."""

    id: str
    dir: Path
    overrides: list[str]
    rows: list[Row]

    @property
    def failed(self) -> list[Row]:
        """The jobs that did not finish, for whatever reason."""
        return [row for row in self.rows if row.status != "FINISHED"]

    def save(self) -> None:
        """Write sweep.json, by a temporary file and a rename."""
        from gansweep.runs.rundir import write_json

        write_json(self.dir / RECORD_FILE, {**asdict(self), "dir": str(self.dir)})


def new_id(now: datetime.datetime | None = None) -> str:
    """Return a sweep id that sorts by time."""
    return (now or datetime.datetime.now()).strftime("%Y%m%d-%H%M%S-") + uuid.uuid4().hex[:4]


def begin(directory: Path, sweep_id: str, overrides: Sequence[str], jobs: Iterable[Job]) -> Sweep:
    """Write the record of a sweep that is about to start."""
    rows = [Row(job.number, list(job.overrides), job.name, log=_log(directory, job.number)) for job in jobs]
    sweep = Sweep(sweep_id, directory, list(overrides), rows)
    sweep.save()
    return sweep


def load(directory: Path) -> Sweep:
    """Read the record of the sweep in `directory`; UserError when there is none."""
    try:
        content: dict[str, Any] = json.loads((directory / RECORD_FILE).read_text(encoding="utf-8"))
        rows = [Row(**row) for row in content["rows"]]
        return Sweep(content["id"], directory, content["overrides"], rows)
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{directory}: not a sweep directory (no readable {RECORD_FILE})") from None


def note(directory: Path, results: Sequence[tuple[int, JobResult]]) -> None:
    """Enter what the jobs returned; harmless where there is no record (a sweep not started by gansweep)."""
    if not (directory / RECORD_FILE).is_file():
        return
    sweep = load(directory)
    rows = {row.job: row for row in sweep.rows}
    for number, result in results:
        row = rows[number]
        row.status, row.run_id, row.reason = result.status, result.run_id, result.reason
        row.losses = dict(result.losses)
    sweep.save()


def settle(directory: Path) -> Sweep:
    """Return the sweep with every job's last word, asking the run directories of jobs that returned nothing."""
    from gansweep.look import losses_of
    from gansweep.runs.store import is_run_dir, open_run, reconcile

    sweep = load(directory)
    for row in sweep.rows:
        run_dir = directory / str(row.job)
        if row.status == NOT_RUN and is_run_dir(run_dir):
            run = reconcile(open_run(run_dir))
            row.status, row.run_id, row.reason = run.status, run.id, run.record.get("reason")
            row.losses = losses_of(run_dir)
    with contextlib.suppress(OSError):  # on a full disk the table is printed all the same
        sweep.save()
    return sweep


def _log(directory: Path, number: int) -> str:
    return str(directory / str(number) / LOG_FILE)
