"""What should not happen and does: two starts in one place, parts of a sweep gone, jobs that leave others behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psutil
import pytest

from gansweep.config.compose import session
from gansweep.errors import UserError
from gansweep.runs.rundir import SWEEP_FILE
from gansweep.sweep import freeze, ledger
from gansweep.sweep.place import claim_exactly
from sweep.test_faults import LONG, finish, start, the_sweep
from sweep.test_ledger import begun


def test_of_two_who_start_in_one_place_one_has_it(tmp_path: Path) -> None:
    claim_exactly(str(tmp_path / "x"), SWEEP_FILE)
    with pytest.raises(UserError, match="another sweep begins there"):
        claim_exactly(str(tmp_path / "x"), SWEEP_FILE)
    with pytest.raises(UserError, match="no : in its path"):
        claim_exactly(str(tmp_path / "a:b"), SWEEP_FILE)
    assert not (tmp_path / "a:b").exists()


def test_a_sweep_without_its_code_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is gone, and with it what this sweep was started with"):
        freeze.refuse_incomplete(tmp_path)
    package = tmp_path / freeze.CODE_DIR / "gansweep"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    with pytest.raises(UserError, match=r"origin\.json"):
        freeze.refuse_incomplete(tmp_path)
    (tmp_path / freeze.ORIGIN_FILE).touch()
    freeze.refuse_incomplete(tmp_path)


@pytest.mark.parametrize(
    "odd",
    [
        {"kind": "owner", "owner": 5},
        {"kind": "state", "job": 0, "state": "RUNNING", "losses": 5},
        {"kind": "state", "job": 0, "state": "RUNNING", "losses": {"a": "x"}},
        {"kind": "state", "job": 0, "state": "RUNNING", "attempt": "two"},
    ],
)
def test_lines_of_odd_types_are_counted_and_left_out(odd: dict[str, Any], tmp_path: Path) -> None:
    begun(tmp_path)
    ledger.append(tmp_path, odd)
    sweep = ledger.load(tmp_path)
    assert (sweep.damaged, sweep.owner, sweep.rows[0].state) == (1, None, "WAITING")


def test_lines_nested_without_end_are_left_out_and_a_record_that_is_gone_is_not_begun_anew(tmp_path: Path) -> None:
    begun(tmp_path)
    with (tmp_path / SWEEP_FILE).open("a") as file:
        file.write("[" * 200_000 + "\n")
    assert ledger.load(tmp_path).damaged == 1
    (tmp_path / SWEEP_FILE).unlink()
    with pytest.raises(FileNotFoundError):
        ledger.state(tmp_path, 0, "RUNNING")
    assert not (tmp_path / SWEEP_FILE).exists()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["seed=range(0,1000000000)"], "gives more than 100,000 values"),
        (["seed=range(0,1000)", "steps=range(1,1001)"], "1,000,000 points"),
        (["seed=range(0,3,0)"], "gives no values"),
        (["hydra.sweeper.params=5", "seed=1,2"], "hydra.sweeper.params=5: keys with values"),
        (["hydra/launcher=basic", "seed=1,2"], "as in hydra/launcher="),
    ],
)
def test_what_no_machine_could_hold_and_what_is_no_list_is_refused_at_once(overrides: list[str], said: str) -> None:
    with session() as hydra, pytest.raises(UserError) as told:
        hydra.plugin("launcher", hydra.normal(overrides))
        hydra.jobs(overrides, True)
    assert said in str(told.value) and "\n" not in str(told.value)


FORKS = """
import os, signal, time
def mine(a, b):
    return (a - b).abs().mean()
def forks(a, b):
    child = os.fork()
    if child == 0:
        time.sleep(600)
        os._exit(0)
    with open({mark!r}, "w") as file:
        file.write(str(child))
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_a_job_that_dies_and_leaves_a_child_costs_itself_and_the_child(
    tmp_path: Path, small_overrides: list[str]
) -> None:
    mark = tmp_path / "child"
    (tmp_path / "mylab.py").write_text(FORKS.format(mark=str(mark)))
    own = ["+terms.fit.own=mylab.forks,mylab.mine", "+scales.own=1", "steps=20", "runtime.reach=warn"]
    retries = ["hydra.launcher.retries.killed=1"]
    code, out, _ = finish(start(["-m", *small_overrides, *LONG, *own, *retries], tmp_path))
    assert code == 1 and "1 of 2 finished" in out, out
    rows = ledger.load(the_sweep(tmp_path)).rows
    assert [row.state for row in rows] == ["KILLED", "FINISHED"]
    killed = [e for e in ledger.history(the_sweep(tmp_path), 0) if e.get("state") == "KILLED"]
    assert len(killed) == 2, json.dumps(killed)  # once more, as asked
    child = int(mark.read_text())
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE
