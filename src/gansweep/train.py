"""Assembles a run from its settings and sees it through: train, resume.

The only place, with evaluate, where what is learnt (engine, systems) and what is kept (runs) meet.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from gansweep.assemble import build_engine, build_system, check, check_reach, load_weights, pick_device
from gansweep.config.settings import Settings
from gansweep.data import Batches, Dataset, open_data
from gansweep.engine.schedule import Timetable
from gansweep.engine.step import EagerEngine
from gansweep.errors import RunFailed, UserError
from gansweep.loop import Interrupted, Loop, Parts
from gansweep.observe import Observer
from gansweep.runs import checkpoint, provenance, rundir, store
from gansweep.runs.liveness import alive, reconcile
from gansweep.runs.record import DatasetRecord, RunRecord, flatten
from gansweep.runs.tracker import open_tracker

__all__ = ["Outcome", "build_system", "check", "resume", "train"]

LOG_FILE, CONFIG_FILE = "run.log", "config.yaml"
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
    check(settings)
    run_dir = run_dir.absolute()
    _set_arithmetic(settings)
    device = pick_device(settings.runtime.device)
    dataset = open_data(settings.data, progress=settings.runtime.progress)
    engine, plan, batches = _learning_side(settings, dataset, device)
    parent = _warm_start(settings, engine)
    _refuse_unreached(settings, engine, plan, batches)
    keeper = checkpoint.Keeper(run_dir / "checkpoints", settings.checkpoint)
    observer = Observer(settings, dataset, engine, device)
    keeper.check_names(_metric_names(engine, observer))
    checkpoint.check_room(run_dir, keeper.bytes_needed(3 * checkpoint.payload_bytes(engine.state_dict()["nets"])))
    run_dir.mkdir(parents=True, exist_ok=True)
    record = _record(settings, run_dir, overrides, sweep, dataset, parent, device)
    rundir.create(run_dir, record)
    tracker = open_tracker(settings.tracker, run_dir)
    parts = Parts(
        settings, run_dir, record.run_id, dataset.fingerprint, device, engine, plan, batches, observer, tracker, keeper
    )
    with _log_file(run_dir):
        tracker.start(record)
        for line in [*_previews(settings, engine), *observer.notes]:
            log.info(line)
        return _see_through(Loop(parts))


def resume(target: str) -> Outcome:
    """Go on with the run TARGET exactly where its last checkpoint stands; a finished run is said to be so.

    UserError when there is no such run, it has no checkpoint, it is still running, or its data have changed.
    """
    run = store.find(target)
    record = run.record
    if run.status == "RUNNING" and alive(record) is not False:
        raise UserError(f"run {run.id[:8]} is still running (process {record['pid']} on {record['host']})")
    if run.status == "RUNNING":
        reconcile(run)
    last = run.checkpoint_dir / "last.pt"
    if not last.exists():
        raise UserError(f"run {run.id[:8]} has no checkpoint to go on from ({run.dir}); start it anew")
    payload = checkpoint.load(last)
    settings = Settings.model_validate(payload["config"])
    if payload["step"] >= settings.steps:
        message = f"run {run.id[:8]} is finished: {payload['step']} of {settings.steps} steps"
        return Outcome("FINISHED", run.id, run.dir, payload["step"], dict(payload["losses"]), message=message)
    _set_arithmetic(settings)
    device = pick_device(settings.runtime.device)
    dataset = open_data(settings.data, progress=settings.runtime.progress)
    if dataset.fingerprint != payload["data_fingerprint"]:
        raise UserError(
            f"run {run.id[:8]} was trained on other data: fingerprint {payload['data_fingerprint'][:12]} then, "
            f"{dataset.fingerprint[:12]} now; the same pictures are needed to go on exactly"
        )
    engine, plan, batches = _learning_side(settings, dataset, device)
    keeper = checkpoint.Keeper(run.checkpoint_dir, settings.checkpoint)
    tracker = open_tracker(settings.tracker, run.dir, resume=True)
    observer = Observer(settings, dataset, engine, device)
    loop = Loop(
        Parts(settings, run.dir, run.id, dataset.fingerprint, device, engine, plan, batches, observer, tracker, keeper)
    )
    loop.load_state_dict(payload)
    with _log_file(run.dir):
        tracker.start(
            _record(settings, run.dir, record["overrides"], record["sweep"], dataset, record["parent"], device, run.id)
        )
        log.info("resumed at step %d", loop.step)
        return _see_through(loop)


def _learning_side(
    settings: Settings, dataset: Dataset, device: torch.device
) -> tuple[EagerEngine, Timetable, Batches]:
    engine, plan = build_engine(settings, device)
    batches = Batches(
        dataset,
        dataset.split("train"),
        settings.batch_size,
        settings.seed,
        flip=settings.data.flip,
        normalize=settings.data.normalize,
        fields=tuple(engine.system.inputs),
        device=device,
        dtype=engine.noise.dtype,
        channels_last=settings.runtime.channels_last,
    )
    for name, spec in engine.system.inputs.items():
        found = tuple(batches.batch(0)[name].shape[1:])
        if found != spec.shape:
            raise UserError(
                f"data: field '{name}' is {found} a sample, the system takes {spec.shape}; see data.size, data.channels"
            )
    return engine, plan, batches


def _see_through(loop: Loop) -> Outcome:
    """Run the loop and bring tracker, log and outcome into agreement with how it ended."""
    from gansweep.progress import training_bar

    parts = loop.parts
    kept = f"gansweep resume {parts.run_dir}"
    try:
        with training_bar(parts.settings, loop.step) as (loop.advance, loop.show):
            loop.run()
    except (Interrupted, KeyboardInterrupt) as stop:
        reason = f"stopped by {stop or 'SIGINT'} at step {loop.step}"
        log.info(reason)
        parts.tracker.finish("KILLED", reason)
        return _outcome(loop, "KILLED", f"{reason}; go on with: {kept}")
    except RunFailed as error:
        log.error(str(error))
        parts.tracker.finish("FAILED", str(error))
        raise
    except Exception as error:
        text = str(error).splitlines()[0] if str(error) else ""
        log.error("%s", traceback.format_exc())
        reason = f"{type(error).__name__}: {text}"
        parts.tracker.finish("FAILED", reason)
        raise RunFailed(
            f"the run failed at step {loop.step}: {reason}; traceback in {parts.run_dir / LOG_FILE}"
        ) from error
    parts.tracker.finish("FINISHED")
    return _outcome(loop, "FINISHED", "")


def _outcome(loop: Loop, status: str, message: str) -> Outcome:
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


def _warm_start(settings: Settings, engine: EagerEngine) -> dict[str, Any] | None:
    """Load first weights from another run's checkpoint; returns the parent's run id and step."""
    start = settings.model.warm_start
    if start.source is None:
        return None
    _, path = store.resolve_checkpoint(start.source)
    payload = checkpoint.load(path)
    nets = load_weights(engine.system.nets, payload["nets"], start.nets, path)
    if engine.ema is not None:
        for name, mean in engine.ema.nets.items():
            mean.load_state_dict(engine.system.nets[name].state_dict())
    return {"run_id": payload["run_id"], "step": payload["step"], "nets": nets, "checkpoint": str(path)}


def _refuse_unreached(settings: Settings, engine: EagerEngine, plan: Timetable, batches: Batches) -> None:
    lost = check_reach(engine, plan, batches.batch(0), settings.steps)
    if not lost:
        return
    message = f"charged terms that give no gradient to what their phase learns: {', '.join(lost)}"
    if settings.runtime.reach == "error":
        raise UserError(f"{message}; remove them (scales.{lost[0].split('/')[1]}=null) or say runtime.reach=warn")
    log.warning(message)


def _metric_names(engine: EagerEngine, observer: Observer) -> list[str]:
    """Return the names that a run may log, as far as they are known beforehand (for checkpoint.best_by)."""
    names: list[str] = [f"grad_norm/{net}" for net in engine.optimizers]
    for phase in engine.system.phases:
        own = [*engine.charged[phase.name], *phase.reports]
        names += [
            f"{phase.name}/{name}" for name in [*own, "total", *(f"{t}_weighted" for t in engine.charged[phase.name])]
        ]
        names += [f"val/{phase.name}/{name}" for name in own] if observer.has_held_out else []
    if observer.has_held_out and hasattr(engine.system, "reconstruct"):
        names.append("val/squared_error")
    return names


def _record(
    settings: Settings,
    run_dir: Path,
    overrides: list[str],
    sweep: Mapping[str, Any] | None,
    dataset: Dataset,
    parent: Mapping[str, Any] | None,
    device: torch.device,
    run_id: str | None = None,
) -> RunRecord:
    config = settings.model_dump(mode="json")
    facts = provenance.collect(gpu=torch.cuda.get_device_name(device) if device.type == "cuda" else None)
    files: list[Path] = []
    if run_id is None:
        written = run_dir / CONFIG_FILE
        OmegaConf.save(OmegaConf.create(config), written)
        files = [written, *facts.write(run_dir)]
    return RunRecord(
        run_id=run_id or rundir.new_run_id(),
        name=settings.name or settings.model.target.rpartition(".")[2].lower(),
        run_dir=run_dir,
        params=flatten(config),
        tags={**facts.tags(), "gansweep.device": str(device)},
        dataset=DatasetRecord(settings.data.name, dataset.fingerprint, dataset.source, dataset.count),
        parent=parent,
        sweep=sweep,
        overrides=overrides,
        note=settings.note,
        files=files,
        commit=facts.commit,
        dirty=facts.dirty,
        steps=settings.steps,
    )


def _previews(settings: Settings, engine: EagerEngine) -> Iterator[str]:
    """Say where each curve begins and ends: a rate that decays to nothing is seen before the run, not after."""
    for name in engine.knobs.curves:
        first, last = engine.knobs.value(name, 0), engine.knobs.value(name, settings.steps - 1)
        fading = "; fades to less than a thousandth" if 0 < abs(last) < abs(first) / 1000 else ""
        yield f"{name}: {first:.4g} at step 0, {last:.4g} at step {settings.steps - 1}{fading}"


def _set_arithmetic(settings: Settings) -> None:
    if settings.runtime.threads is not None:
        torch.set_num_threads(settings.runtime.threads)
    if torch.cuda.is_available():
        torch.use_deterministic_algorithms(settings.runtime.deterministic, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


@contextmanager
def _log_file(run_dir: Path) -> Iterator[None]:
    """Keep what is said during the run, tracebacks included, in the run's own log file."""
    handler = logging.FileHandler(run_dir / LOG_FILE)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    before = log.level
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)
        handler.close()
