"""Keeps metrics where they are computed, in a ring of steps, and brings them to the host in one copy per reading."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Steps that a ring holds; a longer wait between two readings costs one copy more each time it is full.
CAPACITY = 256


class Ring:
    """The metrics that arrive together (one tuple of names): a row for each step since the last reading, on the device.

    `write` is device work alone, so it can be part of a recorded step; `wrote` is its other half, on the host.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self.keys = tuple(keys)
        self.steps: list[int] = []
        self.sums: NDArray[np.float64] = np.zeros(len(self.keys))
        self.count = 0
        self._rows: Tensor | None = None
        self._slot: Tensor | None = None

    @torch.no_grad()
    def write(self, values: Sequence[Tensor]) -> None:
        """Put one step's values, (1,) or () each, in the keys' order, into the next row."""
        vector = torch.cat([value.reshape(1) for value in values])
        if self._rows is None or self._slot is None:
            self._rows = vector.new_zeros((CAPACITY, len(self.keys)))
            self._slot = torch.zeros(1, dtype=torch.int64, device=vector.device)
        self._rows.index_copy_(0, self._slot, vector[None])
        self._slot.add_(1)

    def wrote(self, step: int) -> bool:
        """Note that the row of `step` was written; says whether the ring is now full and must be taken in."""
        self.steps.append(step)
        return len(self.steps) == CAPACITY

    def state(self) -> list[Tensor]:
        """Return the device tensors that a trial step would move."""
        return [] if self._rows is None or self._slot is None else [self._rows, self._slot]

    def written(self) -> Tensor:
        """Return the rows written since the last reading, float64, flat."""
        assert self._rows is not None, "nothing was written"
        return self._rows[: len(self.steps)].double().flatten()

    def clear(self) -> None:
        """Begin again at the first row."""
        self.steps = []
        if self._slot is not None:
            self._slot.zero_()


class Meter:
    """Means of metrics since the last reading, without a host read in `add`.

    A metric that appears only in some steps (a phase every k) is averaged over the steps in which it appeared. Sums are
    float64, made in the order of the steps, and travel in the checkpoint, so a resumed run reads the same means to the
    last bit. `reduce` is applied to what is brought to the host: the mean over processes, where there are several.
    """

    def __init__(self, reduce: Callable[[Tensor], Tensor] | None = None) -> None:
        self._rings: dict[tuple[str, ...], Ring] = {}
        self._first_bad: tuple[str, int] | None = None
        self._reduce = reduce

    def ring(self, keys: Sequence[str]) -> Ring:
        """Return the ring of the metrics of these names."""
        return self._rings.setdefault(tuple(keys), Ring(keys))

    def add(self, metrics: Mapping[str, Tensor], step: int) -> None:
        """Add one step's `metrics`: tensors of shape () or (1,), all on one device, any float type. No host read."""
        if not metrics:
            return
        ring = self.ring(tuple(metrics))
        ring.write(list(metrics.values()))
        self.wrote(ring.keys, step)

    def wrote(self, keys: Sequence[str], step: int) -> None:
        """Note that the ring of these names got the row of `step`: the host's half of `add`."""
        if self.ring(keys).wrote(step):
            self._take_in()

    def read(self) -> dict[str, float]:
        """Return the mean of every metric added since the last reading and start anew; one copy to the host.

        Names come in the order in which they first appeared; a metric that was not added is not in the result.
        """
        self._take_in()
        totals: dict[str, float] = {}
        counts: dict[str, int] = {}
        for ring in self._rings.values():
            if not ring.count:
                continue
            for key, value in zip(ring.keys, ring.sums, strict=True):
                totals[key] = totals.get(key, 0.0) + float(value)
                counts[key] = counts.get(key, 0) + ring.count
            ring.sums, ring.count = np.zeros(len(ring.keys)), 0
        return {key: total / counts[key] for key, total in totals.items()}

    def first_nonfinite(self) -> tuple[str, int] | None:
        """Return (metric, step) of the first value that was NaN or infinite, or None; remembered across readings.

        Of several metrics that went bad in one step, the one that was added first. Copies to the host when something
        was added since the last look.
        """
        self._take_in()
        return self._first_bad

    def state_dict(self) -> dict[str, Any]:
        """Return the exact state between two readings, as plain containers and CPU tensors."""
        self._take_in()
        return {
            "groups": [
                {"keys": list(ring.keys), "count": ring.count, "sums": torch.from_numpy(ring.sums.copy())}
                for ring in self._rings.values()
            ],
            "first_bad": list(self._first_bad) if self._first_bad else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over `state`."""
        self._rings = {}
        for saved in state["groups"]:
            ring = self.ring(saved["keys"])
            ring.count, ring.sums = int(saved["count"]), saved["sums"].double().numpy().copy()
        bad = state["first_bad"]
        self._first_bad = (str(bad[0]), int(bad[1])) if bad else None

    def _take_in(self) -> None:
        """Bring every written row to the host, in one copy, and add it to the sums."""
        full = [ring for ring in self._rings.values() if ring.steps]
        if not full:
            return
        flat = torch.cat([ring.written() for ring in full])
        host: NDArray[np.float64] = (flat if self._reduce is None else self._reduce(flat)).cpu().numpy()
        bad: list[tuple[int, str]] = []
        at = 0
        for ring in full:
            size = len(ring.steps) * len(ring.keys)
            rows = host[at : at + size].reshape(len(ring.steps), len(ring.keys))
            at += size
            for step, row in zip(ring.steps, rows, strict=True):
                ring.sums = ring.sums + row  # one after the other: where a reading falls must not change a bit
                if not np.isfinite(row).all():
                    bad.append((step, ring.keys[int(np.flatnonzero(~np.isfinite(row))[0])]))
            ring.count += len(ring.steps)
            ring.clear()
        if bad and self._first_bad is None:
            step, key = min(bad, key=lambda pair: pair[0])  # min keeps the first of equals
            self._first_bad = (key, step)
