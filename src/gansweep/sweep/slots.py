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
    """Return the places that a launcher's settings ask for: `n_jobs` (auto, -1: all, or a number) and `per_device`.

    On CUDA `auto` is `per_device` jobs (1) on each GPU that CUDA_VISIBLE_DEVICES leaves; more are refused (UserError).
    On a CPU it is one job with all cores; of several, each has an equal part of them.
    """
    asked, each = launcher.get("n_jobs"), launcher.get("per_device", 1)
    if not _is_count(asked) and asked not in (None, "auto", -1):
        raise UserError(f"hydra.launcher.n_jobs={asked}: a whole number of at least 1, auto, or -1: as many as fit")
    if not _is_count(each):
        raise UserError(f"hydra.launcher.per_device={each}: a whole number of at least 1")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    gpus = cuda_devices() if on_cuda else []
    most = len(gpus) * int(each) if gpus else cores if asked == -1 else 1
    count = int(asked) if _is_count(asked) else most  # type: ignore[arg-type]
    if gpus and count > most:
        raise UserError(
            f"hydra.launcher.n_jobs={count}: {len(gpus)} GPUs hold {most} jobs; raise hydra.launcher.per_device"
        )
    devices: list[str | None] = [*gpus] or [None]
    return [Slot(n // len(devices), devices[n % len(devices)], max(cores // count, 1)) for n in range(count)]


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


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
