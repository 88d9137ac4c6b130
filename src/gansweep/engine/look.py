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
from gansweep.engine.schedule import Group
from gansweep.system import Phase, Shared


class StaleUse(RuntimeError):
    """A system's file asks for a shared forward in a way that would give wrong gradients; a fault of the system."""


@dataclass
class Kept:
    """A shared forward's value and the update counts of its networks at the time.

    `own`: the networks that it ran itself.
    `ran`: of all it was made with, each with the phases that may use it after an update (its shared forward's `stale`).
    `through`: of those its graph leads through. `below`: those that it reaches only by an earlier shared forward: who
    learns none of them asks for no gradient there.
    """

    value: Any
    own: frozenset[str]
    ran: dict[str, tuple[int, frozenset[str]]]
    through: dict[str, int]
    below: set[str]

    def needed_by(self, learns: Sequence[str]) -> set[str]:
        """Return the networks that a gradient for `learns` leads through."""
        return set(self.through) if self.below & set(learns) else set(self.through) - self.below


@dataclass
class Making:
    """A shared forward while it is computed: the phases that will use it live, and what it ran so far."""

    users: set[str]
    ran: dict[str, tuple[int, frozenset[str]]] = field(default_factory=dict)
    through: dict[str, int] = field(default_factory=dict)
    below: set[str] = field(default_factory=set)


@dataclass
class StepContext:
    """One step's shared forwards: who uses them when, what was computed.

    With `frugal` (a batch in parts) a renewed forward's graph does not outlive its group: the parts' graphs together
    would take the memory that the parts are there to save.
    """

    groups: Sequence[Group]
    shared: Mapping[str, Shared]
    updates: Mapping[str, int]
    frugal: bool = False
    kept: dict[tuple[Any, ...], Kept] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.entries = [entry for group in self.groups for entry in group]
        self._group_of = [n for n, group in enumerate(self.groups) for _ in group]

    def _later(self, name: str, position: int) -> list[int]:
        """Return the positions from `position` on that may use what is computed there: its batch, its draw."""
        at, near = self.entries[position], self.frugal and self.shared[name].renewed
        return [
            n
            for n in range(position, len(self.entries))
            if (self.entries[n].batch, self.entries[n].draw) == (at.batch, at.draw)
            and not (near and self._group_of[n] != self._group_of[position])
        ]

    def live_users(self, name: str, position: int) -> set[str]:
        """Return the phases that use the shared forward live, from entry `position` on, on its batch and draw."""
        live = self.shared[name].live
        users = [self.entries[n] for n in self._later(name, position)]
        return {entry.phase for entry in users if entry.phase in live and not entry.watch}

    def is_needed_again(self, name: str, position: int) -> bool:
        """Tell whether a later entry's live forward may lead through this one's graph, which must then be retained."""
        live = set(self.shared[name].live)
        for other in self.shared:
            later = [n for n in self._later(other, position) if n > position]
            if later and self.live_users(other, later[0]) & live:
                return True
        return False

    def key(self, name: str, position: int, micro: int) -> tuple[Any, ...]:
        """Return under what a shared forward made at `position` is kept."""
        entry = self.entries[position]
        near = self._group_of[position] if self.frugal and self.shared[name].renewed else None
        return name, entry.batch, entry.draw, micro, near


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
        key = context.key(name, self._position, self._micro)
        if context.shared[name].renewed and key in context.kept and self._is_outdated(context.kept[key]):
            del context.kept[key]
        if key not in context.kept:
            making = Making(context.live_users(name, self._position))
            self._making.append(making)
            with torch.set_grad_enabled(bool(making.users)), self._nets.traced() as own:
                value = context.shared[name].fn(self._nets, self)
            self._making.pop()
            making.ran.update({net: (context.updates[net], frozenset(context.shared[name].stale)) for net in own})
            if making.users:
                making.through.update({net: context.updates[net] for net in own})
            context.kept[key] = Kept(value, frozenset(own), making.ran, making.through, making.below - own)
        return context.kept[key]

    def _is_outdated(self, kept: Kept) -> bool:
        """Tell whether a network that the forward runs itself was updated since."""
        updates = self._context.updates
        return any(updates[net] != kept.ran[net][0] for net in kept.own)

    def _use_inside(self, name: str, outer: Making) -> Any:
        """Hand a shared forward to another that is being computed: live when a live user of that one needs it so."""
        kept = self._keep(name)
        live = bool(outer.users & set(self._context.shared[name].live))
        self._refuse_changed(name, kept, live)
        outer.ran.update(kept.ran)
        if not live:
            return detached(kept.value)
        outer.through.update(kept.through)
        outer.below.update(kept.through)
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
        needed = kept.needed_by(self._phase.learns) if not self._making else set(kept.through)
        through = [net for net, count in kept.through.items() if live and net in needed and updates[net] != count]
        other = [net for net, (count, stale) in kept.ran.items() if updates[net] != count and phase not in stale]
        if through:
            mend = "put the phases into one of schedule.groups, or compute it anew"
            raise StaleUse(
                f"phase '{phase}' uses shared forward '{name}' live, but '{through[0]}' was updated since; {mend}"
            )
        if [net for net in other if not (live and net in needed)]:
            mend = "list the phase in its `stale`, or compute it anew"
            raise StaleUse(f"phase '{phase}' uses shared forward '{name}' after '{other[0]}' was updated; {mend}")


def cut(tensors: Mapping[str, Tensor], batched: Callable[[str], bool], parts: int) -> list[dict[str, Tensor]]:
    """Cut batched tensors along axis 0 into `parts` equal micro-batches; the others are handed to each whole."""
    if parts == 1:
        return [dict(tensors)]
    pieces = {name: value.chunk(parts) if batched(name) else (value,) * parts for name, value in tensors.items()}
    return [{name: piece[n] for name, piece in pieces.items()} for n in range(parts)]
