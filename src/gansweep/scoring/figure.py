"""Figures of one axes with a headline, for files: drawn without a display, the same for the same content."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI = 120
_WIDTH_IN = 11.0
_LINE_IN = 0.145
_LETTERS_A_LINE = 195
_MARGIN_IN = 0.12
_HEADLINE_IN = 0.34
_INK, _PALE = "#222222", "#555555"
_STYLE: Any = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "font.size": 9,
    "text.parse_math": False,
}
# For letters that DejaVu Sans, which comes with matplotlib, has not; those of them that the machine has are used.
_FURTHER_FONTS = ("Noto Sans CJK JP", "Noto Sans CJK SC", "WenQuanYi Zen Hei", "Droid Sans Fallback", "Noto Emoji")


@contextmanager
def plain_style() -> Iterator[None]:
    """Draw what is enclosed with matplotlib's own defaults and ours, whatever the user's settings are."""
    import matplotlib
    from matplotlib.font_manager import fontManager

    with matplotlib.rc_context(), warnings.catch_warnings():
        # For a letter that no font has, a box is drawn.
        warnings.filterwarnings("ignore", message="Glyph")
        matplotlib.rcdefaults()
        there = {font.name for font in fontManager.ttflist}
        fonts = ["DejaVu Sans", *(name for name in _FURTHER_FONTS if name in there)]
        matplotlib.rcParams.update(_STYLE | {"font.family": fonts})
        yield


def headed(headline: str, told: str, notes: Sequence[str], height_in: float) -> tuple[Figure, Axes]:
    """Return a figure and its empty axes: headline, a paragraph below it, and notes at the foot.

    `height_in`: of all, inches. Inside `plain_style`.
    """
    from matplotlib.figure import Figure

    above = textwrap.wrap(told, _LETTERS_A_LINE, break_long_words=False, break_on_hyphens=False)
    below = [line for note in notes for line in textwrap.wrap(note, _LETTERS_A_LINE)]
    top_in = _MARGIN_IN + _HEADLINE_IN + len(above) * _LINE_IN
    bottom_in = _MARGIN_IN + len(below) * _LINE_IN
    figure = Figure(figsize=(_WIDTH_IN, height_in), dpi=_DPI, layout="constrained")
    engine: Any = figure.get_layout_engine()
    engine.set(rect=(0.0, bottom_in / height_in, 1.0, 1.0 - (top_in + bottom_in) / height_in))
    left = _MARGIN_IN / _WIDTH_IN
    at: Any = {"x": left, "ha": "left", "linespacing": 1.25, "va": "top"}
    figure.text(s=headline, y=1.0 - _MARGIN_IN / height_in, fontsize=12, fontweight="bold", color=_INK, **at)
    y = 1.0 - (_MARGIN_IN + _HEADLINE_IN * 0.8) / height_in
    figure.text(s="\n".join(above), y=y, fontsize=7.5, color=_PALE, **at)
    figure.text(s="\n".join(below), y=bottom_in / height_in, fontsize=7.5, color=_PALE, **at)
    return figure, figure.add_subplot()


def legend_beside(axes: Axes, handles: Sequence[tuple[Any, str]], inside: bool) -> None:
    """Put a legend at the right of the axes, or in it where it covers least."""
    place: dict[str, Any] = {"loc": "best", "framealpha": 0.9} if inside else {"loc": "upper left"}
    if not inside:
        place |= {"bbox_to_anchor": (1.01, 1.0), "borderaxespad": 0.0, "frameon": False}
    # The texts are set afterwards: a label that begins with an underscore would be left out.
    numbers = [str(turn) for turn in range(len(handles))]
    legend = axes.legend([handle for handle, _ in handles], numbers, fontsize=8, **place)
    for text, (_, label) in zip(legend.get_texts(), handles, strict=True):
        text.set_text(label)


def pixels(figure: Figure) -> np.ndarray:
    """Return a figure as uint8 (height, width, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
