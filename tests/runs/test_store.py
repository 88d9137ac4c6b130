"""Finding runs, and what run.json says of them."""

from __future__ import annotations

import json
import multiprocessing
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from gansweep.errors import UserError
from gansweep.runs import rundir, store
from gansweep.runs.store import Run
from runs.run_setup import a_record


def make(run_dir: Path, run_id: str | None = None, **changes: object) -> Run:
    record = a_record(run_dir, **({"run_id": run_id} if run_id else {}))
    store.create(run_dir, record)
    return store.update(run_dir, **changes)


def test_a_new_run_is_this_process_s_and_running(tmp_path: Path) -> None:
    run = store.create(tmp_path / "a", a_record(tmp_path / "a", sweep={"id": "s1", "job": 2}))
    saved = json.loads((tmp_path / "a" / "run.json").read_text())
    assert saved == run.record
    assert (run.status, saved["pid"], saved["sweep"]) == ("RUNNING", os.getpid(), {"id": "s1", "job": 2})
    assert set(saved) >= {"run_id", "name", "host", "pid_start", "tracking", "mlflow_run_id", "commit", "dirty"}
    assert set(saved) >= {"parent", "overrides", "note", "created", "finished", "last_step", "steps", "reason"}


def test_a_directory_holds_one_run(tmp_path: Path) -> None:
    first = make(tmp_path)
    with pytest.raises(UserError, match=f"already holds run {first.id[:8]}"):
        make(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [("pid", "x"), ("pid_start", None), ("host", None), ("run_id", 7), ("sweep", "s1"), ("last_step", "3")],
)
def test_a_damaged_record_is_one_line_and_is_passed_over_in_lists(tmp_path: Path, field: str, value: object) -> None:
    whole, broken = make(tmp_path / "a"), make(tmp_path / "b")
    rundir.write_json(broken.dir / "run.json", broken.record | {field: value})
    with pytest.raises(UserError, match=rf"b/run\.json: damaged \(.*{field}") as error:
        store.find(str(broken.dir))
    assert "\n" not in str(error.value)
    assert [run.id for run in store.runs_below(tmp_path)] == [whole.id]


def test_a_folder_that_may_not_be_read_holds_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", closed)
    assert not rundir.is_run_dir(tmp_path)
    assert store.runs_below(tmp_path) == []


@pytest.mark.parametrize("look_up", [store.find, store.find_many, store.resolve_checkpoint])
@pytest.mark.parametrize(("target", "words"), [("", "empty TARGET"), ("x" * 5000, "no such"), ("a\0b", "no such")])
def test_what_can_be_no_name_is_refused_in_a_line(look_up: Callable[..., object], target: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        look_up(target)


def _count_up(run_dir: Path, key: str) -> None:
    for number in range(25):
        rundir.update(run_dir, **{key: number})


def test_concurrent_updates_lose_nothing(tmp_path: Path) -> None:
    make(tmp_path)
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_count_up, args=(tmp_path, key)) for key in "abc"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    record = rundir.read(tmp_path)
    assert [record[key] for key in "abc"] == [24, 24, 24]


def test_a_run_is_found_by_path_file_and_id(tmp_path: Path) -> None:
    run = make(tmp_path / "outputs/2026-11-22/01-00-00", "abcd" + "1" * 28, mlflow_run_id="ffee" + "2" * 28)
    make(tmp_path / "outputs/2026-11-22/02-00-00", "abce" + "1" * 28)
    checkpoint = run.checkpoint_dir / "last.pt"
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(b"")
    for target in ["outputs/2026-11-22/01-00-00", str(run.dir), str(checkpoint), run.id, "abcd", "ffee", "ffee2222"]:
        assert store.find(target, tmp_path).dir == run.dir, target


@pytest.mark.parametrize("name", ["long", "vae l1=3 seed=1", "cafe", "ab"])
def test_a_run_is_found_by_its_name(tmp_path: Path, name: str) -> None:
    run = make(tmp_path / "outputs/a", "1" * 32, name=name)
    make(tmp_path / "outputs/b", "2" * 32, name=f"{name}er")
    assert store.find(name, tmp_path).dir == run.dir
    assert [found.dir for found in store.find_many(name, tmp_path)] == [run.dir]
    (run.checkpoint_dir).mkdir()
    (run.checkpoint_dir / "last.pt").write_bytes(b"")
    assert store.resolve_checkpoint(name, tmp_path)[1] == run.checkpoint_dir / "last.pt"


def test_several_runs_of_one_name_are_listed(tmp_path: Path) -> None:
    make(tmp_path / "outputs/a", "1" * 32, name="long")
    make(tmp_path / "multirun/s/0", "2" * 32, name="long")
    with pytest.raises(UserError, match=r"long: 2 runs are called so: 1{12} \(long\), 2{12} \(long\); give an id"):
        store.find("long", tmp_path)


def test_a_name_that_is_also_the_beginning_of_an_id_is_refused_and_a_whole_id_is_not(tmp_path: Path) -> None:
    make(tmp_path / "outputs/a", "1" * 32, name="cafe")
    other = make(tmp_path / "outputs/b", "cafe" + "2" * 28)
    with pytest.raises(UserError, match=r"cafe: 2 runs are called or begin so: cafe22222222 .*, 1{12} \(cafe\)"):
        store.find("cafe", tmp_path)
    assert store.find(other.id, tmp_path).dir == other.dir


