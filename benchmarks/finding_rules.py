"""What a journal's claim is, and when it counts as supported: written down before any number is taken.

A claim has bounds on measured quantities, of which there is one value a seed. A bound holds when the whole 95 %
interval over the seeds (Student's t) lies in its range, fails when the whole interval lies outside, and is open when
the interval straddles an end. Controls say whether the runs could show the claim at all: where one does not hold,
nothing can be told.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student_t

SUPPORTED, NOT_SUPPORTED, CANNOT_TELL = "supported", "not supported", "cannot be told here"
CONFIDENCE = 0.95

Values = dict[str, list[float]]
"""Quantity -> one value a seed, in the order of the seeds."""


@dataclass(frozen=True)
class Interval:
    """The mean over seeds and its interval."""

    mean: float
    low: float
    high: float

    @classmethod
    def over(cls, values: Sequence[float]) -> Interval:
        """Mean ± t · s / √n, two-sided; unbounded for a single value, not a number where a value is none."""
        found = np.asarray(values, dtype=np.float64)
        mean = float(found.mean())
        if not np.isfinite(found).all():
            return cls(math.nan, math.nan, math.nan)
        if len(found) < 2:
            return cls(mean, -math.inf, math.inf)
        half = float(student_t.ppf(0.5 + CONFIDENCE / 2, len(found) - 1) * found.std(ddof=1) / math.sqrt(len(found)))
        return cls(mean, mean - half, mean + half)


@dataclass(frozen=True)
class Bound:
    """`quantity` must lie in [low, high]; `control`: a condition of the experiment, not what the journal says."""

    quantity: str
    what: str
    low: float = -math.inf
    high: float = math.inf
    control: bool = False

    def holds(self, values: Sequence[float]) -> bool | None:
        """True, False, or None where the interval straddles an end (or a value is not a number)."""
        interval = Interval.over(values)
        if interval.low >= self.low and interval.high <= self.high:
            return True
        if interval.high < self.low or interval.low > self.high:
            return False
        return None

    def words(self) -> str:
        """Return the range in words."""
        if math.isfinite(self.low) and math.isfinite(self.high):
            return f"between {self.low:.4g} and {self.high:.4g}"
        return f"at least {self.low:.4g}" if math.isfinite(self.low) else f"at most {self.high:.4g}"


@dataclass(frozen=True)
class Claim:
    """One line of a journal as a small sweep: what was seen, how it is run here, what is measured, and the rule.

    `arms`: name -> overrides on top of `common`; each is one sweep over the seeds. `measure` gets the arms' runs and
    returns the quantities; `picture` gets the same and draws. `shown`: quantities that are told and decide nothing.
    `read`: how to read the rule, and what is fair about the comparison.
    `history`: what an earlier rule, setting or number of seeds gave and why it was changed; the seeds then start behind
    those it was looked at with (`first_seed`). `seeds`: how many at least.
    `may_stop`: a run that ends because a loss is no longer finite is a run like another.
    """

    name: str
    journal: str
    says: str
    arms: Mapping[str, tuple[str, ...]]
    common: tuple[str, ...]
    measure: Callable[[Any], Values]
    bounds: tuple[Bound, ...]
    read: str
    picture: Callable[[Any, Path], None] | None = None
    caption: str = ""
    shown: Mapping[str, str] = field(default_factory=dict)
    may_stop: bool = False
    first_seed: int = 1
    seeds: int = 3
    history: str = ""


def verdict(bounds: Sequence[Bound], values: Mapping[str, Sequence[float]]) -> str:
    """Judge measured values by a claim's bounds."""
    found = {bound: bound.holds(values[bound.quantity]) for bound in bounds}
    if any(holds is not True for bound, holds in found.items() if bound.control):
        return CANNOT_TELL
    decided = [holds for bound, holds in found.items() if not bound.control]
    if any(holds is False for holds in decided):
        return NOT_SUPPORTED
    return SUPPORTED if all(decided) else CANNOT_TELL
