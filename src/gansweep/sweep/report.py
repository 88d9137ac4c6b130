"""The end of a sweep: a table of all its jobs for people, and the same table as a run of its own in the tracker."""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gansweep.look import losses_of
from gansweep.runs.liveness import alive
from gansweep.runs.rundir import is_run_dir, read
from gansweep.runs.spool import last_step
from gansweep.sweep import ledger
from gansweep.sweep.ledger import KILLED, PRUNED, RUNNING, WAITING, Row, Sweep

if TYPE_CHECKING:
    from rich.table import Table

    from gansweep.config.settings import TrackerSettings

# Hidden, so that nobody who looks for the runs of the sweep takes the summary for one of them.
SUMMARY_DIR = ".summary"
CSV_FILE = "jobs.csv"


def asked(sweep: Sweep) -> str:
    """Return what was asked for, without the password of a database that is among it."""
    return re.sub(r"://[^/@\s]+@", "://…@", " ".join(sweep.overrides))


def table(sweep: Sweep) -> Table:
    """Return the table: number, overrides, status, last losses, run id, log."""
    from rich.table import Table
    from rich.text import Text

    from gansweep.tables import status, values

    constant = set.intersection(*(set(row.overrides) for row in sweep.rows)) if len(sweep.rows) > 1 else set()
    found = Table(title=Text(f"sweep {sweep.id}: {asked(sweep)}"), title_justify="left", box=None, pad_edge=False)
    for name in ("job", "overrides", "status", "last losses", "run", "log"):
        found.add_column(name, overflow="fold", no_wrap=name in ("job", "status", "run"), header_style="bold")
    for row in sweep.rows:
        own = " ".join(line for line in row.overrides if line not in constant)
        found.add_row(
            str(row.job),
            Text(own),
            status(row.state),
            Text(_progress(row) + values(row.losses) or "–"),
            (row.run_id or "")[:8],
            Text(_log(row)),
        )
    return found


def _progress(row: Row) -> str:
    """Return how far a job that runs has come, and fill in what it last logged."""
    if row.state != RUNNING or not is_run_dir(row.dir):
        return ""
    record = read(row.dir)
    row.run_id, row.losses = str(record["run_id"]), losses_of(row.dir)
    return f"step {last_step(row.dir) or 0}/{record.get('steps')} "


def _log(row: Row) -> str:
    return os.path.relpath(row.log) if row.log.is_file() else "–"


def print_report(sweep: Sweep) -> None:
    """Print the table, and for each job that did not finish one line that says why."""
    from gansweep.tables import console

    console().print(table(sweep))
    for row in sweep.unfinished:
        why = row.reason or ("was not started" if row.state == WAITING else "gave no reason")
        print(f"job {row.job} {row.state}: {why}")
    pruned = sum(row.state == PRUNED for row in sweep.rows)
    done = len(sweep.rows) - len(sweep.unfinished) - pruned
    given_up = f", {pruned} given up" if pruned else ""
    print(f"{done} of {len(sweep.rows)} finished{given_up}; runs in {os.path.relpath(sweep.dir)}")
    for row in sweep.rows:
        if row.memory_halvings:
            print(
                f"job {row.job}: memory ran out; its batches were taken in {2**row.memory_halvings} times as many parts"
            )
    for line in _over_seeds(sweep):
        print(line)


def _over_seeds(sweep: Sweep) -> list[str]:
    """Return, for a sweep whose points were repeated with other seeds, a line for each point: means and intervals."""
    from gansweep.sweep.seeds import points

    constant = set.intersection(*(set(row.overrides) for row in sweep.rows)) if len(sweep.rows) > 1 else set()
    lines = []
    for point in points(sweep):
        own = " ".join(line for line in point.overrides if line not in constant) or "the point"
        told = ", ".join(f"{name} {mean:.4g} ± {half:.2g}" for name, (mean, half) in list(point.losses.items())[:4])
        lines.append(f"  {own}: {told or 'no losses'} (95 %, {point.finished} of {len(point.jobs)} seeds)")
    return ["over seeds:", *lines] if lines else []


