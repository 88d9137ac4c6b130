"""How a job's process is started, here or on a cluster's node: with the frozen code, its log, and marked as running."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gansweep.runs.provenance import FROZEN
from gansweep.sweep import ledger
from gansweep.sweep.freeze import CODE_DIR, ORIGIN_FILE
from gansweep.sweep.ledger import Row

MEMORY_GB = "GANSWEEP_MEMORY_GB"
# The process that a job is to end with, where another one stands for it before its engine.
ENDS_WITH = "GANSWEEP_ENDS_WITH"


def frozen_path(row_or_sweep_dir: os.PathLike[str] | str) -> str:
    """Return PYTHONPATH for whoever is to run a sweep's frozen code: that first, then what stands there already."""
    code = os.path.join(row_or_sweep_dir, CODE_DIR)
    path = os.environ.get("PYTHONPATH")
    return f"{code}{os.pathsep}{path}" if path and code not in path.split(os.pathsep) else path or code


def spawn(
    row: Row, told: Mapping[str, str], held: Sequence[int] = (), own_group: bool = True, cwd: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start a job's process. `told` joins its environment, `held` are open files it keeps for as long as it lives.

    With `own_group` a Ctrl-C here does not reach it. `cwd`: where it is to stand, else here. Raises BlockingIOError
    when the job has a process already.
    """
    directory = row.sweep_dir
    env = {"PYTHONPATH": frozen_path(directory), FROZEN: str(directory / ORIGIN_FILE)}
    row.log.parent.mkdir(exist_ok=True)
    with row.log.open("ab") as log, ledger.marked(row) as mark:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "gansweep.sweep.child", str(directory), str(row.job)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **env, **told},
            start_new_session=own_group,
            cwd=cwd,
            pass_fds=(mark, *held),
        )


def owner(pid: int) -> dict[str, Any]:
    """Return {"host", "pid", "pid_start"} of a process of this machine."""
    import psutil

    started = time.time()
    with contextlib.suppress(psutil.NoSuchProcess):
        started = psutil.Process(pid).create_time()
    return {"host": platform.node(), "pid": pid, "pid_start": started}
