"""A recorder for the CPU with a CUDA graph's manners: replays the same operations on the same memory, runs no Python.

What a step would freeze wrongly in a CUDA graph (a Python number, a tensor made anew, a step that Python decides) it
freezes here too, so the graph engine can be held to the eager one without a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only


class _Writer(TorchDispatchMode):
    """Runs every operation and writes it down: function, arguments, results."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[Any, Any, Any, list[tuple[int, Tensor]]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # What changes a tensor's shape in place (`unsqueeze_`) moves no memory: it is not replayed, and what stands
        # around it keeps the shape of its own time.
        given = tree_map_only(Tensor, Tensor.detach, (args, kwargs or {}))
        result = func(*args, **(kwargs or {}))
        if torch.Tag.inplace_view in func.tags:
            return result
        returns = result if isinstance(result, tuple | list) else (result,)
        # A view, or the argument that an operation wrote into, comes out right by itself: it is the same memory.
        fresh = [
            (n, value.detach())
            for n, value in enumerate(_flat(returns))
            if isinstance(value, Tensor) and not _is_alias(value, (args, kwargs))
        ]
        self.lines.append((func, *given, fresh))
        return result


def _flat(values: Any) -> list[Any]:
    out: list[Any] = []
    for value in values:
        out += _flat(value) if isinstance(value, tuple | list) else [value]
    return out


def _tensors(values: Any) -> list[Tensor]:
    if isinstance(values, Tensor):
        return [values]
    if isinstance(values, dict):
        values = list(values.values())
    return [t for v in values for t in _tensors(v)] if isinstance(values, tuple | list) else []


def _is_alias(value: Tensor, given: Any) -> bool:
    return any(value.untyped_storage().data_ptr() == t.untyped_storage().data_ptr() for t in _tensors(list(given)))


class Tape:
    """A recorder (see engine.graph.Recorder); `operations` is how many the last recording holds."""

    def __init__(self) -> None:
        self.operations = 0
        self.recordings = 0

    def warm_up(self, work: Callable[[], Any]) -> Any:
        """Run it."""
        return work()

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Run it once, written down; unlike a capture this moves the state, which the graph engine puts back."""
        with _Writer() as writer:
            work()
        lines = writer.lines
        self.operations, self.recordings = len(lines), self.recordings + 1

        def replay() -> None:
            with torch.no_grad():
                for func, args, kwargs, fresh in lines:
                    result = func(*args, **kwargs)
                    returns = _flat(result if isinstance(result, tuple | list) else (result,))
                    for n, kept in fresh:
                        if returns[n] is not kept and returns[n].data_ptr() != kept.data_ptr():
                            kept.copy_(returns[n])

        return replay
