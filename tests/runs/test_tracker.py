"""The tracker as the training loop sees it, without a tracking server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gansweep.errors import RunFailed, UserError
from gansweep.runs import rundir, store
from gansweep.runs.launch import write_state
from gansweep.runs.spool import lines, points
from gansweep.runs.tracker import SpoolTracker, annotate, open_tracker, prepare_store, resolve_uri
from runs.run_setup import a_record, tracker_settings


def kinds(run_dir: Path) -> list[str]:
    return [entry["kind"] for _, entry in lines(run_dir / "spool.jsonl") if entry]


def started(run_dir: Path, *, resume: bool = False) -> SpoolTracker:
    tracker = open_tracker(tracker_settings(), run_dir, resume)
    tracker.start(a_record(run_dir))
    return tracker


def test_a_run_without_a_server_is_kept_in_its_directory(tmp_path: Path) -> None:
    tracker = started(tmp_path)
    tracker.scalars({"enc/l1": 0.5}, 50)
    tracker.image("samples", tmp_path / "grids" / "50.png", 50)
    tracker.file(Path("/elsewhere/notes.txt"), "more")
    tracker.tags({"a": "b"})
    tracker.finish("FINISHED")
    assert kinds(tmp_path) == ["start", "scalar", "image", "file", "tags", "finish"]
    found = {entry["kind"]: entry for _, entry in lines(tmp_path / "spool.jsonl") if entry}
    assert found["image"]["path"] == "grids/50.png"  # relative: the directory may be moved
    assert found["file"]["path"] == "/elsewhere/notes.txt"
    record = rundir.read(tmp_path)
    assert (record["status"], record["last_step"], record["tracking"]["kind"]) == ("FINISHED", 50, "none")
    assert not (tmp_path / "sender.log").exists()


def test_the_reason_of_a_failure_is_kept(tmp_path: Path) -> None:
    started(tmp_path).finish("FAILED", "enc/l1 is not finite at step 7")
    assert (store.open_run(tmp_path).status, rundir.read(tmp_path)["reason"]) == (
        "FAILED",
        "enc/l1 is not finite at step 7",
    )


def test_on_resume_nothing_is_logged_twice(tmp_path: Path) -> None:
    first = started(tmp_path)
    first.scalars({"a": 1.0}, 50)
    first.scalars({"a": 2.0}, 100)
    run_id = rundir.read(tmp_path)["run_id"]
    del first  # killed here, after its checkpoint of step 50
    second = started(tmp_path, resume=True)
    second.scalars({"a": 2.0}, 100)
    second.scalars({"a": 3.0}, 150)
    second.finish("FINISHED")
    assert kinds(tmp_path) == ["start", "scalar", "scalar", "resume", "scalar", "finish"]
    assert [(p.step, p.value) for p in points(tmp_path)] == [(50, 1.0), (100, 2.0), (150, 3.0)]
    assert (rundir.read(tmp_path)["run_id"], rundir.read(tmp_path)["status"]) == (run_id, "FINISHED")


def test_a_full_disk_ends_the_run_in_a_line_and_glues_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    def half(file: int, data: bytes) -> int:
        monkeypatch.setattr(os, "write", full)
        return write(file, data[: len(data) // 2])

    def full(file: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    write, said = os.write, []
    tracker = open_tracker(tracker_settings(), tmp_path, report=said.append)
    tracker.start(a_record(tmp_path))
    monkeypatch.setattr(os, "write", half)
    with pytest.raises(RunFailed, match=r"spool\.jsonl cannot be written: No space left"):
        tracker.scalars({"a": 1.0}, 1)
    monkeypatch.setattr(os, "write", write)
    tracker.scalars({"a": 2.0}, 2)
    assert [p.step for p in points(tmp_path)] == [2]
    monkeypatch.setattr(os, "write", full)
    tracker.finish("FAILED", "why")
    assert len(said) == 1
    assert "could not be recorded" in said[0]
    record = rundir.read(tmp_path)  # what could be written was
    assert (record["status"], record["reason"], record["last_step"]) == ("FAILED", "why", 2)


def test_on_a_full_disk_the_sender_is_not_waited_for_nor_spoken_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    monkeypatch.setattr("gansweep.runs.tracker.start_sender", lambda run: gone)
    monkeypatch.setattr("gansweep.runs.tracker._LOOK_EVERY_S", -1.0)
    monkeypatch.setattr("gansweep.runs.tracker.is_full", lambda run_dir: True)
    said: list[str] = []
    tracker = open_tracker(tracker_settings(kind="mlflow", uri="http://127.0.0.1:9"), tmp_path, report=said.append)
    tracker.start(a_record(tmp_path))
    tracker.scalars({"a": 1.0}, 1)
    tracker.finish("FAILED", "why")
    assert said == [] and rundir.read(tmp_path)["status"] == "FAILED"


def test_a_score_is_added_to_a_finished_run(tmp_path: Path) -> None:
    started(tmp_path).finish("FINISHED")
    assert annotate(store.open_run(tmp_path), {"is_lite0": 3.5}, 100, tags={"judge": "lite0"})
    assert [(p.key, p.value, p.step) for p in points(tmp_path)] == [("is_lite0", 3.5, 100)]
    assert kinds(tmp_path)[-2:] == ["scalar", "tags"]
    assert store.open_run(tmp_path).status == "FINISHED"


def test_a_tracker_that_was_not_started_says_so(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="not started"):
        open_tracker(tracker_settings(), tmp_path).scalars({"a": 1.0}, 0)


def test_an_unreachable_tracker_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("gansweep.runs.tracker._LOOK_EVERY_S", -1.0)
    idle = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    monkeypatch.setattr("gansweep.runs.tracker.start_sender", lambda run: idle)
    settings = tracker_settings(kind="mlflow", uri="http://127.0.0.1:9")
    tracker = open_tracker(settings, tmp_path, report=said.append)
    tracker.start(a_record(tmp_path))
    tracker.scalars({"a": 1.0}, 0)
    assert said == []
    write_state(tmp_path, {"state": "unreachable", "error": "refused", "tried": 2e10})
    for step in range(3):
        tracker.scalars({"a": 1.0}, step)
    assert len(said) == 1
    assert "http://127.0.0.1:9 cannot be reached (refused)" in said[0]
    idle.communicate()
    tracker.finish("FINISHED")
    assert f"gansweep sync {tmp_path}" in said[1]


@pytest.mark.parametrize(
    "uri", ["mlruns", "file:///tmp/mlruns", "ftp://host", "sqlite://", "sqlite:///", "sqlite:///:memory:"]
)
def test_a_store_that_mlflow_cannot_write_is_refused(uri: str) -> None:
    with pytest.raises(UserError, match=r"^tracker\.uri="):
        resolve_uri(tracker_settings(kind="mlflow", uri=uri))


def test_the_store_is_named_absolutely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    default = tracker_settings(kind="mlflow")
    assert resolve_uri(default, tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    assert resolve_uri(tracker_settings(uri="sqlite:///sub/a.db"), tmp_path) == f"sqlite:///{tmp_path}/sub/a.db"
    assert resolve_uri(tracker_settings(uri="sqlite:////abs/a.db"), tmp_path) == "sqlite:////abs/a.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    assert resolve_uri(default, tmp_path) == "http://host:5000"
    assert resolve_uri(tracker_settings(uri="sqlite:///a.db"), tmp_path) == f"sqlite:///{tmp_path}/a.db"


def test_an_unreachable_server_is_told_once_when_preparing(tmp_path: Path) -> None:
    said: list[str] = []
    settings = tracker_settings(kind="mlflow", uri="http://127.0.0.1:9")
    for _ in range(2):
        prepare_store(settings, tmp_path, report=said.append)
    assert ["cannot be reached" in line for line in said] == [True]


def test_no_tracker_needs_no_preparing(tmp_path: Path) -> None:
    prepare_store(tracker_settings(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_training_process_imports_no_mlflow_and_no_torch_with_its_tracker() -> None:
    code = (
        "import sys, gansweep.runs.tracker, gansweep.runs.store, gansweep.runs.sync, gansweep.runs.ui;"
        "print([name for name in ('mlflow', 'torch', 'hydra') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
