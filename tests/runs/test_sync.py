"""What `gansweep sync` does when the store is new, the tracker is away, or it refuses."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gansweep.runs import rundir, store
from gansweep.runs.outbox import Outbox
from gansweep.runs.spool import Spool, points, unsent_bytes
from gansweep.runs.sync import TrackerAway, sync
from gansweep.runs.tracker import annotate, open_tracker
from gansweep.runs.wire import RunLost
from gansweep.sweep.sync import sync_all
from runs.fake_server import FakeServer
from runs.run_setup import a_record, tracker_settings


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    yield fake
    fake.close()


def an_unsent_run(run_dir: Path, uri: str) -> Path:
    tracker = open_tracker(tracker_settings(), run_dir)
    tracker.start(a_record(run_dir))
    tracker.scalars({"a": 1.0, "b": 2.0}, 1)
    tracker.finish("FINISHED")
    rundir.update(run_dir, tracking={"kind": "mlflow", "uri": uri, "experiment": "tests"})
    return run_dir


def one_more(run_dir: Path, kind: str, **fields: object) -> None:
    spool = Spool(run_dir)
    spool.append(kind, **fields)
    spool.close()


def test_a_new_store_gets_the_whole_run_again(tmp_path: Path, mlflow_uri: str) -> None:
    from mlflow import MlflowClient

    run_dir = an_unsent_run(tmp_path / "outputs" / "run", mlflow_uri)
    rundir.update(run_dir, mlflow_run_id="e" * 32)  # of a store that was deleted
    said: list[str] = []
    assert annotate(store.open_run(run_dir), {"score": 3.0}, 1, drain_s=120, report=said.append)
    client = MlflowClient(tracking_uri=mlflow_uri, registry_uri=mlflow_uri)
    first = str(store.open_run(run_dir).mlflow_run_id)
    assert client.get_run(first).data.metrics == {"a": 1.0, "b": 2.0, "score": 3.0}
    assert said == []
    rundir.update(run_dir, mlflow_run_id="e" * 32)  # and once more, with nothing left to send
    client.set_tag(first, "gansweep.run_id", "another")
    assert unsent_bytes(run_dir) == 0
    assert sync_all([], tmp_path) == 0
    second = client.get_run(str(store.open_run(run_dir).mlflow_run_id))
    assert second.info.run_id not in (first, "e" * 32)
    assert (second.data.metrics, second.info.status) == ({"a": 1.0, "b": 2.0, "score": 3.0}, "FINISHED")
    assert sync_all([], tmp_path) == 0
    assert store.open_run(run_dir).mlflow_run_id == second.info.run_id


def test_a_run_lost_while_it_is_sent_is_begun_again(
    tmp_path: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = an_unsent_run(tmp_path, server.uri)
    box = Outbox(run_dir)
    box.read()
    box.send()
    assert unsent_bytes(run_dir) == 0

    def lost(*_: object, **__: object) -> list[str]:
        raise RunLost("Run with id=1 not found")

    monkeypatch.setattr(box._mlflow, "deliver", lost)
    one_more(run_dir, "scalar", key="c", value=3.0, step=2)
    box.read()
    box.send()
    assert (box.offset, store.open_run(run_dir).mlflow_run_id) == (0, None)
    server.calls.clear()
    box.read()
    box.send()
    assert {(m["key"], m["value"]) for m in server.metrics()} == {(p.key, p.value) for p in points(run_dir)}
    assert unsent_bytes(run_dir) == 0


def test_a_tracker_that_is_away_is_told_at_once_and_tried_for_the_limit(tmp_path: Path, server: FakeServer) -> None:
    server.down = True
    said: list[tuple[float, str]] = []
    begun = time.monotonic()
    with pytest.raises(TrackerAway, match="cannot be reached"):
        sync(
            an_unsent_run(tmp_path, server.uri), limit_s=2.0, report=lambda line: said.append((time.monotonic(), line))
        )
    ended = time.monotonic()
    assert ["cannot be reached" in line and "trying until" in line for _, line in said] == [True]
    assert ended - said[0][0] > 0.4
    assert ended - begun < 60
    assert server.refused_calls >= 2


def test_other_runs_of_a_tracker_that_is_away_are_not_tried(
    tmp_path: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Path] = []

    def away(run_dir: Path) -> int:
        asked.append(run_dir)
        raise TrackerAway("tracker cannot be reached", server.uri)

    monkeypatch.setattr("gansweep.runs.sync.sync", away)
    for name in "abc":
        an_unsent_run(tmp_path / "outputs" / name, server.uri)
    with pytest.raises(TrackerAway):
        sync_all([], tmp_path)
    assert len(asked) == 1
    assert "2 other runs" in capsys.readouterr().out


def test_what_was_refused_is_told_with_the_log(tmp_path: Path, mlflow_uri: str) -> None:
    run_dir = an_unsent_run(tmp_path, mlflow_uri)
    said: list[str] = []
    run = store.open_run(run_dir)
    (run_dir / "bad.png").write_text("no picture")
    one_more(run_dir, "image", key="a", path="bad.png", step=1)
    assert not annotate(run, {"score": 1.0}, 1, drain_s=120, report=said.append)
    assert ["refused 1 entries" in line and str(run_dir / "sender.log") in line for line in said] == [True]
    assert "refused: image bad.png" in (run_dir / "sender.log").read_text()
    said.clear()
    one_more(run_dir, "image", key="a", path="bad.png", step=2)
    assert sync(run_dir, limit_s=60.0, report=said.append) > 0
    assert ["refused 1 entries" in line and "sender.log" in line for line in said] == [True]
