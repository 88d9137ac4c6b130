"""What is frozen at a sweep's start, the places for its jobs, and points over their seeds."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gansweep.config.compose import session
from gansweep.errors import NoRoom, UserError
from gansweep.sweep import freeze, ledger, seeds, slots
from gansweep.sweep.faults import DISK_FULL, ERROR, OUT_OF_MEMORY, fault_of, fault_of_exit


def test_the_users_modules_are_copied_and_what_changes_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "frozenlab.py").write_text("weight = 1\n")
    (tmp_path / "mine" / "frozenpack").mkdir()
    (tmp_path / "mine" / "frozenpack" / "__init__.py").write_text("")
    (tmp_path / "mine" / "frozenpack" / "losses.py").write_text("weight = 2\n")
    (tmp_path / "mine" / "frozenpack" / "unloaded.py").write_text("weight = 3\n")
    monkeypatch.syspath_prepend(str(tmp_path / "mine"))
    __import__("frozenlab")
    __import__("frozenpack.losses")
    sweep = tmp_path / "sweep"
    sweep.mkdir()
    freeze.freeze_code(sweep)
    code = sweep / "code"
    assert (code / "frozenlab.py").read_text() == "weight = 1\n"
    assert (code / "frozenpack" / "unloaded.py").is_file()
    assert (code / "gansweep" / "conf" / "config.yaml").is_file()
    assert not list(code.rglob("__pycache__"))
    assert freeze.changed_since(sweep) == []
    (tmp_path / "mine" / "frozenlab.py").write_text("weight = 9\n")
    (tmp_path / "mine" / "frozenpack" / "losses.py").unlink()
    assert freeze.changed_since(sweep) == ["frozenlab.py", "frozenpack/losses.py"]
    # A job's process finds the copies, whatever lies where it stands.
    command = [sys.executable, "-P", "-c", "import gansweep, frozenlab; print(gansweep.__file__, frozenlab.weight)"]
    environment = {"PYTHONPATH": str(code), "PATH": ""}
    said = subprocess.run(command, cwd=tmp_path / "mine", env=environment, capture_output=True, text=True, check=True)
    assert said.stdout.split() == [str(code / "gansweep" / "__init__.py"), "1"]


def test_settings_come_back_as_they_were(tmp_path: Path) -> None:
    with session() as hydra:
        job = hydra.job(3, ["model=vae", "scales.l1=7"])
    freeze.freeze_points(tmp_path, {3: job.settings})
    assert freeze.frozen_point(tmp_path, 3) == job.settings
    (tmp_path / "points" / "3.json").write_text("{")
    with pytest.raises(UserError, match=r"points/3\.json: cannot be read"):
        freeze.frozen_point(tmp_path, 3)


@pytest.mark.parametrize(
    ("launcher", "gpus", "expected"),
    [
        ({"n_jobs": "auto"}, [], [(None, 8)]),
        ({"n_jobs": 3}, [], [(None, 2)] * 3),
        ({"n_jobs": -1}, [], [(None, 1)] * 8),
        ({"n_jobs": "auto"}, ["GPU-a", "GPU-b"], [("GPU-a", 4), ("GPU-b", 4)]),
        (
            {"n_jobs": "auto", "per_device": 2},
            ["GPU-a", "GPU-b"],
            [("GPU-a", 2), ("GPU-b", 2), ("GPU-a", 2), ("GPU-b", 2)],
        ),
        ({"n_jobs": 1}, ["GPU-a", "GPU-b"], [("GPU-a", 8)]),
    ],
)
def test_places_for_jobs(
    launcher: dict[str, Any], gpus: list[str], expected: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(slots, "cuda_devices", lambda: gpus)
    found = slots.slots({"per_device": 1} | launcher, on_cuda=True)
    assert [(slot.device, slot.threads) for slot in found] == expected
    assert found[0].environment()["OMP_NUM_THREADS"] == str(expected[0][1])
    assert found[0].environment().get("CUDA_VISIBLE_DEVICES") == expected[0][0]


@pytest.mark.parametrize("n_jobs", [0, -2, 1.5, "two", True])
def test_numbers_of_jobs_that_make_no_sense_are_refused(n_jobs: Any) -> None:
    with pytest.raises(UserError, match=r"hydra\.launcher\.n_jobs"):
        slots.slots({"n_jobs": n_jobs, "per_device": 1}, on_cuda=False)


def test_more_jobs_than_the_gpus_hold_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "cuda_devices", lambda: ["GPU-a"])
    with pytest.raises(UserError, match="1 GPUs hold 1 jobs"):
        slots.slots({"n_jobs": 2, "per_device": 1}, on_cuda=True)


def test_a_device_has_one_job_whoever_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANSWEEP_LOCKS", str(tmp_path / "locks"))
    first, second = (slots.Slot(0, "GPU-a", 1, "GPU-a.0") for _ in range(2))
    other = slots.Slot(1, "GPU-a", 1, "GPU-a.1")
    assert first.take() and not second.take() and other.take()
    job = subprocess.Popen(["sleep", "60"], pass_fds=first.held())
    first.hand_over()
    assert not second.take()  # the job has it, whatever becomes of who started it
    job.kill()
    job.wait()
    assert second.take()
    assert (tmp_path / "locks" / "GPU-a.0.lock").stat().st_mode & 0o777 == 0o666
    (tmp_path / "locks" / "GPU-b.0.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        slots.Slot(0, "GPU-b", 1, "GPU-b.0").take()
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"memory_gb": "8GB"}, "memory_gb=8GB"),
        ({"memory_gb": 0}, "memory_gb=0"),
        ({"grace_s": "abc"}, "grace_s=abc"),
        ({"grace_s": -1}, "grace_s=-1"),
        ({"retries": {"killed": "x"}}, "retries.killed=x"),
        ({"retries": {"kiled": 1}}, "did you mean 'killed'"),
        ({"per_device": 0}, "per_device=0"),
    ],
)
def test_limits_that_make_no_sense_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        slots.slots({"n_jobs": 1, "per_device": 1} | changes, on_cuda=False)


def test_faults_are_told_apart() -> None:
    assert fault_of(NoRoom("no room for the checkpoints")) == DISK_FULL

    def raised_from(cause: BaseException) -> RuntimeError:
        error = RuntimeError("the run failed")
        error.__cause__ = cause
        return error

    assert fault_of(raised_from(MemoryError())) == OUT_OF_MEMORY
    assert fault_of(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")) == OUT_OF_MEMORY
    assert fault_of(raised_from(OSError(28, "No space left on device"))) == DISK_FULL
    assert fault_of(ValueError("boom")) == ERROR
    assert fault_of_exit(-9, 10**9) == ("killed", "its process was killed (SIGKILL)")
    assert fault_of_exit(3, 0)[0] == ERROR


def repeated(directory: Path) -> ledger.Sweep:
    points = [
        SimpleNamespace(number=n, overrides=(f"scales.l1={1 + n // 3}", f"seed={n % 3}"), name=f"{n}") for n in range(6)
    ]
    ledger.begin(directory, "20261122-120000-abcd", [], points, {})
    for n, value in enumerate((1.0, 2.0, 3.0, 5.0, 5.0, 900.0)):
        ledger.state(directory, n, "FINISHED" if value < 900 else "FAILED", losses={"fit/l1": value})
    return ledger.load(directory)


def test_points_have_the_mean_and_students_interval_over_their_seeds(tmp_path: Path) -> None:
    first, second = seeds.points(repeated(tmp_path))
    assert (first.overrides, first.jobs) == (("scales.l1=1",), (0, 1, 2))
    mean, half = first.means["fit/l1"]
    assert mean == 2.0 and half == pytest.approx(4.302652729911275 / math.sqrt(3))
    assert (second.finished, second.means["fit/l1"]) == (2, (5.0, 0.0))  # what failed says nothing of the point
    assert json.dumps(second.jobs) == "[3, 4, 5]"


def test_without_several_seeds_there_are_no_points_over_them(tmp_path: Path) -> None:
    points = [SimpleNamespace(number=n, overrides=("scales.l1=1",), name="same") for n in range(2)]  # of a search
    ledger.begin(tmp_path, "20261122-120000-abcd", [], points, {})
    for n in range(2):
        ledger.state(tmp_path, n, "FINISHED", losses={"fit/l1": 1.0})
    assert seeds.points(ledger.load(tmp_path)) == []


def test_seeds_are_written_out_from_the_runs_own() -> None:
    with session() as hydra:
        assert seeds.spread(["scales.l1=1,2", "seeds=3"], True, hydra) == ["scales.l1=1,2", "seed=0,1,2"]
        assert seeds.spread(["seed=7", "seeds=2"], True, hydra) == ["seed=7,8"]
        assert seeds.spread(["seed=7"], False, hydra) == ["seed=7"]
        for words, multirun, said in (
            (["seeds=3"], False, "add -m"),
            (["seeds=1"], True, "from 2 to 100"),
            (["seeds=x"], True, "from 2 to 100"),
            (["seed=1,2", "seeds=3"], True, "gives several seeds already"),
        ):
            with pytest.raises(UserError, match=said):
                seeds.spread(words, multirun, hydra)
