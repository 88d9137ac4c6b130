"""Upright scales of a picture: where on a line from 0 to 1 a value of a key or an objective lies, and its marks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gansweep.sweep.space import Axis

# Values of one sign that spread over more than this are shown on a logarithmic scale.
_LOG_FROM = 10.0
_MARKS = 6
_NAME_LETTERS = 18
# How far a choice stays from the ends, for its lines to spread, and marks from each other.
_INSET, _APART = 0.07, 0.05


@dataclass(frozen=True)
class Scale:
    """A scale from `low` to `high`, or of `named` choices. `reversed`: the least is on top; None: not an objective."""

    name: str
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    named: tuple[str, ...] = ()
    reversed: bool | None = None

    def at(self, value: float) -> float:
        """Return where a value lies, 0 to 1 within the scale's ends; 0.5 where both ends are one."""
        low, high, here = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        place = 0.5 if high == low else (here - low) / (high - low)
        return 1.0 - place if self.reversed else place

    def of_text(self, text: str) -> float:
        """Return where a value lies that stands as it was typed."""
        if self.named:
            if len(self.named) == 1:
                return 0.5
            place = self.named.index(text) / (len(self.named) - 1) if text in self.named else 0.0
            return _INSET + (1 - 2 * _INSET) * place
        return self.at(float(text))

    @property
    def spread(self) -> float:
        """How much room the lines through one choice have; none through a number."""
        return min(2 * _INSET, 0.5 / max(len(self.named) - 1, 1)) if self.named else 0.0

    def marks(self) -> list[tuple[float, str]]:
        """Return (place, text) of what is written beside the scale."""
        if self.named:
            return [(self.of_text(name), _cut(name)) for name in self.named]
        ends = [self.low, self.high]
        inner = [value for value in self._values() if all(abs(self.at(value) - self.at(end)) > _APART for end in ends)]
        shown = list(dict.fromkeys([*ends, *inner]))
        return list(zip(map(self.at, shown), _told_apart(shown), strict=True))

    def _values(self) -> list[float]:
        from matplotlib.ticker import MaxNLocator

        if self.low == self.high:
            return [self.low]
        if self.log:
            return _decades(self.low, self.high)
        whole = self.reversed is None and float(self.low).is_integer() and float(self.high).is_integer()
        ticks = MaxNLocator(nbins=_MARKS, integer=whole and self.high - self.low > 1).tick_values(self.low, self.high)
        slack = 1e-9 * (self.high - self.low)
        return [float(tick) for tick in ticks if self.low - slack <= tick <= self.high + slack]


def _told_apart(values: Sequence[float]) -> list[str]:
    """Return values in words, with as many digits as keep them apart."""
    words: list[str] = []
    for digits in range(4, 16):
        words = [f"{value:.{digits}g}" for value in values]
        if len(set(words)) == len(values):
            break
    return words


def _decades(low: float, high: float) -> list[float]:
    """Return powers of ten within the ends: with their twos and fives where they are few, not all where many."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    powers = range(first, last + 1)
    if len(powers) > _MARKS:
        return [10.0**power for power in powers if (power - first) % -(-len(powers) // _MARKS) == 0]
    if len(powers) > 2:
        return [10.0**power for power in powers]
    slack = 1 + 1e-9
    fine = [step * 10.0**power for power in range(first - 1, last + 1) for step in (1, 2, 5)]
    return [value for value in fine if low / slack <= value <= high * slack]


def _cut(text: str) -> str:
    return text if len(text) <= _NAME_LETTERS else text[: _NAME_LETTERS - 1] + "…"


def of_axis(axis: Axis) -> Scale:
    """Return the scale of a key that is searched over; choices that are numbers lie as choices do, in their order."""
    if axis.choices:
        return Scale(axis.key, named=axis.choices)
    return Scale(axis.key, float(axis.low), float(axis.high), axis.log)


def of_values(name: str, values: Sequence[float], lower_is_better: bool) -> Scale:
    """Return the scale of an objective, better on top; logarithmic where its values spread widely."""
    low, high = min(values), max(values)
    return Scale(name, low, high, log=low > 0 and high / low > _LOG_FROM, reversed=lower_is_better)
