"""Places for jobs on this machine: one device each, held by a file lock that every sweep of the machine respects."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gansweep.errors import UserError

_ASK_WAIT_S = 20.0


@dataclass
class Slot:
    """Room for one job: `device` is a GPU's number or UUID for CUDA_VISIBLE_DEVICES, None for the CPU."""

    number: int
    device: str | None
    threads: int
    lock: Any = field(default=None, repr=False)

    def environment(self) -> dict[str, str]:
        """Return what a job in this slot is told by its environment."""
        told = {"OMP_NUM_THREADS": str(self.threads), "MKL_NUM_THREADS": str(self.threads)}
        return told if self.device is None else told | {"CUDA_VISIBLE_DEVICES": self.device}

    def take(self) -> bool:
        """Hold the slot's device against other sweeps; says whether it could be had. A CPU slot always can."""
        if self.device is None:
            return True
        import filelock

        self.lock = self.lock or filelock.FileLock(_lock_folder() / f"{self.device}.{self.number}.lock")
        try:
            self.lock.acquire(timeout=0)
        except filelock.Timeout:
            return False
        return True

    def give_back(self) -> None:
        """Let others have the device."""
        if self.lock is not None and self.lock.is_locked:
            self.lock.release()


def slots(launcher: Mapping[str, Any], on_cuda: bool) -> list[Slot]:
    """Return the places that a launcher's settings ask for: `n_jobs` (auto or null, -1: all, or a number), `per_device`.

    On CUDA `auto` is `per_device` jobs (1) on each GPU that CUDA_VISIBLE_DEVICES leaves; more are refused (UserError).
    On a CPU it is one job with all cores; of several, each has an equal part of them.
    """
    asked, each = launcher.get("n_jobs"), launcher.get("per_device", 1)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for key, value in (("n_jobs", asked), ("per_device", each)):
        good = isinstance(value, int) and not isinstance(value, bool) and (value >= 1 or (key == "n_jobs" and value == -1))
        if not good and not (key == "n_jobs" and value in (None, "auto")):
            raise UserError(f"hydra.launcher.{key}={value}: must be a whole number of at least 1{', or auto' * (key == 'n_jobs')}")
    devices = cuda_devices() if on_cuda else []
    if devices:
        most = len(devices) * each
        count = most if asked in (None, "auto", -1) else asked
        if count > most:
            raise UserError(f"hydra.launcher.n_jobs={count}: {len(devices)} GPUs hold {most} jobs; raise hydra.launcher.per_device")
        return [Slot(n // len(devices), devices[n % len(devices)], max(cores // count, 1)) for n in range(count)]
    count = 1 if asked in (None, "auto") else cores if asked == -1 else asked
    return [Slot(n, None, max(cores // count, 1)) for n in range(count)]


def cuda_devices() -> list[str]:
    """Return the GPUs that jobs may use, without starting CUDA in this process."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip() and name.strip() != "-1"]
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        command = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
        said = subprocess.run(command, capture_output=True, text=True, timeout=_ASK_WAIT_S, check=False)
        if said.returncode == 0:
            return [line.strip() for line in said.stdout.splitlines() if line.strip()]
    return []


def _lock_folder() -> Path:
    """Return the machine's folder of locks, which all users may write to."""
    folder = Path(os.environ.get("GANSWEEP_LOCKS") or Path(tempfile.gettempdir()) / "gansweep-devices")
    with contextlib.suppress(FileExistsError):
        folder.mkdir(parents=True)
        folder.chmod(0o1777)
    return folder
