"""`--plan`: what a request would do, told before anything is started or made."""

from __future__ import annotations

import contextlib
import heapq
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gansweep.room import SPARE_BYTES, need
from gansweep.runs.meter import Meter
from gansweep.sweep import plan_course, plan_warnings
from gansweep.sweep.engines import MACHINE, kind_of
from gansweep.sweep.plan_points import differences
from gansweep.sweep.plan_print import in_bytes, print_plan
from gansweep.sweep.slots import slots

if TYPE_CHECKING:
    from gansweep.config.compose import Job
    from gansweep.sweep.plan_course import Course
    from gansweep.sweep.plan_trial import Trial
    from gansweep.sweep.seeking import Seeker
    from gansweep.sweep.space import Axis


def show_plan(
    jobs: Sequence[Job], launcher: Mapping[str, Any], as_json: bool, seeker: Seeker | None = None, at: str = "."
) -> int:
    """Print what a run, a sweep or a search (its first point, and its `seeker`) would do; returns the exit status, 0.

    `launcher` are the settings of hydra/launcher, empty for one run; `at` is where runs would go. A few steps of each
    structure are tried, which packs the data where a run would. Raises UserError for what the runs would refuse.
    """
    from gansweep.data.cache import cache_root
    from gansweep.sweep.plan_trial import trials

    courses = plan_course.courses(jobs)
    roots = {cache_root(job.settings.data) for job in jobs}
    before = _inside(roots)
    places = _places(launcher, jobs[0])
    tried = trials(courses, places[1] if launcher else None, Meter)
    axes = seeker.along if seeker is not None else []
    told = differences(jobs)
    count = len(jobs) if seeker is None else seeker.total
    found = {
        "points": _points(jobs, told.columns),
        "follow": told.follow,
        "search": None if seeker is None else _search(seeker, jobs[0]),
        "curves": _curves(courses),
        "epochs": _epochs(courses, tried),
        "trials": [_trial(trial, courses) for trial in tried],
        "total": _total(courses, tried, places[0], count, at),
        "packed": sorted(str(path) for path in _inside(roots) - before),
        "warnings": [
            {"kind": one.kind, "points": list(one.points), "text": one.text}
            for one in [
                *plan_warnings.warnings(courses, [*told.columns, *(axis.key for axis in axes)]),
                *_too_many_at_once(tried, places[0], len(jobs)),
            ]
        ],
    }
    if as_json:
        print(json.dumps(found, indent=1, ensure_ascii=False))
    else:
        print_plan(found)
    return 0


def _inside(roots: set[Path]) -> set[Path]:
    found: set[Path] = set()
    for root in roots:
        with contextlib.suppress(OSError):
            found |= {path for path in root.iterdir() if path.is_dir()}
    return found


def _points(jobs: Sequence[Job], columns: Mapping[str, list[str]]) -> list[dict[str, Any]]:
    return [
        {"number": job.number, "name": job.name, "differs": {key: values[row] for key, values in columns.items()}}
        for row, job in enumerate(jobs)
    ]


def _search(seeker: Seeker, first: Job) -> dict[str, Any]:
    sweeper = seeker.sweeper
    return {
        "points": seeker.total,
        "objective": list(first.settings.objective),
        "sampler": sweeper["sampler"],
        "pruner": sweeper["pruner"],
        "ranges": {axis.key: _range(axis) for axis in seeker.along},
    }


def _range(axis: Axis) -> str:
    if axis.choices:
        return "one of " + ", ".join(axis.choices)
    kind = "whole numbers " if axis.whole else ""
    return f"{kind}{axis.low:g} to {axis.high:g}{', on a logarithmic scale' if axis.log else ''}"


def _curves(courses: Sequence[Course]) -> list[dict[str, Any]]:
    """Return a table for each length of run: its steps, and knob -> rows of points that have equal values."""
    lengths: dict[int, list[Course]] = {}
    for course in courses:
        lengths.setdefault(course.settings.steps, []).append(course)
    found = []
    for steps, group in lengths.items():
        knobs: dict[str, dict[tuple[float, ...], list[int]]] = {}
        for course in group:
            for knob, values in plan_course.table(course).items():
                knobs.setdefault(knob, {}).setdefault(tuple(values), []).append(course.number)
        rows = {
            knob: [{"points": points, "values": list(values)} for values, points in own.items()]
            for knob, own in knobs.items()
        }
        numbers = [course.number for course in group]
        found.append({"points": numbers, "steps": steps, "at": plan_course.marks(steps), "knobs": rows})
    return found


