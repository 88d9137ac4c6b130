"""Sweeps that meet faults, as real processes: nothing is lost, nothing is doubled, resume completes, MLflow agrees."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gansweep.runs.launch import read_state
from gansweep.sweep import ledger
from gansweep.sweep.objective import series
from sweep.agreement import Ask, agree, records, sqlite_store

DEADLINE_S = 150.0
LONG = ["model=vae", "log_every=10", "sample_every=0", "val_every=0", "checkpoint_every=20", "runtime.device=cpu"]


def start(words: list[str], cwd: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gansweep", *words]
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
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


@pytest.mark.slow
def test_kill_9_of_a_worker_of_the_leader_and_of_both(tmp_path: Path, tracked_overrides: list[str], ask: Ask) -> None:
    words = ["-m", *tracked_overrides, *LONG, "steps=1200", "seed=1,2,3", "hydra.launcher.n_jobs=2"]
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
    code, out, err = finish(start(["-m", "--resume", str(sweep)], tmp_path))
    assert code == 0 and "3 of 3 finished" in out, err
    agree(sweep, ask)
    assert [row.attempt for row in ledger.load(sweep).rows] == [1, 1, 1]
    code, out, _ = finish(start(["-m", "--resume", str(sweep)], tmp_path))  # nothing is left to do
    assert code == 0 and "3 of 3 finished" in out


def _owners(sweep: Path) -> list[dict[str, Any]]:
    entries = [json.loads(line) for line in (sweep / "sweep.jsonl").read_text().splitlines()]
    return [entry for entry in entries if entry["kind"] == "owner"]


@pytest.mark.slow
def test_kill_9_of_a_worker_costs_that_job_alone(tmp_path: Path, tracked_overrides: list[str], ask: Ask) -> None:
    words = ["-m", *tracked_overrides, *LONG, "steps=1200", "seed=1,2", "hydra.launcher.n_jobs=2"]
    leader = start(words, tmp_path)
    until(lambda: has_checkpoint(tmp_path, 1), leader)
    os.kill(pid_of(tmp_path, 1), signal.SIGKILL)
    code, out, err = finish(leader)
    sweep = the_sweep(tmp_path)
    assert code == 1 and "1 of 2 finished" in out, err
    assert "job 1 KILLED: its process was killed (SIGKILL)\n" in out
    assert f"go on with what is missing: gansweep -m --resume {os.path.relpath(sweep, tmp_path)}" in out
    agree(sweep, ask)
    assert [row.state for row in ledger.load(sweep).rows] == ["FINISHED", "KILLED"]
    finished = (sweep / "0" / "run.json").read_bytes()
    code, out, err = finish(start(["-m", "--resume", str(sweep)], tmp_path))
    assert code == 0 and "2 of 2 finished" in out, err
    agree(sweep, ask)
    assert [row.attempt for row in ledger.load(sweep).rows] == [1, 1]
    assert (sweep / "0" / "run.json").read_bytes() == finished


@pytest.mark.slow
def test_kill_9_of_a_job_s_sender_costs_nothing(tmp_path: Path, tracked_overrides: list[str], ask: Ask) -> None:
    words = ["-m", *tracked_overrides, *LONG, "steps=600", "seed=1,2"]
    leader = start(words, tmp_path)
    until(lambda: has_checkpoint(tmp_path, 0), leader)
    sweep = the_sweep(tmp_path)
    until(lambda: "pid" in read_state(sweep / "0"), leader)
    os.kill(int(read_state(sweep / "0")["pid"]), signal.SIGKILL)
    code, out, err = finish(leader)
    assert code == 0 and "2 of 2 finished" in out, err
    assert "not all of this run is in the tracker yet" in ledger.load(sweep).rows[0].log.read_text()
    agree(sweep, ask)  # who leads a sweep sends at its end what is left


@pytest.mark.slow
def test_of_two_who_resume_one_sweep_at_once_one_leads_it(
    tmp_path: Path, tracked_overrides: list[str], ask: Ask
) -> None:
    words = ["-m", *tracked_overrides, *LONG, "steps=1500", "seed=1,2", "hydra.launcher.n_jobs=1"]
    leader = start(words, tmp_path)
    until(lambda: has_checkpoint(tmp_path, 0), leader)
    sweep = the_sweep(tmp_path)
    for pid in (leader.pid, pid_of(tmp_path, 0)):
        os.kill(pid, signal.SIGKILL)
    leader.wait()
    both = [start(["-m", "--resume", str(sweep)], tmp_path) for _ in range(2)]
    ended = {process.pid: finish(process) for process in both}
    (winner,) = [pid for pid, (code, _, _) in ended.items() if code == 0]
    ((code, out, err),) = [told for pid, told in ended.items() if pid != winner]
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f"{sweep}: another process leads this sweep (process {winner} on " in err
    assert "2 of 2 finished" in ended[winner][1]
    assert [owner["owner"]["pid"] for owner in _owners(sweep)] == [leader.pid, winner]
    agree(sweep, ask)


@pytest.mark.slow
def test_sigterm_ends_a_sweep_that_goes_on_where_it_was(tmp_path: Path, tracked_overrides: list[str], ask: Ask) -> None:
    words = ["-m", *tracked_overrides, *LONG, "steps=1500", "seed=1,2,3", "hydra.launcher.n_jobs=2"]
    leader = start(words, tmp_path)
    until(lambda: has_checkpoint(tmp_path, 0) and has_checkpoint(tmp_path, 1), leader)
    sweep = the_sweep(tmp_path)
    leader.send_signal(signal.SIGTERM)
    code, out, err = finish(leader)
    assert code == 130 and "0 of 3 finished" in out, err
    agree(sweep, ask)
    rows = ledger.load(sweep).rows
    assert [(row.state, row.fault) for row in rows] == [("KILLED", "stopped")] * 2 + [("WAITING", None)]
    stopped = [int(re.search(r"stopped by SIGTERM at step (\d+)", str(row.reason))[1]) for row in rows[:2]]  # type: ignore[index]
    code, out, err = finish(start(["-m", "--resume", str(sweep)], tmp_path))
    assert code == 0 and "3 of 3 finished" in out, err
    agree(sweep, ask)
    for row, step in zip(rows, stopped, strict=False):  # not from the last checkpoint of the timetable: from that step
        assert f"resumed at step {step}\n" in (row.dir / "run.log").read_text()


@pytest.mark.slow
def test_sigterm_lets_jobs_keep_their_state_and_grace_ends(
    tmp_path: Path, tracked_overrides: list[str], ask: Ask
) -> None:
    (tmp_path / "mylab.py").write_text(
        "import signal, torch\n"
        "def deaf(a, b):\n"
        "    for number in (signal.SIGINT, signal.SIGTERM):\n"
        "        signal.signal(number, signal.SIG_IGN)\n"
        "    return (a - b).abs().mean()\n"
        "def mine(a, b):\n"
        "    return (a - b).abs().mean()\n"
    )
    own = ["+terms.fit.own=mylab.mine,mylab.deaf", "+scales.own=1", "hydra.launcher.grace_s=3"]
    words = ["-m", *tracked_overrides, *LONG, *own, "steps=100000", "hydra.launcher.n_jobs=2"]
    leader = start(words, tmp_path)
    until(lambda: has_checkpoint(tmp_path, 0) and has_checkpoint(tmp_path, 1), leader)
    sweep = the_sweep(tmp_path)
    pids = [pid_of(tmp_path, 0), pid_of(tmp_path, 1)]
    leader.send_signal(signal.SIGTERM)
    code, out, _ = finish(leader)
    assert code == 130 and "0 of 2 finished" in out and "gansweep -m --resume multirun" in out
    assert all(map(gone, pids))
    kept, deaf = ledger.load(sweep).rows
    assert (kept.state, kept.fault, deaf.state, deaf.fault) == ("KILLED", "stopped", "KILLED", "killed")
    assert [json.loads((row.dir / "run.json").read_text())["status"] for row in (kept, deaf)] == ["KILLED", "KILLED"]
    agree(sweep, ask)
    # What is frozen is what goes on: the user's module is another by now, and said to be.
    (tmp_path / "mylab.py").write_text("raise RuntimeError('half edited')\n")
    code, out, err = finish(start(["-m", "--resume", str(sweep)], tmp_path))
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert "the code has changed since this sweep began (mylab.py); --as-is runs what was submitted" in err


@pytest.mark.slow
def test_a_job_without_memory_is_tried_in_smaller_parts_and_costs_no_other(
    tmp_path: Path, tracked_overrides: list[str], ask: Ask
) -> None:
    (tmp_path / "mylab.py").write_text(
        "import torch\n"
        "def hungry(a, b):\n"
        "    held = torch.empty(len(a) * 300_000_000, dtype=torch.uint8)\n"  # 4.8 GB for 16 pictures
        "    return (a - b).abs().mean() + 0 * held[0]\n"
        "def greedy(a, b):\n"
        "    held = torch.empty(10**11, dtype=torch.uint8)\n"
        "    return (a - b).abs().mean()\n"
        "def mine(a, b):\n"
        "    return (a - b).abs().mean()\n"
    )
    own = ["+terms.fit.own=mylab.hungry,mylab.greedy,mylab.mine", "+scales.own=1", "hydra.launcher.memory_gb=4"]
    short = ["steps=3", "batch_size=16", "checkpoint_every=0", "runtime.reach=warn"]
    code, out, _ = finish(start(["-m", *tracked_overrides, *LONG, *own, *short], tmp_path))
    hungry, greedy, mine = ledger.load(the_sweep(tmp_path)).rows
    assert code == 1 and "2 of 3 finished" in out
    assert (hungry.state, hungry.attempt, hungry.memory_halvings) == ("FINISHED", 2, 1)
    assert (greedy.state, greedy.fault, greedy.attempt) == ("FAILED", "out of memory", 2)
    assert (mine.state, mine.attempt) == ("FINISHED", 1)
    agree(the_sweep(tmp_path), ask)
    assert [folder.name for folder, of in records(the_sweep(tmp_path)).items() if of.get("superseded")] == ["0"]
    config = (hungry.dir / "config.yaml").read_text()
    assert "accumulate: 2" in config and "batch_size: 16" in config
    assert "job 1 FAILED: " in out and "out of memory" not in out.partition("job 1 FAILED: ")[0]


@pytest.mark.slow
def test_a_search_whose_leader_is_killed_goes_on_to_its_total(
    tmp_path: Path, tracked_overrides: list[str], ask: Ask
) -> None:
    own = ["hydra/sweeper=search", "objective=[val/squared_error]", "optimizer.lr=tag(log,interval(1e-4,1e-1))"]
    more = ["hydra.sweeper.n_trials=4", "hydra.launcher.n_jobs=2", "steps=600"]
    words = ["-m", *tracked_overrides, *LONG, *own, *more, "val_every=100"]
    leader = start(words, tmp_path)
    until(lambda: has_checkpoint(tmp_path, 0) and has_checkpoint(tmp_path, 1), leader)
    for pid in (leader.pid, pid_of(tmp_path, 0)):
        os.kill(pid, signal.SIGKILL)
    leader.wait()
    until(lambda: ledger.load(the_sweep(tmp_path)).rows[1].state == "FINISHED")  # while nobody leads
    code, out, err = finish(start(["-m", "--resume", *words[1:]], tmp_path))
    assert code == 0 and "4 of 4 finished" in out, err
    sweep = the_sweep(tmp_path)
    agree(sweep, ask)
    rows = ledger.load(sweep).rows
    assert [row.job for row in rows] == [0, 1, 2, 3]
    values = [series(row.dir, "val/squared_error")[-1][1] for row in rows]
    best = rows[values.index(min(values))]
    assert f"best: job {best.job}: val/squared_error {min(values):.4g}: {best.overrides[0]}" in out

    import optuna

    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(sweep / "study.journal")))
    study = optuna.load_study(study_name=ledger.load(sweep).id, storage=storage)  # as Optuna's own dashboard opens it
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 4
    assert [trial.value for trial in study.trials] == pytest.approx(values)


# Fills the disk that it runs on at its thirtieth call, once.
FILLER = """
from pathlib import Path
calls = 0
def calm(output, target):
    return (output - target).abs().mean()
