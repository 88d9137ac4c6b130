"""Steps that are tried out: nothing is learnt from them, and what they take is measured."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gansweep.engine.drive import Row
from gansweep.engine.step import EagerEngine


class as_before:
    """Puts every tensor that a step may change back, in place; those that were not there before become zero.

    All lazily made states (moments, counts of steps) begin at zero, so that is what "as before" means for them. The
    global generators are put back too, for networks that draw from them against the vows.
    """

    def __init__(self, owner: EagerEngine | Row) -> None:
        self._owner = owner

    def __enter__(self) -> None:
        self._updates = dict(self._owner.updates) if isinstance(self._owner, EagerEngine) else {}
        self._kept = {name: tensor.detach().clone() for name, tensor in self._now().items()}
        self._cpu = torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None

    @torch.no_grad()
    def __exit__(self, *error: object) -> None:
        for name, tensor in self._now().items():
            tensor.copy_(self._kept[name]) if name in self._kept else tensor.zero_()
        if isinstance(self._owner, EagerEngine):
            self._owner.updates.update(self._updates)
        torch.set_rng_state(self._cpu)
        if self._cuda is not None:
            torch.cuda.set_rng_state(self._cuda)

    def _now(self) -> Mapping[str, Tensor]:
        if isinstance(self._owner, EagerEngine):
            return self._owner.tensors()
        return {str(n): tensor for n, tensor in enumerate(self._owner.state())}


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors made inside the block that live at one time: `peak` is their greatest sum.

    By storages, so views count once; what autograd keeps counts until it lets go. Scratch memory that an operation
    takes and gives back within itself is not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._live = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else (result,):
            if isinstance(value, Tensor):
                self._note(value.untyped_storage())
        return result

    def _note(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self._live += size
        self.peak = max(self.peak, self._live)
        weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._live -= size
