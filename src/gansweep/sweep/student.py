"""Means over a few repeats: Student's interval of one, Welch's comparison of two, Holm's correction of many.

In plain Python: a look at a sweep must not wait for a library of statistics to be imported.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

_CONFIDENCE = 0.95
_TERMS_MOST, _PRECISION = 300, 1e-15
_HALVINGS = 200


def mean_and_half(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean, and half its 95 % interval by Student's t with n - 1 degrees of freedom: infinite for n = 1."""
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, math.inf
    return mean, _quantile(len(values) - 1) * math.sqrt(_variance(values) / len(values))


def welch(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the two-sided p-value that two samples (each of at least 2) have one mean, their variances being free.

    Welch 1947, with Satterthwaite's degrees of freedom. Without any variance: 1 for equal means, else 0.
    """
    first, second = (_variance(values) / len(values) for values in (one, other))
    apart = math.fsum(one) / len(one) - math.fsum(other) / len(other)
    both = first + second
    if both == 0.0:
        return float(apart == 0.0)
    freedom = both**2 / (first**2 / (len(one) - 1) + second**2 / (len(other) - 1))
    return two_sided(apart / math.sqrt(both), freedom)


def holm(p_values: Sequence[float], level: float) -> list[bool]:
    """Say of each hypothesis whether it is rejected while the chance of any false rejection stays below `level`.

    Holm 1979: the smallest p against level / m, the next against level / (m - 1), and so on until one is kept.
    """
    found = [False] * len(p_values)
    for turn, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[place] > level / (len(p_values) - turn):
            break
        found[place] = True
    return found


def two_sided(t: float, freedom: float) -> float:
    """Return P(|T| > |t|) of Student's t with `freedom` degrees: I_x(freedom / 2, 1 / 2), x = freedom / (freedom + t²).

    DLMF 8.17 (the incomplete beta function).
    """
    return _beta_ratio(freedom / (freedom + t * t), freedom / 2, 0.5)


def _variance(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


@functools.cache
def _quantile(freedom: int) -> float:
    """Return the t that |T| exceeds with a chance of 5 %, by halving an interval that holds it."""
    low, high = 0.0, 13.0  # 12.706 with one degree of freedom, less with more
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if two_sided(middle, freedom) > 1 - _CONFIDENCE else (low, middle)
    return high


def _beta_ratio(x: float, a: float, b: float) -> float:
    """Return I_x(a, b), by the continued fraction DLMF 8.17.22 on the side where it converges fast (8.17.4)."""
    if x <= 0.0 or x >= 1.0:
        return float(x >= 1.0)
    if x > (a + 1) / (a + b + 2):
        return 1.0 - _beta_ratio(1.0 - x, b, a)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    return front / a / _fraction(x, a, b)


def _fraction(x: float, a: float, b: float) -> float:
    """Return 1 + d1 / (1 + d2 / (1 + ...)), from above by Lentz's ratios."""
    value = up = 1.0
    down = 0.0
    for term in range(1, _TERMS_MOST):
        m = term // 2
        if term % 2:
            d = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            d = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        down = 1.0 / (1.0 + d * down)
        up = 1.0 + d / up
        value *= up * down
        if abs(up * down - 1.0) < _PRECISION:
            break
    return value
