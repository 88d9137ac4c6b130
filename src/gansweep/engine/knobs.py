"""Knobs: the numbers that vary during a run, as 0-d device tensors that are filled in place and never replaced."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gansweep.engine.schedule import Curve
from gansweep.errors import UserError, nearest


class Knobs:
    """Numbers by dotted name (`scales.l1`, `optimizer.enc.lr`, `knobs.real_label`), each with its curve, if any.

    A curve on `optimizer.lr` moves every network's rate that has no curve of its own; one on `model.knobs.x` or
    `knobs.x` moves the system's knob x.
    """

    def __init__(
        self,
        base: Mapping[str, float],
        curves: Mapping[str, Curve],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        self.base = dict(base)
        self.curves = self._spread(curves)
        self._now = dict(self.base)
        self.tensors: dict[str, Tensor] = {
            name: torch.full((), value, device=device, dtype=dtype) for name, value in self.base.items()
        }

    def _spread(self, curves: Mapping[str, Curve]) -> dict[str, Curve]:
        named = {name.removeprefix("model."): curve for name, curve in curves.items()}
        shared = named.pop("optimizer.lr", None)
        for name in named:
            if name not in self.base:
                raise UserError(
                    f"schedule.curves.{name}: no knob that may vary{nearest(name, [*self.base, 'optimizer.lr'])}"
                )
        if shared is not None:
            rates = [name for name in self.base if name.startswith("optimizer.") and name.endswith(".lr")]
            named = {**dict.fromkeys(rates, shared), **named}
        return named

    def value(self, name: str, step: int) -> float:
        """Return the knob's value at `step` as a plain number."""
        curve = self.curves.get(name)
        return self.base[name] if curve is None else curve(step, self.base[name])

    def advance(self, step: int) -> None:
        """Set every tensor to its value at `step`; only what changed is written, and nothing is read."""
        for name in self.curves:
            value = self.value(name, step)
            if value != self._now[name]:
                self._now[name] = value
                self.tensors[name].fill_(value)

    def group(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors under `prefix`, by the rest of their name."""
        return {
            name[len(prefix) + 1 :]: tensor for name, tensor in self.tensors.items() if name.startswith(prefix + ".")
        }
