"""Making the store: once, by whoever comes first, and nothing half-made."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from gansweep.errors import UserError
from gansweep.runs import prepare, rundir
from gansweep.runs.launch import read_state
from gansweep.runs.location import resolve_uri
from gansweep.runs.prepare import is_ready, prepare_store
from gansweep.runs.spool import unsent_bytes
from gansweep.runs.tracker import open_tracker
from runs.run_setup import a_record, tracker_settings

_PREPARE = """
import sys
from pathlib import Path
from runs.run_setup import tracker_settings
from gansweep.runs.tracker import prepare_store
prepare_store(tracker_settings(kind="mlflow"), Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_processes_that_begin_at_once_make_one_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    command = [sys.executable, "-c", _PREPARE, str(tmp_path)]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    said = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0, 0], said
    assert sum("making the MLflow store" in text for text in said) == 1
    database = tmp_path / "mlflow.db"
    assert is_ready(database, "tests")
    with sqlite3.connect(database) as connection:
        rows = connection.execute("select name, artifact_location from experiments order by experiment_id").fetchall()
    assert ("tests", str(tmp_path / "mlruns" / "tests")) in rows
    assert all(location.startswith(str(tmp_path)) for _, location in rows)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mlflow.db.lock", "mlflow.db"]


def test_a_ready_store_is_looked_at_and_left(mlflow_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_child(*_: object) -> None:
        raise AssertionError("MLflow was started")

    monkeypatch.setattr(prepare, "_child", no_child)
    said: list[str] = []
    prepare_store(tracker_settings(kind="mlflow", uri=mlflow_uri), report=said.append)
    assert said == []


def test_another_experiment_is_added_and_when_deleted_is_told_with_the_way_back(mlflow_uri: str) -> None:
    database = Path(mlflow_uri.removeprefix("sqlite:///"))
    settings = tracker_settings(kind="mlflow", uri=mlflow_uri, experiment="another one")
    assert not is_ready(database, "another one")
    prepare_store(settings)
    assert is_ready(database, "another one")
    assert is_ready(database, "tests")
    assert not list(database.parent.glob("*.before-*"))
    with sqlite3.connect(database) as connection:
        connection.execute("update experiments set lifecycle_stage = 'deleted' where name = 'another one'")
        ((number,),) = connection.execute("select experiment_id from experiments where name = 'another one'")
    way_back = rf"'another one' was deleted; restore it: mlflow experiments restore -x {number}\b"
    with pytest.raises(UserError, match=way_back):
        prepare_store(settings)


@pytest.mark.parametrize("name", ["a 'b' #1"])
def test_a_directory_with_an_odd_name_can_hold_the_store(tmp_path: Path, name: str) -> None:
    from mlflow import MlflowClient

    here = tmp_path / name
    here.mkdir()
    prepare_store(tracker_settings(kind="mlflow"), here, report=lambda line: None)
    uri = resolve_uri(tracker_settings(kind="mlflow"), here)
    assert resolve_uri(tracker_settings(kind="mlflow", uri=uri)) == uri
    assert is_ready(here / "mlflow.db", "tests")
    tracker = open_tracker(tracker_settings(kind="mlflow", uri=uri, drain_s=120), here / "run")
    tracker.start(a_record(here / "run"))
    (here / "run" / "note.txt").write_text("x")
    tracker.file(here / "run" / "note.txt")
    (here / "run" / "last.pt").write_text("x")
    tracker.file(here / "run" / "last.pt", "checkpoints")
    tracker.finish("FINISHED")
    assert unsent_bytes(here / "run") == 0
    assert read_state(here / "run")["refused"] == 0
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    found = client.get_run(str(rundir.read(here / "run")["mlflow_run_id"]))
    assert [item.path for item in client.list_artifacts(found.info.run_id)] == ["checkpoints", "note.txt"]
    stored = {path.name for path in (here / "mlruns").rglob("*") if path.is_file()}
    assert stored == {"note.txt", "last.pt"}
    assert {path.name for path in tmp_path.iterdir()} == {name}
    assert {path.name for path in here.iterdir()} == {".mlflow.db.lock", "mlflow.db", "mlruns", "run"}


@pytest.mark.parametrize("name", ["100%41", "what?", "a 'b\" c"])
def test_a_directory_that_mlflow_misreads_is_refused_before_anything_is_made(tmp_path: Path, name: str) -> None:
    here = tmp_path / name
    here.mkdir()
    with pytest.raises(UserError, match="tracker=none"):
        prepare_store(tracker_settings(kind="mlflow"), here)
    assert list(here.iterdir()) == []
    assert list(tmp_path.iterdir()) == [here]


def test_a_file_with_options_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="options"):
        prepare_store(tracker_settings(kind="mlflow", uri=f"sqlite:///{tmp_path}/a.db?x=1"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"no database at all, but text", b""])
def test_a_file_that_is_no_store_is_refused_and_left(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mlflow.db"
    path.write_bytes(content)
    with pytest.raises(UserError, match="is not an MLflow database"):
        prepare_store(tracker_settings(kind="mlflow"), tmp_path)
    assert path.read_bytes() == content


def test_another_program_s_database_is_refused_and_left(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table recipes (name text)")
    before = path.read_bytes()
    with pytest.raises(UserError, match="is not an MLflow database"):
        prepare_store(tracker_settings(kind="mlflow"), tmp_path)
    assert path.read_bytes() == before


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"tracker\.uri=.*(Not a directory|File exists)") as error:
        prepare_store(tracker_settings(kind="mlflow", uri=f"sqlite:///{tmp_path}/file/mlflow.db"))
    assert "\n" not in str(error.value)
