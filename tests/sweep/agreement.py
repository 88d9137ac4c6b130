"""What must hold after every fault: a sweep's record, its runs' directories and the tracker say the same."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gansweep.runs.launch import read_state
from gansweep.runs.liveness import alive
from gansweep.runs.spool import lines, unsent_bytes
from gansweep.sweep import ledger
from gansweep.sweep.ledger import FAILED, FINISHED, KILLED, PRUNED, WAITING, Row

# Answers one line of SQL with its rows: of a sqlite file, or of a server's database.
Ask = Callable[[str], list[tuple[Any, ...]]]
Point = tuple[str, str, float, int, int]
DEADLINE_S = 150.0
# How MLflow's tables hold what is no number for them.
_INFINITE = 1.7976931348623157e308


def sqlite_store(database: Path) -> Ask:
    def ask(query: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=20)) as connection:
            return connection.execute(query).fetchall()

    return ask


def records(sweep: Path) -> dict[Path, dict[str, Any]]:
    """Return run.json of every attempt of every job, by its directory."""
    return {
        path.parent: json.loads(path.read_text()) for path in sweep.glob("*/run.json") if path.parent.name[0] != "."
    }


def agree(sweep: Path, ask: Ask | None = None) -> None:
    """Hold a sweep that nobody leads against its runs and, where it has one, its tracker.

    Each row has one run, in the state that the row says, every point once; an earlier attempt is superseded and says
    so; nothing runs; the tracker has every attempt once, its status, tags and points, and no run beside them.
    """
    rows, found = ledger.load(sweep).rows, records(sweep)
    for row in rows:
        assert row.state in (WAITING, FINISHED, FAILED, KILLED, PRUNED), row
        _row_agrees(row, found)
    assert ledger.load(sweep).damaged == 0
    assert len({record["run_id"] for record in found.values()}) == len(found)
    for folder, record in found.items():
        points = [(key, step) for key, _, _, step in _spooled(folder)]
        assert len(points) == len(set(points)), f"{folder} has a point twice"
        if record["status"] == FINISHED:
            assert max(step for _, step in points) == record["steps"]
        job, _, attempt = folder.name.partition("-")
        of = next(row for row in rows if row.job == int(job))
        assert bool(record.get("superseded")) == (int(attempt or 1) < of.attempt), folder
    if ask is not None:
        settled(sweep)
        tracker_agrees(ledger.load(sweep).id, found, ask)
        _rows_agree_with_the_tracker(rows, found, ask)


def _row_agrees(row: Row, found: dict[Path, dict[str, Any]]) -> None:
    record = found.get(row.dir)
    if record is None:  # it was ended before its run began, or has not begun
        assert row.state in (WAITING, FAILED, KILLED), row
        return
    if row.state == WAITING:  # another attempt is yet to go on with it
        assert record["status"] in (FAILED, KILLED)
        return
    assert (record["status"], record["run_id"]) == (KILLED if row.state == PRUNED else row.state, row.run_id)
    assert record["sweep"]["job"] == row.job


def settled(sweep: Path) -> None:
    """Wait until the senders of the sweep's runs have sent everything and ended; one that left a rest is a fault."""
    for path in sorted(sweep.glob("*/run.json")):
        folder, deadline = path.parent, time.monotonic() + DEADLINE_S
        if json.loads(path.read_text())["tracking"]["kind"] == "none":
            continue
        while read_state(folder).get("state") != "done" and alive(read_state(folder)):
            assert time.monotonic() < deadline, read_state(folder)
            time.sleep(0.05)
        assert unsent_bytes(folder) == 0, f"{folder}: nobody sends what is left of it ({read_state(folder)})"
        assert not read_state(folder).get("refused"), (folder / "sender.log").read_text()