def facts(directory: Path) -> dict[str, Any]:
    """Return the state of the sweep in `directory` as JSON types: of all, and of each job."""
    sweep = ledger.load(directory)
    rows = [
        {"job": row.job, "name": row.name, "overrides": row.overrides, "state": _now(row), "attempt": row.attempt}
        | {"run_id": row.run_id, "reason": row.reason, "fault": row.fault, "losses": row.losses, "dir": str(row.dir)}
        for row in sweep.rows
    ]
    led = bool(sweep.owner and alive(sweep.owner))
    return {"id": sweep.id, "dir": str(directory), "overrides": sweep.overrides, "led": led, "jobs": rows}


def _now(row: Row) -> str:
    """Return a job's state; one whose process is gone without a word was killed, whatever the record says yet."""
    return KILLED if row.state == RUNNING and not ledger.runs(row) else row.state


def print_status(directory: Path) -> None:
    """Print how the sweep in `directory` stands, without changing anything in it."""
    from gansweep.tables import print_table

    sweep = ledger.load(directory)
    led = bool(sweep.owner and alive(sweep.owner))
    for row in sweep.rows:
        row.state = _now(row)
    print_table(table(sweep))
    counts = Counter(row.state for row in sweep.rows)
    told = ", ".join(f"{count} {state.lower()}" for state, count in counts.most_common())
    print(f"{told}; {'led by process ' + str((sweep.owner or {})['pid']) if led else 'nobody leads it now'}")
    for row in sweep.unfinished:
        if row.reason:
            print(f"job {row.job} {row.state}: {row.reason}")
    if sweep.damaged:
        print(f"{sweep.damaged} lines of its record cannot be read and were left out")


def as_csv(sweep: Sweep) -> str:
    """Return the table as CSV, one column per loss."""
    losses = list(dict.fromkeys(key for row in sweep.rows for key in row.losses))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["job", "name", "overrides", "status", *losses, "run_id", "log", "reason"])
    for row in sweep.rows:
        cells = [row.losses.get(key, "") for key in losses]
        writer.writerow(
            [
                row.job,
                row.name,
                " ".join(row.overrides),
                row.state,
                *cells,
                row.run_id or "",
                str(row.log),
                row.reason or "",
            ]
        )
    return out.getvalue()


def as_markdown(sweep: Sweep) -> str:
    """Return the table as Markdown, which MLflow's artifact page shows as a table."""
    rows = ["| job | name | status | last losses | run | log |", "|---|---|---|---|---|---|"]
    for row in sweep.rows:
        losses = ", ".join(f"{key} {value:.4g}" for key, value in row.losses.items()) or (row.reason or "–")
        cells = [str(row.job), row.name, row.state, losses, row.run_id or "", str(row.log)]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return f"# Sweep {sweep.id}\n\n`{asked(sweep)}`\n\n" + "\n".join(rows) + "\n"


def keep(sweep: Sweep, tracker: TrackerSettings, stopped: bool = False) -> None:
    """Write jobs.csv beside the runs, and record the table in the tracker as one run without parameters of `scales`.

    A sweep that is gone on with has one summary all the same.

    The tracker's charts draw every run that has the swept parameter; the summary must not be a point in them.
    """
    from gansweep.runs.store import new_run_id
    from gansweep.runs.tracker import RunRecord, open_tracker

    csv_path = sweep.dir / CSV_FILE
    csv_path.write_text(as_csv(sweep), encoding="utf-8")
    if tracker.kind == "none":
        return
    folder = sweep.dir / SUMMARY_DIR
    folder.mkdir(exist_ok=True)
    markdown = folder / "jobs.md"
    markdown.write_text(as_markdown(sweep), encoding="utf-8")
    counts = {"sweep.jobs": len(sweep.rows), "sweep.not_finished": len(sweep.unfinished)}
    kept = open_tracker(tracker, folder, resume=is_run_dir(folder))
    record = RunRecord(
        run_id=new_run_id(),
        name=f"sweep {sweep.id}",
        run_dir=folder,
        params={"sweep.overrides": asked(sweep), "sweep.jobs": str(len(sweep.rows))},
        tags={"gansweep.kind": "sweep summary"},
        sweep={"id": sweep.id, "job": "summary"},
        overrides=asked(sweep).split(),
    )
    kept.start(record)
    kept.tags({key: str(value) for key, value in counts.items()})
    for path in (csv_path, markdown):
        kept.file(path)
    kept.finish("KILLED" if stopped else "FAILED" if sweep.unfinished else "FINISHED")
