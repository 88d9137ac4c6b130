"""Sweeps whose processes are killed, as real processes: nothing is lost, nothing is doubled, resume completes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gansweep.sweep import ledger

DEADLINE_S = 300.0
LONG = ["model=vae", "log_every=10", "sample_every=0", "val_every=0", "checkpoint_every=20", "runtime.device=cpu"]


def start(words: list[str], cwd: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gansweep", *words]
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=DEADLINE_S)
    assert "Traceback" not in out + err, err
    return process.returncode, out, err


def until(happened: Callable[[], bool], *processes: subprocess.Popen[str]) -> None:
    """Wait for something that processes bring about; polling, for there is nothing to be told by."""
    deadline = time.monotonic() + DEADLINE_S
    while not happened():
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in processes)
        time.sleep(0.05)


def the_sweep(cwd: Path) -> Path:
    return next(cwd.glob("multirun/*/*/sweep.jsonl")).parent


def pid_of(cwd: Path, job: int) -> int:
    return int((ledger.load(the_sweep(cwd)).rows[job].owner or {})["pid"])


def has_checkpoint(cwd: Path, job: int) -> bool:
    return any(cwd.glob(f"multirun/*/*/{job}/checkpoints/last.pt"))


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def points_of(run_dir: Path) -> list[tuple[str, int]]:
    entries = [json.loads(line) for line in (run_dir / "spool.jsonl").read_text().splitlines()]
    return [(entry["key"], entry["step"]) for entry in entries if entry["kind"] == "scalar"]


def agree(sweep: Path) -> None:
    """Hold the sweep's record against the runs': one run a job, in the state that the record says, no point twice."""
    for row in ledger.load(sweep).rows:
        record: dict[str, Any] = json.loads((row.dir / "run.json").read_text())
        assert (record["status"], record["run_id"]) == (row.state, row.run_id)
        points = points_of(row.dir)
        assert len(points) == len(set(points))
        assert max(step for _, step in points) == record["steps"]
    assert {path.parent for path in sweep.glob("*/run.json")} == {row.dir for row in ledger.load(sweep).rows}


@pytest.mark.slow
def test_kill_9_of_a_worker_of_the_leader_and_of_both(tmp_path: Path, small_overrides: list[str]) -> None:
    words = ["-m", *small_overrides, *LONG, "steps=3000", "seed=1,2,3", "hydra.launcher.n_jobs=2"]
    leader = start(words, tmp_path)
    until(lambda: has_checkpoint(tmp_path, 0) and has_checkpoint(tmp_path, 1), leader)
    sweep = the_sweep(tmp_path)
    # A worker: costs that job alone, and the next one begins.
    os.kill(pid_of(tmp_path, 0), signal.SIGKILL)
    until(lambda: ledger.load(sweep).rows[2].owner is not None, leader)
    row = ledger.load(sweep).rows[0]
    assert (row.state, row.fault) == ("KILLED", "killed")
    assert "SIGKILL" in str(row.reason)
    # The leader: its jobs go on without it, and whoever resumes takes them over.
    orphan = pid_of(tmp_path, 1)
    os.kill(leader.pid, signal.SIGKILL)
    leader.wait()
    assert not gone(orphan)
    second = start(["-m", "--resume", *words[1:]], tmp_path)
    until(lambda: len(_owners(sweep)) == 2, second)
    until(lambda: ledger.load(sweep).rows[0].state == "WAITING" or ledger.load(sweep).rows[0].owner is not None, second)
    # A third who would lead it too is told so.
    code, out, err = finish(start(["-m", "--resume", str(sweep)], tmp_path))
    assert (code, out) == (2, "") and f"another process leads this sweep (process {second.pid} on " in err
    assert err.count("\n") == 1
    # Leader and worker both.
    os.kill(second.pid, signal.SIGKILL)
    second.wait()
    for job in (0, 1, 2):
        owner = ledger.load(sweep).rows[job].owner
        if owner is not None and not gone(int(owner["pid"])):
            os.kill(int(owner["pid"]), signal.SIGKILL)
            until(lambda pid=int(owner["pid"]): gone(pid))  # type: ignore[misc]
    code, out, _ = finish(start(["-m", "--resume", str(sweep)], tmp_path))
    assert code == 0 and "3 of 3 finished" in out
    agree(sweep)
    assert [row.attempt for row in ledger.load(sweep).rows] == [1, 1, 1]
    code, out, _ = finish(start(["-m", "--resume", str(sweep)], tmp_path))  # nothing is left to do
    assert code == 0 and "3 of 3 finished" in out


def _owners(sweep: Path) -> list[dict[str, Any]]:
    entries = [json.loads(line) for line in (sweep / "sweep.jsonl").read_text().splitlines()]
    return [entry for entry in entries if entry["kind"] == "owner"]
