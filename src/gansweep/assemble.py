"""Settings made into parts: a system, its objective, its timetable, its engine.

Concrete classes are reached by `_target_`; nothing here lists them.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor, nn

from gansweep.build import build_system, positive_knobs
from gansweep.config.settings import Settings
from gansweep.data import check_settings, refuse_missing
from gansweep.engine.distributed import World, synchronise_norms
from gansweep.engine.freeze import keep_statistics, learnt_parameters
from gansweep.engine.knobs import Knobs
from gansweep.engine.look import StaleUse
from gansweep.engine.noise import Noise
from gansweep.engine.objective import charged_terms
from gansweep.engine.reach import unreached
from gansweep.engine.schedule import Timetable, build_curve
from gansweep.engine.step import EagerEngine
from gansweep.errors import Missing, UserError, nearest
from gansweep.measure import score_names
from gansweep.runs import checkpoint, store
from gansweep.runs.checkpoint import Keeper
from gansweep.system import Phase, System

_DTYPES = {"fp32": torch.float32, "bf16": torch.float32, "fp64": torch.float64}


def timetable(settings: Settings, system: System) -> Timetable:
    """Return the run's timetable."""
    order = [phase.name for phase in system.phases]
    return Timetable(order, system.counts, settings.schedule.phases, settings.schedule.groups)


