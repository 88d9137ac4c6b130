"""A sweep's table and pictures as files: jobs.csv, points.csv over seeds, PNGs, and the Markdown of its summary run."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from gansweep.sweep import rivals
from gansweep.sweep.ledger import Sweep
from gansweep.sweep.outcome import Outcome, in_lines, outcome
from gansweep.sweep.report import BEST, asked
from gansweep.sweep.seeds import Point, points

CSV_FILE, POINTS_FILE = "jobs.csv", "points.csv"


def write(sweep: Sweep) -> tuple[list[Path], str]:
    """Write what is to be kept of a sweep beside its record; returns the files, and the summary as Markdown.

    OSError where the disk refuses the tables. A picture that cannot be drawn is told on stderr and left out.
    """
    found, over_seeds = outcome(sweep), points(sweep)
    files = [sweep.dir / CSV_FILE]
    files[0].write_text(as_csv(sweep, found), encoding="utf-8")
    drawn: list[Path] = []
    if any(point.finished > 1 for point in over_seeds):
        files.append(sweep.dir / POINTS_FILE)
        files[1].write_text(rivals.as_csv(over_seeds), encoding="utf-8")
        drawn += _drawn(lambda: [_seeds_picture(sweep, over_seeds)])
    if found is not None:
        drawn += _drawn(lambda: _search_pictures(sweep, found))
    return files + drawn, as_markdown(sweep, found, over_seeds)


def _drawn(draw: Callable[[], list[Path]]) -> list[Path]:
    try:
        return draw()
    except Exception as error:  # whatever it is: no picture is worth the end of a sweep
        print(f"gansweep: a picture of the sweep could not be drawn: {type(error).__name__}: {error}", file=sys.stderr)
        return []


def _seeds_picture(sweep: Sweep, over_seeds: Sequence[Point]) -> Path:
    from gansweep.sweep.picture_seeds import draw_seeds

    compared = [rivals.rivals(over_seeds, metric) for metric in rivals.shown(over_seeds)]
    return draw_seeds(over_seeds, compared, sweep.dir)


def _search_pictures(sweep: Sweep, found: Outcome) -> list[Path]:
    from gansweep.sweep.pictures import draw_search

    return draw_search(sweep, found, sweep.dir)


def as_csv(sweep: Sweep, found: Outcome | None = None) -> str:
    """Return the table as CSV, one column per loss; of a search also one per objective, and which points are best."""
    losses = list(dict.fromkeys(key for row in sweep.rows for key in row.losses))
    wanted = [one.name for one in found.wanted] if found is not None else []
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    own = [*(f"objective.{name}" for name in wanted), "best"] if wanted else []
    writer.writerow(["job", "name", "overrides", "status", *own, *losses, "run_id", "log", "reason"])
    for row in sweep.rows:
        cells: list[object] = [row.job, row.name, " ".join(row.overrides), row.state]
        if found is not None:
            cells += [found.values.get(row.job, {}).get(name, "") for name in wanted]
            cells.append(BEST if row.job in found.best else "")
        cells += [row.losses.get(key, "") for key in losses]
        writer.writerow([*cells, row.run_id or "", str(row.log), row.reason or ""])
    return out.getvalue()


def as_markdown(sweep: Sweep, found: Outcome | None = None, over_seeds: Sequence[Point] = ()) -> str:
    """Return the summary as Markdown, which MLflow's artifact page shows: what was found, over seeds, all jobs."""
    parts = [f"# Sweep {sweep.id}", f"`{asked(sweep)}`"]
    if found is not None:
        parts += ["## What was found", _best(sweep, found), *in_lines(found, sweep)[max(len(found.best), 1) :]]
    if over_seeds:
        parts += ["## Over seeds", *_over_seeds(over_seeds)]
    parts += ["## Jobs"] if len(parts) > 2 else []
    return "\n\n".join(part for part in [*parts, _jobs(sweep, found)] if part) + "\n"


def _best(sweep: Sweep, found: Outcome) -> str:
    if not found.best:
        return "no point gave a value"
    rows = {row.job: row for row in sweep.rows}
    names = [one.name for one in found.wanted]
    values = {job: [f"{found.values[job][name]:.4g}" for name in names] for job in found.best}
    lines = [[str(job), *values[job], " ".join(rows[job].overrides)] for job in found.best]
    return _markdown(["best: job" if len(names) == 1 else "beaten by none: job", *names, "overrides"], lines)


def _over_seeds(over_seeds: Sequence[Point]) -> list[str]:
    shown = rivals.shown(over_seeds)
    compared = {name: rivals.rivals(over_seeds, name) for name in shown}
    lines = [
        [rivals.label(place), point.own, f"{point.finished} of {len(point.jobs)}"]
        + [rivals.cell(point, name, compared[name], place) for name in shown]
        for place, point in enumerate(over_seeds)
    ]
    table = _markdown(["point", "overrides", "seeds", *shown], lines)
    return [table, f"mean ± half of its 95 % interval. {rivals.rule(list(compared.values()))}".strip()]


def _jobs(sweep: Sweep, found: Outcome | None) -> str:
    wanted = [one.name for one in found.wanted] if found is not None else []
    lines = []
    for row in sweep.rows:
        losses = ", ".join(f"{key} {value:.4g}" for key, value in row.losses.items()) or (row.reason or "–")
        values = found.values.get(row.job, {}) if found is not None else {}
        told = [f"{values[name]:.4g}" if name in values else "–" for name in wanted]
        lines.append([str(row.job), row.name, row.state, *told, losses, row.run_id or "", str(row.log)])
    return _markdown(["job", "name", "status", *wanted, "last losses", "run", "log"], lines)


def _markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
