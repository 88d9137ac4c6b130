"""The record of a sweep: what is appended is what is read, whatever tore or damaged it."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from types import SimpleNamespace

import pytest

from gansweep.errors import UserError
from gansweep.sweep import ledger


def begun(directory: Path, jobs: int = 3) -> ledger.Sweep:
    points = [SimpleNamespace(number=n, overrides=(f"seed={n}",), name=f"vae seed={n}") for n in range(jobs)]
    ledger.begin(directory, "20261122-120000-abcd", ["seed=0,1,2"], points, {"n_jobs": 2})
    return ledger.load(directory)


def test_states_add_up_to_what_a_job_is_now(tmp_path: Path) -> None:
    sweep = begun(tmp_path)
    assert [(row.state, row.attempt, row.owner) for row in sweep.rows] == [("WAITING", 1, None)] * 3
    assert (sweep.id, sweep.settings, sweep.overrides) == ("20261122-120000-abcd", {"n_jobs": 2}, ["seed=0,1,2"])
    owner = {"host": "here", "pid": 1, "pid_start": 2.0}
    ledger.state(tmp_path, 0, "RUNNING", owner=owner)
    assert ledger.load(tmp_path).rows[0].owner == owner
    ledger.state(tmp_path, 0, "FAILED", reason="no memory", fault="out of memory", run_id="a" * 32)
    row = ledger.load(tmp_path).rows[0]
    assert (row.state, row.owner, row.reason, row.run_id) == ("FAILED", None, "no memory", "a" * 32)
    ledger.state(tmp_path, 0, "WAITING", attempt=2, memory_halvings=1)
    row = ledger.load(tmp_path).rows[0]
    assert (row.state, row.reason, row.fault, row.attempt, row.memory_halvings) == ("WAITING", None, None, 2, 1)
    assert (row.dir, row.log) == (tmp_path / "0-2", tmp_path / "logs" / "0.log")
    assert ledger.load(tmp_path).rows[1].dir == tmp_path / "1"
    assert [entry["kind"] for entry in ledger.history(tmp_path, 0)] == ["point", *["state"] * 3]


def test_a_torn_line_is_left_out_and_the_next_one_is_whole(tmp_path: Path) -> None:
    begun(tmp_path)
    path = tmp_path / "sweep.jsonl"
    with path.open("ab") as file:
        file.write(b'{"kind": "state", "job": 1, "sta')
    ledger.state(tmp_path, 2, "FINISHED")
    sweep = ledger.load(tmp_path)
    assert [row.state for row in sweep.rows] == ["WAITING", "WAITING", "FINISHED"]
    assert sweep.damaged == 1


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "7",
        "{}",
        '{"kind": "state", "job": 99, "state": "FINISHED"}',
        '{"kind": "state", "job": 0, "state": "DONE"}',
    ],
)
def test_lines_that_make_no_sense_are_counted(line: str, tmp_path: Path) -> None:
    begun(tmp_path)
    with (tmp_path / "sweep.jsonl").open("a") as file:
        file.write(line + "\n")
    sweep = ledger.load(tmp_path)
    assert sweep.damaged == 1 and [row.state for row in sweep.rows] == ["WAITING"] * 3


@pytest.mark.parametrize("content", [None, "", "{}\n", "\x00\x01"])
def test_what_is_no_sweep_is_refused(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "sweep.jsonl").write_text(content)
    with pytest.raises(UserError, match="not a sweep's"):
        ledger.load(tmp_path)


def _write(directory: str, job: int) -> None:
    for n in range(50):
        ledger.state(
            Path(directory), job, "RUNNING", owner={"host": "h", "pid": n, "pid_start": 0.0}, reason="x" * 5000
        )


def test_lines_of_many_processes_never_mix(tmp_path: Path) -> None:
    begun(tmp_path)
    workers = [multiprocessing.get_context("fork").Process(target=_write, args=(str(tmp_path), n)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    lines = (tmp_path / "sweep.jsonl").read_text().splitlines()
    assert len(lines) == 4 + 3 * 50 and all(json.loads(line) for line in lines)
    assert [row.owner and row.owner["pid"] for row in ledger.load(tmp_path).rows] == [49, 49, 49]


def test_one_process_leads(tmp_path: Path) -> None:
    begun(tmp_path)
    told = pytest.raises(UserError, match=r"another process leads this sweep \(process \d+ on ")
    with ledger.led(tmp_path), told, ledger.led(tmp_path):
        raise AssertionError
    with ledger.led(tmp_path):
        pass


def test_ids_differ_and_sort_by_time() -> None:
    ids = {ledger.new_id() for _ in range(20)}
    assert len(ids) > 1
    assert all(len(one) == len("20261122-120000-abcd") for one in ids)
