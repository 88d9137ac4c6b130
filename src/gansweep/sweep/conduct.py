"""A sweep from its start to its table: begun, gone on with, looked at, stopped, tried again."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gansweep.errors import UserError, refused_by_system
from gansweep.sweep import ledger
from gansweep.sweep.ledger import FAILED, KILLED, OPEN, RUNNING, WAITING, Row, Sweep

AS_IS = "--as-is runs what was submitted"

if TYPE_CHECKING:
    from gansweep.config.compose import Job
    from gansweep.config.settings import Settings, TrackerSettings
    from gansweep.sweep.seeking import Seeker


def begin(
    directory: Path, jobs: Sequence[Job], overrides: Sequence[str], launcher: Mapping[str, Any], dirs: Sequence[Path]
) -> int:
    """Freeze a sweep's settings and code in `directory`, run it to its end and print its table; the exit status.

    `dirs` are the user's conf/ folders.
    """
    from gansweep.sweep.freeze import freeze_code, freeze_points

    freeze_points(directory, {job.number: job.settings for job in jobs})
    freeze_code(directory, dirs)
    ledger.begin(directory, ledger.new_id(), overrides, jobs, launcher)
    _announce(directory, f"{len(jobs)} runs")
    return lead(directory, jobs[0].settings)


def begin_search(
    directory: Path, seeker: Seeker, first: Job, overrides: Sequence[str], launcher: Mapping[str, Any]
) -> int:
    """As begin, for a search: `first` is what it begins with, and `seeker` finds the points."""
    from gansweep.sweep.freeze import FIRST, freeze_points

    freeze_points(directory, {FIRST: first.settings})
    ledger.begin(directory, ledger.new_id(), overrides, [], launcher)
    _announce(directory, f"a search of {seeker.total} points")
    return lead(directory, first.settings, seeker=seeker)


def _announce(directory: Path, what: str) -> None:
    print(f"sweep {ledger.load(directory).id}: {what} in {os.path.relpath(directory)}", file=sys.stderr)


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
    from gansweep.runs.tracker import prepare_store
    from gansweep.sweep.board import Board
    from gansweep.sweep.engines import MACHINE, kind_of, open_engine, refuse_launcher
    from gansweep.sweep.freeze import refuse_incomplete
    from gansweep.sweep.pool import Pool

    refuse_incomplete(directory)
    sweep = ledger.load(directory)
    on_cuda = first.runtime.device != "cpu"
    refuse_launcher(sweep.settings, on_cuda, seeker is not None)
    stopped = False
    with ledger.led(directory):
        # What is relative in settings (a tracker's file, a user's own modules) is so to where the sweep was started.
        with contextlib.chdir(sweep.cwd) if sweep.cwd.is_dir() else contextlib.nullcontext():
            if kind_of(sweep.settings) != MACHINE:
                _warn_of_a_store_for_one_machine(first.tracker)
            prepare_store(first.tracker)
            for row in ledger.load(directory).rows:
                if row.state in (FAILED, KILLED) and again(row):
                    ledger.state(directory, row.job, WAITING)
            if seeker is not None:
                seeker.open(directory, ledger.load(directory), first)
            try:
                with Board(ledger.load(directory)) as board:
                    engine = open_engine(directory, sweep.settings, on_cuda)
                    stopped = Pool(directory, engine, sweep.settings, board.show, seeker).run()
            except OSError as error:  # a full disk, which takes no further job: what was done is told all the same
                print(f"gansweep: no further job can be started: {refused_by_system(error)}", file=sys.stderr)
        sweep = ledger.load(directory)
        if not stopped and any(row.state in OPEN for row in sweep.rows) and not sweep.settings.get("wait", True):
            print(f"{len(sweep.rows)} jobs are the cluster's now; what became of them, and what is missing:")
            print(
                f"gansweep sweep status {os.path.relpath(directory)}; gansweep -m --resume {os.path.relpath(directory)}"
            )
            return 0
        return _told(sweep, first.tracker, stopped, seeker)


def _warn_of_a_store_for_one_machine(tracker: TrackerSettings) -> None:
    from gansweep.runs.location import resolve_uri, sqlite_path

    database = None if tracker.kind == "none" else sqlite_path(resolve_uri(tracker))
    if database is not None:
        print(
            f"gansweep: {database} is a store for one machine; with jobs on several hosts, start "
            "mlflow server on one and say tracker.uri=http://HOST:PORT",
            file=sys.stderr,
        )


def _told(sweep: Sweep, tracker: Any, stopped: bool, seeker: Seeker | None) -> int:
    from gansweep.sweep import report
    from gansweep.sweep.sync import send_rest

    report.print_report(sweep)
    if seeker is not None and seeker.search is not None:
        from gansweep.sweep.seeking import found

        print("\n".join(found(seeker.search, sweep)))
    here = os.path.relpath(sweep.dir)
    if any(row.state != FAILED for row in sweep.unfinished):
        print(f"go on with what is missing: gansweep -m --resume {here}")
    if any(row.state == FAILED for row in sweep.unfinished):
        print(f"try once more what failed: gansweep sweep retry {here}")
    try:
        report.keep(sweep, tracker, stopped)
        send_rest(sweep.dir)
    except OSError as error:
        told = refused_by_system(error)
        print(f"gansweep: the table could not be kept in {sweep.dir}: {told}", file=sys.stderr)
        return 130 if stopped else 1
    return 130 if stopped else 1 if sweep.unfinished else 0


def resume(directory: Path, jobs: Sequence[Job] | None, as_is: bool) -> int:
    """Go on with a sweep: what was not begun, what was stopped or killed; what failed stays as it is.

    `jobs`: the points as they would be composed today, held against those of its start. UserError when these or the
    code differ from then, unless `as_is`: then what was frozen runs.
    """
    from gansweep.sweep.freeze import frozen_point

    rows = ledger.load(directory).rows
    if not rows:
        raise UserError(f"{directory}: has no points; it was stopped before its record was whole: start it anew")
    if not as_is:
        now = [(row.job, job.settings) for row, job in zip(rows, jobs or [], strict=False)]
        if len(jobs or []) != len(rows):
            given = len(jobs or [])
            raise UserError(f"{directory}: has {len(rows)} points, these overrides give {given}; {AS_IS}")
        _refuse_other(directory, now)
    return lead(directory, frozen_point(directory, rows[0].job), lambda row: row.state == KILLED)


def resume_search(directory: Path, seeker: Seeker, first: Settings | None) -> int:
    """As resume, for a search; `first` are the settings that it would begin with today, None to go on as it was."""
    from gansweep.sweep.freeze import FIRST, frozen_point

    if first is not None:
        _refuse_other(directory, [(FIRST, first)])
    return lead(directory, frozen_point(directory, FIRST), lambda row: row.state == KILLED, seeker)


def to_retry(directory: Path, numbers: Sequence[int]) -> set[int]:
    """Return the jobs that failed or were killed (of `numbers`, where there are any); UserError where none did."""
    sweep = ledger.load(directory)
    known = {row.job: row for row in sweep.rows}
    for number in numbers:
        if number not in known:
            raise UserError(f"{directory}: has no job {number}; jobs are 0 to {max(known, default=0)}")
        if known[number].state not in (FAILED, KILLED):
            raise UserError(
                f"{directory}: job {number} is {known[number].state}; only FAILED and KILLED ones are tried again"
            )
    chosen = [row for row in sweep.rows if row.state in (FAILED, KILLED) and (not numbers or row.job in numbers)]
    if not chosen:
        raise UserError(f"{directory}: no job of this sweep failed")
    return {row.job for row in chosen}


def _refuse_other(directory: Path, points: Sequence[tuple[int | str, Settings]]) -> None:
    """Raise UserError naming what differs between a sweep's frozen settings and code and today's."""
    from gansweep.runs.record import flatten
    from gansweep.sweep.freeze import changed_since, frozen_point

    for job, settings in points:
        then = flatten(frozen_point(directory, job).model_dump(mode="json"))
        now = flatten(settings.model_dump(mode="json"))
        keys = sorted(key for key in {*then, *now} if then.get(key) != now.get(key) and key != "name")
        if keys:
            first = f"{keys[0]}: {then.get(keys[0], 'not there')} then, {now.get(keys[0], 'not there')} now"
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise UserError(f"{directory}: job {job} would be another run today ({first}{more}); {AS_IS}")
    files = changed_since(directory)
    if files:
        names = ", ".join(files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")
        raise UserError(f"{directory}: the code has changed since this sweep began ({names}); {AS_IS}")


def stop(directory: Path) -> str:
    """Ask the process that leads a sweep to end it, its jobs keeping their state; returns what was done, in words."""
    import signal

    from gansweep.runs.liveness import alive
    from gansweep.sweep.slurm_queue import cancel, in_queue

    sweep = ledger.load(directory)
    if sweep.owner and alive(sweep.owner):
        os.kill(int(sweep.owner["pid"]), signal.SIGTERM)
        return f"asked process {sweep.owner['pid']} to stop sweep {sweep.id}; its jobs keep their state"
    running = [r for r in sweep.rows if r.ticket is None and r.state == RUNNING and r.owner and alive(r.owner)]
    for row in running:
        os.kill(int((row.owner or {})["pid"]), signal.SIGTERM)
    if running:
        return f"nobody leads sweep {sweep.id}; asked {len(running)} jobs of it to stop"
    queued = [row for row in sweep.rows if row.ticket is not None and row.state in OPEN and in_queue(row)]
    for row in queued:
        cancel([row.ticket or ""], gently=row.state == RUNNING)
    if queued:
        return f"nobody leads sweep {sweep.id}; asked Slurm to stop {len(queued)} jobs of it"
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