def _epochs(courses: Sequence[Course], tried: Sequence[Trial]) -> list[dict[str, Any]]:
    """Return pictures, batch, steps in an epoch and epochs of a run, of points that have these in common."""
    by_point = {number: trial for trial in tried for number in trial.points}
    found: dict[tuple[Any, ...], list[int]] = {}
    for course in courses:
        trial = by_point[course.number]
        batches = plan_batches(course)
        key = (trial.pictures, trial.batch_size, trial.steps_per_epoch, course.settings.steps, batches)
        found.setdefault(key, []).append(course.number)
    return [
        {
            "points": points,
            "pictures": pictures,
            "batch_size": batch,
            "batches_per_epoch": per_epoch,
            "batches_per_step": batches,
            "steps_per_epoch": per_epoch / batches,
            "steps": steps,
            "epochs": steps * batches / per_epoch,
        }
        for (pictures, batch, per_epoch, steps, batches), points in found.items()
    ]


def plan_batches(course: Course) -> float:
    """Return how many batches a step of the run looks at, on the average."""
    from gansweep.sweep.plan_trial import kinds

    def of(step: Any) -> int:
        return 1 + max((entry.batch for group in step for entry in group), default=0)

    return sum(share * of(kind) for kind, share in kinds(course).items())


def _trial(trial: Trial, courses: Sequence[Course]) -> dict[str, Any]:
    runs = [course for course in courses if course.number in trial.points]
    seconds = [trial.run_s(course) for course in runs]
    return {
        "points": list(trial.points),
        "device": trial.device,
        "steps_tried": trial.tried,
        "step_s": seconds[0] / runs[0].settings.steps,
        "start_s": trial.start_s,
        "run_s": [min(seconds), max(seconds)],
        "memory_bytes": trial.memory_bytes,
        "step_bytes": trial.step_bytes,
        "kept_bytes": trial.kept_bytes,
        "process_bytes": trial.process_bytes,
        "free_bytes": trial.free_bytes,
    }


def _total(
    courses: Sequence[Course], tried: Sequence[Trial], places: int | None, count: int, at: str
) -> dict[str, Any]:
    """Return the time of all runs, on so many places at once, and the disk that their checkpoints keep."""
    by_point = {number: trial for trial in tried for number in trial.points}
    each = [by_point[one.number].run_s(one) + by_point[one.number].start_s for one in courses]
    needs = [need(one.settings, one.system) for one in courses]
    if count > len(courses):  # a search, of which only the first point is known
        each, needs = each * count, needs * count
    kept = [own.one * own.files + SPARE_BYTES for own in needs]
    folder = Path(at).absolute()
    while not folder.is_dir():
        folder = folder.parent
    return {
        "runs": count,
        "at_once": places,
        "work_s": sum(each),
        "wall_s": _wall(each, places or 1),
        "disk_bytes": sum(kept),
        "disk_bytes_of_a_run": [min(kept), max(kept)],
        "checkpoints_of_a_run": [min(own.files for own in needs), max(own.files for own in needs)],
        "load": os.getloadavg()[0],
        "cores": os.cpu_count() or 1,
        "disk_free_bytes": shutil.disk_usage(folder).free,
    }


def _wall(each: Sequence[float], places: int) -> float:
    """Return when the last of the runs ends, each begun in order as soon as one of the places is free."""
    free = [0.0] * min(places, len(each))
    for seconds in each:
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)


def _places(launcher: Mapping[str, Any], first: Job) -> tuple[int | None, int | None]:
    """Return how many jobs run at once, and the threads of each; None where that is for a cluster to say."""
    if not launcher:
        return 1, None
    if kind_of(launcher) != MACHINE:
        return None, None
    found = slots(launcher, first.settings.runtime.device != "cpu")
    return len(found), found[0].threads


def _too_many_at_once(tried: Sequence[Trial], places: int | None, count: int) -> list[plan_warnings.Warning]:
    """Return a warning where the jobs that run at once need more memory than is free (on a CPU: they share it)."""
    found = []
    for trial in tried:
        at_once = min(places or 1, count) if trial.device == "cpu" else 1
        needed = at_once * trial.memory_bytes
        if at_once > 1 and needed > trial.free_bytes:
            text = (
                f"{at_once} jobs at once need {in_bytes(needed)} of memory, {in_bytes(trial.free_bytes)} are free; "
                f"hydra.launcher.n_jobs={max(trial.free_bytes // trial.memory_bytes, 1)} fits"
            )
            found.append(plan_warnings.Warning("memory", trial.points, text))
    return found
