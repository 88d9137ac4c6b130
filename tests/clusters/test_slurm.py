"""Sweeps on a real Slurm of this machine (make test-slurm): arrays, failures, kills, time limits, preemption."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from clusters.slurm import lacking, slurm
from clusters.sweeps import QUIET, Started, agree, has_checkpoint, has_sweep, row, stopped_at, sweep_in, until, whys
from gansweep.runs.spool import last_step

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.skipif(bool(lacking()), reason=lacking() or "-")]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    with slurm(tmp_path_factory.mktemp("cluster") / "slurm") as environment:
        yield environment


ON_SLURM = ["hydra/launcher=slurm", "hydra.launcher.cpus=1", "hydra.launcher.poll_s=1", "hydra.launcher.grace_s=20"]


def queue(cluster: dict[str, str]) -> str:
    asked = ["squeue", "--noheader", "--array", "--format=%i %T"]
    return subprocess.run(asked, env={**os.environ, **cluster}, capture_output=True, text=True, check=True).stdout


def test_six_with_one_failing_one_killed_and_a_leader_killed(
    cluster: dict[str, str], tmp_path: Path, small_overrides: list[str]
) -> None:
    rates = "optimizer.lr=1e-4,2e-4,3e-4,4e-4,5e-4,1e30"  # with the last, the first losses are not finite
    words = ["-m", *small_overrides, *QUIET, *ON_SLURM, "steps=400", rates]
    leader = Started(words, tmp_path, cluster)
    until(lambda: has_sweep(tmp_path) and row(sweep_in(tmp_path), 0).owner, leader)
    sweep = sweep_in(tmp_path)
    tickets = [row(sweep, job).ticket for job in range(6)]
    array = str(tickets[0]).partition("_")[0]
    assert tickets == [f"{array}_{place}" for place in range(6)]  # one array
    # A job's process is killed: that job alone is lost, and the others go on.
    until(lambda: has_checkpoint(sweep, 0), leader)
    os.kill(int((row(sweep, 0).owner or {})["pid"]), signal.SIGKILL)
    until(lambda: row(sweep, 0).state == "KILLED", leader)
    assert row(sweep, 0).fault == "killed" and "SIGKILL" in str(row(sweep, 0).reason)
    # The leader is killed: Slurm goes on by itself, and the record is kept by the jobs.
    leader.process.kill()
    leader.process.communicate()
    code, said = Started(["sweep", "status"], tmp_path, cluster).end()
    assert code == 0 and "nobody leads it now" in said
    code, said = Started(["-m", "--resume"], tmp_path, cluster).end()
    assert code == 1 and "5 of 6 finished" in said, said
    assert [row(sweep, job).state for job in range(6)] == ["FINISHED"] * 5 + ["FAILED"]
    assert "not finite" in str(row(sweep, 5).reason)
    assert [row(sweep, job).ticket for job in range(1, 6)] == tickets[1:]  # adopted, not begun once more
    assert row(sweep, 0).ticket != tickets[0] and row(sweep, 0).attempt == 1  # gone on with, as the same run
    agree(sweep)
    assert queue(cluster) == ""


def test_a_job_whose_time_is_nearly_up_is_queued_again_and_goes_on(
    cluster: dict[str, str], tmp_path: Path, small_overrides: list[str]
) -> None:
    limits = ["hydra.launcher.time_min=1", "hydra.launcher.grace_s=50"]
    words = ["-m", *small_overrides, *QUIET, *ON_SLURM, *limits, "steps=1000000", "seed=1"]
    leader = Started(words, tmp_path, cluster)
    until(lambda: has_sweep(tmp_path) and row(sweep_in(tmp_path), 0).owner, leader)
    sweep = sweep_in(tmp_path)
    ticket, first = row(sweep, 0).ticket, (row(sweep, 0).owner or {})["pid"]
    until(lambda: stopped_at(sweep, 0), leader)  # on a busy machine it may have to give way before its first step, too
    until(lambda: whys(sweep, 0) and row(sweep, 0).owner is not None, leader)
    assert row(sweep, 0).ticket == ticket and (row(sweep, 0).owner or {})["pid"] != first
    assert all("give way" in why for why in whys(sweep, 0))
    kept = stopped_at(sweep, 0)[0]
    until(lambda: (last_step(sweep / "0") or 0) > kept + 50, leader)
    code, said = Started(["sweep", "stop"], tmp_path, cluster).end()
    assert code == 0, said
    code, said = leader.end()
    assert code == 130 and "0 of 1 finished" in said, said
    assert (row(sweep, 0).state, row(sweep, 0).fault) == ("KILLED", "stopped")
    assert stopped_at(sweep, 0)[-1] > kept
    agree(sweep)
    assert queue(cluster) == ""


def test_a_job_that_has_to_give_way_is_queued_again_and_goes_on(
    cluster: dict[str, str], tmp_path: Path, small_overrides: list[str]
) -> None:
    words = ["-m", *small_overrides, *QUIET, *ON_SLURM, "hydra.launcher.partition=usual", "steps=600", "seed=1,2"]
    leader = Started(words, tmp_path, cluster)
    until(lambda: has_sweep(tmp_path) and all(has_checkpoint(sweep_in(tmp_path), job) for job in (0, 1)), leader)
    sweep = sweep_in(tmp_path)
    urgent = ["sbatch", "--partition=urgent", "--exclusive", "--wrap=true", "--output=/dev/null"]
    subprocess.run(urgent, env={**os.environ, **cluster}, check=True, capture_output=True)
    until(lambda: whys(sweep, 0) and whys(sweep, 1), leader)
    code, said = leader.end()
    assert code == 0 and "2 of 2 finished" in said, said
    agree(sweep)
    assert [row(sweep, job).attempt for job in (0, 1)] == [1, 1]
    assert all(len(stopped_at(sweep, job)) == 1 for job in (0, 1))  # each kept its state, and went on from there


def test_what_slurm_would_not_take_is_refused_before_anything_is_made(
    cluster: dict[str, str], tmp_path: Path, small_overrides: list[str]
) -> None:
    for word, told in (
        ("hydra.launcher.partition=nowhere", "invalid partition"),
        ("hydra.launcher.gpus=3", "generic resource"),
        ("hydra.launcher.grace_s=600 hydra.launcher.time_min=5", "before they begin"),
        ("hydra.launcher.cpus=0", "at least 1"),
    ):
        words = ["-m", *small_overrides, *QUIET, *ON_SLURM, *word.split(), "seed=1,2"]
        code, said = Started(words, tmp_path, cluster).end()
        assert code == 2 and told.lower() in said.lower() and said.count("\n") == 1, said
    assert not list(tmp_path.iterdir())


def test_jobs_may_be_left_to_slurm(cluster: dict[str, str], tmp_path: Path, small_overrides: list[str]) -> None:
    words = ["-m", *small_overrides, *QUIET, *ON_SLURM, "hydra.launcher.wait=false", "steps=30", "seed=1,2"]
    code, said = Started(words, tmp_path, cluster).end()
    assert code == 0 and "gansweep -m --resume" in said, said
    sweep = sweep_in(tmp_path)
    until(lambda: all(row(sweep, job).state == "FINISHED" for job in (0, 1)))
    code, said = Started(["-m", "--resume"], tmp_path, cluster).end()
    assert code == 0 and "2 of 2 finished" in said, said
    agree(sweep)
