"""The spool: what is appended is there, once, whatever kills the writer."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from gansweep.runs.spool import (
    Spool,
    last_step,
    last_values,
    lines,
    points,
    read_offset,
    repair_tail,
    unsent_bytes,
    write_offset,
)


def entries(run_dir: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run_dir / "spool.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    "damaged",
    [
        {"kind": "scalar", "key": "a", "step": 9, "t": 1},
        {"kind": "scalar", "value": 1.0, "step": 9, "t": 1},
        {"kind": "scalar", "key": "a", "value": "high", "step": 9, "t": 1},
        {"kind": "scalar", "key": "a", "value": 1.0, "step": 9},
        {"kind": "image", "key": "a", "step": 9, "t": 1},
        {"kind": "start", "record": {"params": None, "files": []}, "t": 1},
        {"kind": ["scalar"], "t": 1},
    ],
)
def test_a_line_that_lacks_a_field_of_its_kind_is_passed_over(tmp_path: Path, damaged: dict[str, object]) -> None:
    spool = Spool(tmp_path)
    spool.scalars({"a": 1.0}, 1)
    with (tmp_path / "spool.jsonl").open("a") as file:
        file.write(json.dumps(damaged) + "\n")
    spool.scalars({"a": 2.0}, 2)
    spool.close()
    assert [entry and entry["kind"] for _, entry in lines(tmp_path / "spool.jsonl")] == ["scalar", None, "scalar"]
    assert [point.value for point in points(tmp_path)] == [1.0, 2.0]
    assert (last_step(tmp_path), last_values(tmp_path)) == (2, {"a": (2.0, 2)})
    Spool(tmp_path, resume=True).close()


def test_values_come_back_exactly(tmp_path: Path) -> None:
    values = {"enc/l1": 0.1 + 0.2, "größe": 1e-300, "whole": 600, "low": -math.inf, "high": math.inf}
    Spool(tmp_path).scalars(values, 50)
    assert {p.key: p.value for p in points(tmp_path)} == values
    assert {p.step for p in points(tmp_path)} == {50}


def test_a_value_that_is_no_number_comes_back_as_such(tmp_path: Path) -> None:
    Spool(tmp_path).scalars({"a": math.nan}, 0)
    assert math.isnan(points(tmp_path)[0].value)


def test_lines_are_there_without_closing(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.scalars({"a": 1.0}, 0)
    assert [e["key"] for e in entries(tmp_path)] == ["a"]


def test_on_resume_no_metric_and_no_image_is_spooled_twice(tmp_path: Path) -> None:
    first = Spool(tmp_path)
    first.scalars({"a": 1.0, "b": 1.0}, 50)
    first.append("image", key="samples", path="grids/50.png", step=50)
    first.close()
    before = (tmp_path / "spool.jsonl").read_bytes()
    again = Spool(tmp_path, resume=True)
    again.scalars({"a": 9.0, "b": 9.0}, 50)
    again.append("image", key="samples", path="grids/50.png", step=50)
    assert (tmp_path / "spool.jsonl").read_bytes() == before
    again.scalars({"a": 2.0, "c": 3.0}, 100)
    again.scalars({"c": 3.0}, 50)
    again.append("image", key="samples", path="grids/100.png", step=100)
    assert [(p.key, p.step, p.value) for p in points(tmp_path)[2:]] == [
        ("a", 100, 2.0),
        ("c", 100, 3.0),
        ("c", 50, 3.0),
    ]
    assert [e["path"] for e in entries(tmp_path) if e["kind"] == "image"] == ["grids/50.png", "grids/100.png"]


def test_a_torn_last_line_is_cut_and_its_metric_taken_again(tmp_path: Path) -> None:
    Spool(tmp_path).scalars({"a": 1.0, "b": 2.0}, 50)
    path = tmp_path / "spool.jsonl"
    whole = path.read_bytes()
    first_line = whole.index(b"\n") + 1
    write_offset(tmp_path, first_line)
    path.write_bytes(whole[:-9])
    again = Spool(tmp_path, resume=True)
    assert path.read_bytes() == whole[:first_line]
    assert unsent_bytes(tmp_path) == 0  # the offset is still good
    again.scalars({"a": 1.0, "b": 2.0}, 50)
    assert [(p.key, p.value) for p in points(tmp_path)] == [("a", 1.0), ("b", 2.0)]


@pytest.mark.parametrize("cut", range(1, 60))
def test_a_file_cut_anywhere_is_mended(tmp_path: Path, cut: int) -> None:
    spool = Spool(tmp_path)
    spool.scalars({"a": 1.0}, 1)
    spool.append("tags", tags={"long": "x" * 70_000})  # longer than the piece that is read from the end
    path = tmp_path / "spool.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    repair_tail(path)
    content = path.read_bytes()
    assert content.endswith(b"\n")
    # Only the newline was missing: the line is whole. Anything more: the line is gone.
    assert content == (whole if cut == 1 else whole[: whole.index(b"\n") + 1])


def test_a_file_without_any_whole_line_becomes_empty(tmp_path: Path) -> None:
    path = tmp_path / "spool.jsonl"
    path.write_bytes(b'{"kind":"scal')
    repair_tail(path)
    assert path.read_bytes() == b""


def test_reading_stops_before_a_line_in_the_making(tmp_path: Path) -> None:
    path = tmp_path / "spool.jsonl"
    path.write_bytes(b'{"kind":"tags","tags":{},"t":1}\nnot json\n{"kind":"ta')
    assert [(end, entry and entry["kind"]) for end, entry in lines(path)] == [(32, "tags"), (41, None)]


def test_the_end_of_a_long_spool_is_found_without_reading_it_all(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for step in range(3000):
        spool.scalars({"a": float(step), "b": -float(step)}, step)
    spool.scalars({"c": 1.0}, 10)
    assert last_step(tmp_path) == 2999
    assert last_values(tmp_path) == {"a": (2999.0, 2999), "b": (-2999.0, 2999), "c": (1.0, 10)}


def test_a_run_without_a_spool_has_nothing(tmp_path: Path) -> None:
    assert (points(tmp_path), last_step(tmp_path), last_values(tmp_path)) == ([], None, {})
    assert (read_offset(tmp_path), unsent_bytes(tmp_path)) == (0, 0)
