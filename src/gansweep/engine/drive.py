"""What the loop drives: takes a step from what the feed handed over and puts its metrics where the meter finds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from torch import Tensor

from gansweep.engine.schedule import Group
from gansweep.engine.step import EagerEngine

Raw = Mapping[str, Tensor]
Finish = Callable[[Raw], dict[str, Tensor]]
"""Makes a batch of what the feed handed over, by device work alone."""


class Row(Protocol):
    """Where one kind of step's metrics go: a row a step, on the device."""

    keys: tuple[str, ...]

    def write(self, values: Sequence[Tensor]) -> None:
        """Put the values, in the keys' order, into the next row; device work alone."""

    def state(self) -> list[Tensor]:
        """Return the device tensors that a trial step would move."""


class Gauge(Protocol):
    """The meter, as a step sees it."""

    def add(self, metrics: Mapping[str, Tensor], step: int) -> None:
        """Add one step's metrics."""

    def ring(self, keys: Sequence[str]) -> Row:
        """Return where metrics of these names go."""

    def wrote(self, keys: Sequence[str], step: int) -> None:
        """Note that the row of `step` was written to the ring of these names."""


class Driver(Protocol):
    """Takes steps; `kind` is eager or graph."""

    kind: str

    def take(self, step: int, groups: Sequence[Group], raws: Sequence[Raw], gauge: Gauge) -> None:
        """Take step number `step` (from 0); its metrics are those of step + 1, the number of steps done by then."""


class Eager:
    """Takes each step by plain PyTorch calls."""

    kind = "eager"

    def __init__(self, engine: EagerEngine, finish: Finish) -> None:
        self.engine, self.finish = engine, finish

    def take(self, step: int, groups: Sequence[Group], raws: Sequence[Raw], gauge: Gauge) -> None:
        """Take the step."""
        metrics = self.engine.step(step, groups, [self.finish(raw) for raw in raws])
        gauge.add(metrics, step + 1)
