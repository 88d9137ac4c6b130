"""A little room kept back on a run's disk, so that how the run ended can be written down when the disk is full."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

RESERVE_FILE = ".reserve"
# run.json twice (it is written beside its old self), the last lines of run.log and of the spool.
RESERVE_BYTES = 256 * 2**10


def keep_back(run_dir: Path) -> None:
    """Take RESERVE_BYTES of the disk that holds `run_dir`; OSError when they cannot be had."""
    path = run_dir / RESERVE_FILE
    try:
        with path.open("wb") as file:
            file.write(os.urandom(RESERVE_BYTES))  # what a file system cannot compress, nor leave out as a hole
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        give_back(run_dir)
        raise OSError(error.errno, error.strerror, str(path)) from error  # a write's own error names no file


def give_back(run_dir: Path) -> None:
    """Free what `keep_back` took; harmless when nothing was, or when the disk does not let us."""
    with contextlib.suppress(OSError):
        (run_dir / RESERVE_FILE).unlink(missing_ok=True)


def is_full(directory: Path) -> bool:
    """Say whether no more than a reserve's room is left on the disk that holds `directory`."""
    try:
        return shutil.disk_usage(directory).free <= RESERVE_BYTES
    except OSError:
        return False
