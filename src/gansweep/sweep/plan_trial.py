"""What a run will take of time, memory and disk, foretold from a few real steps of it. Nothing is kept of them."""

from __future__ import annotations

import gc
import json
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import psutil
import torch

from gansweep.arithmetic import set_arithmetic
from gansweep.assemble import pick_device
from gansweep.config.settings import Settings
from gansweep.data import open_data
from gansweep.engine.distributed import World
from gansweep.engine.drive import Gauge
from gansweep.engine.schedule import Group, Timetable
from gansweep.learner import Learner, build_learner, open_drive, refuse_unreached
from gansweep.preflight import available_bytes, refuse_too_large_a_step, step_bytes
from gansweep.sweep.plan_course import Course

# Steps of each kind that are timed, and how long at most; those before warm up. A CUDA graph is recorded in its first.
_TIMED, _MOST_S = 5, 8.0
_WARM = {"cpu": 1, "cuda": 4}
# Kinds of steps (more or fewer turns) that are tried; a rarer one is taken for as long as the longest of these.
_KINDS = 6
_WALKED = 20_000
# Of the settings, what makes no difference to how long a step takes and what it needs.
_IDLE = ("seed", "steps", "name", "note", "objective", "tracker", "judge", "eval", "checkpoint")
_IDLE_STEPS = ("log_every", "sample_every", "val_every", "checkpoint_every")

Steps = tuple[Group, ...]


@dataclass(frozen=True)
class Trial:
    """What was found in trying one structure: networks, batch, precision, phases that have turns.

    `pictures` to learn from, `steps_per_epoch` in whole batches; `tried` steps, each kind's median in `seconds`;
    `start_s` from opened data to the first step; bytes that live on with the networks (`kept_bytes`: weights, moments,
    mean), that a step takes beside them, and of the process without them; `free_bytes` on the device.
    """

    points: tuple[int, ...]
    device: str
    pictures: int
    batch_size: int
    steps_per_epoch: int
    tried: int
    seconds: dict[Steps, float]
    start_s: float
    kept_bytes: int
    step_bytes: int | None
    process_bytes: int
    free_bytes: int

    @property
    def memory_bytes(self) -> int:
        """What one job needs of the device's memory: on a CPU with the process itself."""
        own = self.process_bytes if self.device == "cpu" else 0
        return own + self.kept_bytes + (self.step_bytes or 0)

    def run_s(self, course: Course) -> float:
        """Return the predicted seconds of a run's steps."""
        worst = max(self.seconds.values())
        shares = kinds(course)
        return course.settings.steps * sum(share * self.seconds.get(kind, worst) for kind, share in shares.items())


def structure(course: Course) -> str:
    """Return what of a point decides how long its kinds of steps take and what they need, as text."""
    settings = course.settings
    found = settings.model_dump(mode="json", exclude={*_IDLE, *_IDLE_STEPS})
    found["scales"] = sorted(term for term, value in settings.scales.items() if value is not None)
    found["model"].pop("knobs")
    found["model"].pop("warm_start")
    found["schedule"] = {"groups": settings.schedule.groups, "active": sorted(course.charged)}
    for rates in (found["optimizer"], *(own for own in found["optimizer"].values() if isinstance(own, dict))):
        for key in ("lr", "betas", "eps", "alpha"):
            rates.pop(key, None)
    return json.dumps(found, sort_keys=True)


def kinds(course: Course) -> dict[Steps, float]:
    """Return the different steps of a run and the share of each, counted in blocks where the run is long."""
    return _kinds(course.plan, course.settings.steps)


@lru_cache(maxsize=1024)
def _kinds(plan: Timetable, steps: int) -> dict[Steps, float]:
    if steps <= _WALKED:
        looked: list[int] = list(range(steps))
    else:
        block = _WALKED // 20
        looked = [first + n for first in range(0, steps - block + 1, (steps - block) // 19) for n in range(block)]
    counted = Counter(plan.at(step) for step in looked)
    return {kind: number / len(looked) for kind, number in counted.most_common()}


def trials(courses: Sequence[Course], threads: int | None, gauge: Callable[[], Gauge]) -> list[Trial]:
    """Try every structure among the points once, on the device where they will run; `threads`: of one job.

    `gauge` makes what takes a trial's metrics. Raises UserError for what the run itself would refuse.
    """
    groups: dict[str, list[Course]] = {}
    for course in courses:
        groups.setdefault(structure(course), []).append(course)
    process = psutil.Process().memory_info().rss
    found = []
    for group in groups.values():
        found.append(_try(group, threads, gauge(), process))
        gc.collect()
    return found


def _try(group: Sequence[Course], threads: int | None, gauge: Gauge, process_bytes: int) -> Trial:
    settings = group[0].settings
    set_arithmetic(settings.runtime)
    if settings.runtime.threads is None and threads is not None:
        torch.set_num_threads(threads)
    device = pick_device(settings.runtime.device)
    dataset = open_data(settings.data, progress=settings.runtime.progress)
    begun = time.perf_counter()
    free = available_bytes(device)
    learner = build_learner(settings, dataset, device, World())
    refuse_too_large_a_step(settings, learner, device)
    refuse_unreached(settings, learner)
    start_s = time.perf_counter() - begun
    wanted = list(dict.fromkeys(kind for course in group for kind in list(kinds(course))[:_KINDS]))[:_KINDS]
    seconds, tried = _timed(settings, learner, device, wanted, gauge)
    kept = sum(tensor.numel() * tensor.element_size() for tensor in learner.engine.tensors().values())
    return Trial(
        tuple(course.number for course in group),
        device.type,
        len(learner.batches.rows),
        settings.batch_size,
        learner.batches.steps_per_epoch,
        tried,
        seconds,
        start_s,
        kept,
        step_bytes(settings, learner, device),
        process_bytes,
        free,
    )


def _timed(
    settings: Settings, learner: Learner, device: torch.device, wanted: Sequence[Steps], gauge: Gauge
) -> tuple[dict[Steps, float], int]:
    """Return the median seconds of each kind of step, and how many were taken."""
    feed, driver = open_drive(settings, learner, device, lambda said: None)
    used, number, found = 0, 0, {}
    for kind in wanted:
        taken: list[float] = []
        count = 1 + max((entry.batch for group in kind for entry in group), default=0)
        begun = time.perf_counter()
        warm = _WARM[device.type]
        while len(taken) < warm + 1 or (len(taken) < warm + _TIMED and time.perf_counter() - begun < _MOST_S):
            before = time.perf_counter()
            raws = [feed.raw(used + n) for n in range(count)]
            driver.take(number, kind, raws, gauge)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            taken.append(time.perf_counter() - before)
            used, number = used + count, number + 1
        found[kind] = statistics.median(taken[warm:])
    return found, number
