"""The picture of a sweep over its seeds: of each point the mean and its interval, a panel for each metric."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gansweep.grids import save_png
from gansweep.scoring.figure import headed, pixels, plain_style
from gansweep.scoring.words import cut
from gansweep.sweep.pictures import BEST, BLUE, GREY
from gansweep.sweep.rivals import Rivals, label, rule, smaller_is_better
from gansweep.sweep.seeds import Point
from gansweep.sweep.student import mean_and_half

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SEEDS_FILE = "seeds.png"
_POINTS_MOST = 60
_NAME_LETTERS = 44


def draw_seeds(points: Sequence[Point], compared: Sequence[Rivals], directory: Path) -> Path:
    """Draw the points under each of the metrics that were `compared`; returns the PNG file."""
    shown = list(range(min(len(points), _POINTS_MOST)))
    notes = ["bar: 95 % interval of the mean over seeds (Student's t); small grey dots: single seeds"]
    notes += ["orange: the best mean; hollow: a tie with it; shaded: the best one's interval", rule(compared)]
    if len(points) > len(shown):
        notes.append(f"{len(points) - len(shown)} further points are not drawn")
    headline = f"{len(points)} points, each over its seeds"
    with plain_style():
        height_in = 2.1 + 0.3 * len(shown)
        figure, only = headed(headline, "", [note for note in notes if note], height_in)
        only.remove()
        panels = figure.subplots(1, len(compared), squeeze=False, sharey=True).ravel()
        for axes, own in zip(panels, compared, strict=True):
            _panel(axes, points, shown, own)
        panels[0].set_yticks(
            shown, [cut(f"{label(row)} {points[row].own}", _NAME_LETTERS) for row in shown], fontsize=8
        )
        panels[0].set_ylim(len(shown) - 0.5, -0.5)
        return save_png(pixels(figure), directory / SEEDS_FILE)


def _panel(axes: Axes, points: Sequence[Point], shown: Sequence[int], own: Rivals) -> None:
    tied = () if own.best is None else own.ties.get(own.best, ())
    for row in shown:
        values = points[row].values.get(own.metric)
        if values is None:
            continue
        mean, half = mean_and_half(values)
        colour = BEST if row == own.best else BLUE
        if row == own.best and math.isfinite(half):
            axes.axvspan(mean - half, mean + half, color=BEST, alpha=0.10, linewidth=0, zorder=0)
        if math.isfinite(half):
            axes.plot([mean - half, mean + half], [row, row], color=colour, linewidth=1.6, zorder=3)
        axes.plot(values, [row + 0.18] * len(values), ".", color=GREY, markersize=4, zorder=2)
        fill = "white" if row in tied else colour
        axes.plot([mean], [row], "o", markerfacecolor=fill, markeredgecolor=colour, markersize=6, zorder=4)
    lower = smaller_is_better(own.metric)
    better = "" if lower is None else f" ({'lower' if lower else 'higher'} is better)"
    axes.set_xlabel(own.metric + better)
    axes.grid(axis="y", visible=False)
    axes.locator_params(axis="x", nbins=5)
