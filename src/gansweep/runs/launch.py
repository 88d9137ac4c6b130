"""Starting the sender: a separate, gentle process that outlives a training process that is killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from gansweep.runs.rundir import Run, write_json

SENDER_LOG = "sender.log"
STATE_FILE = "sender.json"
LOCK_FILE = ".sender.lock"
# Below training in the kernel's eyes, but not starved by it.
_NICE = 5


def start_sender(run: Run) -> subprocess.Popen[bytes] | None:
    """Start the sender of `run` in a session of its own and return it; None for a run that has no tracker.

    A second sender for one run waits for the first one to end, so starting one is always safe.
    """
    tracking: dict[str, Any] = run.record.get("tracking") or {}
    if tracking.get("kind") != "mlflow":
        return None
    environment = dict(os.environ)
    # Torch and BLAS are never used there, but numpy starts their threads at import.
    environment.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", PYTHONUNBUFFERED="1")
    environment.pop("PYTEST_CURRENT_TEST", None)
    with (run.dir / SENDER_LOG).open("ab") as log:
        return subprocess.Popen(
            # -P: a file in the working directory must not shadow a module of ours
            [sys.executable, "-P", "-m", "gansweep.runs.sender", str(run.dir), "--nice", str(_NICE)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,  # Ctrl-C in the terminal is for the trainer alone
        )


def read_state(run_dir: Path) -> dict[str, Any]:
    """Return what the sender last said, or {}: its process (host, pid, pid_start), state, error, tried, refused.

    `state` is sending, unreachable or done; `tried` the unix time of that; `refused` a count of lines.
    """
    try:
        state = json.loads((run_dir / STATE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def write_state(run_dir: Path, state: dict[str, Any]) -> None:
    """Note the sender's state for the trainer and for people."""
    write_json(run_dir / STATE_FILE, state)
