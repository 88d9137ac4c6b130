"""Directories of runs and sweeps: made by the process that uses them, so that no two ever share one."""

from __future__ import annotations

import datetime
import os
import shutil
from pathlib import Path

from gansweep.errors import UserError
from gansweep.runs.rundir import SWEEP_FILE

_CLAIM = ".claimed"


def claim(root: str, label: str | None = None, now: datetime.datetime | None = None) -> Path:
    """Make and return `root/<date>/<time>[-label]`, with `-2`, `-3` … behind it when that is taken.

    The directory is made exclusively: two commands started in the same second get two. UserError when the file system
    refuses.
    """
    moment = now or datetime.datetime.now()
    day = Path(root) / moment.strftime("%Y-%m-%d")
    name = moment.strftime("%H-%M-%S") + (f"-{label}" if label else "")
    try:
        day.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            found = day / (name if number == 1 else f"{name}-{number}")
            try:
                found.mkdir()
            except FileExistsError:
                number += 1
            else:
                return found
    except OSError as error:
        raise UserError(f"{day}: cannot be made ({error.strerror}); start gansweep where you may write") from None


def claim_exactly(directory: str, record: str) -> Path:
    """Make the directory that the user chose; UserError when it already holds a `record` file (a run or a sweep)."""
    path = Path(directory)
    if (path / record).exists():
        raise UserError(f"{path}: already holds a {record}; choose another directory")
    if record == SWEEP_FILE and os.pathsep in str(path.absolute()):
        raise UserError(f"{path}: a sweep's directory has no {os.pathsep} in its path: its code is found by that")
    try:
        path.mkdir(parents=True, exist_ok=True)
        if record == SWEEP_FILE:  # of two who start there at once, one has it
            os.close(os.open(path / _CLAIM, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        raise UserError(f"{path}: another sweep begins there, or came to nothing; choose another directory") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be made ({error.strerror})") from None
    return path


def discard_unbegun(directory: Path, record: str, keep: str, chosen: bool, given: bool) -> None:
    """Leave nothing of a start that came to nothing: no `record` (a run's) and no `keep` (the log of a fault of ours).

    `chosen`: the folder is the user's choice, and those above it are not ours to remove; `given`: it was there before,
    and only what Hydra put there goes.
    """
    if (directory / record).exists() or (directory / keep).exists():
        return
    if chosen:
        shutil.rmtree(directory / ".hydra" if given else directory, ignore_errors=True)
    else:
        discard(directory)


def discard(directory: Path) -> None:
    """Remove a directory of a request that turned out wrong, and the folders above it that are then empty."""
    shutil.rmtree(directory, ignore_errors=True)
    for parent in list(directory.parents)[:2]:
        try:
            parent.rmdir()
        except OSError:
            return
