"""The vocabulary: a system is networks plus phases.

A phase says who learns, what is looked at and what is charged; the scales say how much; the timetable says when; the
engine does it; the meter reports it. Nothing here knows an optimizer, a device, a logger, a config or a step counter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

View = Callable[[Any, "Look"], Any]
"""A function of the nets handle and of what may be looked at (`Look`)."""


@dataclass(frozen=True)
class Spec:
    """What an input or a noise site looks like.

    `shape` leaves the batch axis out; `kind` is image, label, vector (inputs) or normal, uniform (noise); `batched`
    says whether axis 0 is the batch, which is then prepended and cut into micro-batches.
    """

    shape: tuple[int, ...]
    kind: str = "image"
    batched: bool = True


@dataclass(frozen=True)
class Term:
    """One charge: `fn` gets the values named in `reads`, in that order, and returns a scalar.

    A name is a view of the phase, a shared forward, or a dotted place: `batch.image`, `noise.eps`, `knobs.margin`,
    `memory.replay`.
    """

    fn: Callable[..., Tensor]
    reads: tuple[str, ...]


@dataclass(frozen=True)
class Shared:
    """A forward that several phases need, computed once per draw, as its live phases would compute it.

    `live` phases get it with its graph, as long as no network it ran through has been updated since. Every other phase
    gets it detached; one that comes after such an update must be listed in `stale`, or the engine refuses. A `renewed`
    one is computed anew instead, once a network that it runs itself was updated.
    """

    fn: View
    live: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    renewed: bool = False


@dataclass(frozen=True)
class Phase:
    """Who learns, what is looked at, what is charged.

    `views` run at most once, only when a charged term needs them, in the order they are declared (which fixes the
    order in which norm statistics move). `reports` are measured beside the terms when their views were computed anyway,
    and never charged. `keeps` gives new values of memory, written after the update; `after` changes the learnt weights
    of one network in place, after the update. `pair` names the two values that a bare loss of a user's own reads.
    """

    name: str
    learns: tuple[str, ...]
    terms: Mapping[str, Term]
    views: Mapping[str, View] = field(default_factory=dict)
    reports: Mapping[str, Term] = field(default_factory=dict)
    keeps: Mapping[str, View] = field(default_factory=dict)
    after: tuple[Callable[[Sequence[nn.Parameter], Look], None], ...] = ()
    pair: tuple[str, str] | None = None


@runtime_checkable
class Look(Protocol):
    """What a view may look at: earlier views by `x["name"]`, and the groups below by name."""

    batch: Mapping[str, Tensor]
    noise: Mapping[str, Tensor]
    knobs: Mapping[str, Tensor]
    memory: Mapping[str, Tensor]

    def __getitem__(self, name: str) -> Any:
        """Return an earlier view, a shared forward, or a dotted place such as `batch.image`."""
        ...


class System(Protocol):
    """What the engine needs to know of a system; any class with these members will do, no base class.

    `knobs` are numbers that its terms need (labels, margins, a clip bound), by name, with defaults. `memory` holds
    named tensors of fixed shape that outlive a step. `counts` names the phase whose turns are steps.
    A system that also has `reconstruct(nets, batch, noise)` gets grids of reconstructions, which are to become the
    batch's `image`, or what its `reconstructs` names; one that has
    `output_range`, (lowest, highest) or None, is told when its pictures lie outside of it. `positive_knobs` names those
    that must stay greater than 0. One with `clips(nets, batch, noise)` has its runs show films beside the grids: it
    returns frames `made` and `real`, (B, T, C, H, W), and the `still` (B, C, H, W) that the film repeats, all in the
    range of the data's normalisation, and their `sound` (B, T · samples), 16 000 Hz, in -1..1.
    A class with `takes`, key of `model` -> check (see nets.given), is not made when one of its checks refuses what was
    given.
    """

    nets: dict[str, nn.Module]
    phases: tuple[Phase, ...]
    inputs: dict[str, Spec]
    noise: dict[str, Spec]
    knobs: dict[str, float]
    memory: dict[str, Tensor]
    shared: dict[str, Shared]
    counts: str

    def sample(self, nets: Any, batch: Mapping[str, Tensor] | None, noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return named images, (B, C, H, W), in the range of the data's normalisation; the finest one last."""
        ...


def aim_of(system: System) -> str:
    """Return the name of the input that the system's `reconstruct` is to give back: `image` unless it says another."""
    return str(getattr(system, "reconstructs", "image"))


def term_names(system: System) -> dict[str, str]:
    """Return every term's name with the phase that charges it; a name used twice is a ValueError."""
    owner: dict[str, str] = {}
    for phase in system.phases:
        for name in phase.terms:
            if name in owner:
                raise ValueError(f"term '{name}' stands in phase '{owner[name]}' and again in phase '{phase.name}'")
            owner[name] = phase.name
    return owner
