"""Reading train's command line, and what becomes of exceptions in a job."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gansweep.errors import GansweepError, Missing, RunFailed, UserError
from gansweep.sweep import job, start
from gansweep.sweep.start import read_request


def test_flags_may_stand_anywhere() -> None:
    request = read_request(["a=1", "-m", "b=1,2", "--config-dir", "mine", "c=3"])
    assert (request.overrides, request.multirun, request.config_dir) == (["a=1", "b=1,2", "c=3"], True, "mine")
    assert request.to_hydra == []
    assert read_request(["--cfg", "job", "~a", "+b=1"]).to_hydra == ["--cfg", "job"]
    info = read_request(["--info", "model=vae"])
    assert (info.to_hydra, info.overrides) == (["--info", "all"], ["model=vae"])


@pytest.mark.parametrize("words", [["--cfgg", "job"], ["--cfg", "jobb"], ["-x"]])
def test_an_unknown_flag_is_refused(words: list[str]) -> None:
    with pytest.raises(UserError, match="gansweep train --help"):
        read_request(words)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("wrong"), 2, "gansweep: wrong\n"),
        (Missing("no device"), 3, "gansweep: no device\n"),
        (RunFailed("not finite"), 1, "gansweep: not finite\n"),
        (ValueError("boom\nmore"), 1, "gansweep: ValueError: boom; traceback in "),
    ],
)
def test_a_job_returns_how_it_ended_and_never_raises(
    error: Exception,
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr("gansweep.train.train", fail)
    monkeypatch.setattr("gansweep.config.compose.to_settings", lambda *_: None)
    result = job._run(None, tmp_path, [], "n")  # type: ignore[arg-type]
    assert (result.status, result.code) == ("FAILED", code)
    told = capsys.readouterr().err
    assert told.startswith(said)
    assert told.count("\n") == 1
    log = tmp_path / "run.log"
    assert log.exists() == (not isinstance(error, GansweepError))
    if log.exists():
        assert "Traceback" in log.read_text() and "boom\nmore" in log.read_text()


def test_a_disk_that_refuses_before_the_run_begins_is_no_fault_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise PermissionError(13, "Permission denied", "cache")

    monkeypatch.setattr("gansweep.train.train", fail)
    monkeypatch.setattr("gansweep.config.compose.to_settings", lambda *_: None)
    result = job._run(None, tmp_path, [], "n")  # type: ignore[arg-type]
    assert (result.status, result.code, result.reason) == ("FAILED", 1, "cache: Permission denied")
    assert list(tmp_path.iterdir()) == []


def one_job(line: list[str], end: Any) -> int:
    """Start one run whose Hydra makes `.hydra` and then ends as `end(run directory, results)` does."""

    def hydra_main(task: Any, words: list[str]) -> None:
        run_dir = Path(words[-1].partition("=")[2].strip("'"))
        (run_dir / ".hydra").mkdir()
        (run_dir / ".hydra" / "config.yaml").write_text("seed: 1")
        results = next(cell.cell_contents for cell in task.__closure__ if isinstance(cell.cell_contents, list))
        end(run_dir, results)

    return start._single(SimpleNamespace(name="n"), line, hydra_main)  # type: ignore[arg-type]


@pytest.mark.parametrize("code", [1, 2, 3, 130])
def test_a_start_that_came_to_nothing_leaves_nothing(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert one_job([], lambda _, results: results.append(job.JobResult("FAILED", code))) == code
    assert list(tmp_path.iterdir()) == []
    mine = [f"hydra.run.dir={tmp_path / 'mine'}"]
    assert one_job(mine, lambda _, results: results.append(job.JobResult("FAILED", code))) == code
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_before_the_run_began_leaves_nothing_but_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        one_job([], stop)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("x")
    with pytest.raises(KeyboardInterrupt):
        one_job([f"hydra.run.dir={tmp_path / 'mine'}"], stop)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]


@pytest.mark.parametrize("kept", ["run.json", "run.log"])
def test_a_run_that_began_stays_and_so_does_a_traceback(
    kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def fail(run_dir: Path, results: list[job.JobResult]) -> None:
        (run_dir / kept).write_text("{}")
        results.append(job.JobResult("FAILED", 1))

    assert one_job([], fail) == 1
    assert [path.name for path in tmp_path.glob("outputs/*/*/*.*") if path.is_file()] == [kept]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--resume"], "gansweep -m --resume"),
        (["-m", "--as-is"], "goes with --resume"),
    ],
)
def test_a_resume_that_makes_no_sense_is_refused(words: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_request(words)


def test_what_stands_behind_resume_is_a_sweep_or_an_override() -> None:
    assert read_request(["-m", "--resume"]).resume == ""
    named = read_request(["-m", "--resume", "20261122-1"])
    assert (named.resume, named.overrides) == ("20261122-1", [])
    latest = read_request(["-m", "--resume", "seed=1,2", "a=1"])
    assert (latest.resume, latest.overrides) == ("", ["a=1", "seed=1,2"])
    assert read_request(["-m", "a=1,2"]).resume is None


@pytest.mark.parametrize("words", [["train", "seed=1"], ["-m", "seed=1,2,3"]])
def test_no_room_for_all_jobs_together_is_told_before_anything_is_made(
    words: list[str],
    small_overrides: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from gansweep.cli import main

    monkeypatch.chdir(tmp_path)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=64 * 2**20))
    own = ["data.cache_dir=cache", "tracker=mlflow", "tracker.uri=sqlite:///mlflow.db", "checkpoint_every=5"]
    assert main([*words, *small_overrides, *own, "steps=10"]) == 2
    told = capsys.readouterr()
    key = "hydra.sweep.dir" if words[0] == "-m" else "hydra.run.dir"
    assert told.out == "" and told.err.count("\n") == 1
    assert told.err.startswith("gansweep: no room for the checkpoints in ") and told.err.endswith(f": {key}=DIR\n")
    assert list(tmp_path.iterdir()) == []
