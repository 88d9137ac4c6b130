"""A single run as Hydra runs it: settings out of the composed configuration, a run out of the settings."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

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


def make_task(name: str, seen: list[JobResult]) -> Callable[[DictConfig], JobResult]:
    """Return the function that Hydra runs for the run called `name`; how it ended is also added to `seen`."""

    def task(cfg: DictConfig) -> JobResult:
        from hydra.core.hydra_config import HydraConfig

        hydra = HydraConfig.get()
        result = _run(cfg, Path(hydra.runtime.output_dir), list(hydra.overrides.task), name)
        seen.append(result)
        return result

    return task


def _run(cfg: DictConfig, run_dir: Path, overrides: list[str], name: str) -> JobResult:
    """Train, and return how that ended; whatever was wrong is told here, in one line."""
    try:
        from gansweep.config.compose import to_settings
        from gansweep.train import train

        outcome = train(to_settings(cfg, name), run_dir, overrides)
    except GansweepError as error:
        _say(f"gansweep: {error}")
        return JobResult("FAILED", error.exit_code, _run_id(run_dir), str(error), _losses(run_dir))
    except OSError as error:
        # Before the run began nothing of ours is broken: a disk is full, a folder may not be written.
        began = _run_id(run_dir) is not None
        reason = _keep_traceback(error, run_dir) if began else refused_by_system(error)
        _say(f"gansweep: {reason}")
        return JobResult("FAILED", 1, _run_id(run_dir), reason, _losses(run_dir))
    except Exception as error:
        reason = _keep_traceback(error, run_dir)
        _say(f"gansweep: {reason}")
        return JobResult("FAILED", 1, _run_id(run_dir), reason, _losses(run_dir))
    if outcome.status == "KILLED":
        _say(f"gansweep: {outcome.message or 'stopped'}")
    code = {"FINISHED": 0, "KILLED": 130}.get(outcome.status, 1)
    return JobResult(outcome.status, code, outcome.run_id, outcome.message or None, _losses(run_dir))


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # a full disk behind 2>: no reason to end otherwise
        print(line, file=sys.stderr, flush=True)


def _keep_traceback(error: Exception, run_dir: Path) -> str:
    """Append the traceback to the run's log file; return what is said of it in one line."""
    log = run_dir / LOG_FILE
    first = next(iter(str(error).splitlines()), "")
    said = f"{type(error).__name__}: {first}" if first else type(error).__name__
    try:
        with log.open("a", encoding="utf-8") as file:
            traceback.print_exception(error, file=file)
    except OSError:  # raised here, it would hide the fault
        return said
    return f"{said}; traceback in {os.path.relpath(log)}"


def _run_id(run_dir: Path) -> str | None:
    from gansweep.runs.rundir import is_run_dir, read

    return str(read(run_dir)["run_id"]) if is_run_dir(run_dir) else None


def _losses(run_dir: Path) -> dict[str, float]:
    from gansweep.look import losses_of

    return losses_of(run_dir)
