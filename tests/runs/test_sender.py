"""The sender and sync: everything arrives once, through outages and kills, and training never waits."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gansweep.errors import Missing, UserError
from gansweep.runs import rundir, store, wire
from gansweep.runs.launch import read_state
from gansweep.runs.liveness import alive
from gansweep.runs.outbox import Outbox
from gansweep.runs.spool import Spool, points, unsent_bytes, write_offset
from gansweep.runs.sync import sync
from gansweep.runs.tracker import annotate, open_tracker
from gansweep.runs.wire import Doubtful
from runs.fake_server import FakeServer
from runs.run_setup import a_record, start_trainer, tracker_settings, wait_until


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    yield fake
    fake.close()


def sent_points(server: FakeServer) -> set[tuple[str, float, int, int]]:
    return {(m["key"], float(m["value"]), int(m.get("step", 0)), int(m["timestamp"])) for m in server.metrics()}


def spooled_points(run_dir: Path) -> set[tuple[str, float, int, int]]:
    return {(p.key, p.value, p.step, p.time_ms) for p in points(run_dir)}


def sender_is_gone(run_dir: Path) -> bool:
    state = read_state(run_dir)
    return bool(state) and alive(state) is not True


def test_an_outage_loses_nothing_and_stops_nobody(tmp_path: Path, server: FakeServer) -> None:
    server.down = True
    said: list[str] = []
    tracker = open_tracker(tracker_settings(kind="mlflow", uri=server.uri, drain_s=120), tmp_path, report=said.append)
    tracker.start(a_record(tmp_path))
    wait_until(lambda: server.refused_calls > 0, "a call that was refused")
    slowest = 0.0
    for step in range(1300):  # more than one call holds
        begun = time.perf_counter()
        tracker.scalars({"a": step / 3, "b": float(step)}, step)
        slowest = max(slowest, time.perf_counter() - begun)
    assert slowest < 5.0  # one request of the sender may take ten
    wait_until(lambda: read_state(tmp_path).get("state") == "unreachable", "the sender's notice")
    server.down = False
    tracker.finish("FINISHED")
    assert unsent_bytes(tmp_path) == 0
    assert sent_points(server) == spooled_points(tmp_path)
    assert len(spooled_points(tmp_path)) == 2600
    sizes = [len(sent.get("metrics", [])) for name, sent in server.calls if name == "runs/log-batch"]
    assert max(sizes) == 1000
    ends = [sent for name, sent in server.calls if name == "runs/update"]
    assert [end["status"] for end in ends] == ["FINISHED"]
    assert not any("sync" in line for line in said)
    assert store.open_run(tmp_path).mlflow_run_id == "f" * 32
    wait_until(lambda: sender_is_gone(tmp_path), "the sender's end")


def test_the_run_is_made_with_its_tags_params_and_data(tmp_path: Path, server: FakeServer) -> None:
    params = {f"p{n}": str(n) for n in range(250)} | {"long": "x" * 7000}
    record = a_record(tmp_path, params=params, note="why", sweep={"id": "s1", "job": 3}, tags={"version.torch": "2.13"})
    tracker = open_tracker(tracker_settings(kind="mlflow", uri=server.uri, drain_s=120), tmp_path)
    tracker.start(record)
    tracker.finish("FAILED", "it broke")
    calls = {name: sent for name, sent in server.calls}
    tags = {tag["key"]: tag["value"] for tag in calls["runs/create"]["tags"]}
    assert tags["gansweep.run_id"] == record.run_id
    assert tags["gansweep.run_dir"] == str(tmp_path)
    assert (tags["gansweep.sweep"], tags["gansweep.job"]) == ("s1", "3")
    assert tags["gansweep.overrides"] == "scales.l1=600"
    assert tags["mlflow.source.git.commit"] == "c" * 40
    assert tags["mlflow.note.content"] == "why"
    assert tags["version.torch"] == "2.13"
    assert calls["runs/create"]["run_name"] == record.name
    batches = [sent["params"] for name, sent in server.calls if name == "runs/log-batch" and sent.get("params")]
    assert [len(batch) for batch in batches] == [100, 100, 51]
    assert len({p["key"]: p["value"] for batch in batches for p in batch}["long"]) == 6000
    dataset = calls["runs/log-inputs"]["datasets"][0]
    assert dataset["dataset"]["digest"] == ("ab" * 32)[:36]
    assert {"key": "gansweep.fingerprint", "value": "ab" * 32} in dataset["tags"]
    assert calls["runs/set-tag"]["value"] == "it broke"
    assert calls["runs/update"]["status"] == "FAILED"


_BAD = {"error_code": "BAD_REQUEST", "message": "(psycopg2.errors.UniqueViolation) duplicate key value"}


def test_what_a_database_did_not_take_from_one_of_many_writers_is_sent_again(
    tmp_path: Path, server: FakeServer
) -> None:
    server.instead = {"runs/log-inputs": [(400, _BAD)], "runs/log-batch": [(400, _BAD)] * 3}
    config = tmp_path / "run" / "config.yaml"
    config.parent.mkdir()
    config.write_text("seed: 1")
    tracker = open_tracker(tracker_settings(kind="mlflow", uri=server.uri, drain_s=120), tmp_path / "run")
    tracker.start(a_record(tmp_path / "run", files=[config]))
    tracker.scalars({"a": 1.0}, 1)
    tracker.finish("FINISHED")
    assert unsent_bytes(tmp_path / "run") == 0 and read_state(tmp_path / "run")["refused"] == 0
    assert sent_points(server) == spooled_points(tmp_path / "run")
    assert [name for name, _ in server.calls].count("runs/log-inputs") >= 2


def test_what_a_database_never_takes_is_passed_over_in_the_end(
    tmp_path: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    server.instead = {"runs/log-inputs": [(400, _BAD)] * 100}
    tracker = open_tracker(tracker_settings(), tmp_path)
    tracker.start(a_record(tmp_path))
    tracker.scalars({"a": 1.0}, 1)
    tracker.finish("FINISHED")
    rundir.update(tmp_path, tracking={"kind": "mlflow", "uri": server.uri, "experiment": "tests"})
    box = Outbox(tmp_path)
    box.read()
    with pytest.raises(Doubtful, match="duplicate key value"):
        box.send()
    assert (box.offset, box.refused) == (0, 0)
    monkeypatch.setattr(wire, "_DOUBT_S", 0.0)
    box.send()
    assert (box.empty, box.refused, unsent_bytes(tmp_path)) == (True, 1, 0)
    assert "refused: dataset emoji: BAD_REQUEST: (psycopg2" in capfd.readouterr().err
    assert sent_points(server) == spooled_points(tmp_path)


def test_a_run_that_was_made_twice_is_there_once(tmp_path: Path, server: FakeServer) -> None:
    def run(run_id: str, params: list[dict[str, str]]) -> dict[str, Any]:
        info = {"run_id": run_id, "experiment_id": "1", "status": "RUNNING", "artifact_uri": "/nowhere"}
        return {"info": info, "data": {"params": params}}

    # The first call makes a run that nobody sees before the end: its answer is lost, and so is the search for it.
    both = {"runs": [run("e" * 32, []), run("f" * 32, [{"key": "seed", "value": "1"}])]}
    server.instead = {"runs/create": [None], "runs/search": [(200, {}), (200, {}), (200, both)]}
    tracker = open_tracker(tracker_settings(kind="mlflow", uri=server.uri, drain_s=120), tmp_path)
    tracker.start(a_record(tmp_path))
    tracker.scalars({"a": 1.0}, 1)
    tracker.finish("FINISHED")
    wait_until(lambda: sender_is_gone(tmp_path), "the sender's end")
    names = [name for name, _ in server.calls]
    assert names.count("runs/create") == 2
    assert [sent["run_id"] for name, sent in server.calls if name == "runs/delete"] == ["e" * 32]
    assert sent_points(server) == spooled_points(tmp_path)


def test_a_checkpoint_that_is_given_up_is_taken_out_of_a_server_s_artifacts(tmp_path: Path, server: FakeServer) -> None:
    run = server.reply("runs/create")["run"]
    run["info"]["artifact_uri"] = "mlflow-artifacts:/1/artifacts"
    kept = (200, {"run": run})
    server.instead = {"runs/create": [kept], "runs/get": [kept] * 20}
    tracker = open_tracker(tracker_settings(kind="mlflow", uri=server.uri, drain_s=120), tmp_path)
    tracker.start(a_record(tmp_path))
    for name in ("a.pt", "b.pt"):
        tracker.forget(tmp_path / "checkpoints" / name, "checkpoints")
    server.instead["/api/2.0/mlflow-artifacts/artifacts/1/artifacts/checkpoints/a.pt"] = [(500, {})]  # not there
    tracker.finish("FINISHED")
    assert unsent_bytes(tmp_path) == 0
    deleted = [name.rpartition("/")[2] for name, _ in server.calls if "mlflow-artifacts" in name]
    assert deleted == ["a.pt", "b.pt"]


def test_a_killed_trainer_s_run_is_sent_and_set_by_its_sender(tmp_path: Path, server: FakeServer) -> None:
    trainer = start_trainer(tmp_path, kind="mlflow", uri=server.uri, steps=7)
    wait_until(lambda: bool(server.calls), "the sender's first call")
    trainer.send_signal(signal.SIGKILL)
    trainer.wait()
    wait_until(lambda: sender_is_gone(tmp_path), "the sender's end")
    assert sent_points(server) == spooled_points(tmp_path)
    assert len(spooled_points(tmp_path)) == 7
    assert [sent["status"] for name, sent in server.calls if name == "runs/update"] == ["KILLED"]
    record = rundir.read(tmp_path)
    assert (record["status"], record["last_step"], record["untold"]) == ("KILLED", 6, True)


def test_what_could_not_be_sent_is_sent_by_sync(tmp_path: Path, server: FakeServer) -> None:
    server.down = True
    said: list[str] = []
    tracker = open_tracker(tracker_settings(kind="mlflow", uri=server.uri, drain_s=300), tmp_path, report=said.append)
    tracker.start(a_record(tmp_path))
    tracker.scalars({"a": 1.0}, 50)
    begun = time.monotonic()
    tracker.finish("FINISHED")  # gives up when the try after the end of the run failed, long before drain_s
    assert time.monotonic() - begun < 150
    assert f"gansweep sync {tmp_path}" in said[-1]
    with pytest.raises(Missing, match=r"cannot be reached") as error:
        sync(tmp_path, limit_s=0.0)
    assert error.value.exit_code == 3
    server.down = False
    seen: list[tuple[int, int]] = []
    assert sync(tmp_path, limit_s=120.0, progress=lambda done, total: seen.append((done, total))) > 0
    assert sent_points(server) == spooled_points(tmp_path)
    assert seen[-1][0] == seen[-1][1]
    assert sync(tmp_path) == 0


def test_sync_leaves_a_running_run_to_its_sender(tmp_path: Path, server: FakeServer) -> None:
    said: list[str] = []
    with start_trainer(tmp_path, kind="mlflow", uri=server.uri, steps=4) as trainer:
        wait_until(lambda: read_state(tmp_path).get("state") == "sending", "the sender's start")
        sync(tmp_path, limit_s=120.0, report=said.append)
        assert sent_points(server) == spooled_points(tmp_path)
        assert rundir.read(tmp_path)["status"] == "RUNNING"
        trainer.kill()
    assert ["its sender is at work" in line for line in said] == [True]
    wait_until(lambda: sender_is_gone(tmp_path), "the sender's end")


def test_sync_says_so_when_there_is_nothing_to_send_to(tmp_path: Path) -> None:
    tracker = open_tracker(tracker_settings(), tmp_path)
    tracker.start(a_record(tmp_path))
    tracker.finish("FINISHED")
    with pytest.raises(UserError, match="tracker=none"):
        sync(tmp_path)


def picture(path: Path, shade: int) -> Path:
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (32, 32), (shade, 0, 0)).save(path)
    return path


@pytest.mark.slow
def test_a_real_store_holds_one_of_everything_after_a_replay(tmp_path: Path, mlflow_uri: str) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "config.yaml").write_text("seed: 1\n")
    checkpoint = run_dir / "checkpoints" / "step-00000050.pt"
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(b"weights")
    tracker = open_tracker(tracker_settings(kind="mlflow", uri=mlflow_uri, drain_s=120), run_dir)
    tracker.start(a_record(run_dir, files=[run_dir / "config.yaml"]))
    tracker.scalars({"enc/l1": 0.25, "bad[key]=": 1.0, "nan": float("nan")}, 50)
    for step in (50, 100):
        tracker.image("samples/ema", picture(run_dir / "grids" / f"{step}.png", step), step)
    tracker.file(checkpoint, "checkpoints")
    tracker.file(run_dir / "never-written.txt")
    tracker.finish("FINISHED")
    run = store.open_run(run_dir)
    assert unsent_bytes(run_dir) == 0
    write_offset(run_dir, 0)  # as after a kill between a success and its note
    assert annotate(run, {"inception_score": 3.5}, 100, drain_s=120)

    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=mlflow_uri, registry_uri=mlflow_uri)
    found = client.get_run(str(run.mlflow_run_id))
    assert (found.info.status, found.info.run_name) == ("FINISHED", run.name)
    assert found.data.params == {"scales.l1": "600", "seed": "1"}
    assert [(m.value, m.step) for m in client.get_metric_history(found.info.run_id, "enc/l1")] == [(0.25, 50)]
    assert set(found.data.metrics) == {"enc/l1", "bad_key__", "nan", "inception_score"}
    assert [(i.dataset.name, i.dataset.digest) for i in found.inputs.dataset_inputs] == [("emoji", ("ab" * 32)[:36])]
    images = [item.path for item in client.list_artifacts(found.info.run_id, "images") if item.path.endswith(".png")]
    assert sorted(name.split("+")[2] for name in images) == ["100", "50"]
    assert all(name.startswith("images/samples~ema+step+") for name in images)
    artifacts = Path(found.info.artifact_uri)
    assert artifacts.is_relative_to(Path(mlflow_uri.removeprefix("sqlite:///")).parent / "mlruns")
    assert (artifacts / "checkpoints" / checkpoint.name).samefile(checkpoint)  # no second copy on one disk
    assert (artifacts / "config.yaml").read_text() == "seed: 1\n"
    assert len(client.search_runs([found.info.experiment_id], f"tags.`gansweep.run_id` = '{run.id}'")) == 1


def test_a_resumed_run_goes_on_in_its_mlflow_run(tmp_path: Path, mlflow_uri: str) -> None:
    settings = tracker_settings(kind="mlflow", uri=mlflow_uri, drain_s=120)
    trainer = start_trainer(tmp_path, kind="mlflow", uri=mlflow_uri, steps=3)
    trainer.send_signal(signal.SIGKILL)
    trainer.wait()
    tracker = open_tracker(settings, tmp_path, resume=True)  # its old sender may still be at work: the new one waits
    tracker.start(a_record(tmp_path))
    for step in range(2, 5):
        tracker.scalars({"a": 2.0 * step}, step)
    tracker.forget(tmp_path / "checkpoints" / "step-00000001.pt", "checkpoints")
    tracker.finish("FINISHED")

    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=mlflow_uri, registry_uri=mlflow_uri)
    run = store.open_run(tmp_path)
    history = client.get_metric_history(str(run.mlflow_run_id), "a")
    assert sorted((m.step, m.value) for m in history) == [(step, 2.0 * step) for step in range(5)]
    assert client.get_run(str(run.mlflow_run_id)).info.status == "FINISHED"
    assert run.status == "FINISHED"


def test_a_missing_database_is_not_made_by_the_sender(tmp_path: Path) -> None:
    database = tmp_path / "gone.db"
    settings = tracker_settings(kind="mlflow", uri=f"sqlite:///{database}", drain_s=300)
    said: list[str] = []
    tracker = open_tracker(settings, tmp_path / "run", report=said.append)
    tracker.start(a_record(tmp_path / "run"))
    tracker.finish("FINISHED")
    assert "gansweep sync" in said[-1]
    assert "is missing" in str(read_state(tmp_path / "run")["error"])
    assert not database.exists()
    with pytest.raises(Missing, match="is missing"):
        sync(tmp_path / "run", limit_s=0.0)


def test_a_line_that_is_no_json_is_passed_over(tmp_path: Path, server: FakeServer) -> None:
    tracker = open_tracker(tracker_settings(), tmp_path)
    tracker.start(a_record(tmp_path))
    tracker.scalars({"a": 1.0}, 1)
    with (tmp_path / "spool.jsonl").open("ab") as spool:
        spool.write(b"\x00\x00\x00\n")
    tracker.scalars({"a": 2.0}, 2)
    tracker.finish("FINISHED")
    rundir.update(tmp_path, tracking={"kind": "mlflow", "uri": server.uri, "experiment": "tests"})
    assert sync(tmp_path, limit_s=120.0) > 0
    assert {(step, value) for _, value, step, _ in sent_points(server)} == {(1, 1.0), (2, 2.0)}


def test_a_spool_written_by_two_processes_keeps_whole_lines(tmp_path: Path) -> None:
    import subprocess

    code = (
        "import sys; from pathlib import Path; from gansweep.runs.spool import Spool\n"
        "spool = Spool(Path(sys.argv[1]))\n"
        "for step in range(300): spool.scalars({f'{sys.argv[2]}{n}': float(n) for n in range(20)}, step)\n"
    )
    Spool(tmp_path).close()
    writers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name]) for name in ("a", "b")]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert len(set(spooled_points(tmp_path))) == len(points(tmp_path)) == 12_000
