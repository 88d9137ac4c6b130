"""What runs a sweep's jobs: this machine, a Slurm cluster or a Ray cluster, all met through the same few calls."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from gansweep.errors import UserError
from gansweep.sweep.ledger import Row

# Less than a process needs to say what it lacks; more than any machine has.
_LEAST_GB, _MOST_GB = 0.5, 1e6
_MOST_JOBS = 10_000
RETRIES = ("out_of_memory", "killed", "error")
MACHINE, SLURM, RAY = "Pool", "Slurm", "Ray"


class Worker(Protocol):
    """A job that an engine has taken, from its queue to its end."""

    row: Row

    def ended(self) -> int | None:
        """Return its exit status (-9 and the like for signals) once it ended, None before."""

    def fault(self, code: int) -> tuple[str, str]:
        """Return class (see `faults`) and words for an end of which the job itself said nothing."""

    def tell(self, number: signal.Signals) -> None:
        """Send a signal to the job; SIGKILL also ends whatever it started."""


class Engine(Protocol):
    """Takes jobs. `queues`: it keeps those that have no room yet; `lasting`: they need nobody here to see to them."""

    queues: bool
    lasting: bool

    def room(self, taken: int) -> int:
        """Return for how many more jobs it has room now, `taken` being in its hands."""

    def start(self, rows: Sequence[Row]) -> list[Worker]:
        """Take jobs; returns those that it took, in order."""

    def adopt(self, row: Row) -> Worker | None:
        """Return the job as an earlier leader of the sweep handed it over; None when it has ended or never began."""

    def tell(self, workers: Sequence[Worker], number: signal.Signals) -> None:
        """Send a signal to several jobs."""

    def free(self, worker: Worker) -> None:
        """Note that a job is over."""


def kind_of(launcher: Mapping[str, Any]) -> str:
    """Return which engine the settings of hydra/launcher are for: MACHINE, SLURM or RAY."""
    name = str(launcher.get("_target_", "")).rpartition(".")[2]
    return name if name in (SLURM, RAY) else MACHINE


def open_engine(directory: Path, launcher: Mapping[str, Any], on_cuda: bool) -> Engine:
    """Return the engine that a sweep's launcher asks for; the same checks as `refuse_launcher`."""
    kind = kind_of(launcher)
    if kind == SLURM:
        from gansweep.sweep.on_slurm import Slurm

        return Slurm(directory, launcher)
    if kind == RAY:
        from gansweep.sweep.on_ray import Ray

        return Ray(directory, launcher)
    from gansweep.sweep.on_machine import Machine

    return Machine(directory, launcher, on_cuda)


def refuse_launcher(launcher: Mapping[str, Any], on_cuda: bool, searching: bool = False) -> None:
    """Refuse, before anything is made, a launcher whose settings make no sense or whose engine is not there.

    Raises UserError, or Missing with the command that installs what is lacking.
    """
    check_limits(launcher)
    if searching and not launcher.get("wait", True):
        raise UserError("hydra.launcher.wait=false: a search chooses by what earlier points gave; somebody must wait")
    _refuse(json.dumps(dict(launcher)), on_cuda)


@lru_cache(maxsize=1)
def _refuse(launcher_as_json: str, on_cuda: bool) -> None:
    """Ask the engine itself, once in a command: a cluster takes seconds to answer."""
    launcher = json.loads(launcher_as_json)
    kind = kind_of(launcher)
    if kind == SLURM:
        from gansweep.sweep.on_slurm import refuse

        refuse(launcher)
    elif kind == RAY:
        from gansweep.sweep.on_ray import refuse as refuse_ray

        refuse_ray(launcher)
    else:
        from gansweep.sweep.slots import slots

        slots(launcher, on_cuda)


def check_limits(launcher: Mapping[str, Any]) -> None:
    """Raise UserError for limits that every engine has and that make no sense."""
    from gansweep.errors import nearest

    most, retries = launcher.get("memory_gb"), launcher.get("retries") or {}
    if most is not None and (not is_number(most) or not _LEAST_GB <= most <= _MOST_GB):
        raise UserError(f"hydra.launcher.memory_gb={most}: a number of 10⁹ bytes, at least {_LEAST_GB}, or null")
    if not isinstance(retries, Mapping):
        raise UserError(
            f"hydra.launcher.retries={retries}: set its keys one by one, as in hydra.launcher.retries.killed=1"
        )
    if is_count(launcher.get("n_jobs"), _MOST_JOBS + 1):
        raise UserError(f"hydra.launcher.n_jobs={launcher['n_jobs']}: at most {_MOST_JOBS:,}")
    for key in ("grace_s", "poll_s"):
        seconds = launcher.get(key, 60)
        if not is_number(seconds) or seconds < 0:
            raise UserError(f"hydra.launcher.{key}={seconds}: a number of seconds, 0 or more")
    for name, times in retries.items():
        if name not in RETRIES or not isinstance(times, int) or isinstance(times, bool) or times < 0:
            known = nearest(str(name), RETRIES) if name not in RETRIES else ""
            raise UserError(f"hydra.launcher.retries.{name}={times}: a whole number, 0 or more{known}")


def check_counts(launcher: Mapping[str, Any], **least: int) -> None:
    """Raise UserError for keys that are not whole numbers of at least so many."""
    for key, fewest in least.items():
        if not is_count(launcher.get(key), fewest):
            raise UserError(f"hydra.launcher.{key}={launcher.get(key)}: a whole number of at least {fewest}")


def is_number(value: object) -> bool:
    """Say whether a setting is a number (true and false are none)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_count(value: object, least: int = 1) -> bool:
    """Say whether a setting is a whole number of at least `least`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
