"""The pictures of a search: how much each key mattered, all its points as lines over their keys, and the Pareto front.

Drawn without a display; see `gansweep.scoring.figure`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gansweep.grids import save_png
from gansweep.scoring.figure import headed, legend_beside, pixels, plain_style
from gansweep.sweep.ledger import PRUNED, Row, Sweep
from gansweep.sweep.outcome import IMPORTANCE_BY, Objective, Outcome
from gansweep.sweep.scales import Scale, of_axis, of_values

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

IMPORTANCE_FILE, LINES_FILE, FRONT_FILE = "importance.png", "points.png", "pareto.png"
BEST, GREY, BLUE, INK = "#d55e00", "#b5b5b5", "#0072b2", "#222222"
_COLOURS = (BLUE, "#e69f00", "#009e73", "#cc79a7")
# Where a key stands that a point does not have: below all of its values.
_ABSENT = -0.13
_ABSENT_SPREAD = 0.06
_FRONT_NAMED = 20
_PAIRS_MOST = 6
_NAME_LETTERS = 18
# A logarithmic axis that spans less has marks at twos and fives too.
_FINE_TO = 1000.0


def draw_search(sweep: Sweep, found: Outcome, directory: Path) -> list[Path]:
    """Draw what there is to draw of a search as PNG files in `directory`; returns them. UserError from the disk."""
    drawn = []
    with plain_style():
        if found.weights.by_objective:
            drawn.append(save_png(pixels(_importance(found)), directory / IMPORTANCE_FILE))
        counted = [row for row in sweep.rows if found.counted(row) is not None]
        if counted:
            drawn.append(save_png(pixels(_lines(sweep, found, counted)), directory / LINES_FILE))
        if counted and len(found.wanted) > 1:
            drawn.append(save_png(pixels(_fronts(found, counted)), directory / FRONT_FILE))
    return drawn


def _importance(found: Outcome) -> Figure:
    """Draw one bar for each key, and of several objectives one of each; what mattered most on top."""
    names = list(found.weights.by_objective)
    shares = found.weights.by_objective
    keys = list(dict.fromkeys(key for name in names for key in shares[name]))
    keys.sort(key=lambda key: -sum(shares[name].get(key, 0.0) for name in names))
    headline = f"importance of each key for {', '.join(names)} ({IMPORTANCE_BY})"
    told = (
        f"Where the best of the {found.weights.counted} finished points lie, against where all lie (Watanabe, Bansal "
        "and Hutter 2023), in shares of 100 %. From fewer than about 50 points it is a hint, no more."
    )
    figure, axes = headed(headline, told, (), 1.5 + 0.2 * len(names) * len(keys) + 0.2 * len(keys))
    width = 0.8 / len(names)
    handles = []
    for turn, name in enumerate(names):
        rows = [row + (turn - (len(names) - 1) / 2) * width for row in range(len(keys))]
        sizes = [100 * shares[name].get(key, 0.0) for key in keys]
        bars = axes.barh(rows, sizes, height=width * 0.9, color=_COLOURS[turn % len(_COLOURS)])
        handles.append((bars, name))
        for row, size in zip(rows, sizes, strict=True):
            told = "< 1 %" if 0 < size < 1 else f"{size:.0f} %"
            axes.annotate(told, (size, row), (4, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_yticks(range(len(keys)), [key.lstrip("+") for key in keys])
    axes.set_ylim(len(keys) - 0.5, -0.5)
    axes.set_xlim(0, 1.1 * max(100 * share for name in names for share in shares[name].values()))
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("share, %")
    if len(names) > 1:
        legend_beside(axes, handles, inside=False)
    return figure


def chosen(row: Row) -> dict[str, str]:
    """Return what a row's overrides say, key to value as typed."""
    return dict(line.partition("=")[::2] for line in row.overrides)


def _lines(sweep: Sweep, found: Outcome, counted: Sequence[Row]) -> Figure:
    """Draw each point as a line over its keys to its objectives: parallel coordinates."""
    pruned = [row for row in sweep.rows if row.state == PRUNED]
    other = len(sweep.rows) - len(counted) - len(pruned)
    scales = [of_axis(axis) for axis in found.along]
    for one in found.wanted:
        scales.append(of_values(one.name, [found.values[row.job][one.name] for row in counted], not one.maximize))
    notes = ["objectives: better is higher; orange: " + _best_told(found)]
    notes[0] += "; the others are darker the better they ended" if len(found.wanted) == 1 else ""
    notes += [f"grey, without an end: {len(pruned)} points that were given up"] if pruned else []
    notes += [f"{other} points without a value are not drawn"] if other else []
    headline = f"{len(counted)} finished points over their keys"
    figure, axes = headed(headline, "", notes, 5.8)
    names = [axis.key for axis in found.along]
    for row in pruned:
        _line(axes, scales[: len(names)], _spread(row, names, scales), color=GREY, linewidth=0.8, zorder=1)
    ordered = sorted(counted, key=lambda row: scales[-1].at(found.values[row.job][scales[-1].name]))
    for turn, row in enumerate(ordered):
        places = _spread(row, names, scales)
        places += [scale.at(found.values[row.job][scale.name]) for scale in scales[len(names) :]]
        _line(axes, scales, places, **_style(row, found, turn / max(len(ordered) - 1, 1)))
    absent = {name for row in (*counted, *pruned) for name in names if name not in chosen(row)}
    _upright(axes, scales, absent)
    return figure


def _best_told(found: Outcome) -> str:
    if len(found.best) > 1:
        return f"the {len(found.best)} that no other beats in all"
    values = ", ".join(f"{one.name} {found.values[found.best[0]][one.name]:.4g}" for one in found.wanted)
    return f"the best, job {found.best[0]}: {values}"


