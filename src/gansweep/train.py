"""Assembles a run from its settings and sees it through: train, resume.

The only place, with evaluate, where what is learnt (engine, systems) and what is kept (runs) meet.
"""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from gansweep import describe
from gansweep.arithmetic import set_arithmetic
from gansweep.assemble import check, pick_device, warm_start
from gansweep.build import build_system
from gansweep.config.explain import validate
from gansweep.config.logs import LogFile
from gansweep.config.settings import Settings
from gansweep.data import Dataset, open_data
from gansweep.engine.distributed import World, world
from gansweep.engine.step import EagerEngine
from gansweep.errors import GansweepError, RunFailed, UserError, refused_by_system, was_disk_full
from gansweep.learner import Learner, build_learner, open_drive, refuse_unreached
from gansweep.live import LiveScorer
from gansweep.look import start_record
from gansweep.loop import Interrupted, Loop, Parts
from gansweep.observe import Observer
from gansweep.preflight import refuse_too_large_a_step
from gansweep.room import need, refuse_without_room
from gansweep.runs import checkpoint, needs, reserve, rundir, store
from gansweep.runs.liveness import settle_before_resume
from gansweep.runs.record import RunRecord
from gansweep.runs.rundir import Run
from gansweep.runs.tracker import Tracker, open_tracker
from gansweep.together import announce
from gansweep.trust import refuse_foreign_code

__all__ = ["Outcome", "build_system", "check", "resume", "train"]

LOG_FILE = "run.log"
log = logging.getLogger("gansweep")


@dataclass
class Outcome:
    """How a run ended: status FINISHED, FAILED or KILLED, its last losses, and where it is."""

    status: str
    run_id: str
    run_dir: Path
    step: int
    last_losses: dict[str, float] = field(default_factory=dict)
    best: float | None = None
    message: str = ""


def train(settings: Settings, run_dir: Path, overrides: list[str], sweep: Mapping[str, Any] | None = None) -> Outcome:
    """Train one run in `run_dir`, from step 0; `sweep` is {"id", "job"} when it is part of one.

    Raises UserError before anything is created, RunFailed when the run began and failed (its log has the traceback).
    """
    return _begin(settings, run_dir.absolute(), overrides, sweep)


def _begin(
    settings: Settings, run_dir: Path, overrides: list[str], sweep: Mapping[str, Any] | None, again: str | None = None
) -> Outcome:
    """Train from step 0; `again` is the id of the run that is there already and came to nothing."""
    check(settings)
    set_arithmetic(settings.runtime)
    place = world()
    device = place.device(pick_device(settings.runtime.device))
    dataset = open_data(settings.data, progress=settings.runtime.progress)
    announce(place, settings, run_dir)
    learner = build_learner(settings, dataset, device, place)
    engine = learner.engine
    parent = warm_start(settings, engine)
    needs.tell(refuse_too_large_a_step(settings, learner, device))
    refuse_unreached(settings, learner)
    keeper = checkpoint.Keeper(run_dir / "checkpoints", settings.checkpoint)
    observer = Observer(settings, dataset, engine, device)
    scorer = _scorer(settings, dataset, engine, device)
    refuse_without_room(
        run_dir, [need(settings, engine.system)], "hydra.run.dir" if sweep is None else "hydra.sweep.dir"
    )
    notes = [
        *describe.data_notes(settings, dataset),
        *describe.previews(settings, engine),
        *observer.notes,
        *describe.range_notes(engine, learner.batches.batch(0)),
    ]
    tracker = open_tracker(settings.tracker, run_dir, resume=again is not None and bool(start_record(run_dir)))
    run_dir.mkdir(parents=True, exist_ok=True)
    record = describe.record(settings, run_dir, overrides, sweep, dataset, parent, device, again)
    if again is None:
        rundir.create(run_dir, record)
    else:
        rundir.reopen(run_dir)
    identity = describe.data_identity(dataset)
    parts = _parts(settings, run_dir, record.run_id, identity, device, learner, place, observer, tracker, keeper)
    parts.scorer = scorer
    holding = rundir.claim(run_dir) if again is None else contextlib.nullcontext()  # resume holds it already
    with holding, _log_file(run_dir):
        return _see_through(Loop(parts), record, notes)