def mild(output, target):
    return (output - target).abs().mean()
def fill(output, target):
    global calls
    calls += 1
    mark = Path(MARK)
    if calls == 30 and not mark.exists():
        mark.touch()
        with open("filler", "wb", buffering=0) as file:
            for size in (2**20, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    pass
    return (output - target).abs().mean()
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, 120 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=120m", "none", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"may not mount a file system here: {mounted.stderr.decode().strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
def test_a_full_disk_costs_what_ran_and_nothing_that_was_done(
    tmp_path: Path, small_disk: Path, tracked_overrides: list[str]
) -> None:
    (small_disk / "mylab.py").write_text(FILLER.replace("MARK", repr(str(tmp_path / "mark"))))
    small = [word for word in tracked_overrides if not word.startswith("tracker.uri=")]  # the store is on that disk too
    own = ["+terms.fit.own=mylab.calm,mylab.fill,mylab.mild", "+scales.own=1", "seed=1", "steps=200"]
    code, out, err = finish(start(["-m", *small, *LONG, *own], small_disk))
    assert code == 1, out + err
    sweep, ask = the_sweep(small_disk), sqlite_store(small_disk / "mlflow.db")
    assert "1 of 3 finished" in out, out + err
    done, filled, after = ledger.load(sweep).rows
    assert [row.state for row in (done, filled, after)] == ["FINISHED", "FAILED", "WAITING"], out
    assert filled.fault == "disk full", out
    told = re.search(r"^job 1 FAILED: (.*)", out, re.MULTILINE)
    assert told is not None and re.search("No space left|disk full|no room", told[1]), out
    assert "no further job can be started" in err, err
    kept = {path: path.read_bytes() for path in (done.dir / "checkpoints").iterdir()}
    (small_disk / "filler").unlink()
    code, out, err = finish(start(["sweep", "retry", str(sweep)], small_disk))
    assert code == 0 and "3 of 3 finished" in out, out + err
    agree(sweep, ask)
    assert {path: path.read_bytes() for path in (done.dir / "checkpoints").iterdir()} == kept
    assert [row.attempt for row in ledger.load(sweep).rows] == [1, 1, 1]
