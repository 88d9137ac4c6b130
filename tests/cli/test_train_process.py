"""Real runs and a real sweep, each in a process of its own, as a user starts them."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

DEADLINE_S = 240.0
SHORT = ["model=vae", "steps=2", "log_every=1", "sample_every=0", "val_every=0", "checkpoint_every=0"]


def start(words: list[str], cwd: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gansweep", *words]
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(words: list[str], cwd: Path) -> tuple[int, str, str]:
    process = start(words, cwd)
    out, err = process.communicate(timeout=DEADLINE_S)
    return process.returncode, out, err


def records(cwd: Path) -> list[dict[str, object]]:
    return [json.loads(path.read_text()) for path in sorted(cwd.glob("*/*/**/run.json"))]


@pytest.mark.slow
def test_one_run_and_what_is_said_of_it(tmp_path: Path, small_overrides: list[str]) -> None:
    code, out, err = run(["train", *small_overrides, *SHORT, "seed=3", "note=first try, small"], tmp_path)
    assert (code, err.count("Traceback")) == (0, 0), err
    record = records(tmp_path)[0]
    assert (record["status"], record["note"]) == ("FINISHED", "first try, small")
    assert "seed=3" in str(record["name"]) and str(record["name"]).startswith("vae ")
    assert out.startswith(f"FINISHED: {record['name']}: fit/l1 ")
    assert str(record["run_id"])[:8] in out

    code, out, _ = run(["show", str(record["run_id"])[:8], "--json"], tmp_path)
    told = json.loads(out)
    assert code == 0 and told["changed"]["seed"] == "3"
    assert "fit/l1" in told["losses"] and told["step"] == 2


@pytest.mark.slow
def test_a_sweep_of_four_of_which_two_fail(tmp_path: Path, small_overrides: list[str]) -> None:
    sweep = ["seed=1,2", "+terms.fit.mine=mylab.mine,mylab.other", "+scales.mine=1"]
    (tmp_path / "mylab.py").write_text(
        "calls = 0\n"
        "def mine(a, b):\n"
        "    return (a - b).abs().mean()\n"
        "def other(a, b):\n"
        "    global calls\n"
        "    calls += 1\n"
        "    if calls == 3:\n"  # behind the check of gradients, before the last step; each job counts for itself
        "        raise ValueError('boom')\n"
        "    return (a - b).square().mean()\n"
    )
    code, out, err = run(["-m", *small_overrides, *SHORT, *sweep], tmp_path)
    assert code == 1
    assert "Traceback" not in err
    found = {str(record["sweep"]["job"]): record for record in records(tmp_path)}  # type: ignore[index]
    assert [found[job]["status"] for job in "0123"] == ["FINISHED", "FAILED", "FINISHED", "FAILED"]
    assert len({record["sweep"]["id"] for record in found.values()}) == 1  # type: ignore[index]
    for log in ("1/run.log", "logs/1.log"):
        told = next(tmp_path.glob(f"multirun/*/*/{log}")).read_text()
        assert "ValueError: boom" in told
    assert "Traceback" in next(tmp_path.glob("multirun/*/*/1/run.log")).read_text()
    table = list(csv.DictReader(next(tmp_path.glob("multirun/*/*/jobs.csv")).open()))
    assert [row["status"] for row in table] == ["FINISHED", "FAILED", "FINISHED", "FAILED"]
    assert "2 of 4 finished" in out
    for job in "0123":
        assert str(found[job]["run_id"])[:8] in out
    assert "seed=2 +terms.fit.mine=mylab.other" in table[3]["overrides"]


@pytest.mark.slow
def test_two_jobs_at_a_time(tmp_path: Path, small_overrides: list[str]) -> None:
    launcher = ["hydra.launcher.n_jobs=2"]
    code, _, err = run(["-m", *small_overrides, *SHORT, "seed=1,2", "optimizer.lr=1e-3,1e30", *launcher], tmp_path)
    assert code == 1, err
    rows = list(csv.DictReader(next(tmp_path.glob("multirun/*/*/jobs.csv")).open()))
    assert [row["status"] for row in rows] == ["FINISHED", "FAILED", "FINISHED", "FAILED"]
    assert rows[0]["fit/l1"] and "finite" in rows[1]["reason"]


@pytest.mark.slow
def test_ctrl_c_ends_the_sweep_with_its_table(tmp_path: Path, small_overrides: list[str]) -> None:
    process = start(["-m", *small_overrides, *SHORT, "steps=1000000,2"], tmp_path)
    deadline = time.monotonic() + DEADLINE_S
    while not any(tmp_path.glob("multirun/*/*/0/spool.jsonl")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.1)
    while not next(tmp_path.glob("multirun/*/*/0/spool.jsonl")).read_text().count('"scalar"'):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130, err
    assert records(tmp_path)[0]["status"] == "KILLED"
    assert (
        "KILLED" in out
        and "was not started" in out
        and "gansweep -m --resume multirun" in out
        and "Traceback" not in err
    )


@pytest.mark.slow
def test_a_folder_without_pictures_leaves_no_run_directory(tmp_path: Path, small_overrides: list[str]) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    code, out, err = run(["train", *small_overrides, *SHORT, f"data.path={empty}"], tmp_path)
    assert (code, out) == (2, "")
    assert err.startswith("gansweep: ") and err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty"]
