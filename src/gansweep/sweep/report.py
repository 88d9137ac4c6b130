"""The end of a sweep: a table of all its jobs for people, and the same table as a run of its own in the tracker."""

from __future__ import annotations

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
from gansweep.sweep.ledger import FINISHED, KILLED, PRUNED, RUNNING, WAITING, Row, Sweep
from gansweep.sweep.outcome import Outcome, in_lines, outcome
from gansweep.sweep.rivals import LOOKED_AT_MOST

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from gansweep.config.settings import TrackerSettings

# Hidden, so that nobody who looks for the runs of the sweep takes the summary for one of them.
SUMMARY_DIR = ".summary"
BEST = "best"
# Rows of a table that is folded to the terminal's width.
_FOLDED_MOST = 300


def asked(sweep: Sweep) -> str:
    """Return what was asked for, without the password of a database that is among it."""
    return re.sub(r"://[^/@\s]+@", "://…@", " ".join(sweep.overrides))


def table(sweep: Sweep, found: Outcome | None = None) -> Table:
    """Return the table: number, overrides, status, values of what a search looks for, last losses, run id, log."""
    from rich.table import Table
    from rich.text import Text

    from gansweep.tables import status

    drawn = Table(title=_title(sweep), title_justify="left", box=None, pad_edge=False)
    head, rows = _cells(sweep, found)
    for name in head:
        drawn.add_column(Text(name), overflow="fold", no_wrap=name in ("job", "status", "run"), header_style="bold")
    for number, own, state, *others in rows:
        values, last = others[: len(head) - 6], others[len(head) - 6 :]
        drawn.add_row(number, Text(own), status(state), *map(_styled, values), *map(Text, last))
    return drawn


def _title(sweep: Sweep) -> Text:
    from rich.text import Text

    return Text(f"sweep {sweep.id}: {asked(sweep)}")


def _cells(sweep: Sweep, found: Outcome | None) -> tuple[list[str], list[list[str]]]:
    """Return the table's head and rows as texts."""
    from gansweep.tables import values

    names = [one.name for one in found.wanted] if found is not None else []
    shared = set.intersection(*(set(row.overrides) for row in sweep.rows)) if len(sweep.rows) > 1 else set()
    logs = os.path.relpath(sweep.dir / "logs")
    rows = []
    for row in sweep.rows:
        own = " ".join(line for line in row.overrides if line not in shared)
        last = _progress(row) + values(row.losses) or "–"
        log = f"{logs}/{row.log.name}" if row.log.is_file() else "–"
        if (row.dir / "run.log").is_file():  # a run that began has a log of its own, with whatever went wrong in it
            log = f"{os.path.relpath(row.dir)}/run.log"
        wanted = [_value(found, row, name) for name in names]
        rows.append([str(row.job), own, row.state, *wanted, last, (row.run_id or "")[:8], log])
    return ["job", "overrides", "status", *names, "last losses", "run", "log"], rows


def _print_jobs(sweep: Sweep, found: Outcome | None) -> None:
    """Print the table; one of very many rows in plain columns, as folding and colouring them takes a second."""
    from gansweep.tables import print_table

    if len(sweep.rows) <= _FOLDED_MOST:
        print_table(table(sweep, found))
        return
    head, rows = _cells(sweep, found)
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    print(_title(sweep))
    for cells in [head, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())


def _value(found: Outcome | None, row: Row, name: str) -> str:
    """Return one objective's value of a job: the best marked, in brackets where it is not what counts."""
    value = found.values.get(row.job, {}).get(name) if found is not None else None
    if found is None or value is None:
        return "–"
    if found.counted(row) is None:
        return f"({value:.4g})"
    return f"{value:.4g} {BEST}" if row.job in found.best else f"{value:.4g}"


def _styled(value: str) -> Text:
    from rich.text import Text

    return Text(value, style="dim" if value.startswith("(") else "bold" if value.endswith(BEST) else "")


def _progress(row: Row) -> str:
    """Return how far a job that runs has come, and fill in what it last logged."""
    if row.state != RUNNING or not is_run_dir(row.dir):
        return ""
    record = read(row.dir)
    row.run_id, row.losses = str(record["run_id"]), losses_of(row.dir)
    return f"step {last_step(row.dir) or 0}/{record.get('steps')} "


def print_report(sweep: Sweep) -> None:
    """Print the table, and for each job that did not finish one line that says why."""
    _print_jobs(sweep, outcome(sweep))
    for row in sweep.rows:
        if row.state != FINISHED:
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
    print_seeds(sweep)


