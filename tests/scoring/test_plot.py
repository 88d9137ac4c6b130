"""Figures of scores: what is drawn, that it is drawn alike every time, and the file."""

from __future__ import annotations

import dataclasses
import itertools
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gansweep.errors import UserError
from gansweep.scoring import plot
from gansweep.scoring.card import Card
from gansweep.scoring.plot import plot_scores
from score_cards import make_card


def curve(number: int, steps: int, value: float = 4.0, **parts: Any) -> list[Card]:
    return [
        make_card(value + step / 100, (value - 0.1, value + 0.2), f"{number:032x}", 1000 * (step + 1), **parts)
        for step in range(steps)
    ]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The matplotlib figures that were drawn."""
    found: list[Any] = []
    pixels = plot.pixels

    def keep(figure: Any) -> np.ndarray:
        found.append(figure)
        return pixels(figure)

    monkeypatch.setattr(plot, "pixels", keep)
    yield found


def texts(figure: Any) -> str:
    (axes,) = figure.axes
    legend = axes.get_legend()
    found = [*figure.texts, *axes.texts, *axes.get_yticklabels(), *(legend.get_texts() if legend else [])]
    return "\n".join(text.get_text() for text in found)


def test_runs_against_step(tmp_path: Path, figures: list[Any]) -> None:
    path = plot_scores({"naïve $x_1$": curve(1, 4), "_b\nc": curve(2, 3, 4.5)}, "is_lite0", tmp_path / "new" / "a.png")
    assert path == tmp_path / "new" / "a.png"
    with Image.open(path) as picture:
        assert picture.format == "PNG" and picture.mode == "RGB" and picture.width == 1320 and not picture.info
    said = texts(figures[0])
    for text in ("is_lite0 (higher is better)", "naïve $x_1$", "_b c", "best: 4.52 [4.40, 4.70], step 3,000"):
        assert text in said, text
    for text in ("judge lite0 (weights aaaaaaaa)", "torch-fidelity", "N 500", "10 splits", "eval mode", "seed 0"):
        assert text in said, text
    (axes,) = figures[0].axes
    drawn = {tuple(line.get_xdata()): tuple(line.get_ydata()) for line in axes.lines}
    assert drawn[(1000, 2000, 3000, 4000)] == pytest.approx((4.0, 4.01, 4.02, 4.03))
    assert len(axes.collections) == 2, "a band each"


def test_equal_cards_give_equal_files_whatever_the_user_s_style_is(tmp_path: Path) -> None:
    cards = {"a": curve(1, 3), "b": curve(2, 3, 4.2)}
    once = plot_scores(cards, "is_lite0", tmp_path / "a.png").read_bytes()
    import matplotlib

    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "text.usetex": True}):
        before = dict(matplotlib.rcParams)
        again = plot_scores(cards, "is_lite0", tmp_path / "b.png").read_bytes()
        assert dict(matplotlib.rcParams) == before
    assert once == again


def test_what_is_not_comparable_is_left_out_and_said(tmp_path: Path, figures: list[Any]) -> None:
    cards = {"a": [*curve(1, 3), make_card(99.0, None, f"{1:032x}", 9000, n="50")], "b": curve(2, 1, 50.0, n="5000")}
    plot_scores(cards, "is_lite0", tmp_path / "a.png")
    said = texts(figures[0])
    assert "1 score is not drawn, as not comparable: n 50 instead of 500" in said
    assert "1 score is not drawn, as not comparable: n 5000 instead of 500" in said
    assert figures[0].axes[0].get_ylim()[1] < 5
    assert "is_lite0 of a (higher is better)" in said, "a single run is named above"


def test_retracted_cards_are_crossed_out_and_no_part_of_the_line(tmp_path: Path, figures: list[Any]) -> None:
    cards = curve(1, 4)
    cards[3] = dataclasses.replace(cards[3], value=8.0, retracted="why")
    plot_scores({"a": cards}, "is_lite0", tmp_path / "a.png")
    (axes,) = figures[0].axes
    crossed = [line for line in axes.lines if line.get_marker() == "x"]
    assert [list(line.get_ydata()) for line in crossed] == [[8.0]] and "retracted" in texts(figures[0])
    assert "best: 4.02" in texts(figures[0])
    assert any(tuple(line.get_xdata()) == (1000, 2000, 3000) for line in axes.lines)
    plot_scores({"a": [dataclasses.replace(card, retracted="why") for card in cards]}, "is_lite0", tmp_path / "b.png")
    assert "best" not in texts(figures[1])


def test_runs_of_one_step_each_get_a_row_the_best_on_top(tmp_path: Path, figures: list[Any]) -> None:
    values = (30.0, 20.0, 20.05, 25.0)
    cards = {
        f"run {number}": [make_card(value, (value - 0.1, value + 0.1), str(number), 500, key="fid")]
        for number, value in enumerate(values)
    }
    cards["gone"] = [dataclasses.replace(make_card(1.0, None, "9", 500, key="fid"), retracted="why")]
    plot_scores(cards, "fid", tmp_path / "a.png")
    (axes,) = figures[0].axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "run 1, step 500",
        "run 2, step 500",
        "run 3, step 500",
        "run 0, step 500",
        "gone, step 500",
    ]
    assert [text.get_text() for text in axes.texts if text.get_text()] == [
        *("1=", "20.00 [19.90, 20.10]", "1=", "20.05 [19.95, 20.15]"),
        *("3", "25.00 [24.90, 25.10]", "4", "30.00 [29.90, 30.10]", "retracted"),
    ]
    assert "fid (lower is better)" in texts(figures[0])


def test_of_many_runs_the_best_are_named(tmp_path: Path, figures: list[Any]) -> None:
    cards = {f"run {number}": curve(number, 2, 4.0 + number / 10) for number in range(15)}
    plot_scores(cards, "is_lite0", tmp_path / "a.png")
    said = texts(figures[0])
    assert "3 other runs" in said and "run 14" in said and "run 3" in said and "run 2" not in said
    rows = {f"run {number}": curve(number, 1, 4.0 + number / 10) for number in range(65)}
    plot_scores(rows, "is_lite0", tmp_path / "b.png")
    assert "5 further runs are not drawn: the best 60 are" in texts(figures[1])
    assert "run 64, " in texts(figures[1]) and "run 4, " not in texts(figures[1])


def test_no_text_lies_on_another(tmp_path: Path, figures: list[Any]) -> None:
    long = "vaegan scales.l1=600 optimizer=adam model.latent=64 and further on"
    plot_scores({f"{long} seed={n}": curve(n, 5, 4 + n / 10) for n in range(10)}, "is_lite0", tmp_path / "a.png")
    plot_scores({f"{long} seed={n}": curve(n, 1, 4 + n / 10) for n in range(10)}, "is_lite0", tmp_path / "b.png")
    for figure in figures:
        (axes,) = figure.axes
        legend = axes.get_legend()
        # There are labels for ticks beyond the axes' ends too, which are not drawn.
        ticks = [label for label in axes.get_xticklabels() if axes.bbox.x0 <= label.get_window_extent().x0]
        ticks += [label for label in axes.get_yticklabels() if label.get_window_extent().y1 <= axes.bbox.y1 + 4]
        found = [*figure.texts, *axes.texts, *ticks, *(legend.get_texts() if legend else [])]
        boxes = {text.get_text(): text.get_window_extent() for text in found if text.get_text()}
        for one, other in itertools.combinations(boxes, 2):
            assert not boxes[one].overlaps(boxes[other]), (one, other)
        assert all(box.x0 >= 0 and box.y0 >= 0 for box in boxes.values())
        assert all(box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1 for box in boxes.values())


def test_several_seeds_one_line_through_their_mean(tmp_path: Path, figures: list[Any]) -> None:
    cards = [
        make_card(value, None, "1", step, seed=str(seed)) for step in (1, 2) for seed, value in ((0, 4.0), (1, 5.0))
    ]
    plot_scores({"a": cards}, "is_lite0", tmp_path / "a.png")
    (axes,) = figures[0].axes
    assert any(list(line.get_ydata()) == [4.5, 4.5] for line in axes.lines)
    assert "seeds 0, 1" in texts(figures[0]) and "small dots: single seeds" in texts(figures[0])


def test_values_that_are_not_finite_are_left_out(tmp_path: Path, figures: list[Any]) -> None:
    odd = [make_card(math.nan, None, "1", 9000), make_card(math.inf, (1.0, math.inf), "1", 9500)]
    plot_scores({"a": [*curve(1, 3), *odd]}, "is_lite0", tmp_path / "a.png")
    assert figures[0].axes[0].get_xlim()[1] < 9000
    plot_scores({"a": odd}, "is_lite0", tmp_path / "b.png")


def test_what_cannot_be_drawn(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no score under 'is_lite' to draw; did you mean 'is_lite0'"):
        plot_scores({"a": curve(1, 2)}, "is_lite", tmp_path / "a.png")
    with pytest.raises(UserError, match="no score under 'fid' to draw"):
        plot_scores({}, "fid", tmp_path / "a.png")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        plot_scores({"a": curve(1, 2)}, "is_lite0", tmp_path / "file" / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_ranking_and_tables_do_without_matplotlib() -> None:
    modules = "gansweep.scoring.table, gansweep.scoring.retract, gansweep.look"
    code = f"import sys, {modules}; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
