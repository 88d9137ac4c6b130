"""`gansweep train`: everything about a request is checked here, in the parent, before Hydra starts its first job."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gansweep.errors import GansweepError, UserError
from gansweep.sweep import ledger
from gansweep.sweep.engines import refuse_launcher
from gansweep.sweep.job import LOG_FILE, JobResult, make_task
from gansweep.sweep.place import claim, claim_exactly, discard_unbegun
from gansweep.sweep.seeds import spread
from gansweep.sweep.space import is_search

if TYPE_CHECKING:
    from gansweep.config.compose import Job
    from gansweep.config.settings import Settings
    from gansweep.sweep.seeking import Seeker
    from gansweep.system import System

# Runs `task` under hydra.main with this command line; given by cli, the one place that knows hydra.main.
HydraMain = Callable[[Callable[[Any], Any], list[str]], None]
_INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")


@dataclass
class Request:
    """A command line of train, taken apart. `to_hydra` are flags that only Hydra answers (`--cfg job`, `--info`).

    `resume`: the sweep to go on with, "" for the latest of these overrides, None for a new one. `plan`: tell what would
    be done, as `json` where that is asked for, and do nothing.
    """

    overrides: list[str]
    multirun: bool = False
    config_dir: str | None = None
    to_hydra: list[str] = field(default_factory=list)
    resume: str | None = None
    as_is: bool = False
    plan: bool = False
    json: bool = False


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise UserError(f"train: {message}; gansweep train --help lists what there is")


def read_request(argv: Sequence[str]) -> Request:
    """Take the arguments behind `train` apart; flags may stand anywhere. Raises UserError for an unknown flag."""
    parser = _Parser(add_help=False, allow_abbrev=False, prog="gansweep train")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("-m", "--multirun", action="store_true")
    parser.add_argument("-cd", "--config-dir")
    parser.add_argument("-c", "--cfg", choices=("job", "hydra", "all"))
    parser.add_argument("-p", "--package")
    parser.add_argument("--resolve", action="store_true")
    parser.add_argument("-i", "--info", nargs="?", const="all")
    parser.add_argument("--hydra-help", action="store_true")
    parser.add_argument("--resume", nargs="?", const="")
    for flag in ("--as-is", "--plan", "--json"):
        parser.add_argument(flag, action="store_true")
    args = parser.parse_intermixed_args(list(argv))
    overrides = list(args.overrides)
    if args.info is not None and args.info not in _INFO:
        overrides.append(args.info)
        args.info = "all"
    flags: list[str] = []
    flags += ["--cfg", args.cfg] if args.cfg else []
    flags += ["--package", args.package] if args.package else []
    flags += ["--resolve"] if args.resolve else []
    flags += ["--info", args.info] if args.info else []
    flags += ["--hydra-help"] if args.hydra_help else []
    if args.resume and "=" in args.resume and not Path(args.resume).exists():  # an override that stood behind --resume
        overrides.append(args.resume)
        args.resume = ""
    if args.resume is not None and not args.multirun:
        raise UserError("train --resume is for sweeps: gansweep -m --resume [SWEEP]; one run: gansweep resume RUN")
    if args.as_is and args.resume is None:
        raise UserError("train --as-is: goes with --resume")
    if args.json and not args.plan:
        raise UserError("train --json: goes with --plan")
    if args.plan and (args.resume is not None or flags):
        raise UserError(f"train --plan: tells what a new start would do; leave out {flags[0] if flags else '--resume'}")
    return Request(overrides, args.multirun, args.config_dir, flags, args.resume, args.as_is, args.plan, args.json)


def train(request: Request, hydra_main: HydraMain) -> int:
    """Check a request, then run it; returns the exit status. Raises UserError before anything is on the disk."""
    from gansweep.config.compose import search_override, session, shadowed, user_dirs

    if request.multirun and os.environ.get("WORLD_SIZE", "1") not in ("", "1"):
        raise UserError("train -m: a sweep's runs are single processes; give torchrun one run at a time")
    if request.resume is not None:
        return _resume(request)
    dirs = user_dirs(request.config_dir)
    for file in shadowed(dirs):
        print(f"gansweep: {file} is not used: gansweep ships a file of that name; rename yours", file=sys.stderr)
    jobs: list[Job]
    with session(dirs) as hydra:
        searches = request.multirun and is_search(hydra.plugin("sweeper", hydra.normal(_but_seeds(request.overrides))))
        if searches and _but_seeds(request.overrides) != request.overrides:
            raise UserError(
                "seeds=N: a search takes each point once; its best may have several then: gansweep -m KEY=… seeds=3"
            )
        request.overrides = spread(request.overrides, request.multirun, hydra)
        if searches and not request.to_hydra:
            jobs, normal = [], hydra.normal(request.overrides)
        elif request.to_hydra:
            normal = hydra.normal(request.overrides)
            if not request.multirun:
                hydra.compose(normal)
            jobs = []
        else:
            jobs = hydra.jobs(request.overrides, request.multirun)
            normal = hydra.normal(request.overrides)
        launcher = hydra.plugin("launcher", normal) if request.multirun else {}
    line = [*search_override(dirs), *normal]
    if request.to_hydra:
        hydra_main(make_task("", []), [*request.to_hydra, *(["-m"] if request.multirun else []), *line])
        return 0
    if searches:
        return _search(normal, dirs, request)
    if request.multirun:
        refuse_launcher(launcher, jobs[0].settings.runtime.device != "cpu")
    _check(jobs, request.multirun, line)
    if request.plan:
        return _plan(jobs, launcher, request)
    _prepare(jobs)
    return _sweep(jobs, line, normal, launcher, dirs) if request.multirun else _single(jobs[0], line, hydra_main)


def _but_seeds(overrides: Sequence[str]) -> list[str]:
    return [text for text in overrides if text.partition("=")[0] != "seeds"]


def _check(jobs: Sequence[Job], multirun: bool, line: Sequence[str]) -> None:
    """Build every job's system on the meta device, hold its scales against its terms, and ask for room for them all."""
    from gansweep.config.told import job_prefix
    from gansweep.room import Need, need, refuse_without_room
    from gansweep.train import check

    known: dict[str, Need] = {}
    systems: dict[str, System] = {}
    needs: list[Need] = []
    for job in jobs:
        # Seeds make no difference to what can be built; most sweeps have several.
        same = job.settings.model_copy(update={"seed": 0, "name": None}).model_dump_json()
        try:
            if same not in known:
                model = job.settings.model.model_dump_json()  # alone decides what is built
                systems[model] = check(job.settings, systems.get(model))
                known[same] = need(job.settings, systems[model])
        except GansweepError as error:
            if multirun:
                every = [other.overrides for other in jobs]
                raise type(error)(job_prefix(job.number, job.overrides, every) + str(error)) from None
            raise
        needs.append(known[same])
    key, usual = ("hydra.sweep.dir", "multirun") if multirun else ("hydra.run.dir", "outputs")
    refuse_without_room(Path(_chosen(line, key) or usual), needs, key)