def _style(row: Row, found: Outcome, rank: float) -> dict[str, Any]:
    """Return how a finished point's line is drawn; `rank`: 0 the worst to 1 the best, for one objective."""
    import matplotlib

    if row.job in found.best:
        return {"color": BEST, "linewidth": 2.4 if len(found.best) == 1 else 1.4, "zorder": 5}
    if len(found.wanted) > 1:
        return {"color": BLUE, "linewidth": 0.9, "alpha": 0.45, "zorder": 3}
    return {"color": matplotlib.colormaps["Blues"](0.25 + 0.7 * rank), "linewidth": 1.1, "zorder": 2 + rank}


def _spread(row: Row, names: Sequence[str], scales: Sequence[Scale]) -> list[float]:
    """Return where a row's keys lie on their scales; choices are spread a little: lines must not cover each other."""
    own, aside = chosen(row), (row.job * 0.618034) % 1 - 0.5
    found = []
    for name, scale in zip(names, scales, strict=False):
        if name in own:
            found.append(scale.of_text(own[name]) + aside * scale.spread)
        else:
            found.append(_ABSENT + aside * _ABSENT_SPREAD)
    return found


def _line(axes: Axes, scales: Sequence[Scale], places: Sequence[float], **style: Any) -> None:
    axes.plot(range(len(places)), list(places), **style)
    if len(scales) == 1:  # one key and no end: a line of one point shows nothing
        axes.plot([0], places[:1], "_", markersize=14, **style)


def _upright(axes: Axes, scales: Sequence[Scale], absent: set[str]) -> None:
    """Draw an upright line for each scale, with its marks and its name."""
    import textwrap

    axes.set_axis_off()
    axes.set_xlim(-0.35, len(scales) - 0.45)
    axes.set_ylim(_ABSENT - 0.06 if absent else -0.06, 1.16)
    white: Any = {"boxstyle": "round,pad=0.12", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
    for place, scale in enumerate(scales):
        axes.plot([place, place], [0, 1], color=INK, linewidth=1.0, zorder=6)
        marks = [*scale.marks(), *([(_ABSENT, "not set")] if scale.name in absent else [])]
        for height, text in marks:
            axes.plot([place, place + 0.015], [height, height], color=INK, linewidth=1.0, zorder=6)
            at: Any = {"xytext": (5, 0), "textcoords": "offset points", "va": "center", "fontsize": 8, "zorder": 7}
            axes.annotate(text, (place, height), bbox=white, **at)
        parts = scale.name.lstrip("+").replace(".", ". ").replace("/", "/ ")
        lines = textwrap.wrap(parts, _NAME_LETTERS, break_long_words=False, break_on_hyphens=False)
        name = "\n".join(lines).replace(". ", ".").replace("/ ", "/")
        weight = "bold" if scale.reversed is not None else "normal"
        how = "\nlog" if scale.log else ""
        axes.text(place, 1.05, name + how, ha="center", va="bottom", fontsize=9, fontweight=weight, color=INK)


def _fronts(found: Outcome, counted: Sequence[Row]) -> Figure:
    """Draw the finished points in the plane of each pair of objectives, those that none beats marked."""
    pairs = list(itertools.combinations(found.wanted, 2))[:_PAIRS_MOST]
    columns = min(len(pairs), 3)
    rows = -(-len(pairs) // columns)
    headline = f"{len(found.best)} of {len(counted)} finished points are beaten by no other in all of what is wanted"
    ways = ", ".join(f"{one.name}: {'higher' if one.maximize else 'lower'} is better" for one in found.wanted)
    note = "orange, with its job's number: beaten by none"
    note += "; the line bounds what they reach" if len(pairs) == 1 else " in all objectives together"
    figure, only = headed(headline, ways, [note], 5.6 if rows == 1 else 4.2 * rows)
    only.remove()
    planes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in planes[len(pairs) :]:
        axes.remove()
    for axes, pair in zip(planes, pairs, strict=False):
        _front(axes, pair, found, counted, len(pairs) == 1)
    return figure


def _front(axes: Axes, pair: tuple[Objective, Objective], found: Outcome, counted: Sequence[Row], lined: bool) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    x, y = pair
    at = {row.job: (found.values[row.job][x.name], found.values[row.job][y.name]) for row in counted}
    beaten = [place for job, place in at.items() if job not in found.best]
    axes.plot([p[0] for p in beaten], [p[1] for p in beaten], "o", color=BLUE, alpha=0.6, markersize=5, zorder=3)
    front = sorted(at[job] for job in found.best)
    if lined:  # minimised: what a point reaches lies at its right
        style = "steps-pre" if x.maximize else "steps-post"
        axes.plot([p[0] for p in front], [p[1] for p in front], color=BEST, drawstyle=style, linewidth=1.2, zorder=2)
    axes.plot([p[0] for p in front], [p[1] for p in front], "o", color=BEST, markersize=7, zorder=4)
    for job in found.best if len(found.best) <= _FRONT_NAMED else ():
        axes.annotate(str(job), at[job], (6, 5), textcoords="offset points", fontsize=8, color=INK, zorder=5)
    for one, set_scale, axis, side in ((x, axes.set_xscale, axes.xaxis, 0), (y, axes.set_yscale, axes.yaxis, 1)):
        values = [place[side] for place in at.values()]
        if of_values(one.name, values, False).log:
            set_scale("log")
            if max(values) < _FINE_TO * min(values):
                axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            # Matplotlib's own marks of such a scale are in the mathematical notation that our style shows as it stands.
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(f"{x.name} ({'higher' if x.maximize else 'lower'} is better)")
    axes.set_ylabel(f"{y.name} ({'higher' if y.maximize else 'lower'} is better)")
