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
    """A shared forward's value and the update counts of its networks at the time.

    `ran`: of all it was made with, each with the phases that may use it after an update (its shared forward's `stale`).
    `through`: of those its graph leads through.
    """

    value: Any
    ran: dict[str, tuple[int, frozenset[str]]]
    through: dict[str, int]


@dataclass
class Making:
    """A shared forward while it is computed: the phases that will use it live, and what it ran so far."""

    users: set[str]
    ran: dict[str, tuple[int, frozenset[str]]] = field(default_factory=dict)
    through: dict[str, int] = field(default_factory=dict)


@dataclass
class StepContext:
    """One step's shared forwards: who uses them when, what was computed."""

    entries: Sequence[Entry]
    shared: Mapping[str, Shared]
    updates: Mapping[str, int]
    kept: dict[tuple[Any, ...], Kept] = field(default_factory=dict)

    def live_users(self, name: str, position: int) -> set[str]:
        """Return the phases that use the shared forward live, from entry `position` on, on its batch and draw."""
        here, live = self.entries[position : position + 1], self.shared[name].live
        return (
            {
                entry.phase
                for entry in self.entries[position:]
                if entry.phase in live
                and not entry.watch
                and (entry.batch, entry.draw) == (here[0].batch, here[0].draw)
            }
            if here
            else set()
        )

    def is_needed_again(self, name: str, position: int) -> bool:
        """Tell whether a later entry's live forward may lead through this one's graph, which must then be retained."""
        at = self.entries[position]
        later = [n for n, e in enumerate(self.entries) if n > position and (e.batch, e.draw) == (at.batch, at.draw)]
        live = set(self.shared[name].live)
        return bool(later) and any(self.live_users(other, later[0]) & live for other in self.shared)


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
        self._making: list[Making] = []
        self.retain = False  # a live forward of this turn is used live again later: its graph must outlive this turn

    def __getitem__(self, name: str) -> Any:
        """Return a view, a shared forward, or a dotted place; computed on the first call."""
        if self._making and name in self._context.shared:
            return self._use_inside(name, self._making[-1])
        if name in self._views:
            return self._views[name]
        if name in self._phase.views:
            value = self._phase.views[name](self._nets, self)
        elif name in self._context.shared:
            value = self._use(name)
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

    def _keep(self, name: str) -> Kept:
        """Return the shared forward, computed now unless it was; with a graph when this or a later entry needs one."""
        context = self._context
        entry = context.entries[self._position]
        key = (name, entry.batch, entry.draw, self._micro)
        if key not in context.kept:
            making = Making(context.live_users(name, self._position))
            self._making.append(making)
            with torch.set_grad_enabled(bool(making.users)), self._nets.traced() as own:
                value = context.shared[name].fn(self._nets, self)
            self._making.pop()
            making.ran.update({net: (context.updates[net], frozenset(context.shared[name].stale)) for net in own})
            if making.users:
                making.through.update({net: context.updates[net] for net in own})
            context.kept[key] = Kept(value, making.ran, making.through)
        return context.kept[key]

    def _use_inside(self, name: str, outer: Making) -> Any:
        """Hand a shared forward to another that is being computed: live when a live user of that one needs it so."""
        kept = self._keep(name)
        live = bool(outer.users & set(self._context.shared[name].live))
        self._refuse_changed(name, kept, live)
        outer.ran.update(kept.ran)
        if not live:
            return detached(kept.value)
        outer.through.update(kept.through)
        return kept.value

    def _use(self, name: str) -> Any:
        """Hand a shared forward to a view or a term of this turn."""
        context = self._context
        entry = context.entries[self._position]
        kept = self._keep(name)
        live = entry.phase in context.shared[name].live and not entry.watch
        self._refuse_changed(name, kept, live)
        if not live:
            return detached(kept.value)
        self.retain = self.retain or context.is_needed_again(name, self._position)
        return kept.value

    def _refuse_changed(self, name: str, kept: Kept, live: bool) -> None:
        """Refuse a use after an update: of what a live use leads through, of anything that is not declared stale."""
        updates, phase = self._context.updates, self._phase.name
        through = [net for net, count in kept.through.items() if live and updates[net] != count]
        other = [net for net, (count, stale) in kept.ran.items() if updates[net] != count and phase not in stale]
        if through:
            mend = "put the phases into one of schedule.groups, or compute it anew"
            raise StaleUse(
                f"phase '{phase}' uses shared forward '{name}' live, but '{through[0]}' was updated since; {mend}"
            )
        if [net for net in other if not (live and net in kept.through)]:
            mend = "list the phase in its `stale`, or compute it anew"
            raise StaleUse(f"phase '{phase}' uses shared forward '{name}' after '{other[0]}' was updated; {mend}")


def cut(tensors: Mapping[str, Tensor], batched: Callable[[str], bool], parts: int) -> list[dict[str, Tensor]]:
    """Cut batched tensors along axis 0 into `parts` equal micro-batches; the others are handed to each whole."""
    if parts == 1:
        return [dict(tensors)]
    pieces = {name: value.chunk(parts) if batched(name) else (value,) * parts for name, value in tensors.items()}
    return [{name: piece[n] for name, piece in pieces.items()} for n in range(parts)]
