"""Launchers: what makes no sense, or is not there, is told before anything is made."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from gansweep.config import conf_dir
from gansweep.errors import Missing, UserError
from gansweep.sweep import on_slurm, slurm_queue
from gansweep.sweep.engines import MACHINE, RAY, SLURM, kind_of, refuse_launcher
from gansweep.sweep.ledger import Row


def keys(name: str, **changes: Any) -> dict[str, Any]:
    shipped = yaml.safe_load((conf_dir() / "hydra" / "launcher" / f"{name}.yaml").read_text())
    return {**shipped, **changes}


def test_each_file_names_its_engine() -> None:
    assert [kind_of(keys(name)) for name in ("pool", "slurm", "ray")] == [MACHINE, SLURM, RAY]


def test_an_absent_engine_is_told_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name in ("slurm", "ray"):
        with pytest.raises(Missing) as told:
            refuse_launcher(keys(name), on_cuda=False)
        assert f"pip install 'gansweep[{name}]'" in str(told.value) and told.value.exit_code == 3
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(shutil, "which", lambda name, **more: None)
    with pytest.raises(Missing, match="apt-get install slurm-client"):
        refuse_launcher(keys("slurm"), on_cuda=False)


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("slurm", {"cpus": 0}, "hydra.launcher.cpus=0: a whole number of at least 1"),
        ("slurm", {"gpus": -1}, "hydra.launcher.gpus=-1"),
        ("slurm", {"time_min": "4h"}, "hydra.launcher.time_min=4h"),
        ("slurm", {"poll_s": -1}, "hydra.launcher.poll_s=-1: a number of seconds"),
        ("slurm", {"poll_s": 0}, "hydra.launcher.poll_s=0: at least 1"),
        ("slurm", {"setup": "module load cuda"}, "hydra.launcher.setup=module load cuda: a list"),
        ("slurm", {"sbatch": None}, "hydra.launcher.sbatch=None: options"),
        ("slurm", {"retries": {"kiled": 1}}, "did you mean 'killed'?"),
        ("ray", {"gpus": "two"}, "hydra.launcher.gpus=two"),
        ("ray", {"n_jobs": 0}, "hydra.launcher.n_jobs=0"),
        ("ray", {"memory_gb": 0}, "hydra.launcher.memory_gb=0"),
        ("pool", {"grace_s": "soon"}, "hydra.launcher.grace_s=soon"),
    ],
)
def test_settings_that_make_no_sense_are_refused(name: str, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as told:
        refuse_launcher(keys(name, **changes), on_cuda=False)
    assert said in str(told.value) and told.value.exit_code == 2 and "\n" not in str(told.value)


def test_a_search_cannot_leave_its_jobs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="somebody must wait"):
        refuse_launcher(keys("slurm", wait=False), on_cuda=False, searching=True)


def commands(folder: Path, monkeypatch: pytest.MonkeyPatch, **scripts: str) -> None:
    """Put scripts of these names before everything else on PATH."""
    for name, text in scripts.items():
        path = folder / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(path.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_a_controller_that_does_not_answer_is_missing_and_a_wrong_request_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    away = "echo 'sbatch: error: Unable to contact slurm controller (connect failure)' >&2; exit 1"
    commands(tmp_path, monkeypatch, sbatch=away, srun="exit 0")
    with pytest.raises(Missing, match="does not answer"):
        refuse_launcher(keys("slurm"), on_cuda=False)
    commands(tmp_path, monkeypatch, sbatch="echo 'sbatch: error: invalid partition specified: x' >&2; exit 1")
    with pytest.raises(UserError, match="invalid partition specified: x") as told:
        refuse_launcher(keys("slurm", partition="x"), on_cuda=False)
    assert told.value.exit_code == 2
    commands(tmp_path, monkeypatch, sbatch='echo "$@" > "$0.asked"; exit 0')
    refuse_launcher(keys("slurm", memory_gb=1.5, gpus=2, sbatch={"constraint": "a100"}), on_cuda=False)
    asked = (tmp_path / "sbatch.asked").read_text().split()
    assert {"--test-only", "--gpus-per-node=2", "--mem=1500M", "--constraint=a100", "--time=60"} <= set(asked)


def test_a_job_is_over_once_slurm_twice_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = tmp_path / "said"
    commands(tmp_path, monkeypatch, squeue=f"cat {said}")
    queue = slurm_queue.Queue(0, tmp_path)
    job = on_slurm.Queued(Row(0, [], "", tmp_path), "7_0", queue)
    ends = []
    for answer in ("7_0 PENDING", "7_0 RUNNING", "", "7_0 PENDING", "7_0 RUNNING", "7_0 CANCELLED", "7_0 CANCELLED"):
        said.write_text(answer + "\n")
        ends.append(job.ended())
    assert ends == [None] * 6 + [-15]  # once out of the queue between two states, and back
    said.unlink()  # Slurm gives no answer: nothing is concluded
    other = on_slurm.Queued(Row(1, [], "", tmp_path), "7_1", slurm_queue.Queue(0, tmp_path))
    assert [other.ended() for _ in range(4)] == [None] * 4
    assert slurm_queue.Queue(0, tmp_path).states() is None
    # A leader that resumes then begins nothing twice: what has a ticket is taken for being there.
    engine = on_slurm.Slurm(tmp_path, keys("slurm"))
    queued = Row(2, [], "", tmp_path, ticket="7_2")
    assert engine.adopt(queued) is not None and engine.adopt(Row(3, [], "", tmp_path)) is None


def test_what_ended_just_now_is_begun_anew_and_what_is_queued_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands(tmp_path, monkeypatch, squeue="printf '9_0 COMPLETING\\n9_1 PENDING\\n9_2 COMPLETED\\n'")
    engine = on_slurm.Slurm(tmp_path, keys("slurm"))
    waiting = [Row(job, [], "", tmp_path, ticket=f"9_{job}") for job in range(4)]
    assert [engine.adopt(row) is not None for row in waiting] == [False, True, False, False]
    ending = Row(0, [], "", tmp_path, ticket="9_0", state="RUNNING")
    assert engine.adopt(ending) is not None  # it has yet to say how it ended


def test_an_array_is_as_large_as_the_cluster_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands(tmp_path, monkeypatch, scontrol="echo 'MaxArraySize            = 40'")
    assert slurm_queue.largest_array() == 40
    commands(tmp_path, monkeypatch, scontrol="exit 1")
    assert slurm_queue.largest_array() == 1001


def test_many_jobs_are_told_by_few_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands(tmp_path, monkeypatch, scancel='echo "$#" "$1" >> "$0.asked"', squeue="exit 1")
    engine = on_slurm.Slurm(tmp_path, keys("slurm"))
    jobs = [on_slurm.Queued(Row(job, [], "", tmp_path), f"5_{job}", engine.queue) for job in range(450)]
    for job in jobs[:10]:
        job.state = "RUNNING"
    engine.tell(jobs, signal.SIGTERM)
    asked = (tmp_path / "scancel.asked").read_text().split("\n")[:-1]
    assert asked == ["11 --signal=INT", "200 5_10", "200 5_210", "40 5_410"]
