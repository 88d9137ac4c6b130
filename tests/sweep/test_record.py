"""The record of a sweep and the table made from it."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gansweep.config.settings import TrackerSettings
from gansweep.errors import UserError
from gansweep.runs import rundir
from gansweep.runs.record import RunRecord
from gansweep.runs.spool import Spool
from gansweep.sweep import record, report
from gansweep.sweep.job import JobResult


def begun(directory: Path, jobs: int = 3) -> record.Sweep:
    plans = [SimpleNamespace(number=n, overrides=("model=vae", f"seed={n}"), name=f"vae seed={n}") for n in range(jobs)]
    return record.begin(directory, "20261122-120000-abcd", ["model=vae", "seed=0,1,2"], cast(Any, plans))


def test_returned_results_are_entered_and_the_rest_is_not_run(tmp_path: Path) -> None:
    begun(tmp_path)
    record.note(
        tmp_path,
        [(0, JobResult("FINISHED", 0, "a" * 32, None, {"fit/l1": 0.5})), (1, JobResult("FAILED", 1, None, "boom"))],
    )
    sweep = record.settle(tmp_path)
    assert [(row.status, row.run_id, row.reason) for row in sweep.rows] == [
        ("FINISHED", "a" * 32, None),
        ("FAILED", None, "boom"),
        ("NOT RUN", None, None),
    ]
    assert [row.job for row in sweep.failed] == [1, 2]
    assert record.load(tmp_path) == sweep


def test_a_job_whose_process_died_is_told_by_its_own_directory(tmp_path: Path) -> None:
    begun(tmp_path, 1)
    run_dir = tmp_path / "0"
    rundir.create(run_dir, RunRecord(run_id="b" * 32, name="vae", run_dir=run_dir))
    (run_dir / "config.yaml").write_text("scales: {l1: 1.0, kld: null}\n")
    spool = Spool(run_dir)
    spool.scalars({"fit/l1": 0.25, "fit/l1_weighted": 25.0, "fit/kld": 3.0, "perf/images_per_s": 9.0}, 10)
    spool.close()
    rundir.update(run_dir, pid_start=1.0)  # not this process: one that is gone
    row = record.settle(tmp_path).rows[0]
    assert (row.status, row.run_id, row.losses) == ("KILLED", "b" * 32, {"fit/l1": 0.25})


def test_what_is_no_sweep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a sweep directory"):
        record.load(tmp_path)
    record.note(tmp_path, [])  # a sweep that gansweep did not start has no record, and none is made
    assert list(tmp_path.iterdir()) == []


def test_ids_differ_and_sort_by_time() -> None:
    ids = {record.new_id() for _ in range(20)}
    assert len(ids) > 1
    assert all(len(one) == len("20261122-120000-abcd") for one in ids)


def finished(directory: Path) -> record.Sweep:
    begun(directory)
    results = [JobResult("FINISHED", 0, "a" * 32, None, {"fit/l1": 0.5}), JobResult("FAILED", 1, "c" * 32, "a | b")]
    record.note(directory, list(enumerate(results)))
    return record.settle(directory)


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
        "job 2 NOT RUN: was not started",
    ):
        assert text in out
    assert "1 of 3 finished" in out
    rows = list(csv.DictReader(io.StringIO(report.as_csv(sweep))))
    assert [row["fit/l1"] for row in rows] == ["0.5", "", ""]
    assert [row["status"] for row in rows] == ["FINISHED", "FAILED", "NOT RUN"]
    assert "a \\| b" in report.as_markdown(sweep)


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
    assert [Path(path).name for path in start["files"]] == ["jobs.csv", "jobs.md"]
    assert (lines[-1]["kind"], lines[-1]["status"]) == ("finish", "FAILED")
    assert runs_below(tmp_path) == []
