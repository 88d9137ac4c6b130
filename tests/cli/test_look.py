"""runs, show and diff on run directories made by hand: no run is trained for them."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from gansweep.cli import main
from gansweep.config.compose import session
from gansweep.look import age, causes, diff_facts, differences, facts, losses_of, show_facts
from gansweep.runs import rundir
from gansweep.runs.record import DatasetRecord, RunRecord
from gansweep.runs.spool import Spool
from gansweep.runs.store import open_run


def make_run(cwd: Path, number: int, overrides: list[str], fingerprint: str = "f" * 64, torch: str = "2.13") -> Path:
    import yaml  # type: ignore[import-untyped]

    with session() as hydra:
        job = hydra.jobs([*overrides, "tracker=none"], multirun=False)[0]
    run_dir = cwd / "outputs" / "2026-11-22" / f"12-00-0{number}"
    run_id = str(number) * 32
    dataset = DatasetRecord("emoji", fingerprint, "emoji", 100)
    tags = {"version.torch": torch, "gansweep.run_id": run_id}
    record = RunRecord(
        run_id,
        job.name,
        run_dir,
        tags=tags,
        dataset=dataset,
        overrides=overrides,
        steps=10,
        commit="c" * 40,
        dirty=False,
    )
    rundir.create(run_dir, record)
    (run_dir / "config.yaml").write_text(yaml.safe_dump(job.settings.model_dump(mode="json")))
    spool = Spool(run_dir)
    plain = record.to_plain()
    spool.append("start", record=plain)
    spool.scalars({"enc/l1": 0.5, "enc/l1_weighted": 50.0, "enc/total": 51.0, "grad_norm/enc": 2.0}, 5)
    spool.scalars({"enc/l1": 0.25 / number, "enc/kld": 3.0, "val/enc/l1": 0.75}, 10)
    spool.scalars({"is_lite0": 4.5}, 10)
    spool.close()
    rundir.update(run_dir, status="FINISHED", last_step=10)
    return run_dir


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")  # tables fold to the terminal's width
    return tmp_path


def test_the_facts_of_a_run(here: Path) -> None:
    run_dir = make_run(here, 1, ["scales.l1=600", "seed=1"])
    told = facts(open_run(run_dir))
    assert told["losses"] == {"enc/l1": 0.25, "enc/kld": 3.0} == losses_of(run_dir)
    assert told["scores"] == {"is_lite0": 4.5}
    assert told["held_out"] == {"val/enc/l1": 0.75}
    assert (told["step"], told["steps"], told["status"]) == (10, 10, "FINISHED")
    changed = show_facts("1111")["changed"]
    assert changed == {"seed": "1", "scales.l1": "600", "scales.l1_dec": "600", "tracker.kind": "none"} | {
        key: changed[key] for key in changed if key.startswith("tracker.")
    }


def test_a_run_whose_process_is_gone_is_told_once(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = make_run(here, 1, [])
    rundir.update(run_dir, status="RUNNING", pid_start=1.0)
    assert main(["runs"]) == 0
    told = capsys.readouterr()
    assert "KILLED" in told.out and told.err.startswith("gansweep: run 11111111 ")
    assert main(["runs"]) == 0
    assert capsys.readouterr().err == ""


def test_runs_newest_first(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in (1, 2):
        run_dir = make_run(here, number, [f"seed={number}"])
        rundir.update(run_dir, created=f"2026-11-22T12:00:0{number}.000+00:00")
    assert main(["runs", "--json"]) == 0
    assert [told["name"] for told in json.loads(capsys.readouterr().out)] == ["vaegan seed=2", "vaegan seed=1"]
    assert main(["runs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "22222222" in lines[1] and "enc/l1 0.125" in lines[1] and "is_lite0 4.5" in lines[1]


def test_diff_tells_what_was_changed_from_what_follows(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(here, 1, ["scales.l1=600"])
    make_run(here, 2, ["scales.l1=100.5"])
    told = diff_facts("1111", "2222")
    assert told["config"] == {"scales.l1": ["600", "100.5"], "scales.l1_dec": ["600", "100.5"]}
    assert told["changed"] == ["scales.l1"]
    assert told["circumstances"] == {}
    assert main(["diff", "1111", "2222"]) == 0
    assert "at once" not in capsys.readouterr().out


def test_diff_warns_of_two_changes_and_of_other_circumstances(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(here, 1, ["scales.l1=600", "log_every=5"])
    make_run(here, 2, ["scales.l1=1.5", "optimizer=sgd", "log_every=7"], fingerprint="e" * 64, torch="2.12")
    told = diff_facts("1111", "2222")
    assert told["changed"] == ["scales.l1", "optimizer"]
    assert told["circumstances"]["version.torch"] == ["2.13", "2.12"]
    assert told["circumstances"]["data fingerprint"] == ["f" * 16, "e" * 16]
    assert main(["diff", "1111", "2222"]) == 0
    out = capsys.readouterr().out
    assert "2 things were changed at once: scales.l1, optimizer" in out
    assert "not the same circumstances: data fingerprint, version.torch" in out
    assert "0.125" in out and "4.5" in out


def test_long_names_leave_room_for_the_keys(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in (1, 2):
        run_dir = make_run(here, number, [f"seed={number}"])
        rundir.update(run_dir, name="a very long name " * 12)
    assert main(["diff", "1111", "2222"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines if line.startswith("enc/l1")] == [["enc/l1", "0.25", "0.125"]]


def test_show_prints_what_it_knows(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(here, 1, ["scales.l1=600", "note=why not, really"])
    assert main(["show", "outputs/2026-11-22/12-00-01"]) == 0
    out = capsys.readouterr().out
    for text in (
        "1" * 32,
        "FINISHED",
        "scales.l1=600",
        "enc/l1 0.25",
        "is_lite0 4.5",
        "emoji: 100 pictures",
        "cccccccccccc",
    ):
        assert text in out
    assert main(["show", "1111", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["id"] == "1" * 32


@pytest.mark.parametrize(
    ("first", "second", "differing", "changed"),
    [
        (["a.x=1"], ["a.x=2"], ["a.x", "b.x"], ["a.x"]),
        (["a.x=1"], [], ["a.x"], ["a.x"]),
        (["model=vae"], ["model=vaegan"], ["model.latent", "scales.l1"], ["model"]),
        ([], [], ["a.x", "b.y"], ["a.x", "b.y"]),
        (["+s.x=1", "seed=1"], ["s.x=1", "seed=1"], [], []),
    ],
)
def test_causes(first: list[str], second: list[str], differing: list[str], changed: list[str]) -> None:
    assert causes(first, second, differing) == changed


def test_differences_need_two_sides() -> None:
    assert differences({}, {"a": 1}) == {}
    assert differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1.0, "d": 2}}) == {"a.c": ("2", None), "a.d": (None, "2")}


@pytest.mark.parametrize(("seconds", "text"), [(5, "5 s"), (150, "2 min"), (3 * 3600, "3 h"), (4 * 86400, "4 d")])
def test_age(seconds: float, text: str) -> None:
    now = datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC)
    created: Any = (now - datetime.timedelta(seconds=seconds)).isoformat()
    assert age(created, now) == text
    assert age(None) == "?"
