"""What the tests of both clusters share: gansweep started as a user would, and its record looked at."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from gansweep.sweep import ledger

DEADLINE_S = 240.0
QUIET = ["model=vae", "log_every=10", "sample_every=0", "val_every=0", "checkpoint_every=20"]


class Started:
    """A gansweep process in a folder of its own, killed with its test."""

    every: ClassVar[list[Started]] = []

    def __init__(self, words: list[str], cwd: Path, environment: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gansweep", *words],
            cwd=cwd,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.every.append(self)

    def end(self) -> tuple[int, str]:
        """Wait for its end; returns exit status and all it said."""
        try:
            said, _ = self.process.communicate(timeout=DEADLINE_S)
        finally:
            self.process.kill()
        assert "Traceback" not in said, said
        return self.process.returncode, said


def until(happened: Callable[[], Any], *alive: Started) -> None:
    """Wait for something that other processes bring about."""
    deadline = time.monotonic() + DEADLINE_S
    while not happened():
        assert time.monotonic() < deadline
        for one in alive:
            assert one.process.poll() is None, one.process.communicate()[0]
        time.sleep(0.1)


def sweep_in(cwd: Path) -> Path:
    """Return the directory of the only sweep below `cwd`; there must be one."""
    (found,) = cwd.glob("multirun/*/*/sweep.jsonl")
    return found.parent


def has_sweep(cwd: Path) -> bool:
    """Say whether a sweep's record is there."""
    return any(cwd.glob("multirun/*/*/sweep.jsonl"))


def row(sweep: Path, job: int) -> ledger.Row:
    """Return a job's row as it is now."""
    return ledger.load(sweep).rows[job]


def has_checkpoint(sweep: Path, job: int) -> bool:
    """Say whether a job's run has written a checkpoint."""
    return (sweep / str(job) / "checkpoints" / "last.pt").exists()


def stopped_at(sweep: Path, job: int) -> list[int]:
    """Return the steps at which a job kept its state and ended, in order."""
    reasons = [str(entry.get("reason")) for entry in ledger.history(sweep, job)]
    return [int(found[1]) for reason in reasons if (found := re.search(r"stopped by SIG\w+ at step (\d+)", reason))]


def whys(sweep: Path, job: int) -> list[str]:
    """Return why a job had to wait again, each time."""
    return [entry["why"] for entry in ledger.history(sweep, job) if "why" in entry]


def agree(sweep: Path) -> None:
    """Hold the record against the runs: one run a job, of the state that the record says, and no point of it twice."""
    rows = ledger.load(sweep).rows
    for one in rows:
        record = json.loads((one.dir / "run.json").read_text())
        assert (record["status"], record["run_id"]) == (one.state, one.run_id)
        entries = [json.loads(line) for line in (one.dir / "spool.jsonl").read_text().splitlines()]
        points = [(entry["key"], entry["step"]) for entry in entries if entry["kind"] == "scalar"]
        assert len(points) == len(set(points))
        if one.state == ledger.FINISHED:
            assert max(step for _, step in points) == record["steps"]
    assert {path.parent for path in sweep.glob("*/run.json")} == {one.dir for one in rows}
