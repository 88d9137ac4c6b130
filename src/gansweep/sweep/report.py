"""The end of a sweep: a table of all its jobs for people, and the same table as a run of its own in the tracker."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

from gansweep.sweep.record import NOT_RUN, Row, Sweep

if TYPE_CHECKING:
    from rich.table import Table

    from gansweep.config.settings import TrackerSettings

# Hidden, so that nobody who looks for the runs of the sweep takes the summary for one of them.
SUMMARY_DIR = ".summary"
CSV_FILE = "jobs.csv"


def table(sweep: Sweep) -> Table:
    """Return the table: number, overrides, status, last losses, run id, log."""
    from rich.table import Table
    from rich.text import Text

    from gansweep.tables import status, values

    constant = set.intersection(*(set(row.overrides) for row in sweep.rows)) if len(sweep.rows) > 1 else set()
    found = Table(
        title=f"sweep {sweep.id}: {' '.join(sweep.overrides)}", title_justify="left", box=None, pad_edge=False
    )
    for name in ("job", "overrides", "status", "last losses", "run", "log"):
        found.add_column(name, overflow="fold", no_wrap=name in ("job", "status", "run"), header_style="bold")
    for row in sweep.rows:
        own = " ".join(line for line in row.overrides if line not in constant)
        found.add_row(
            str(row.job),
            Text(own),
            status(row.status),
            Text(values(row.losses) or "–"),
            (row.run_id or "")[:8],
            Text(_log(row)),
        )
    return found


def _log(row: Row) -> str:
    return os.path.relpath(row.log) if Path(row.log).is_file() else "–"


def print_report(sweep: Sweep) -> None:
    """Print the table, and for each job that did not finish one line that says why."""
    from gansweep.tables import console

    console().print(table(sweep))
    for row in sweep.failed:
        why = row.reason or ("was not started" if row.status == NOT_RUN else "gave no reason")
        print(f"job {row.job} {row.status}: {why}")
    done = len(sweep.rows) - len(sweep.failed)
    print(f"{done} of {len(sweep.rows)} finished; runs in {os.path.relpath(sweep.dir)}")


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
                row.status,
                *cells,
                row.run_id or "",
                row.log,
                row.reason or "",
            ]
        )
    return out.getvalue()


def as_markdown(sweep: Sweep) -> str:
    """Return the table as Markdown, which MLflow's artifact page shows as a table."""
    rows = ["| job | name | status | last losses | run | log |", "|---|---|---|---|---|---|"]
    for row in sweep.rows:
        losses = ", ".join(f"{key} {value:.4g}" for key, value in row.losses.items()) or (row.reason or "–")
        cells = [str(row.job), row.name, row.status, losses, row.run_id or "", row.log]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return f"# Sweep {sweep.id}\n\n`{' '.join(sweep.overrides)}`\n\n" + "\n".join(rows) + "\n"


def keep(sweep: Sweep, tracker: TrackerSettings, stopped: bool = False) -> None:
    """Write jobs.csv beside the runs, and record the table in the tracker as one run without parameters of `scales`.

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
    counts = {"sweep.jobs": len(sweep.rows), "sweep.not_finished": len(sweep.failed)}
    record = RunRecord(
        run_id=new_run_id(),
        name=f"sweep {sweep.id}",
        run_dir=folder,
        params={"sweep.overrides": " ".join(sweep.overrides)} | {key: str(value) for key, value in counts.items()},
        tags={"gansweep.kind": "sweep summary"},
        sweep={"id": sweep.id, "job": "summary"},
        overrides=sweep.overrides,
        files=[csv_path, markdown],
    )
    kept = open_tracker(tracker, folder)
    kept.start(record)
    kept.finish("KILLED" if stopped else "FAILED" if sweep.failed else "FINISHED")
