"""The table made from the record of a sweep."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from gansweep.config.settings import TrackerSettings
from gansweep.sweep import ledger, outcome, report, written
from gansweep.sweep.board import Board
from gansweep.sweep.space import Axis


def begun(directory: Path, jobs: int = 3) -> ledger.Sweep:
    plans = [SimpleNamespace(number=n, overrides=("model=vae", f"seed={n}"), name=f"vae seed={n}") for n in range(jobs)]
    ledger.begin(directory, "20261122-120000-abcd", ["model=vae", "seed=0,1,2"], plans, {"n_jobs": 1})
    return ledger.load(directory)


def finished(directory: Path) -> ledger.Sweep:
    begun(directory)
    ledger.state(directory, 0, "FINISHED", run_id="a" * 32, losses={"fit/l1": 0.5})
    ledger.state(directory, 1, "FAILED", run_id="c" * 32, reason="a | b")
    return ledger.load(directory)


def test_the_table_has_every_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = finished(tmp_path)
    report.print_report(sweep)
    out = capsys.readouterr().out
    assert "model=vae" not in out.split("\n", 2)[2]  # what all jobs share is said once, in the title
    for text in (
        "seed=0",
        "FINISHED",
        "fit/l1 0.5",
        "aaaaaaaa",
        "job 1 FAILED: a | b",
        "job 2 WAITING: was not started",
    ):
        assert text in out
    assert "1 of 3 finished" in out
    rows = list(csv.DictReader(io.StringIO(written.as_csv(sweep))))
    assert [row["fit/l1"] for row in rows] == ["0.5", "", ""]
    assert [row["status"] for row in rows] == ["FINISHED", "FAILED", "WAITING"]
    assert "a \\| b" in written.as_markdown(sweep)


def test_without_a_tracker_the_table_is_a_file_and_no_run(tmp_path: Path) -> None:
    report.keep(finished(tmp_path), TrackerSettings(kind="none"))
    assert (tmp_path / "jobs.csv").is_file()
    assert not (tmp_path / report.SUMMARY_DIR).exists()


def test_the_summary_is_a_run_without_scales_that_no_look_up_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gansweep.runs import tracker
    from gansweep.runs.store import runs_below

    monkeypatch.setattr(tracker, "start_sender", lambda run: None)
    report.keep(finished(tmp_path), TrackerSettings(uri=f"sqlite:///{tmp_path}/mlflow.db"))
    lines = [json.loads(text) for text in (tmp_path / ".summary" / "spool.jsonl").read_text().splitlines()]
    start = lines[0]["record"]
    assert start["sweep"] == {"id": "20261122-120000-abcd", "job": "summary"}
    assert not [key for key in start["params"] if key.startswith("scales")]
    files = [line["path"] for line in lines if line["kind"] == "file"]
    assert [Path(path).name for path in files] == ["jobs.csv", "jobs.md"]
    assert (lines[-1]["kind"], lines[-1]["status"]) == ("finish", "FAILED")
    assert runs_below(tmp_path) == []


def test_a_job_that_is_given_up_is_not_told_as_killed_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: False, raising=False)
    (tmp_path / "logs").mkdir()
    sweep = begun(tmp_path)
    shown = Board(sweep)
    with ledger.marked(sweep.rows[0]):
        ledger.state(tmp_path, 0, "KILLED", reason="stopped by SIGTERM at step 5")
        shown.show(ledger.load(tmp_path))  # it has said how it ended, and its process is about to go
        assert capsys.readouterr().err == ""
    ledger.state(tmp_path, 0, "PRUNED", reason="given up")
    ledger.state(tmp_path, 1, "KILLED", reason="stopped by SIGTERM at step 6")
    shown.show(ledger.load(tmp_path))
    assert capsys.readouterr().err.splitlines() == [
        "job 0: PRUNED: given up",
        "job 1: KILLED: stopped by SIGTERM at step 6",
    ]


def test_a_look_at_a_search_over_seeds_imports_nothing_heavy(tmp_path: Path) -> None:
    directory = tmp_path / "multirun" / "2026-11-22" / "12-00-00"
    directory.mkdir(parents=True)
    finished(directory)
    outcome.save(directory, [outcome.Objective("fit/l1", False)], [Axis("scales.l1", 1.0, 9.0)])
    heavy = {"torch", "mlflow", "optuna", "matplotlib", "scipy", "numpy", "hydra", "pydantic"}
    code = (
        "import sys; from gansweep.cli import main; code = main(['sweep', 'status', *sys.argv[1:]]); "
        f"print(sorted({heavy} & set(sys.modules)), file=sys.stderr); sys.exit(code)"
    )
    for words in ([], ["--json"]):
        command = [sys.executable, "-c", code, *words]
        said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
        assert (said.returncode, said.stderr.strip()) == (0, "[]")
        assert "fit/l1" in said.stdout