def _prepare(jobs: Sequence[Job]) -> None:
    """Pack the data and make the tracking stores once, here, in this order: bad pictures leave no empty store.

    Several jobs that make one store at the same time would break it; one packing is enough for all.
    """
    from gansweep.data import open_data
    from gansweep.runs.tracker import prepare_store

    done: set[str] = set()
    for job in jobs:
        data = job.settings.data
        if data.model_dump_json() not in done:
            done.add(data.model_dump_json())
            open_data(data, progress=job.settings.runtime.progress)
    for job in jobs:
        tracker = job.settings.tracker
        if tracker.model_dump_json() not in done:
            done.add(tracker.model_dump_json())
            prepare_store(tracker)


def _chosen(line: Sequence[str], key: str) -> str | None:
    """Return the directory that the user gave as a Hydra override, if any."""
    values = [text.partition("=")[2] for text in line if text.partition("=")[0] == key]
    return values[-1].strip("'\"") if values else None


def _single(job: Job, line: list[str], hydra_main: HydraMain) -> int:
    from gansweep.config.naming import slug
    from gansweep.tables import values

    chosen = _chosen(line, "hydra.run.dir")
    given = chosen is not None and os.path.lexists(chosen)
    run_dir = claim_exactly(chosen, "run.json") if chosen else claim("outputs", slug(job.name))
    results: list[JobResult] = []
    task = make_task(job.name, results)
    try:
        hydra_main(task, [*line, *([] if chosen else [f"hydra.run.dir='{run_dir}'"])])
    finally:  # whatever ended it: a picture folder without pictures, a full disk, Ctrl-C while packing
        discard_unbegun(run_dir, "run.json", LOG_FILE, chosen is not None, given)
    result = results[-1]
    if result.status == "FINISHED":
        print(f"{result.status}: {job.name}: {values(result.losses)}")
        print(f"run {(result.run_id or '')[:8]} in {os.path.relpath(run_dir)}")
    return result.code


