"""Places for jobs on this machine: one device each, held by a file lock that every sweep of the machine respects."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gansweep.errors import UserError
from gansweep.sweep.engines import check_limits, is_count

_ASK_WAIT_S = 20.0


@dataclass
class Slot:
    """Room for one job, the `place`-th of a sweep: `device` is for CUDA_VISIBLE_DEVICES, None for the CPU.

    `lock` names the file that is held while a job uses the device.
    """

    place: int
    device: str | None
    threads: int
    lock: str = ""
    _file: int | None = field(default=None, repr=False)

    def environment(self) -> dict[str, str]:
        """Return what a job in this slot is told by its environment."""
        told = {"OMP_NUM_THREADS": str(self.threads), "MKL_NUM_THREADS": str(self.threads)}
        return told if self.device is None else told | {"CUDA_VISIBLE_DEVICES": self.device}

    def take(self) -> bool:
        """Hold the slot's device against other sweeps; says whether it could be had. A CPU slot always can."""
        if self.device is None or self._file is not None:
            return True
        file = _lock_file(self.lock)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        self._file = file
        return True

    def held(self) -> tuple[int, ...]:
        """Return the open file that holds the device, for the job's process to have too."""
        return () if self._file is None else (self._file,)

    def hand_over(self) -> None:
        """Leave the device to the job that was started with it: it is held until that has ended."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def slots(launcher: Mapping[str, Any], on_cuda: bool) -> list[Slot]:
    """Return the places that a launcher's settings ask for: `n_jobs` (auto, -1: all, or a number) and `per_device`.

    On CUDA `auto` is `per_device` jobs (1) on each GPU that CUDA_VISIBLE_DEVICES leaves; more are refused (UserError).
    On a CPU it is one job with all cores; of several, each has an equal part of them.
    """
    asked, each = launcher.get("n_jobs"), launcher.get("per_device", 1)
    if not is_count(asked) and asked not in (None, "auto", -1):
        raise UserError(f"hydra.launcher.n_jobs={asked}: a whole number of at least 1, auto, or -1: as many as fit")
    if not is_count(each):
        raise UserError(f"hydra.launcher.per_device={each}: a whole number of at least 1")
    check_limits(launcher)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    gpus = cuda_devices() if on_cuda else []
    most = len(gpus) * int(each) if gpus else cores if asked == -1 else 1
    count = int(asked) if is_count(asked) else most  # type: ignore[arg-type]
    if gpus and count > most:
        raise UserError(
            f"hydra.launcher.n_jobs={count}: {len(gpus)} GPUs hold {most} jobs; raise hydra.launcher.per_device"
        )
    threads = max(cores // count, 1)
    if not gpus:
        return [Slot(n, None, threads) for n in range(count)]
    names = _names(gpus)
    return [Slot(n, gpus[n % len(gpus)], threads, f"{names[n % len(gpus)]}.{n // len(gpus)}") for n in range(count)]


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


def _names(gpus: Sequence[str]) -> list[str]:
    """Return what each GPU is called by everybody: its UUID where it was given by number."""
    known: dict[str, str] = {}
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        command = ["nvidia-smi", "--query-gpu=index,uuid", "--format=csv,noheader"]
        said = subprocess.run(command, capture_output=True, text=True, timeout=_ASK_WAIT_S, check=False)
        known = {
            number.strip(): uuid.strip() for number, _, uuid in (x.partition(",") for x in said.stdout.splitlines())
        }
    return [known.get(name, name).replace("/", "_") for name in gpus]


def _lock_file(name: str) -> int:
    """Return the lock file of that name, open; it is made so that every user of the machine may lock it."""
    folder = Path(os.environ.get("GANSWEEP_LOCKS") or Path(tempfile.gettempdir()) / "gansweep-devices")
    with contextlib.suppress(FileExistsError):
        folder.mkdir(parents=True)
        folder.chmod(0o1777)
    if folder.is_symlink() or not folder.is_dir():
        raise UserError(
            f"{folder}: must be a folder of its own, for locks of devices; GANSWEEP_LOCKS=FOLDER names another"
        )
    path = folder / f"{name}.lock"
    while True:
        with contextlib.suppress(FileNotFoundError):
            return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        with contextlib.suppress(FileExistsError):
            file = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
            os.fchmod(file, 0o666)  # whatever the umask
            return file
