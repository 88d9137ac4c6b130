"""Sums metrics where they are computed and brings their means to the host in one copy per reading."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

# Larger than any step: "this metric has been finite so far".
_NEVER = 2**53


class _Group:
    """The metrics that arrive together: every distinct tuple of names has one vector of sums, added to in one go."""

    def __init__(self, keys: tuple[str, ...], device: torch.device) -> None:
        self.keys = keys
        self.count = 0
        self.sums = torch.zeros(len(keys), dtype=torch.float64, device=device)
        self.bad_step = torch.full((len(keys),), _NEVER, dtype=torch.int64, device=device)


class Meter:
    """Means of metrics since the last reading, without a host read in `add`.

    A metric that appears only in some steps (a phase every k) is averaged over the steps in which it appeared. Sums are
    float64 and travel in the checkpoint, so a resumed run reads the same means to the last bit.
    """

    def __init__(self) -> None:
        self._groups: dict[tuple[str, ...], _Group] = {}
        self._first_bad: tuple[str, int] | None = None

    @torch.no_grad()
    def add(self, metrics: Mapping[str, Tensor], step: int) -> None:
        """Add one step's `metrics`: tensors of shape () or (1,), all on one device, any float type. No host read."""
        if not metrics:
            return
        keys = tuple(metrics)
        values = list(metrics.values())
        group = self._groups.get(keys)
        if group is None:
            group = self._groups[keys] = _Group(keys, values[0].device)
        if any(value.dim() for value in values):
            values = [value.reshape(()) for value in values]
        vector = torch.stack(values)
        group.sums.add_(vector)
        group.count += 1
        # Kept beside the sums because a mean that is not finite does not say when it began.
        torch.minimum(group.bad_step, torch.where(torch.isfinite(vector), _NEVER, step), out=group.bad_step)

    def read(self) -> dict[str, float]:
        """Return the mean of every metric added since the last reading and start anew; one copy to the host.

        Names come in the order in which they first appeared; a metric that was not added is not in the result.
        """
        groups = [group for group in self._groups.values() if group.count]
        if not groups:
            return {}
        host = self._copy(groups)
        totals: dict[str, float] = {}
        counts: dict[str, int] = {}
        for group, (sums, _) in zip(groups, host, strict=True):
            for key, value in zip(group.keys, sums, strict=True):
                totals[key] = totals.get(key, 0.0) + value
                counts[key] = counts.get(key, 0) + group.count
        self._note_bad(groups, host)
        for group in groups:
            group.sums.zero_()
            group.bad_step.fill_(_NEVER)
            group.count = 0
        return {key: total / counts[key] for key, total in totals.items()}

    def first_nonfinite(self) -> tuple[str, int] | None:
        """Return (metric, step) of the first value that was NaN or infinite, or None; remembered across readings.

        Of several metrics that went bad in one step, the one that was added first. Copies to the host when something
        was added since the last reading.
        """
        groups = [group for group in self._groups.values() if group.count]
        if self._first_bad is None and groups:
            self._note_bad(groups, self._copy(groups))
        return self._first_bad

    def state_dict(self) -> dict[str, Any]:
        """Return the exact state between two readings, as plain containers and CPU tensors."""
        return {
            "groups": [
                {
                    "keys": list(g.keys),
                    "count": g.count,
                    "sums": g.sums.cpu().clone(),
                    "bad_step": g.bad_step.cpu().clone(),
                }
                for g in self._groups.values()
            ],
            "first_bad": list(self._first_bad) if self._first_bad else None,
        }

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device | str = "cpu") -> None:
        """Take over `state`, with the sums on `device` (where the metrics will be)."""
        self._groups = {}
        for saved in state["groups"]:
            group = _Group(tuple(saved["keys"]), torch.device(device))
            group.count = int(saved["count"])
            group.sums.copy_(saved["sums"])
            group.bad_step.copy_(saved["bad_step"])
            self._groups[group.keys] = group
        bad = state["first_bad"]
        self._first_bad = (str(bad[0]), int(bad[1])) if bad else None

    @staticmethod
    def _copy(groups: list[_Group]) -> list[tuple[list[float], list[float]]]:
        """Bring sums and first bad steps to the host in one copy; steps below 2**53 are exact in float64."""
        flat: list[float] = torch.cat([part for g in groups for part in (g.sums, g.bad_step.double())]).tolist()
        out, at = [], 0
        for group in groups:
            n = len(group.keys)
            out.append((flat[at : at + n], flat[at + n : at + 2 * n]))
            at += 2 * n
        return out

    def _note_bad(self, groups: list[_Group], host: list[tuple[list[float], list[float]]]) -> None:
        if self._first_bad is not None:
            return
        found = [
            (step, key)
            for group, (_, steps) in zip(groups, host, strict=True)
            for key, step in zip(group.keys, steps, strict=True)
            if step < _NEVER
        ]
        if found:
            step, key = min(found, key=lambda pair: pair[0])  # min keeps the first of equals
            self._first_bad = (key, int(step))
