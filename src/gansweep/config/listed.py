"""The values that an override of a sweep lists, checked before there are too many of them to hold."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gansweep.errors import UserError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

MOST = 100_000


def values_of(line: Override) -> list[str]:
    """Return the values of one override as typed, UserError for none, for more than MOST, or for no range."""
    try:
        found = list(itertools.islice(line.sweep_string_iterator(), MOST + 1))
    except Exception as error:  # a step of 0, an end that is no number, glob(...) of no group
        said = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"'{line.input_line}': gives no values ({said})") from None
    if not found:
        raise UserError(f"'{line.input_line}': holds no value; a range goes from its lower end up")
    if len(found) > MOST:
        raise UserError(f"'{line.input_line}': gives more than {MOST:,} values")
    return found


def refuse_too_many(lines: Sequence[Override]) -> None:
    """Raise UserError for a sweep of more than MOST points, and for an interval, which has no end of them."""
    for line in lines:
        if line.is_sweep_override() and not line.is_discrete_sweep():
            raise UserError(
                f"'{line.input_line}': an interval has no end of values; list some, as in key=1,2,3, or search "
                "it with hydra/sweeper=search"
            )
    count = math.prod(len(values_of(line)) for line in lines if line.is_discrete_sweep())
    if count > MOST:
        raise UserError(f"{count:,} points: a sweep has at most {MOST:,}; list fewer values, or search them")