def knobs(settings: Settings, system: System, device: torch.device | str = "cpu") -> Knobs:
    """Return every number that may vary during the run: scales, rates, and the system's own knobs."""
    base = {f"scales.{name}": value for name, value in settings.scales.items() if value is not None}
    base |= {f"optimizer.{net}.lr": settings.optimizer.for_net(net).lr for net in system.nets}
    base |= {f"knobs.{name}": value for name, value in system.knobs.items()}
    curves = {name: build_curve(name, config) for name, config in settings.schedule.curves.items()}
    made = Knobs(base, curves, device, _DTYPES[settings.runtime.precision])
    above_zero = {f"knobs.{name}" for name in positive_knobs(system)}
    for name in made.curves:
        for step in (0, settings.steps // 2, settings.steps - 1):
            try:
                value = made.value(name, step)
            except OverflowError:
                value = math.inf
            if not math.isfinite(value):
                raise UserError(f"schedule.curves: {name} is not a finite number at step {step}")
            if name in above_zero and value <= 0:
                raise UserError(f"schedule.curves: {name} is {value:g} at step {step}: must be greater than 0")
    return made


def active_phases(settings: Settings, system: System, plan: Timetable) -> list[Phase]:
    """Return the phases that have a turn in any of the run's steps."""
    return [phase for phase in system.phases if plan.ever(phase.name, settings.steps)]


def check(settings: Settings, system: System | None = None) -> System:
    """Refuse what can be refused before anything is made, and return the system on the meta device.

    Sizes, terms, schedule, freezing, data, warm start; writes nothing. Done for every job of a sweep before the first.
    `system` is what these settings of `model` gave on the meta device before: to build it is most of the work.
    """
    if system is None:
        with torch.device("meta"):
            system = build_system(settings)
    plan = timetable(settings, system)
    active = active_phases(settings, system, plan)
    charged = charged_terms(system, settings.scales, settings.terms, [phase.name for phase in active])
    knobs(settings, system)
    learnt_parameters(system.nets, active, settings.model.freeze)
    keep_statistics(system.nets, settings.model.freeze_stats)
    for key, given in (
        ("optimizer.", list(settings.optimizer.nets())),
        ("runtime.fp32_nets=", settings.runtime.fp32_nets),
    ):
        for net in given:
            if net not in system.nets:
                raise UserError(f"{key}{net}: the system has no such network{nearest(net, system.nets)}")
    _refuse_too_large(system, pick_device(settings.runtime.device))
    keeping = [phase.name for phase in system.phases if phase.keeps]
    if keeping and settings.runtime.accumulate > 1:
        raise UserError(
            f"runtime.accumulate={settings.runtime.accumulate}: phase '{keeping[0]}' keeps a memory of whole batches"
        )
    _check_best_by(settings, _metric_names(settings, system, charged))
    check_settings(settings.data)
    refuse_missing(settings.data, system.inputs)
    if settings.model.warm_start.source is not None:
        _, path = store.resolve_checkpoint(settings.model.warm_start.source)
        load_weights(system.nets, checkpoint.load(path)["nets"], settings.model.warm_start.nets, path, copy=False)
    return system


def _refuse_too_large(system: System, device: torch.device) -> None:
    """Refuse networks whose weights, gradients and two moments are more than the machine's memory (CPU only)."""
    needed = 4 * checkpoint.payload_bytes({name: net.state_dict() for name, net in system.nets.items()})
    memory = psutil.virtual_memory().total
    if device.type == "cpu" and needed > memory:
        raise UserError(
            f"model: its weights need {needed / 2**30:,.0f} GiB to learn, this machine has {memory / 2**30:,.0f}"
        )


def _check_best_by(settings: Settings, names: list[str]) -> None:
    """Refuse a `checkpoint.best_by` that the run will not log; scores it logs only when it scores while it trains."""
    scores, best_by = score_names(settings), settings.checkpoint.best_by
    if best_by in scores and not settings.eval.every_steps:
        raise UserError(
            f"checkpoint.best_by={best_by}: a score, which needs eval.every_steps=N to be taken in training"
        )
    Keeper(Path("."), settings.checkpoint).check_names([*names, *scores])


def _metric_names(settings: Settings, system: System, charged: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the names that the run will log, as far as they are known beforehand (for checkpoint.best_by)."""
    held_out = settings.val_every > 0 and settings.data.val_fraction > 0
    names = [f"grad_norm/{net}" for net in system.nets]
    for phase in system.phases:
        own = [*charged[phase.name], *phase.reports]
        names += [f"{phase.name}/{name}" for name in [*own, "total", *(f"{t}_weighted" for t in charged[phase.name])]]
        names += [f"val/{phase.name}/{name}" for name in own] if held_out else []
    return [*names, "val/squared_error"] if held_out and hasattr(system, "reconstruct") else names


def warm_start(settings: Settings, engine: EagerEngine) -> dict[str, Any] | None:
    """Load first weights from another run's checkpoint, if asked to; return the parent: run id, step, nets, file."""
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


def pick_device(asked: str, key: str = "runtime.device") -> torch.device:
    """Return the device; `auto` is the first CUDA device when there is one. Missing (exit 3) for one that is not."""
    if asked == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    device = torch.device(asked)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            have = (
                f"it has {count}"
                if count
                else "it has no CUDA device that this torch can use (gansweep doctor says why)"
            )
            raise Missing(f"{key}={asked}: not on this machine, {have}; say {key}=auto or cpu")
        return torch.device("cuda", device.index or 0)
    return device


def build_engine(
    settings: Settings,
    device: torch.device,
    world: World = World(),  # noqa: B008 - frozen
) -> tuple[EagerEngine, Timetable]:
    """Return the engine, with weights drawn from the run's seed, and the timetable."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        system = build_system(settings)
    dtype = _DTYPES[settings.runtime.precision]
    for net in system.nets.values():
        net.to(device=device, dtype=dtype).train()
        if settings.runtime.channels_last:
            net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if settings.runtime.sync_batchnorm and not world.alone:
            synchronise_norms(net)
    system.memory = {name: tensor.to(device) for name, tensor in system.memory.items()}
    plan = timetable(settings, system)
    active = active_phases(settings, system, plan)
    learnt = learnt_parameters(system.nets, active, settings.model.freeze)
    keep_statistics(system.nets, settings.model.freeze_stats)
    engine = EagerEngine(
        system,
        charged_terms(system, settings.scales, settings.terms, [phase.name for phase in active]),
        knobs(settings, system, device),
        {net: settings.optimizer.for_net(net) for net in system.nets},
        learnt,
        Noise(settings.seed, device, dtype, world.shard),
        ema_decay=settings.runtime.ema_decay,
        micro_batches=settings.runtime.accumulate,
        low_precision=torch.bfloat16 if settings.runtime.precision == "bf16" else None,
        fp32_nets=tuple(settings.runtime.fp32_nets),
        average=None if world.alone else world.average,
    )
    return engine, plan


def check_reach(settings: Settings, engine: EagerEngine, plan: Timetable, batch: Mapping[str, Tensor]) -> list[str]:
    """Return the charged terms, `phase/term`, that would move nothing their phase learns; state is as before.

    Looks at no more of `batch` than one micro-batch, and at most 8 samples. UserError for what the networks cannot
    take (one sample under batch norm) and for a shared forward that the timetable would use after an update.
    """
    count = min(8, settings.batch_size // settings.runtime.accumulate)
    inputs = engine.system.inputs
    small = {k: v[:count] if k not in inputs or inputs[k].batched else v for k, v in batch.items()}
    try:
        return unreached(engine, small, plan.shapes(settings.steps))
    except StaleUse as error:
        raise UserError(f"schedule: {error}") from None
    except (ValueError, RuntimeError, TypeError, AttributeError, LookupError) as error:
        what = f"{type(error).__name__}: {(str(error) or 'no message').splitlines()[0]}"
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise UserError(
            f"the trial step before the run failed, with {count} pictures: {what} ({where.filename}:{where.lineno})"
        ) from None


def load_weights(
    nets: Mapping[str, nn.Module], states: Mapping[str, Any], wanted: list[str] | None, source: Path, copy: bool = True
) -> list[str]:
    """Load `states` (net → state dict) into the networks both sides have, or into `wanted`; returns their names.

    With `copy` false only the check is made. UserError that lists both sides' names or shapes where they differ.
    """
    names = wanted if wanted is not None else [name for name in nets if name in states]
    for name in names:
        if name not in nets or name not in states:
            raise UserError(
                f"model.warm_start.nets={name}: this system has {', '.join(nets)}; {source} has {', '.join(states)}"
            )
    if not names:
        raise UserError(f"{source}: has networks {', '.join(states)}, this system {', '.join(nets)}: none in common")
    for name in names:
        difference = differences(nets[name].state_dict(), states[name])
        if difference:
            raise UserError(f"{source}: network '{name}' does not fit: {difference}")
        if copy:
            nets[name].load_state_dict(states[name])
    return names


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any], most: int = 3) -> str:
    """Return in one line how two state dicts differ in names and shapes, or nothing when they fit."""
    parts = []
    only_ours, only_theirs = [k for k in ours if k not in theirs], [k for k in theirs if k not in ours]
    for whose, keys in (("only this model has", only_ours), ("only the checkpoint has", only_theirs)):
        if keys:
            more = f" and {len(keys) - most} more" if len(keys) > most else ""
            parts.append(f"{whose} {', '.join(keys[:most])}{more}")
    shapes = [k for k in ours if k in theirs and tuple(ours[k].shape) != tuple(theirs[k].shape)]
    listed = [f"{k} is {tuple(ours[k].shape)} here and {tuple(theirs[k].shape)} there" for k in shapes[:most]]
    if len(shapes) > most:
        listed.append(f"{len(shapes) - most} more shapes differ")
    return "; ".join(parts + listed)
