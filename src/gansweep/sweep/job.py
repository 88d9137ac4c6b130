"""One job as Hydra runs it: settings out of the composed configuration, a run out of the settings, never an exception.

A launcher stops or forgets the other jobs when one raises, so what happened to a job is its return value.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gansweep.errors import GansweepError, refused_by_system

if TYPE_CHECKING:
    from omegaconf import DictConfig

LOG_FILE = "run.log"


@dataclass(frozen=True)
class JobResult:
    """What became of one job. `status` FINISHED, FAILED or KILLED; `code` the exit status it alone would give."""

    status: str
    code: int = 0
    run_id: str | None = None
    reason: str | None = None
    losses: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What the parent knows of the jobs before they start: names by job number, and the sweep they belong to."""

    names: Mapping[int, str]
    sweep_id: str | None = None


def make_task(plan: Plan, seen: list[JobResult]) -> Callable[[DictConfig], JobResult]:
    """Return the function that Hydra runs for each job; results of jobs in this process are also added to `seen`."""

    def task(cfg: DictConfig) -> JobResult:
        from hydra.core.hydra_config import HydraConfig

        hydra = HydraConfig.get()
        number = int(hydra.job.num) if plan.sweep_id is not None else 0
        sweep = {"id": plan.sweep_id, "job": number} if plan.sweep_id is not None else None
        parallel = sweep is not None and "basic_launcher" not in str(hydra.launcher._target_)
        result = _run(
            cfg, Path(hydra.runtime.output_dir), list(hydra.overrides.task), plan.names.get(number), sweep, parallel
        )
        seen.append(result)
        return result

    return task


def _run(
    cfg: DictConfig,
    run_dir: Path,
    overrides: list[str],
    name: str | None,
    sweep: dict[str, Any] | None,
    parallel: bool,
) -> JobResult:
    where = f"job {sweep['job']}: " if sweep is not None else ""
    if sweep is not None:
        _say(f"{where}{name or ' '.join(overrides)}")
    try:
        from gansweep.config.compose import to_settings
        from gansweep.train import train

        settings = to_settings(cfg, name)
        if parallel:
            # Bars of several processes would overwrite each other on one terminal.
            quiet = settings.runtime.model_copy(update={"progress": False})
            settings = settings.model_copy(update={"runtime": quiet})
        outcome = train(settings, run_dir, overrides, sweep)
    except GansweepError as error:
        _say(f"gansweep: {where}{error}")
        return JobResult("FAILED", error.exit_code, _run_id(run_dir), str(error), _losses(run_dir))
    except OSError as error:
        # Before the run began nothing of ours is broken: a disk is full, a folder may not be written.
        began = _run_id(run_dir) is not None
        reason = _keep_traceback(error, run_dir) if began else refused_by_system(error)
        _say(f"gansweep: {where}{reason}")
        return JobResult("FAILED", 1, _run_id(run_dir), reason, _losses(run_dir))
    except Exception as error:
        reason = _keep_traceback(error, run_dir)
        _say(f"gansweep: {where}{reason}")
        return JobResult("FAILED", 1, _run_id(run_dir), reason, _losses(run_dir))
    if outcome.status == "KILLED":
        _say(f"gansweep: {where}{outcome.message or 'stopped'}")
        if sweep is not None and not parallel:
            raise KeyboardInterrupt  # one Ctrl-C ends the sweep, not just the job that it met
    code = {"FINISHED": 0, "KILLED": 130}.get(outcome.status, 1)
    return JobResult(outcome.status, code, outcome.run_id, outcome.message or None, _losses(run_dir))


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # a full disk behind 2>: no reason to end a sweep
        print(line, file=sys.stderr, flush=True)


def _keep_traceback(error: Exception, run_dir: Path) -> str:
    """Append the traceback to the run's log file; return what is said of it in one line."""
    log = run_dir / LOG_FILE
    first = next(iter(str(error).splitlines()), "")
    said = f"{type(error).__name__}: {first}" if first else type(error).__name__
    try:
        with log.open("a", encoding="utf-8") as file:
            traceback.print_exception(error, file=file)
    except OSError:  # raised here, it would end the sweep
        return said
    return f"{said}; traceback in {os.path.relpath(log)}"


def _run_id(run_dir: Path) -> str | None:
    from gansweep.runs.rundir import is_run_dir, read

    return str(read(run_dir)["run_id"]) if is_run_dir(run_dir) else None


def _losses(run_dir: Path) -> dict[str, float]:
    from gansweep.look import losses_of

    return losses_of(run_dir)