def test_an_ambiguous_prefix_lists_the_matches(tmp_path: Path) -> None:
    make(tmp_path / "outputs/a", "abcd1" + "0" * 27)
    make(tmp_path / "multirun/s/1", "abcd2" + "0" * 27)
    with pytest.raises(UserError, match=r"abcd: 2 runs begin so: abcd10000000 .*abcd20000000 .*more characters"):
        store.find("abcd", tmp_path)


def test_a_whole_id_wins_over_a_longer_one_that_begins_so(tmp_path: Path) -> None:
    run = make(tmp_path / "outputs/a", "abcd")
    make(tmp_path / "outputs/b", "abcd2")
    assert store.find("abcd", tmp_path).dir == run.dir


def test_three_characters_are_too_few(tmp_path: Path) -> None:
    make(tmp_path / "outputs/a", "abcd1" + "0" * 27)
    with pytest.raises(UserError, match="at least 4"):
        store.find("abc", tmp_path)


def test_nothing_found_names_the_nearest(tmp_path: Path) -> None:
    make(tmp_path / "outputs/monday", "abcd1" + "0" * 27)
    with pytest.raises(UserError, match=r"did you mean 'outputs/monday'") as error:
        store.find("outputs/mondey", tmp_path)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"no run with this id.*did you mean 'abcd10000'"):
        store.find("abcd10001", tmp_path)
    with pytest.raises(UserError, match="no runs in outputs/ or multirun/"):
        store.find("outputs/mondey", tmp_path / "elsewhere")


def test_a_sweep_gives_its_runs_by_job_number_without_its_summary(tmp_path: Path) -> None:
    sweep = tmp_path / "multirun/2026-11-22/01-00-00"
    for job in [10, 2, 1]:
        store.create(sweep / str(job), a_record(sweep / str(job), sweep={"id": "s", "job": job}))
    store.create(sweep / "summary", a_record(sweep / "summary", tags={"gansweep.kind": "sweep summary"}))
    (sweep / "sweep.jsonl").write_text("{}")
    assert [run.dir.name for run in store.find_many(str(sweep))] == ["1", "2", "10"]
    assert len(store.all_runs(tmp_path)) == 3
    with pytest.raises(UserError, match="holds 3 runs, one is needed"):
        store.find(str(sweep))
    for above in ("multirun", "multirun/2026-11-22", "."):
        with pytest.raises(UserError, match=r"neither a run's directory \(no run\.json in it\) nor a sweep's"):
            store.find_many(above, tmp_path)


def test_a_sweep_without_a_run_is_told(tmp_path: Path) -> None:
    (tmp_path / "sweep.jsonl").write_text("{}")
    with pytest.raises(UserError, match="a sweep without a run"):
        store.find_many(str(tmp_path))


def test_one_run_is_a_list_of_one(tmp_path: Path) -> None:
    run = make(tmp_path / "outputs/a")
    assert [found.dir for found in store.find_many("outputs/a", tmp_path)] == [run.dir]


def test_a_directory_without_runs_and_a_file_outside_are_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.pt").write_bytes(b"")
    with pytest.raises(UserError, match="neither a run's directory"):
        store.find("empty", tmp_path)
    with pytest.raises(UserError, match="lies in no run directory"):
        store.find("file.pt", tmp_path)


def test_a_broken_record_is_one_line_and_does_not_hide_the_others(tmp_path: Path) -> None:
    run = make(tmp_path / "outputs/good")
    (tmp_path / "outputs/bad").mkdir()
    (tmp_path / "outputs/bad/run.json").write_text("{")
    assert [found.id for found in store.all_runs(tmp_path)] == [run.id]
    with pytest.raises(UserError, match=r"run\.json: cannot be read"):
        store.find("outputs/bad", tmp_path)


def test_a_run_elsewhere_is_found_through_the_database(tmp_path: Path) -> None:
    run = make(tmp_path / "far/away")
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        database.execute("create table tags (key text, value text, run_uuid text)")
        rows = [("gansweep.run_dir", str(run.dir), "feed" * 8), ("gansweep.run_id", run.id, "feed" * 8)]
        database.executemany("insert into tags values (?, ?, ?)", rows)
    assert store.find("feedfe", tmp_path).dir == run.dir
    assert store.find(run.id[:10], tmp_path).dir == run.dir


def test_a_checkpoint_is_resolved_from_run_file_or_nothing(tmp_path: Path) -> None:
    run = make(tmp_path / "outputs/a")
    with pytest.raises(UserError, match=r"has no checkpoint yet"):
        store.resolve_checkpoint("outputs/a", tmp_path)
    run.checkpoint_dir.mkdir()
    for name in ["step-00000010.pt", "last.pt", ".last.pt.1.tmp"]:
        (run.checkpoint_dir / name).write_bytes(b"")
    foreign = tmp_path / "foreign.pt"
    foreign.write_bytes(b"")
    found, path = store.resolve_checkpoint(run.id, tmp_path)
    assert found is not None
    assert (found.id, path.name) == (run.id, "last.pt")
    found, path = store.resolve_checkpoint("outputs/a/checkpoints/step-00000010.pt", tmp_path)
    assert found is not None
    assert (found.id, path.name) == (run.id, "step-00000010.pt")
    assert store.resolve_checkpoint("foreign.pt", tmp_path) == (None, foreign)
    assert [p.name for p in run.checkpoints()] == ["step-00000010.pt", "last.pt"]
