"""One tracker for jobs on many machines: `mlflow server` on PostgreSQL, many writers, and a kill -9 in their midst."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gansweep.runs.launch import read_state
from gansweep.runs.spool import write_offset
from gansweep.runs.sync import sync
from runs.run_setup import wait_until
from sweep.agreement import agree, records, settled, tracker_agrees
from sweep.tracker_server import MlflowServer, Postgres, postgres, server

__all__ = ["postgres", "server"]
WRITERS = 8
FAILS, DIES = 5, 6

# One job of a sweep, as its process tells of it, without training: numbers, a picture and a file, until it may end.
WRITER = """
import sys, time
from pathlib import Path
from PIL import Image
from runs.run_setup import a_record, tracker_settings
from gansweep.runs.tracker import open_tracker
run_dir, uri, end = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
job, fails = int(run_dir.name), sys.argv[4] == "fails"
tracker = open_tracker(tracker_settings(kind="mlflow", uri=uri, experiment="shared", drain_s=300), run_dir)
tracker.start(a_record(run_dir, name=f"job {job}", sweep={"id": "many-writers", "job": job}))
step = 0
while not end.exists() or step < 20:
    odd = float("nan") if step == 3 else float("inf") if step == 4 else step / 7 + job
    tracker.scalars({"enc/l1": odd, "dis/d_real": 1 / (step + 1), "same": 1.0, f"own {job}": float(step)}, step)
    if step in (5, 15):
        path = run_dir / f"{step}.png"
        Image.new("RGB", (8, 8), (step, job, 0)).save(path)
        tracker.image("samples/ema", path, step)
    step += 1
    time.sleep(0.05)
tracker.tags({"last": str(step)})
tracker.finish(*(("FAILED", "it broke") if fails else ("FINISHED",)))
"""


@pytest.fixture
def writers(server: MlflowServer, tmp_path: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that all begin at once, each with a run of its own; they end when tmp_path/end is there."""
    tests = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(tests)}
    begun = []
    try:
        for job in range(WRITERS):
            run_dir = tmp_path / "writers" / str(job)
            words = [str(run_dir), server.uri, str(tmp_path / "end"), "fails" if job == FAILS else "ends well"]
            begun.append(subprocess.Popen([sys.executable, "-c", WRITER, *words], env=environment))
        yield begun
    finally:
        for process in begun:
            process.kill()
            process.wait()
        for state in map(read_state, (tmp_path / "writers").iterdir()):
            if state.get("state") != "done":
                os.kill(int(state["pid"]), signal.SIGKILL)


def in_a_call(postgres: Postgres) -> bool:
    """Say whether the server is writing points right now."""
    query = "select count(*) from pg_stat_activity where state <> 'idle' and query like 'INSERT INTO metrics%'"
    return postgres.ask(query)[0][0] > 0


def stored(postgres: Postgres) -> int:
    """Return how many runs have points in the database."""
    return int(postgres.ask("select count(distinct run_uuid) from metrics")[0][0])


@pytest.mark.slow
def test_every_point_is_there_once_though_the_server_was_killed(
    postgres: Postgres,
    server: MlflowServer,
    writers: list[subprocess.Popen[bytes]],
    tmp_path: Path,
    small_overrides: list[str],
) -> None:
    own = ["tracker=mlflow", f"tracker.uri={server.uri}", "tracker.experiment=shared", "tracker.drain_s=300"]
    small = [word for word in small_overrides if word != "tracker=none"]
    lengths = ["model=vae", "log_every=5", "sample_every=0", "val_every=0", "checkpoint_every=50", "steps=400"]
    words = [sys.executable, "-m", "gansweep", "-m", *small, *own, *lengths, "seed=1,2"]
    leader = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: stored(postgres) >= WRITERS, "points of every writer")
        wait_until(lambda: in_a_call(postgres), "a call that writes points")
        server.kill()
        folders = [tmp_path / "writers" / str(job) for job in range(WRITERS)]
        away = lambda: all(read_state(folder)["state"] == "unreachable" for folder in folders)  # noqa: E731
        wait_until(away, "the senders' notice")
        writers[DIES].kill()
        server.start()
        server.await_answer()
        (tmp_path / "end").touch()
        codes = [writer.wait(timeout=150) for writer in writers]
        out, err = leader.communicate(timeout=150)
    finally:
        leader.kill()
    assert codes == [-signal.SIGKILL if job == DIES else 0 for job in range(WRITERS)]
    settled(tmp_path / "writers")
    found = records(tmp_path / "writers")
    assert [found[folder]["status"] for folder in folders] == [
        {FAILS: "FAILED", DIES: "KILLED"}.get(job, "FINISHED") for job in range(WRITERS)
    ]
    tracker_agrees("many-writers", found, postgres.ask)
    nothing_is_doubled(postgres, tmp_path, folders)
    # The sweep of real jobs met the same, and lost nothing.
    assert leader.returncode == 0 and "2 of 2 finished" in out, err
    (sweep,) = tmp_path.glob("multirun/*/*")
    agree(sweep, postgres.ask)
    # All that a run has said, said once more: it is there once all the same.
    for folder in (folders[0], sweep / "0"):
        write_offset(folder, 0)
        assert sync(folder, limit_s=60) > 0
    tracker_agrees("many-writers", found, postgres.ask)
    agree(sweep, postgres.ask)
    nothing_is_doubled(postgres, tmp_path, folders)


def nothing_is_doubled(postgres: Postgres, tmp_path: Path, folders: list[Path]) -> None:
    assert postgres.ask("select name from experiments where name = 'shared'") == [("shared",)]
    for folder in folders:
        uuid = json.loads((folder / "run.json").read_text())["mlflow_run_id"]
        assert postgres.ask(f"select count(*) from inputs where destination_id = '{uuid}'") == [(1,)]
        assert len(postgres.ask(f"select key from params where run_uuid = '{uuid}'")) == 2
        pictures = [path.name for path in tmp_path.glob(f"artifacts/*/{uuid}/artifacts/images/*.png")]
        assert sorted(name.split("+")[2] for name in pictures) == ["15", "5"]
