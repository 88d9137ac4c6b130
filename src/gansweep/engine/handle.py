"""The nets handle: the only way a system runs a network.

The engine decides what stands behind it: live weights or their running mean, bf16 or an fp32 island, training or
evaluation. A system's code reads as ordinary PyTorch: `nets.dec(z)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_BatchNorm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def to_float32(value: Any) -> Any:
    """Return `value`, a tensor or a tuple of them, with reduced-precision tensors in float32."""
    if isinstance(value, Tensor):
        return value.float() if value.dtype in (torch.bfloat16, torch.float16) else value
    return tuple(to_float32(part) for part in value)


class Nets:
    """Networks by name, as a system sees them; `nets.name(…)` or `nets["name"](…)` runs one."""

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        low_precision: torch.dtype | None = None,
        fp32_nets: tuple[str, ...] = (),
    ):
        self._modules = dict(modules)
        self._low = low_precision
        self._islands = fp32_nets
        self._traces: list[set[str]] = []
        self._compiled: dict[str, Callable[..., Any]] = {}

    def compile(self, backend: str = "inductor") -> None:
        """Have torch fuse each network's work from its next run on, but for `still` runs, which stay as they are.

        Those are for gradients with respect to inputs, which are taken through the functional interface, and torch
        cannot differentiate a compiled backward a second time.
        """
        import torch._functorch.config as functorch

        # A graph may be walked twice in a step (what D says teaches the decoder, then D): its memory is not given away.
        functorch.donated_buffer = False
        # Fixed shapes: the batch has one size, and a step that is recorded must not be compiled again.
        self._compiled = {
            name: torch.compile(module, backend=backend, dynamic=False) for name, module in self._modules.items()
        }

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> Callable[..., Any]:
        if name not in self._modules:
            raise AttributeError(f"no network '{name}'; the system has {', '.join(self._modules)}")
        return lambda *args, **kwargs: self._run(name, *args, **kwargs)

    def _run(self, name: str, *args: Any, plain: bool = False, **kwargs: Any) -> Any:
        if self._traces:
            self._traces[-1].add(name)
        module = self._modules[name]
        run = module if plain else self._compiled.get(name, module)
        if self._low is None or name in self._islands:
            return run(*args, **kwargs)
        with torch.autocast(next(module.parameters()).device.type, self._low):
            return to_float32(run(*args, **kwargs))

    def still(self, name: str) -> Callable[..., Any]:
        """Return the network with throw-away statistics: batch statistics are used, no buffer moves."""

        def run(*args: Any, **kwargs: Any) -> Any:
            with _stillness(self._modules[name]):
                return self._run(name, *args, plain=True, **kwargs)

        return run

    @contextmanager
    def traced(self) -> Iterator[set[str]]:
        """Collect the names of the networks that run inside the block, but for a traced block inside it."""
        trace: set[str] = set()
        self._traces.append(trace)
        try:
            yield trace
        finally:
            self._traces.pop()


@contextmanager
def _stillness(module: nn.Module) -> Iterator[None]:
    """Let norms in training mode use the batch's statistics without touching their own.

    The buffers are taken away rather than cloned: a functional gradient may not write into what it captured. A layer
    of ours that has buffers of its own to move carries a flag `still` for this.
    """
    taken: list[tuple[nn.Module, dict[str, Tensor | None]]] = []
    for part in module.modules():
        if isinstance(part, _BatchNorm) and part.training and part.running_mean is not None:
            names = ("running_mean", "running_var", "num_batches_tracked")
            taken.append((part, {name: part._buffers[name] for name in names}))
            for name in names:
                part._buffers[name] = None
        elif hasattr(part, "still"):
            part.still = True  # type: ignore[assignment]
    try:
        yield
    finally:
        for norm, buffers in taken:
            norm._buffers.update(buffers)
        for part in module.modules():
            if hasattr(part, "still"):
                part.still = False  # type: ignore[assignment]


@contextmanager
def evaluation(modules: Mapping[str, nn.Module]) -> Iterator[Nets]:
    """Hand out the networks in eval mode, without gradients; every part's own mode comes back afterwards."""
    modes = [(part, part.training) for module in modules.values() for part in module.modules()]
    for part, _ in modes:
        part.training = False
    try:
        with torch.no_grad():
            yield Nets(modules)
    finally:
        for part, mode in modes:
            part.training = mode


def evaluation_nets(modules: Mapping[str, nn.Module]) -> Nets:
    """Put the networks into eval mode for good and return a handle on them; gradients are the caller's matter."""
    for module in modules.values():
        module.eval()
    return Nets(modules)