def resume(target: str, from_nothing: Settings | None = None) -> Outcome:
    """Go on with the run TARGET exactly where its last checkpoint stands; a finished run is said to be so.

    `from_nothing`: the settings to begin it again with where it was killed before its first checkpoint.
    UserError when there is no such run, it has no checkpoint, it is still running, or its data have changed.
    """
    run = store.find(target)
    with rundir.claim(run.dir):
        return _resume(run.reload(), from_nothing)


def _resume(run: Run, from_nothing: Settings | None = None) -> Outcome:
    run = settle_before_resume(run)
    last = run.checkpoint_dir / "last.pt"
    if last.exists():
        return _go_on(run, last)
    if from_nothing is None:
        raise UserError(f"run {run.id[:8]} has no checkpoint to go on from ({run.dir}); start it anew")
    return _begin(from_nothing, run.dir, run.record["overrides"], run.record["sweep"], run.id)


def _go_on(run: Run, last: Path) -> Outcome:
    record = run.record
    payload = checkpoint.load(last)
    lacking = [key for key in ("step", "config", "data", "counters", "meter", "optimizers") if key not in payload]
    if lacking:
        raise UserError(f"{last}: cannot be resumed (it has no {', '.join(lacking)})")
    refuse_foreign_code(payload["config"], run.dir, last)
    settings = validate(payload["config"])
    if payload["step"] >= settings.steps and run.status == "FINISHED":
        message = f"run {run.id[:8]} is finished: {payload['step']} of {settings.steps} steps"
        return Outcome("FINISHED", run.id, run.dir, payload["step"], dict(payload["losses"]), message=message)
    set_arithmetic(settings.runtime)
    place = world()
    device = place.device(pick_device(settings.runtime.device))
    dataset = open_data(settings.data, progress=settings.runtime.progress)
    identity = describe.data_identity(dataset)
    for part, then in payload["data"].items():
        if identity[part] != then:
            raise UserError(
                f"run {run.id[:8]} was trained on other data: {part} {then[:12]} then, {identity[part][:12]} now; "
                "the same pictures, held out alike, are needed to go on exactly"
            )
    announce(place, settings, run.dir, last)
    learner = build_learner(settings, dataset, device, place)
    refuse_too_large_a_step(settings, learner, device)  # another machine, perhaps
    keeper = checkpoint.Keeper(run.checkpoint_dir, settings.checkpoint)
    tracker = open_tracker(settings.tracker, run.dir, resume=True)
    observer = Observer(settings, dataset, learner.engine, device)
    loop = Loop(_parts(settings, run.dir, run.id, identity, device, learner, place, observer, tracker, keeper))
    loop.parts.scorer = _scorer(settings, dataset, learner.engine, device)
    loop.load_state_dict(payload)
    parent, sweep = record["parent"], record["sweep"]
    again = describe.record(settings, run.dir, record["overrides"], sweep, dataset, parent, device, run.id)
    notes = [f"resumed at step {loop.step}"]
    if (again.commit, again.dirty) != (record["commit"], record["dirty"]):
        notes.append(
            f"resumed with other code: commit {record['commit']} then, {again.commit} now, or other changes to it"
        )
    with _log_file(run.dir):
        return _see_through(loop, again, notes)


def _parts(
    settings: Settings,
    run_dir: Path,
    run_id: str,
    data: dict[str, str],
    device: torch.device,
    learner: Learner,
    place: World,
    observer: Observer,
    tracker: Tracker,
    keeper: checkpoint.Keeper,
) -> Parts:
    """Return what the loop works with: the feed and the driver are those that fit the device."""
    engine, plan, _ = learner
    feed, driver = open_drive(settings, learner, device, log.info)
    return Parts(settings, run_dir, run_id, data, device, engine, plan, feed, driver, observer, tracker, keeper, place)


