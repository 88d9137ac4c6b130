"""The figure of scores: against step with the 95 % interval, or one row a run where each has a single step.

Drawn without a display and without the user's own settings of matplotlib, so that equal cards give equal files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gansweep.errors import UserError, nearest
from gansweep.grids import save_png
from gansweep.scoring.card import Card, lower_is_better
from gansweep.scoring.figure import headed, legend_beside, pixels, plain_style
from gansweep.scoring.ranking import Ranking, rank
from gansweep.scoring.words import (
    cut,
    decimals_of,
    differences_in_words,
    measure_in_words,
    one_line,
    with_interval,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Runs with a colour and a name of their own, and rows of the figure of one step each: the best ones.
RUNS_NAMED = 12
RUNS_LISTED = 60
_NAME_LETTERS = 40
_GREY, _GONE, _BEST = "#b5b5b5", "#888888", "#d55e00"
# Told apart by lightness and by marker too.
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#7b3294")
_MARKERS = "os^Dv"


@dataclass(frozen=True)
class Line:
    """One run's cards in the figure: those that are compared, by step, and the retracted ones measured alike."""

    name: str
    cards: tuple[Card, ...]
    retracted: tuple[Card, ...]

    @property
    def steps(self) -> list[int]:
        """The steps with a score that counts, rising."""
        return sorted({card.step for card in self.cards})

    def at(self, step: int) -> list[Card]:
        """Return the cards of one step: several where several seeds were drawn."""
        return [card for card in self.cards if card.step == step]


def plot_scores(cards_by_run: Mapping[str, Sequence[Card]], key: str, path: Path) -> Path:
    """Draw the cards under `key` of several runs, by the name each is to be called, as a PNG at `path`; returns it.

    Only cards comparable with each other are drawn (see `ranking`); what is left out is said below. UserError when no
    run has a card under `key`, or when the file cannot be written; the file appears whole or not at all.
    """
    own = {name: [card for card in cards if card.key == key] for name, cards in cards_by_run.items()}
    known = [card for cards in own.values() for card in cards]
    if not known:
        keys = {card.key for cards in cards_by_run.values() for card in cards}
        raise UserError(f"{path}: no score under '{key}' to draw{nearest(key, keys)}")
    ranking = rank(known)
    lines = _lines(own, ranking)
    with plain_style():
        alone = len(lines) > 1 and all(len(line.steps) <= 1 for line in lines)
        figure = _listed(lines, ranking) if alone else _against_step(lines, ranking)
        return save_png(pixels(figure), path)


def _lines(own: Mapping[str, Sequence[Card]], ranking: Ranking) -> list[Line]:
    """Return the runs that have something to draw, the best first."""
    group = ranking.reference
    measure = group.measure if group else ranking.retracted[-1].compared()
    order = {place.card.id: turn for turn, place in enumerate(group.places if group else ()) if place.rank is not None}
    found: list[tuple[int, int, Line]] = []
    for name, cards in own.items():
        counted = tuple(sorted((card for card in cards if card.id in order), key=lambda card: (card.step, card.id)))
        gone = tuple(
            card
            for card in cards
            if card.retracted is not None and card.compared() == measure and np.isfinite(card.value)
        )
        if counted or gone:
            best = min((order[card.id] for card in counted), default=len(order))
            found.append((best, len(found), Line(cut(one_line(name), _NAME_LETTERS), counted, gone)))
    return [line for _, _, line in sorted(found, key=lambda item: item[:2])]


def _headed(ranking: Ranking, height_in: float, lines: Sequence[Line], notes: Sequence[str]) -> tuple[Figure, Axes]:
    """Return a figure that says what was measured of what, and below it the notes and what is not drawn and why."""
    cards = [card for line in lines for card in (*line.cards, *line.retracted)]
    measure = ranking.reference.measure if ranking.reference else cards[0].compared()
    better = "lower is better" if lower_is_better(ranking.key) else "higher is better"
    of_run = f" of {lines[0].name}" if len(lines) == 1 else ""
    told = measure_in_words(ranking.key, measure, (card.measure.get("seed", "?") for card in cards))
    left_out = []
    for group in ranking.groups[1:]:
        what = "1 score is" if len(group.places) == 1 else f"{len(group.places)} scores are"
        left_out.append(f"{what} not drawn, as not comparable: {differences_in_words(group.differs)}")
    return headed(f"{ranking.key}{of_run} ({better})", told, [*notes, *left_out], height_in)


