"""What a search may choose from: ranges in Hydra's own syntax, made into distributions.

`key=interval(a,b)` is a number between, `tag(log,interval(a,b))` on a logarithmic scale, `int(interval(a,b))` whole,
`key=choice(x,y)` or `key=x,y` one of them, `key=range(a,b,step)` one of these numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gansweep.config.listed import values_of
from gansweep.errors import UserError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

_GREATEST = 1e30
# Keys of an optimizer that only some kinds read: with another kind they are not chosen at all.
_READ_BY = {
    "betas": ("adam", "adamw"),
    "eps": ("adam", "adamw", "rmsprop"),
    "alpha": ("rmsprop",),
    "momentum": ("rmsprop", "sgd"),
}


@dataclass(frozen=True)
class Axis:
    """One key that is searched over. `low` and `high` of a range (both ends in it), or `choices` as texts."""

    key: str
    low: float | int = 0
    high: float | int = 0
    log: bool = False
    choices: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether the range holds whole numbers only."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def size(self) -> int | None:
        """Return how many values there are; None for a range of real numbers."""
        return len(self.choices) or (int(self.high) - int(self.low) + 1 if self.whole else None)

    def suggest(self, trial: Any) -> str:
        """Let a trial of Optuna choose; returns the value as it is typed."""
        if self.choices:
            return str(trial.suggest_categorical(self.key, self.choices))
        if self.whole:
            return str(trial.suggest_int(self.key, int(self.low), int(self.high), log=self.log))
        return repr(float(trial.suggest_float(self.key, float(self.low), float(self.high), log=self.log)))


def axes(parsed: Sequence[Override]) -> list[Axis]:
    """Return the axes of parsed overrides, choices first: whether others apply may hang on them.

    Raises UserError for a range whose ends are swapped or that a logarithmic scale cannot have.
    """
    found = [_axis(line) for line in parsed if line.is_sweep_override()]
    return sorted(found, key=lambda axis: not axis.choices)


def _axis(line: Override) -> Axis:
    key, value = f"{'+' if line.is_add() else ''}{line.key_or_group}", line.value()
    if line.is_discrete_sweep():
        choices = tuple(values_of(line))
        twice = [choice for choice in choices if choices.count(choice) > 1] if len(choices) < 1000 else []
        if twice:
            raise UserError(f"'{line.input_line}': lists {twice[0]} twice; give each value once")
        return Axis(key, choices=choices)
    interval: Any = value
    low, high, log = interval.start, interval.end, "log" in interval.tags
    unknown = set(interval.tags) - {"log"}
    if unknown:
        raise UserError(f"'{line.input_line}': tag {min(unknown)}: the only one is log")
    if not (math.isfinite(low) and math.isfinite(high)) or abs(low) > _GREATEST or abs(high) > _GREATEST:
        raise UserError(f"'{line.input_line}': a range has two ends that are numbers, of at most {_GREATEST:g}")
    if low == high:
        raise UserError(f"'{line.input_line}': both ends are {low:g}; write {key}={low:g}")
    if low > high:
        raise UserError(f"'{line.input_line}': its ends are swapped; interval({high:g},{low:g}) is a range")
    if log and low <= 0:
        raise UserError(f"'{line.input_line}': a logarithmic scale begins above 0")
    return Axis(key, low, high, log)


def applies(axis: Axis, chosen: Mapping[str, str]) -> bool:
    """Say whether an axis means anything beside what was chosen already (as typed, by key): RMSprop has no betas."""
    head, _, rest = axis.key.lstrip("+").partition(".")
    if head != "optimizer" or not rest:
        return True
    name = next((part for part in rest.split(".") if part in _READ_BY), None)
    if name is None:
        return True
    own = chosen.get(f"optimizer.{rest.partition('.')[0]}.kind")
    kind = own or chosen.get("optimizer.kind") or chosen.get("optimizer")
    return kind is None or kind in _READ_BY[name]


def suggest(trial: Any, along: Sequence[Axis], fixed: Mapping[str, str]) -> dict[str, str]:
    """Return what a trial of Optuna chooses, key to value as typed; `fixed` are the overrides that it cannot change."""
    chosen = dict(fixed)
    found: dict[str, str] = {}
    for axis in along:
        if applies(axis, chosen):
            found[axis.key] = chosen[axis.key.lstrip("+")] = axis.suggest(trial)
    return found


def is_search(sweeper: Mapping[str, Any]) -> bool:
    """Say whether the settings of hydra/sweeper are a search's."""
    return str(sweeper.get("_target_", "")).rpartition(".")[2] == "Search"
