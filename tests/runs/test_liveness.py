"""Runs whose process was killed: found, told once, set."""

from __future__ import annotations

import os
import platform
import signal
import time
from pathlib import Path

import pytest

from gansweep.errors import UserError
from gansweep.runs import reserve, rundir, store
from gansweep.runs.liveness import alive, reconcile, settle_before_resume, this_process
from gansweep.runs.spool import Spool, lines
from runs.run_setup import a_record, start_trainer


def last_entry(run_dir: Path) -> dict[str, object]:
    entry = list(lines(run_dir / "spool.jsonl"))[-1][1]
    assert entry is not None
    return entry


def test_this_process_lives_and_another_with_its_pid_does_not() -> None:
    me = this_process()
    assert alive(me) is True
    assert alive(me | {"pid_start": me["pid_start"] - 3600}) is False
    assert alive(me | {"host": "another-machine"}) is None


def test_a_running_run_is_left_alone(tmp_path: Path) -> None:
    run = store.create(tmp_path, a_record(tmp_path))
    said: list[str] = []
    assert reconcile(run, said.append).status == "RUNNING"
    assert said == []


def test_a_run_of_another_machine_is_left_alone(tmp_path: Path) -> None:
    store.create(tmp_path, a_record(tmp_path))
    run = rundir.update(tmp_path, host="another-machine", pid=1, pid_start=0.0)
    said: list[str] = []
    assert reconcile(run, said.append).status == "RUNNING"
    assert said == []


def aged(run_dir: Path, age_s: float) -> rundir.Run:
    store.create(run_dir, a_record(run_dir))
    Spool(run_dir).scalars({"a": 1.0}, 3)
    run = rundir.update(run_dir, host="another-machine", pid=1, pid_start=0.0)
    for path in run_dir.iterdir():
        os.utime(path, (time.time() - age_s,) * 2)
    (run_dir / "sender.json").write_text("{}")  # its sender may be at work long after it
    return run


def test_a_run_of_another_machine_that_is_silent_may_be_resumed(tmp_path: Path) -> None:
    said: list[str] = []
    run = settle_before_resume(aged(tmp_path, 1200), said.append)
    assert (run.status, rundir.read(tmp_path)["status"], rundir.read(tmp_path)["last_step"]) == ("KILLED", "KILLED", 3)
    assert ["another-machine" in line and "20 min" in line for line in said] == [True]


def test_a_run_of_another_machine_that_writes_may_not_and_the_way_out_is_named(tmp_path: Path) -> None:
    run = aged(tmp_path, 300)
    with pytest.raises(UserError, match=r"may still be running \(process 1 on another-machine.*try again in 5 min"):
        settle_before_resume(run, lambda line: None)
    assert rundir.read(tmp_path)["status"] == "RUNNING"


def test_a_run_whose_process_lives_is_not_resumed(tmp_path: Path) -> None:
    run = store.create(tmp_path, a_record(tmp_path))
    os.utime(tmp_path / "run.json", (0, 0))
    with pytest.raises(UserError, match=rf"is still running \(process {os.getpid()} on "):
        settle_before_resume(run, lambda line: None)


@pytest.mark.parametrize("owner", [{"pid": "x"}, {"pid": None}, {"pid": -1}, {"pid": 2**80}])
def test_a_damaged_owner_is_not_known(owner: dict[str, object]) -> None:
    assert not alive(this_process() | owner)
    assert alive({"host": platform.node()}) is None


def test_a_killed_run_becomes_killed_and_is_told_once(tmp_path: Path) -> None:
    trainer = start_trainer(tmp_path, steps=5)
    assert reconcile(store.open_run(tmp_path), lambda line: None).status == "RUNNING"
    trainer.send_signal(signal.SIGKILL)
    trainer.wait()
    with (tmp_path / "spool.jsonl").open("ab") as spool:
        spool.write(b'{"kind":"scalar","key":"a","val')
    reserve.keep_back(tmp_path)  # as training does, and nobody gave it back
    said: list[str] = []
    run = reconcile(store.open_run(tmp_path), said.append)
    record = rundir.read(tmp_path)
    assert (run.status, record["status"], record["last_step"]) == ("KILLED", "KILLED", 4)
    assert record["finished"] >= record["created"]
    assert not (tmp_path / reserve.RESERVE_FILE).exists()
    assert (last_entry(tmp_path)["kind"], last_entry(tmp_path)["status"]) == ("finish", "KILLED")
    assert len(said) == 1
    assert run.id[:8] in said[0]
    assert "after step 4" in said[0]
    assert "KILLED" in said[0]
    reconcile(store.open_run(tmp_path), said.append)
    assert len(said) == 1


def test_a_zombie_counts_as_gone(tmp_path: Path) -> None:
    trainer = start_trainer(tmp_path, steps=1)
    trainer.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, trainer.pid, os.WEXITED | os.WNOWAIT)  # it has ended and is not reaped
    assert alive(rundir.read(tmp_path)) is False
    trainer.wait()


def test_what_the_sender_found_out_is_told_by_the_next_command(tmp_path: Path) -> None:
    store.create(tmp_path, a_record(tmp_path))
    run = rundir.update(tmp_path, status="KILLED", untold=True, last_step=7)
    said: list[str] = []
    for _ in range(2):
        reconcile(run.reload(), said.append)
    assert [("after step 7" in line) for line in said] == [True]
    assert "untold" not in rundir.read(tmp_path)


def test_a_resumed_run_is_running_again_and_this_process_s(tmp_path: Path) -> None:
    store.create(tmp_path, a_record(tmp_path))
    rundir.update(tmp_path, status="KILLED", reason="gone", finished="then", pid=1, pid_start=0.0, untold=True)
    record = rundir.reopen(tmp_path).record
    assert (record["status"], record["pid"], record["reason"], record["finished"]) == (
        "RUNNING",
        os.getpid(),
        None,
        None,
    )
    assert "untold" not in record
