"""The pictures of searches and of sweeps over seeds: where things lie, what is drawn, and that they are kept."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from gansweep.config.settings import TrackerSettings
from gansweep.runs.spool import SPOOL_FILE
from gansweep.sweep import ledger, outcome, pictures, report, rivals, written
from gansweep.sweep.outcome import Objective, Weights
from gansweep.sweep.picture_seeds import draw_seeds
from gansweep.sweep.scales import Scale, of_axis, of_values
from gansweep.sweep.seeds import Point
from gansweep.sweep.space import Axis

ONE = [Objective("val/squared_error", False)]
TWO = [Objective("inception_score", True), Objective("fid", False)]
ALONG = [
    Axis("optimizer", choices=("adam", "rmsprop")),
    Axis("scales.l1", 10.0, 1000.0, log=True),
    Axis("optimizer.alpha", 0.5, 0.99),
    Axis("+model.latent", 2, 16),
]


def searched(directory: Path, wanted: list[Objective], states: str = "FFFFPXRW") -> ledger.Sweep:
    """Return a search's sweep of one job a letter: finished, pruned, failed (X), running, waiting."""
    directory.mkdir(exist_ok=True)
    ledger.begin(directory, "20261122-120000-abcd", [], [], {})
    for job, letter in enumerate(states):
        own = ["optimizer=rmsprop", "optimizer.alpha=0.7"] if job % 2 else ["optimizer=adam"]
        own += [f"scales.l1={10.0 * (job + 1)}", f"+model.latent={2 + job}"]
        ledger.append(directory, {"kind": "point", "job": job, "overrides": own, "name": f"{job}"})
        (directory / str(job)).mkdir()
        values = [job + 1.0, 2.0 * (job + 1)][: len(wanted)]
        lines = [
            {"kind": "scalar", "key": one.name, "value": value, "step": 9, "t": 1}
            for one, value in zip(wanted, values, strict=True)
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (directory / str(job) / SPOOL_FILE).write_text(text if letter in "FPR" else "")
        state = {"F": "FINISHED", "P": "PRUNED", "X": "FAILED", "R": "RUNNING", "W": "WAITING"}[letter]
        ledger.state(directory, job, state, reason="given up by HyperbandPruner" if letter == "P" else None)
    shares = {one.name: {"scales.l1": 0.7, "optimizer": 0.3, "optimizer.alpha": 0.0} for one in wanted}
    outcome.save(directory, wanted, ALONG, Weights(shares, 12))
    return ledger.load(directory)


def drawn(sweep: ledger.Sweep, directory: Path) -> dict[str, np.ndarray]:
    found = outcome.outcome(sweep)
    assert found is not None
    return {path.name: np.asarray(Image.open(path)) for path in pictures.draw_search(sweep, found, directory)}


def count(image: np.ndarray, colour: str) -> int:
    rgb = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    return int((image == np.array(rgb, np.uint8)).all(axis=2).sum())


def test_values_lie_where_their_scale_says() -> None:
    log = of_axis(ALONG[1])
    assert [log.of_text(text) for text in ("10.0", "100", "1000")] == pytest.approx([0, 0.5, 1])
    assert [text for _, text in log.marks()] == ["10", "1000", "100"]
    assert Scale("x", 2.0, 6.0).at(3.0) == 0.25 and Scale("x", 2.0, 6.0, reversed=True).at(3.0) == 0.75
    assert Scale("x", 5.0, 5.0).marks() == [(0.5, "5")]
    near = [text for _, text in Scale("x", 1334.001, 1334.009).marks()]
    assert len(set(near)) == len(near) and near[:2] == ["1334.001", "1334.009"]
    named = of_axis(ALONG[0])
    low, high = (named.of_text(text) for text in ("adam", "rmsprop"))
    assert 0 < low < 0.2 and low + high == pytest.approx(1) and named.of_text("gone") == low
    assert [text for _, text in named.marks()] == ["adam", "rmsprop"]
    whole = [float(text) for _, text in of_axis(ALONG[3]).marks()]
    assert {2.0, 16.0} <= set(whole) and all(value.is_integer() for value in whole)
    wide = of_values("fid", [0.5, 3.0, 600.0], True)
    assert wide.log and wide.at(0.5) == 1.0 and wide.at(600.0) == 0.0
    assert not of_values("o", [-1.0, 600.0], True).log and not of_values("o", [1.0, 2.0], True).log
    places = [place for place, _ in wide.marks()]
    assert all(0 <= place <= 1 for place in places) and len(places) > 2


def test_a_search_is_drawn_with_its_best_its_pruned_and_what_is_not_set(tmp_path: Path) -> None:
    whole = drawn(searched(tmp_path / "a", ONE), tmp_path / "a")
    assert set(whole) == {"importance.png", "points.png"}
    again = drawn(searched(tmp_path / "b", ONE), tmp_path / "b")
    assert all((whole[name] == again[name]).all() for name in whole)
    assert count(whole["points.png"], pictures.BEST) > 500  # one thick line
    unpruned = drawn(searched(tmp_path / "c", ONE, "FFFFXXRW"), tmp_path / "c")
    grey = count(whole["points.png"], pictures.GREY), count(unpruned["points.png"], pictures.GREY)
    assert grey[0] > grey[1]
    unset = drawn(searched(tmp_path / "d", ONE, "XFXFXFXF"), tmp_path / "d")  # rmsprop alone: every key is set
    assert count(unset["points.png"], pictures.BEST) > 500 and unset["points.png"].shape == whole["points.png"].shape


def test_of_several_objectives_the_front_is_drawn(tmp_path: Path) -> None:
    sweep = searched(tmp_path, TWO, "FFFFX")
    found = outcome.outcome(sweep)
    assert found is not None and found.best == (0, 1, 2, 3)  # more of the one is worse of the other
    whole = drawn(sweep, tmp_path)
    assert set(whole) == {"importance.png", "points.png", "pareto.png"}
    assert count(whole["pareto.png"], pictures.BEST) > 200 and count(whole["pareto.png"], pictures.BLUE) == 0
    three = [*TWO, Objective("kid", False)]
    assert pictures.draw_search(sweep, outcome.Outcome(tuple(three), (), Weights(), {}, ()), tmp_path) == []


def test_wide_objectives_have_plain_numbers_at_their_marks() -> None:
    rows = [ledger.Row(n, [], str(n), Path(), state="FINISHED") for n in range(6)]
    values = {row.job: {"inception_score": 1.0 + row.job, "fid": 10.0 ** (row.job - 3)} for row in rows}
    with pictures.plain_style():
        figure = pictures._fronts(outcome.Outcome(tuple(TWO), (), Weights(), values, (0, 5)), rows)
        figure.canvas.draw()
        (axes,) = figure.axes
        marks = [label.get_text() for label in axes.get_yticklabels()]
    assert axes.get_yscale() == "log" and {"0.01", "1", "100"} <= set(marks)


@pytest.mark.parametrize("states", ["F", "W", "XXX", "RRP"])
def test_few_points_are_drawn_or_left_out_without_fault(states: str, tmp_path: Path) -> None:
    assert ("points.png" in drawn(searched(tmp_path, ONE, states), tmp_path)) == ("F" in states)


def test_points_over_seeds_are_drawn(tmp_path: Path) -> None:
    told = [
        Point(("a=1",), (0, 1), 2, {"fid": (1.0, 1.2)}, "a=1"),
        Point(("a=2",), (2, 3), 2, {"fid": (1.1, 1.3)}, "a=2"),
        Point(("a=3",), (4, 5), 1, {"fid": (9.0,)}, "a=3"),
        Point(("a=4",), (6, 7), 0, {}, "a=4"),
    ]
    path = draw_seeds(told, [rivals.rivals(told, "fid")], tmp_path)
    image = np.asarray(Image.open(path))
    assert path.name == "seeds.png" and count(image, pictures.BEST) > 50 and count(image, pictures.BLUE) > 50
    many = [Point((f"a={n}",), (0, 1), 2, {"enc/l1": (1.0, float(n))}, f"a={n}") for n in range(70)]
    taller = np.asarray(Image.open(draw_seeds(many, [rivals.rivals(many, "enc/l1")], tmp_path)))
    assert taller.shape[0] > 4 * image.shape[0] and count(taller, pictures.BEST) == 0  # nobody knows which is better


def test_the_table_of_a_search_has_its_objectives(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # tables fold to the terminal's width
    sweep = searched(tmp_path, ONE)
    report.print_status(tmp_path)
    out = capsys.readouterr().out
    rows = {line.split()[0]: line for line in out.splitlines() if line[:1].isdigit() and "scales.l1=" in line}
    assert "val/squared_error" in out and "FINISHED  1 best" in rows["0"] and "best" not in rows["1"]
    assert "PRUNED    (5)" in rows["4"] and "FAILED    –" in rows["5"] and "(7)" in rows["6"]
    assert "job 4 PRUNED: given up by HyperbandPruner" in out
    assert "best: job 0: val/squared_error 1: optimizer=adam" in out
    assert "what mattered for val/squared_error: scales.l1 70%, optimizer 30%" in out
    report.print_report(sweep)
    assert rows["4"] in capsys.readouterr().out
    lines = written.as_csv(sweep, outcome.outcome(sweep)).splitlines()
    assert lines[0].startswith("job,name,overrides,status,objective.val/squared_error,best,run_id")
    assert ",FINISHED,1.0,best," in lines[1] and ",PRUNED,5.0,," in lines[5]
    told = report.facts(tmp_path)
    assert told["search"]["best"] == [0] and told["jobs"][4]["objective"] == {"val/squared_error": 5.0}
    assert told["search"]["importance"]["val/squared_error"]["scales.l1"] == 0.7
    assert "points" not in told


def test_the_summary_run_holds_the_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gansweep.runs import tracker

    monkeypatch.setattr(tracker, "start_sender", lambda run: None)
    report.keep(searched(tmp_path, TWO, "FFFX"), TrackerSettings(uri=f"sqlite:///{tmp_path}/mlflow.db"))
    lines = [json.loads(text) for text in (tmp_path / ".summary" / SPOOL_FILE).read_text().splitlines()]
    files = [Path(line["path"]).name for line in lines if line["kind"] == "file"]
    assert files == ["jobs.csv", "importance.png", "points.png", "pareto.png", "jobs.md"]
    markdown = (tmp_path / ".summary" / "jobs.md").read_text()
    table = [line for line in markdown.splitlines() if line.startswith("| 0 |")]
    assert "beaten by none: job | inception_score | fid" in markdown and "| 0 | 1 | 2 | optimizer=adam" in table[0]


def test_a_picture_that_cannot_be_drawn_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pictures, "headed", lambda *_: 1 / 0)
    report.keep(searched(tmp_path, ONE), TrackerSettings(kind="none"))
    told = capsys.readouterr().err
    assert "a picture of the sweep could not be drawn: ZeroDivisionError" in told and told.count("\n") == 1
    assert (tmp_path / "jobs.csv").is_file()


def test_a_table_of_very_many_rows_is_not_folded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plans = [SimpleNamespace(number=n, overrides=(f"scales.l1={n}", "a=" + "x" * 300), name=f"{n}") for n in range(4)]
    ledger.begin(tmp_path, "20261122-120000-abcd", [], plans, {})
    monkeypatch.setattr(report, "_FOLDED_MOST", 3)
    monkeypatch.setattr(report, "table", lambda *_: pytest.fail("folded"))
    report.print_status(tmp_path)
    rows = [line for line in capsys.readouterr().out.splitlines() if line[:1].isdigit()]
    assert [row.split()[:3] for row in rows[:4]] == [[str(n), f"scales.l1={n}", "WAITING"] for n in range(4)]


def test_the_live_table_of_a_search_has_its_objectives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    from gansweep.sweep import board
    from gansweep.sweep.logged import latest

    read: list[str] = []
    monkeypatch.setattr(board, "latest", lambda path, names: (read.append(path.name), latest(path, names))[1])
    sweep = searched(tmp_path, ONE, "FPRW")
    shown = board.Board(sweep)

    def rows() -> list[str]:
        console = Console(width=200, record=True, file=(tmp_path / "shown").open("w"))
        console.print(shown._table(ledger.load(tmp_path)))
        return [line for line in console.export_text().splitlines() if line[:1].isdigit()]

    first = rows()
    assert [line.split()[1:3] for line in first[:3]] == [["FINISHED", "1"], ["PRUNED", "2"], ["RUNNING", "3"]]
    with (tmp_path / "2" / SPOOL_FILE).open("a") as file:
        file.write(json.dumps({"kind": "scalar", "key": ONE[0].name, "value": 0.25, "step": 10, "t": 1}) + "\n")
    assert rows()[2].split()[1:3] == ["RUNNING", "0.25"]
    ledger.state(tmp_path, 2, "FINISHED")
    assert rows()[2].split()[1:3] == ["FINISHED", "0.25"]
    assert read == ["0", "1", "2", "2", "2"]  # what ended is read once
