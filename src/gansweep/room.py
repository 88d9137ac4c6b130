"""Room on the disk for the checkpoints of runs, asked for before anything is made."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from gansweep.runs.checkpoint import check_room, payload_bytes

if TYPE_CHECKING:
    from gansweep.config.settings import NetOptimizer, Settings
    from gansweep.system import System

# Files that a run writes besides its checkpoints: grids, spool, logs, what its tracker keeps.
SPARE_BYTES = 64 * 2**20
_MOMENTS = {"adam": 2, "adamw": 2, "rmsprop": 1, "sgd": 0}


class Need(NamedTuple):
    """What the checkpoints of one run take: bytes of one, and how many stay."""

    one: int
    files: int


def need(settings: Settings, system: System) -> Need:
    """Return what a run with these settings will keep; `system` may be on the meta device."""
    fp64 = settings.runtime.precision == "fp64"
    one = payload_bytes(system.memory)
    for name, net in system.nets.items():
        weights = _bytes(net.state_dict().values(), fp64)
        moments = _moments(settings.optimizer.for_net(name)) * _bytes(net.parameters(), fp64)
        one += weights * (1 if settings.runtime.ema_decay is None else 2) + moments
    every = settings.checkpoint_every
    files = -(-settings.steps // every) if every else 1
    # With keep=null that is what stays; best.pt is a file of its own once a newer step file replaced its.
    files = files if settings.checkpoint.keep is None else min(files, settings.checkpoint.keep)
    return Need(one, files + (settings.checkpoint.best_by is not None))


def refuse_without_room(directory: Path, needs: Iterable[Need], key: str = "hydra.run.dir") -> None:
    """Raise UserError when the disk of `directory`, which need not be there yet, has no room for runs in it.

    Counted are all checkpoints that stay, and the greatest once more: it is written beside the others. `key` is how
    another directory is named.
    """
    all_of_them = list(needs)
    kept = sum(run.one * run.files for run in all_of_them)
    check_room(directory, kept + max(run.one for run in all_of_them) + SPARE_BYTES, key)


def _moments(rates: NetOptimizer) -> int:
    """Return how many tensors an optimizer keeps for each weight."""
    return _MOMENTS[rates.kind] + (rates.momentum > 0 and rates.kind in ("rmsprop", "sgd"))


def _bytes(tensors: Iterable[Tensor], fp64: bool) -> int:
    """Return the bytes of tensors, in double precision where the run will have them so."""
    return sum(t.numel() * (8 if fp64 and t.is_floating_point() else t.element_size()) for t in tensors)
