"""What a view may look at, and forwards that several phases share.

A shared forward is computed once per draw. Whether a later use may be live is checked by counting each network's
updates here: fused optimizers leave autograd's version numbers unchanged, so autograd itself would not notice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gansweep.engine.handle import Nets
from gansweep.engine.schedule import Entry
from gansweep.system import Phase, Shared


class StaleUse(RuntimeError):
    """A system's file asks for a shared forward in a way that would give wrong gradients; a fault of the system."""


@dataclass
class Kept:
    """A shared forward's value, the networks it ran through with their update counts, and whether it has a graph."""

    value: Any
    ran: dict[str, int]
    graph: bool


@dataclass
class StepContext:
    """One step's shared forwards: who uses them later, what was computed."""

    entries: Sequence[Entry]
    shared: Mapping[str, Shared]
    updates: Mapping[str, int]
    kept: dict[tuple[Any, ...], Kept] = field(default_factory=dict)

    def live_use_follows(self, name: str, position: int) -> bool:
        """Tell whether an entry after `position`, on the same batch and draw, uses the shared forward live."""
        here = self.entries[position]
        return any(
            entry.phase in self.shared[name].live
            and not entry.watch
            and (entry.batch, entry.draw) == (here.batch, here.draw)
            for entry in self.entries[position + 1 :]
        )


def detached(value: Any) -> Any:
    """Return `value`, a tensor or a (named) tuple of them, cut off from its graph."""
    if isinstance(value, Tensor):
        return value.detach()
    parts = [detached(part) for part in value]
    return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)


class Looker:
    """What one turn of a phase sees, for one micro-batch; computes views and shared forwards when asked."""

    def __init__(
        self,
        nets: Nets,
        phase: Phase,
        context: StepContext,
        position: int,
        micro: int,
        batch: Mapping[str, Tensor],
        noise: Mapping[str, Tensor],
        knobs: Mapping[str, Tensor],
        memory: Mapping[str, Tensor],
    ):
        self.batch, self.noise, self.knobs, self.memory = batch, noise, knobs, memory
        self._nets, self._phase, self._context = nets, phase, context
        self._position, self._micro = position, micro
        self._views: dict[str, Any] = {}
        self.retain = False  # a live forward of this turn is used live again later: its graph must outlive this turn

    def __getitem__(self, name: str) -> Any:
        """Return a view, a shared forward, or a dotted place; computed on the first call."""
        if name in self._views:
            return self._views[name]
        if name in self._phase.views:
            value = self._phase.views[name](self._nets, self)
        elif name in self._context.shared:
            value = self._share(name)
        else:
            group, _, key = name.partition(".")
            if group not in ("batch", "noise", "knobs", "memory") or not key:
                raise KeyError(
                    f"phase '{self._phase.name}' reads '{name}', which is no view, shared forward or dotted place"
                )
            return getattr(self, group)[key]
        self._views[name] = value
        return value

    def seen(self, names: Sequence[str]) -> bool:
        """Tell whether all of `names` are at hand without another forward."""
        return all(name in self._views or "." in name for name in names)

    def _share(self, name: str) -> Any:
        spec, context = self._context.shared[name], self._context
        entry = context.entries[self._position]
        key = (name, entry.batch, entry.draw, self._micro)
        live = entry.phase in spec.live and not entry.watch
        follows = context.live_use_follows(name, self._position)
        if key not in context.kept:
            graph = live or (follows and not entry.watch)
            with torch.set_grad_enabled(graph), self._nets.traced() as ran:
                value = spec.fn(self._nets, self)
            context.kept[key] = Kept(value, {net: context.updates[net] for net in ran}, graph)
        kept = context.kept[key]
        changed = [net for net, count in kept.ran.items() if context.updates[net] != count]
        if live:
            if changed or not kept.graph:
                why = f"'{changed[0]}' was updated since" if changed else "it was computed without a graph"
                raise StaleUse(f"phase '{entry.phase}' uses shared forward '{name}' live, but {why}")
            self.retain = self.retain or follows
            return kept.value
        if changed and entry.phase not in spec.stale:
            raise StaleUse(
                f"phase '{entry.phase}' uses shared forward '{name}' after '{changed[0]}' was updated; "
                "list the phase in its `stale`, or compute it anew"
            )
        return detached(kept.value)


def cut(tensors: Mapping[str, Tensor], batched: Callable[[str], bool], parts: int) -> list[dict[str, Tensor]]:
    """Cut batched tensors along axis 0 into `parts` equal micro-batches; the others are handed to each whole."""
    if parts == 1:
        return [dict(tensors)]
    pieces = {name: value.chunk(parts) if batched(name) else (value,) * parts for name, value in tensors.items()}
    return [{name: piece[n] for name, piece in pieces.items()} for n in range(parts)]