def _scorer(settings: Settings, dataset: Dataset, engine: EagerEngine, device: torch.device) -> LiveScorer | None:
    """Return what scores while the run trains, if that is asked for; Missing or UserError when it cannot."""
    return LiveScorer(settings, dataset, engine, device) if settings.eval.every_steps else None


def _see_through(loop: Loop, record: RunRecord, notes: list[str]) -> Outcome:
    """Run the loop and bring tracker, log and outcome into agreement with how it ended."""
    from gansweep.progress import training_bar

    parts = loop.parts
    try:
        reserve.keep_back(parts.run_dir)
        parts.tracker.start(record)
    except Exception as error:  # the tracker cannot tell of its own failure, so the run's record does
        reserve.give_back(parts.run_dir)
        why = refused_by_system(error) if isinstance(error, OSError) else str(error)
        with contextlib.suppress(OSError):
            rundir.update(parts.run_dir, status="FAILED", reason=why, finished=rundir.timestamp())
        raise RunFailed(f"the run could not begin: {why}") from error
    try:
        try:
            for line in notes:
                log.info(line)
            with training_bar(parts.settings, loop.step) as (loop.advance, loop.show):
                loop.run()
        finally:  # whatever ended it, there is now room to say so
            reserve.give_back(parts.run_dir)
    except (Interrupted, KeyboardInterrupt) as stop:
        reason = f"stopped by {stop or 'SIGINT'} at step {loop.step}"
        log.debug(reason)
        _end(parts, "KILLED", reason)
        return _outcome(loop, "KILLED", f"{reason}; go on with: gansweep resume {parts.run_dir}")
    except Exception as error:
        raise _failure(loop, error) from error
    _end(parts, "FINISHED")
    return _outcome(loop, "FINISHED", "")


def _failure(loop: Loop, error: Exception) -> RunFailed:
    """Record that `error` ended the run, and return what is said of it."""
    parts = loop.parts
    text = str(error).splitlines()[0] if str(error) else ""
    if was_disk_full(error):
        last = parts.keeper.directory / "last.pt"
        start = f"; make room and go on with: gansweep resume {parts.run_dir}" if last.exists() else ""
        told = refused_by_system(error) if isinstance(error, OSError) else text
        reason = told if isinstance(error, GansweepError) else f"the disk is full: {told}"
        said = f"the run failed at step {loop.step}: {reason}{start}"
        log.error(reason)
    elif isinstance(error, RunFailed):
        reason = said = str(error)
        log.error(reason)
    else:
        reason = f"{type(error).__name__}: {text}"
        said = f"the run failed at step {loop.step}: {reason}; traceback in {parts.run_dir / LOG_FILE}"
        log.error("%s", "".join(traceback.format_exception(error)))
    _end(parts, "FAILED", reason)
    return RunFailed(said)


def _end(parts: Parts, status: Literal["FINISHED", "FAILED", "KILLED"], reason: str = "") -> None:
    last = parts.keeper.directory / "last.pt"
    if last.exists() and parts.settings.checkpoint.upload:
        with contextlib.suppress(RunFailed):  # the end cannot be written either, then, and that is said
            parts.tracker.file(last, "checkpoints")
    parts.tracker.finish(status, reason)


def _outcome(loop: Loop, status: str, message: str) -> Outcome:
    loop.parts.world.meet()  # a process that leaves while others still talk makes them fail
    best = loop.parts.keeper.best
    return Outcome(
        status,
        loop.parts.run_id,
        loop.parts.run_dir,
        loop.step,
        dict(loop.losses),
        best["value"] if best else None,
        message,
    )


@contextlib.contextmanager
def _log_file(run_dir: Path) -> Iterator[None]:
    """Keep what is said during the run, tracebacks included, in the run's own log file."""
    handler = LogFile(run_dir / LOG_FILE)
    log.addHandler(handler)
    before = log.level
    log.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)
        handler.close()