def print_seeds(sweep: Sweep, compare_most: int | None = None) -> None:
    """Print, for a sweep whose points were repeated with other seeds, a table: means, intervals, ties.

    `compare_most`: of more points only means and intervals are told.
    """
    from rich.table import Table
    from rich.text import Text

    from gansweep.sweep import rivals
    from gansweep.sweep.seeds import points
    from gansweep.tables import print_table

    found = points(sweep)
    if not any(point.finished for point in found):
        return
    chosen = rivals.shown(found)
    many = compare_most is not None and len(found) > compare_most
    compared = {} if many else {name: rivals.rivals(found, name) for name in chosen}
    drawn = Table(title="over seeds: mean ± half of its 95 % interval", title_justify="left", box=None, pad_edge=False)
    for name in ("point", "overrides", "seeds", *chosen):
        drawn.add_column(Text(name), overflow="fold", no_wrap=name in ("point", "seeds"), header_style="bold")
    for place, point in enumerate(found):
        cells = [rivals.cell(point, name, compared.get(name), place) for name in chosen]
        seeds = f"{point.finished} of {len(point.jobs)}"
        drawn.add_row(rivals.label(place), Text(point.own), seeds, *(Text(cell) for cell in cells))
    print_table(drawn)
    told = "ties are told at the sweep's end, and in points.csv" if many else rivals.rule(list(compared.values()))
    if told:
        print(told)


def facts(directory: Path) -> dict[str, Any]:
    """Return the state of the sweep in `directory` as JSON types: of all, of each job, and of each point over seeds."""
    from gansweep.sweep import rivals
    from gansweep.sweep.seeds import points

    sweep = ledger.load(directory)
    found = outcome(sweep)
    rows: list[dict[str, Any]] = [
        {"job": row.job, "name": row.name, "overrides": row.overrides, "state": _now(row), "attempt": row.attempt}
        | {"run_id": row.run_id, "reason": row.reason, "fault": row.fault, "losses": row.losses, "dir": str(row.dir)}
        | ({"objective": found.values.get(row.job, {})} if found is not None else {})
        for row in sweep.rows
    ]
    led = bool(sweep.owner and alive(sweep.owner))
    told = {"id": sweep.id, "dir": str(directory), "overrides": sweep.overrides, "led": led, "jobs": rows}
    if found is not None:
        wanted = [{"name": one.name, "maximize": one.maximize} for one in found.wanted]
        told["search"] = {"objectives": wanted, "best": list(found.best), "importance": found.weights.by_objective}
    over_seeds = points(sweep)
    return told | ({"points": rivals.as_plain(over_seeds)} if over_seeds else {})


def _now(row: Row) -> str:
    """Return a job's state; one whose process is gone without a word was killed, whatever the record says yet."""
    return KILLED if row.state == RUNNING and not ledger.runs(row) else row.state


def print_status(directory: Path) -> None:
    """Print how the sweep in `directory` stands, without changing anything in it."""
    sweep = ledger.load(directory)
    led = bool(sweep.owner and alive(sweep.owner))
    for row in sweep.rows:
        row.state = _now(row)
    found = outcome(sweep)
    _print_jobs(sweep, found)
    counts = Counter(row.state for row in sweep.rows)
    told = ", ".join(f"{count} {state.lower()}" for state, count in counts.most_common())
    print(f"{told}; {'led by process ' + str((sweep.owner or {})['pid']) if led else 'nobody leads it now'}")
    if not led and any(row.state in (KILLED, WAITING) for row in sweep.rows):
        print(f"go on with what is missing: gansweep -m --resume {os.path.relpath(directory)}")
    for row in sweep.rows:
        if row.reason and row.state != FINISHED:
            print(f"job {row.job} {row.state}: {row.reason}")
    for line in in_lines(found, sweep) if found is not None else ():
        print(line)
    print_seeds(sweep, LOOKED_AT_MOST)
    if sweep.damaged:
        print(f"{sweep.damaged} lines of its record cannot be read and were left out")


def keep(sweep: Sweep, tracker: TrackerSettings, stopped: bool = False) -> None:
    """Write tables and pictures beside the runs, and record them in the tracker as one run without any `scales`.

    A sweep that is gone on with has one summary all the same.

    The tracker's charts draw every run that has the swept parameter; the summary must not be a point in them.
    """
    from gansweep.runs.store import new_run_id
    from gansweep.runs.tracker import RunRecord, open_tracker
    from gansweep.sweep.written import write

    files, told = write(sweep)
    if tracker.kind == "none":
        return
    folder = sweep.dir / SUMMARY_DIR
    folder.mkdir(exist_ok=True)
    markdown = folder / "jobs.md"
    markdown.write_text(told, encoding="utf-8")
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
    for path in (*files, markdown):
        kept.file(path)
    kept.finish("KILLED" if stopped else "FAILED" if sweep.unfinished else "FINISHED")