def _sweep(
    jobs: Sequence[Job], line: list[str], overrides: list[str], launcher: dict[str, Any], dirs: list[Path]
) -> int:
    from gansweep.runs.rundir import SWEEP_FILE
    from gansweep.sweep.conduct import begin

    chosen = _chosen(line, "hydra.sweep.dir")
    directory = claim_exactly(chosen, SWEEP_FILE) if chosen else claim("multirun")
    return begin(directory.absolute(), jobs, overrides, launcher, dirs)


def _plan(jobs: Sequence[Job], launcher: dict[str, Any], request: Request, seeker: Seeker | None = None) -> int:
    from gansweep.sweep.plan import show_plan

    if os.environ.get("WORLD_SIZE", "1") not in ("", "1"):
        raise UserError("train --plan: is told by one process; leave torchrun out")
    return show_plan(jobs, launcher, request.json, seeker)


def _search(overrides: list[str], dirs: list[Path], request: Request) -> int:
    """Search: points are composed while it goes on, from the copy of conf/ that was made at its start."""
    from gansweep.config.compose import session
    from gansweep.runs.rundir import SWEEP_FILE
    from gansweep.sweep.conduct import begin_search
    from gansweep.sweep.freeze import freeze_code, frozen_conf
    from gansweep.sweep.seeking import Seeker

    with session(dirs) as hydra:
        sweeper, launcher = hydra.plugin("sweeper", overrides), hydra.plugin("launcher", overrides)
        seeker = Seeker(hydra, overrides, sweeper)
        first = seeker.first()
    refuse_launcher(launcher, first.settings.runtime.device != "cpu", searching=True)
    _check([first] * seeker.total, True, overrides)
    if request.plan:
        return _plan([first], launcher, request, seeker)
    _prepare([first])
    chosen = _chosen(overrides, "hydra.sweep.dir")
    directory = (claim_exactly(chosen, SWEEP_FILE) if chosen else claim("multirun")).absolute()
    freeze_code(directory, dirs)
    shipped, own = frozen_conf(directory)
    with session(own, shipped) as hydra:
        return begin_search(directory, Seeker(hydra, overrides, sweeper), first, overrides, launcher)


def _resume(request: Request) -> int:
    """Go on with the sweep that --resume names, or the latest one with these overrides."""
    from gansweep.config.compose import session, user_dirs
    from gansweep.sweep.conduct import AS_IS, find, latest_of, resume, resume_search
    from gansweep.sweep.freeze import frozen_conf
    from gansweep.sweep.seeking import Seeker

    with session(user_dirs(request.config_dir)) as hydra:
        normal = hydra.normal(spread(request.overrides, True, hydra))
        directory = find(request.resume or None) if request.resume or not normal else latest_of(normal)
        given = _changed(ledger.load(directory).overrides, normal)
    shipped, own = frozen_conf(directory)
    with session(own, shipped) as hydra:  # as it was: today's conf/ may no longer have what the sweep was started with
        sweeper = hydra.plugin("sweeper", given)
    searches = is_search(sweeper)
    if request.as_is and not searches:
        return resume(directory, None, True)
    first: Settings | None = None
    if not request.as_is:
        with session(user_dirs(request.config_dir)) as hydra:
            try:
                jobs = None if searches else hydra.jobs(given, True)
                first = Seeker(hydra, given, sweeper).first().settings if searches else None
            except UserError as error:
                raise type(error)(f"{error}; {AS_IS}") from None
        if not searches:
            return resume(directory, jobs, False)
    with session(own, shipped) as hydra:
        return resume_search(directory, Seeker(hydra, given, sweeper), first)


def _changed(overrides: Sequence[str], by: Sequence[str]) -> list[str]:
    """Return a sweep's overrides with those that `by` gives anew in their place."""
    anew = {line.lstrip("+~").partition("=")[0] for line in by}
    return [*(line for line in overrides if line.lstrip("+~").partition("=")[0] not in anew), *by]
