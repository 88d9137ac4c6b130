"""show and diff on a run.json that somebody edited."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gansweep.cli import main
from gansweep.look import _overrides_of
from gansweep.runs import rundir
from gansweep.runs.record import RunRecord


@pytest.mark.parametrize("overrides", [[3, None], [["seed=1"]], None])
def test_overrides_of_another_kind_count_as_none(
    overrides: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in ("1", "2"):
        run_dir = tmp_path / "outputs" / "2026-11-22" / number
        rundir.create(run_dir, RunRecord(number * 32, number, run_dir, overrides=["seed=1"]))
        rundir.update(run_dir, status="FINISHED", overrides=overrides)
        (run_dir / "config.yaml").write_text(f"seed: {number}\n")
    assert main(["show", "1111", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["overrides"] == []
    assert main(["show", "1111"]) == 0
    capsys.readouterr()
    assert main(["diff", "1111", "2222", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["changed"] == ["seed"]


@pytest.mark.parametrize("overrides", [3, "seed=1", {"seed": 1}])
def test_a_whole_record_of_another_kind_is_no_overrides(overrides: Any) -> None:
    assert _overrides_of({"overrides": overrides}) == []
    assert _overrides_of({"overrides": ["seed=1", 3]}) == ["seed=1"]


def test_the_list_of_runs_for_an_unknown_one_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(9):
        run_dir = tmp_path / "outputs" / "2026-11-22" / f"12-00-0{number}-vaegan-scales.l1-600-seed-{number}"
        rundir.create(run_dir, RunRecord(f"{number}" * 32, "n", run_dir))
    assert main(["show", "zzzz"]) == 2
    line = capsys.readouterr().err
    listed = line[line.index("choices: ") :].rstrip()
    assert "00000000, " in listed and listed.endswith("… (19 in all)") and len(listed) <= 120
