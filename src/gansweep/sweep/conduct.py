"""A sweep from its start to its table: begun, gone on with, looked at, stopped, tried again."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gansweep.errors import UserError, refused_by_system
from gansweep.sweep import ledger
from gansweep.sweep.ledger import FAILED, KILLED, RUNNING, WAITING, Row, Sweep

if TYPE_CHECKING:
    from gansweep.config.compose import Job
    from gansweep.config.settings import Settings
    from gansweep.sweep.seeking import Seeker


def begin(
    directory: Path,
    jobs: Sequence[Job],
    overrides: Sequence[str],
    launcher: Mapping[str, Any],
    seeker: Seeker | None = None,
) -> int:
    """Freeze a sweep's settings and code in `directory`, run it to its end and print its table; the exit status.

    With a `seeker`, `jobs` is its first point alone, and it finds the points.
    """
    from gansweep.sweep.freeze import freeze_code, freeze_points

    freeze_points(directory, jobs)
    freeze_code(directory)
    ledger.begin(directory, ledger.new_id(), overrides, [] if seeker else jobs, launcher)
    sweep = ledger.load(directory)
    count = f"a search of {seeker.sweeper['n_trials']} points" if seeker else f"{len(jobs)} runs"
    print(f"sweep {sweep.id}: {count} in {os.path.relpath(directory)}", file=sys.stderr)
    return lead(directory, jobs[0].settings, seeker=seeker)


def lead(
    directory: Path,
    first: Settings,
    again: Callable[[Row], bool] = lambda row: False,
    seeker: Seeker | None = None,
) -> int:
    """Run what waits in a sweep's directory, and the ended jobs that `again` chooses; the exit status.

    `first` are the settings of one of its points. Prints the table of all jobs. UserError when another process leads
    the sweep already.
    """
    from gansweep.sweep.board import Board
    from gansweep.sweep.pool import Pool
    from gansweep.sweep.slots import slots

    sweep = ledger.load(directory)
    places = slots(sweep.settings, first.runtime.device != "cpu")
    stopped = False
    with ledger.led(directory):
        for row in ledger.load(directory).rows:
            if row.state in (FAILED, KILLED) and again(row):
                ledger.state(directory, row.job, WAITING)
        if seeker is not None:
            seeker.open(directory, ledger.load(directory), first)
        try:
            with Board(ledger.load(directory)) as board:
                stopped = Pool(directory, places, sweep.settings, board.show, seeker).run()
        except OSError as error:  # a full disk, which takes no further job: what was done is told all the same
            print(f"gansweep: no further job can be started: {refused_by_system(error)}", file=sys.stderr)
        return _told(ledger.load(directory), first.tracker, stopped, seeker)


def _told(sweep: Sweep, tracker: Any, stopped: bool, seeker: Seeker | None) -> int:
    from gansweep.sweep import report

    report.print_report(sweep)
    if seeker is not None and seeker.search is not None:
        from gansweep.sweep.seeking import found

        print("\n".join(found(seeker.search, sweep)))
    here = os.path.relpath(sweep.dir)
    if any(row.state != FAILED for row in sweep.failed):
        print(f"go on with what is missing: gansweep -m --resume {here}")
    if any(row.state == FAILED for row in sweep.failed):
        print(f"try once more what failed: gansweep sweep retry {here}")
    try:
        report.keep(sweep, tracker, stopped)
    except OSError as error:
        told = refused_by_system(error)
        print(f"gansweep: the table could not be kept in {sweep.dir}: {told}", file=sys.stderr)
        return 130 if stopped else 1
    return 130 if stopped else 1 if sweep.failed else 0


def resume(directory: Path, jobs: Sequence[Job] | None, as_is: bool, seeker: Seeker | None = None) -> int:
    """Go on with a sweep: what was not begun, what was stopped or killed; what failed stays as it is.

    `jobs`: the points as they would be composed today, held against those of its start; None: not looked at. UserError
    when these or the code differ from then, unless `as_is`: then what was frozen runs.
    """
    from gansweep.sweep.freeze import frozen_point

    if not as_is:
        _refuse_other(directory, None if seeker else jobs)
    first = jobs[0].settings if seeker and jobs else frozen_point(directory, ledger.load(directory).rows[0].job)
    return lead(directory, first, lambda row: row.state == KILLED, seeker)


def retry(directory: Path, numbers: Sequence[int]) -> int:
    """Run the jobs that failed once more (all, or those of `numbers`), each going on from its last checkpoint."""
    from gansweep.sweep.freeze import frozen_point

    sweep = ledger.load(directory)
    known = {row.job: row for row in sweep.rows}
    for number in numbers:
        if number not in known:
            raise UserError(f"{directory}: has no job {number}; jobs are 0 to {max(known)}")
        if known[number].state not in (FAILED, KILLED):
            raise UserError(
                f"{directory}: job {number} is {known[number].state}; only FAILED and KILLED ones are tried again"
            )
    chosen = [row for row in sweep.rows if row.state in (FAILED, KILLED) and (not numbers or row.job in numbers)]
    if not chosen:
        raise UserError(f"{directory}: no job of this sweep failed")
    wanted = {row.job for row in chosen}
    return lead(directory, frozen_point(directory, chosen[0].job), lambda row: row.job in wanted)


def _refuse_other(directory: Path, jobs: Sequence[Job] | None) -> None:
    """Raise UserError naming what differs between a sweep's frozen settings and code and today's."""
    from gansweep.runs.record import flatten
    from gansweep.sweep.freeze import changed_since, frozen_point

    how = "--as-is runs what was submitted"
    sweep = ledger.load(directory)
    if jobs is not None:
        if len(jobs) != len(sweep.rows):
            raise UserError(f"{directory}: has {len(sweep.rows)} points, these overrides give {len(jobs)}; {how}")
        for job, row in zip(jobs, sweep.rows, strict=True):
            then = flatten(frozen_point(directory, row.job).model_dump(mode="json"))
            now = flatten(job.settings.model_dump(mode="json"))
            keys = sorted(key for key in {*then, *now} if then.get(key) != now.get(key))
            if keys:
                first = f"{keys[0]}: {then.get(keys[0], 'not there')} then, {now.get(keys[0], 'not there')} now"
                more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
                raise UserError(f"{directory}: job {row.job} would be another run today ({first}{more}); {how}")
    files = changed_since(directory)
    if files:
        names = ", ".join(files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")
        raise UserError(f"{directory}: the code has changed since this sweep began ({names}); {how}")


def stop(directory: Path) -> str:
    """Ask the process that leads a sweep to end it, its jobs keeping their state; returns what was done, in words."""
    import signal

    from gansweep.runs.liveness import alive

    sweep = ledger.load(directory)
    if sweep.owner and alive(sweep.owner):
        os.kill(int(sweep.owner["pid"]), signal.SIGTERM)
        return f"asked process {sweep.owner['pid']} to stop sweep {sweep.id}; its jobs keep their state"
    running = [row for row in sweep.rows if row.state == RUNNING and row.owner and alive(row.owner)]
    for row in running:
        os.kill(int((row.owner or {})["pid"]), signal.SIGTERM)
    if running:
        return f"nobody leads sweep {sweep.id}; asked {len(running)} jobs of it to stop"
    elsewhere = (sweep.owner or {}).get("host")
    raise UserError(f"{directory}: nothing of this sweep runs here (led last from {elsewhere or 'nowhere'})")


def find(target: str | None, cwd: Path | None = None) -> Path:
    """Return the directory of the sweep that `target` names: a directory, an id or the start of one; None: the latest.

    UserError, with the nearest, for one that is not there.
    """
    from gansweep.errors import nearest
    from gansweep.runs.rundir import SWEEP_FILE

    base = cwd or Path.cwd()
    if target and (base / target / SWEEP_FILE).is_file():
        return (base / target).absolute()
    found: dict[str, Path] = {}
    for path in sorted((base / "multirun").glob(f"*/*/{SWEEP_FILE}")):
        with_id = _id_of(path)
        if with_id:
            found[with_id] = path.parent.absolute()
    if target is None:
        if not found:
            raise UserError("no sweep in multirun/; name its directory")
        return found[max(found)]
    matches = [path for name, path in found.items() if name.startswith(target)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise UserError(f"{target}: {len(matches)} sweeps begin so; give more of the id")
    raise UserError(f"{target}: no such sweep{nearest(target, found)}")


def latest_of(overrides: Sequence[str], cwd: Path | None = None) -> Path:
    """Return the latest sweep here that was started with these overrides; UserError when there is none."""
    from gansweep.runs.rundir import SWEEP_FILE

    matching: dict[str, Path] = {}
    for path in sorted(((cwd or Path.cwd()) / "multirun").glob(f"*/*/{SWEEP_FILE}")):
        try:
            sweep = ledger.load(path.parent)
        except UserError:
            continue
        if sorted(sweep.overrides) == sorted(overrides):
            matching[sweep.id] = path.parent.absolute()
    if not matching:
        raise UserError(f"--resume: no sweep in multirun/ was started with {' '.join(overrides)}; name its directory")
    return matching[max(matching)]


def _id_of(path: Path) -> str | None:
    import json

    try:
        with path.open(encoding="utf-8") as file:
            return str(json.loads(file.readline())["id"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