def _against_step(lines: Sequence[Line], ranking: Ranking) -> Figure:
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

    notes = ["band or bar: 95 % interval, of what another seed's samples would score, not of how runs scatter"]
    if any(len(line.at(step)) > 1 for line in lines for step in line.steps):
        notes.append("small dots: single seeds; lines and bands go through the mean of a step's seeds")
    figure, axes = _headed(ranking, 6.4, lines, notes)
    handles: list[Any] = []
    named, others = lines[:RUNS_NAMED], lines[RUNS_NAMED:]
    for line in others:
        handle = axes.plot(line.steps, _means(line), color=_GREY, linewidth=0.8, zorder=1)[0]
        if line is others[-1]:
            handles.append((handle, f"{len(others)} other run{'s' * (len(others) > 1)}"))
    for turn, line in reversed(list(enumerate(named))):
        handles.insert(0, (_draw_line(axes, line, turn), line.name))
    retracted = [card for line in lines for card in line.retracted]
    if retracted:
        crossed = _crossed(axes, [card.step for card in retracted], [card.value for card in retracted])
        handles.append((crossed, "retracted"))
    if best := _best(ranking):
        handles.append((axes.plot([best.step], [best.value], **_STAR)[0], _best_text(best)))
    axes.set_xlabel("step (generator optimiser steps)")
    axes.set_ylabel(ranking.key)
    steps = {card.step for line in lines for card in (*line.cards, *line.retracted)}
    axes.xaxis.set_major_locator(FixedLocator([*steps]) if len(steps) == 1 else MaxNLocator(nbins=8, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    legend_beside(axes, handles, inside=len(lines) == 1)
    return figure


_STAR: dict[str, Any] = {
    "marker": "*",
    "markersize": 15,
    "markerfacecolor": _BEST,
    "markeredgecolor": "white",
    "linestyle": "none",
    "zorder": 6,
}


def _draw_line(axes: Axes, line: Line, turn: int) -> Any:
    """Draw one run with its band, or its bars where it has one step; returns what the legend shows of it."""
    colour, marker = _COLOURS[turn % len(_COLOURS)], _MARKERS[turn // len(_COLOURS) % len(_MARKERS)]
    dashes = "-" if turn < len(_COLOURS) else "--"
    steps = line.steps
    ends = [_ends(line.at(step)) for step in steps]
    if len(steps) > 1:
        low, high = ([end[side] for end in ends] for side in (0, 1))
        axes.fill_between(steps, low, high, color=colour, alpha=0.13, linewidth=0, zorder=2)
    else:
        for card in line.cards:
            _bar(axes, card, colour)
    for step in steps:
        drawn = line.at(step)
        if len(drawn) > 1:  # several seeds: the line goes through their mean
            axes.plot([step] * len(drawn), [card.value for card in drawn], ".", color=colour, markersize=4, zorder=4)
    style: dict[str, Any] = {"marker": marker, "markersize": 4.5, "linewidth": 1.6, "linestyle": dashes}
    return axes.plot(steps, _means(line), color=colour, zorder=4, **style)[0]


def _bar(axes: Axes, card: Card, colour: str) -> None:
    if card.interval is not None:
        axes.plot([card.step] * 2, list(card.interval), color=colour, linewidth=1.2, alpha=0.7, zorder=3)


def _means(line: Line) -> list[float]:
    return [float(np.mean([card.value for card in line.at(step)])) for step in line.steps]


def _ends(cards: Sequence[Card]) -> tuple[float, float]:
    """Return the mean ends of the intervals of one step's cards; (nan, nan) where a card has none."""
    ends = np.array([card.interval or (np.nan, np.nan) for card in cards])
    return float(ends[:, 0].mean()), float(ends[:, 1].mean())


def _crossed(axes: Axes, x: Sequence[float], y: Sequence[float]) -> Any:
    axes.plot(x, y, "o", markerfacecolor="none", markeredgecolor=_GONE, markersize=7, zorder=5)
    return axes.plot(x, y, "x", color=_GONE, markersize=7, zorder=5)[0]


def _best(ranking: Ranking) -> Card | None:
    """Return the card of the best value among those drawn."""
    cards = [place.card for place in ranking.reference.places if place.rank is not None] if ranking.reference else []
    sign = 1.0 if lower_is_better(ranking.key) else -1.0
    return min(cards, key=lambda card: sign * card.value, default=None)


def _best_text(best: Card) -> str:
    return f"best: {with_interval(best, decimals_of([best]))}, step {best.step:,}"


def _listed(lines: Sequence[Line], ranking: Ranking) -> Figure:
    """Draw one row a run, the best on top, with the best one's interval as a band behind all."""
    shown = list(lines[:RUNS_LISTED])
    notes = ["bar: 95 % interval; shaded: that of the best; at the right: rank, and the run's best score"]
    if len(lines) > len(shown):
        notes.append(f"{len(lines) - len(shown)} further runs are not drawn: the best {len(shown)} are")
    figure, axes = _headed(ranking, 2.0 + 0.27 * len(shown), lines, notes)
    places = [place for place in ranking.reference.places if place.rank is not None] if ranking.reference else []
    decimals = decimals_of(place.card for place in places)
    best = _best(ranking)
    if best is not None and best.interval is not None:
        axes.axvspan(*best.interval, color=_BEST, alpha=0.10, linewidth=0, zorder=0)
    names = []
    for row, line in enumerate(shown):
        for card in line.cards:
            if card.interval is not None:
                axes.plot(list(card.interval), [row, row], color=_COLOURS[0], zorder=3)
            axes.plot([card.value], [row], "o", color=_COLOURS[0], markersize=5, zorder=4)
        if line.retracted:
            _crossed(axes, [card.value for card in line.retracted], [float(row)] * len(line.retracted))
        steps = ", ".join(f"{step:,}" for step in sorted({card.step for card in (*line.cards, *line.retracted)}))
        names.append(f"{line.name}, step {steps}")
        first = next((place for place in places if place.card in line.cards), None)
        told = ("retracted", "") if first is None else (first.text, with_interval(first.card, decimals))
        for text, right_pt in zip(told, (8, 36), strict=True):
            at: Any = {"xy": (1.0, row), "xycoords": ("axes fraction", "data"), "xytext": (right_pt, 0)}
            axes.annotate(text, **at, textcoords="offset points", va="center", fontsize=8, annotation_clip=False)
    if best is not None:
        axes.plot([best.value], [next(row for row, line in enumerate(shown) if best in line.cards)], **_STAR)
    axes.set_yticks(range(len(shown)), names, fontsize=8)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(ranking.key)
    return figure
