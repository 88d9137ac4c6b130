"""Sweeps on a real Ray of this machine (make test-ray): failures, kills of a job, of a worker and of the leader."""

from __future__ import annotations

import importlib.util
import os
import signal
from pathlib import Path

import psutil
import pytest

from clusters.sweeps import QUIET, Started, agree, has_checkpoint, has_sweep, row, stopped_at, sweep_in, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.cluster,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the extra ray is not installed"),
]
ON_RAY = ["hydra/launcher=ray"]


def test_six_with_one_failing_one_killed_and_a_leader_killed(tmp_path: Path, small_overrides: list[str]) -> None:
    rates = "optimizer.lr=1e-4,2e-4,3e-4,4e-4,5e-4,1e30"  # with the last, the first losses are not finite
    words = ["-m", *small_overrides, *QUIET, *ON_RAY, "steps=400", rates]
    leader = Started(words, tmp_path, {})
    until(lambda: has_sweep(tmp_path) and (tmp_path / sweep_in(tmp_path) / "0").is_dir(), leader)
    sweep = sweep_in(tmp_path)
    # A job's process is killed, and then the worker of Ray that stands for another.
    until(lambda: has_checkpoint(sweep, 0), leader)
    os.kill(int((row(sweep, 0).owner or {})["pid"]), signal.SIGKILL)
    until(lambda: row(sweep, 0).state == "KILLED", leader)
    assert row(sweep, 0).fault == "killed" and "SIGKILL" in str(row(sweep, 0).reason)
    until(lambda: has_checkpoint(sweep, 2), leader)
    other = psutil.Process(int((row(sweep, 2).owner or {})["pid"]))
    os.kill(other.ppid(), signal.SIGKILL)
    until(lambda: row(sweep, 2).state == "KILLED", leader)
    until(lambda: not other.is_running() or other.status() == psutil.STATUS_ZOMBIE, leader)
    # The leader is killed: what ran for it keeps its state and ends.
    until(lambda: has_checkpoint(sweep, 3), leader)
    running = [one for one in (row(sweep, job) for job in range(6)) if one.owner is not None]
    leader.process.kill()
    leader.process.communicate()
    until(lambda: not any(psutil.pid_exists(int((one.owner or {})["pid"])) for one in running))
    code, said = Started(["-m", "--resume"], tmp_path, {}).end()
    assert code == 1 and "5 of 6 finished" in said, said
    assert [row(sweep, job).state for job in range(6)] == ["FINISHED"] * 5 + ["FAILED"]
    assert "not finite" in str(row(sweep, 5).reason)
    assert {row(sweep, job).attempt for job in range(6)} == {1}
    agree(sweep)


def test_a_sweep_that_is_stopped_keeps_its_state(tmp_path: Path, small_overrides: list[str]) -> None:
    words = ["-m", *small_overrides, *QUIET, *ON_RAY, "steps=1000000", "seed=1,2,3"]
    leader = Started(words, tmp_path, {})
    until(lambda: has_sweep(tmp_path) and has_checkpoint(sweep_in(tmp_path), 0), leader)
    sweep = sweep_in(tmp_path)
    until(lambda: has_checkpoint(sweep, 1), leader)
    leader.process.terminate()
    code, said = leader.end()
    assert code == 130 and "0 of 3 finished" in said, said
    assert all(row(sweep, job).fault == "stopped" and len(stopped_at(sweep, job)) == 1 for job in (0, 1))
    assert row(sweep, 2).state in ("WAITING", "KILLED")


def test_a_cluster_that_does_not_answer_is_told(tmp_path: Path, small_overrides: list[str]) -> None:
    words = ["-m", *small_overrides, *QUIET, *ON_RAY, "seed=1,2"]
    code, said = Started([*words, "hydra.launcher.address=127.0.0.1:1"], tmp_path, {}).end()
    assert code == 3 and "no Ray" in said and said.count("\n") == 1, said
    code, said = Started([*words, "hydra.launcher.gpus=-1"], tmp_path, {}).end()
    assert code == 2 and "hydra.launcher.gpus=-1" in said, said
    assert not list(tmp_path.iterdir())