def tracker_agrees(sweep_id: str, found: dict[Path, dict[str, Any]], ask: Ask) -> None:
    """Hold the tracker's runs of a sweep against `found`, the run.json of every one of them by directory."""
    stored = _runs_of(sweep_id, ask)
    ours = Counter(tags["gansweep.run_id"] for _, _, tags in stored)
    summaries = [run for run in stored if run[2].get("gansweep.kind") == "sweep summary"]
    assert len(summaries) <= 1
    expected = Counter(record["run_id"] for record in found.values())
    assert ours == expected + Counter(tags["gansweep.run_id"] for _, _, tags in summaries)
    by_id = {tags["gansweep.run_id"]: (uuid, status, tags) for uuid, status, tags in stored}
    for folder, record in found.items():
        uuid, status, tags = by_id[record["run_id"]]
        assert (status, uuid) == (record["status"], record["mlflow_run_id"]), folder
        assert tags["gansweep.job"] == str(record["sweep"]["job"])
        assert Path(tags["gansweep.run_dir"]) == folder
        assert tags.get("gansweep.reason") == record["reason"], folder
        if record.get("superseded"):
            assert "gansweep.superseded_by" in tags, f"{folder} is superseded, and the tracker does not say so"
        _points_agree(uuid, folder, ask)
    assert not [run for run in stored if run[1] == "RUNNING"]


def _rows_agree_with_the_tracker(rows: list[Row], found: dict[Path, dict[str, Any]], ask: Ask) -> None:
    for row in rows:
        if row.dir in found:
            tags = _tags(str(found[row.dir]["mlflow_run_id"]), ask)
            assert (row.state == PRUNED) == ("gansweep.pruned" in tags), row
            assert row.state != PRUNED or tags["gansweep.pruned"] == row.reason
            assert "gansweep.superseded_by" not in tags


def _runs_of(sweep_id: str, ask: Ask) -> list[tuple[str, str, dict[str, str]]]:
    """Return (MLflow id, status, tags) of the runs of a sweep that are not deleted."""
    query = (
        "select r.run_uuid, r.status from runs r join tags t on t.run_uuid = r.run_uuid "
        f"where t.key = 'gansweep.sweep' and t.value = '{sweep_id}' and r.lifecycle_stage = 'active'"
    )
    return [(uuid, status, _tags(uuid, ask)) for uuid, status in ask(query)]


def _tags(uuid: str, ask: Ask) -> dict[str, str]:
    return dict(ask(f"select key, value from tags where run_uuid = '{uuid}'"))  # type: ignore[arg-type]


def _spooled(folder: Path) -> list[tuple[str, float, int, int]]:
    """Return (metric, value, time in ms, step) of a run's spool."""
    entries = [entry for _, entry in lines(folder / "spool.jsonl") if entry and entry["kind"] == "scalar"]
    return [(entry["key"], float(entry["value"]), entry["t"], entry["step"]) for entry in entries]


def _points_agree(uuid: str, folder: Path, ask: Ask) -> None:
    """Hold the tracker's points of one run against its spool: each exactly once, and the last ones as the latest."""
    spooled = Counter(_as_stored(*point) for point in _spooled(folder))
    columns = "key, value, timestamp, step, is_nan"
    stored = Counter(
        (key, "nan" if nan else value, time_ms, step)
        for key, value, time_ms, step, nan in ask(f"select {columns} from metrics where run_uuid = '{uuid}'")
    )
    assert stored == spooled, f"{folder}: {sum(spooled.values())} points spooled, {sum(stored.values())} stored"
    latest: dict[str, tuple[int, int]] = {}
    for key, _, time_ms, step in spooled:
        latest[key] = max(latest.get(key, (-1, -1)), (step, time_ms))
    kept = {
        key: (step, time_ms)
        for key, step, time_ms in ask(f"select key, step, timestamp from latest_metrics where run_uuid = '{uuid}'")
    }
    assert kept == latest


def _as_stored(key: str, value: float, time_ms: int, step: int) -> tuple[str, float | str, int, int]:
    if value != value:
        return key, "nan", time_ms, step
    return key, max(-_INFINITE, min(_INFINITE, value)), time_ms, step
