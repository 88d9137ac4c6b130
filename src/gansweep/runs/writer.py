"""Files that a run writes while it goes on: on CUDA by a thread, from copies that were taken beside the step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from torch import Tensor

Done = TypeVar("Done")


class Writer:
    """Does pieces of work (writing files) one after the other, and what follows from each in the caller's thread.

    Threaded, the caller goes on meanwhile and calls `settle` now and then; otherwise a piece is done when it is given:
    on the CPU a thread would only take the step's own cores.
    """

    def __init__(self, threaded: bool) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="gansweep-writer") if threaded else None
        self._given: list[tuple[Future[Any], Callable[[Any], None]]] = []

    def put(self, work: Callable[[], Done], then: Callable[[Done], None]) -> None:
        """Do `work`, later perhaps; `then` gets its result in the caller's thread. Its error is raised by `settle`."""
        if self._pool is None:
            then(work())
        else:
            self._given.append((self._pool.submit(work), then))

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        """Do what is left, whatever ended the run; an error of its own yields to the one that did."""
        try:
            self.settle(wait=True)
        except Exception:
            if kind is None:
                raise

    def settle(self, wait: bool = False) -> None:
        """Do what follows from the pieces that are done; with `wait`, from all of them."""
        while self._given and (wait or self._given[0][0].done()):
            done, then = self._given.pop(0)
            then(done.result())


class Copier:
    """Brings nested containers of tensors to the host without holding up the device: a clone there, a copy beside."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def take(self, value: Any) -> Callable[[], Any]:
        """Return a function that gives `value` as it is now, on the host; call it in the thread that writes.

        On the CPU nothing is copied: the writer is done before the next step.
        """
        if self._stream is None:
            return lambda: value
        cloned = _each(value, lambda tensor: tensor.detach().clone())
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            host = _each(cloned, self._to_pinned)
            arrived = self._stream.record_event()

        def wait() -> Any:
            arrived.synchronize()
            return host

        return wait

    def _to_pinned(self, tensor: Tensor) -> Tensor:
        if not tensor.is_cuda:
            return tensor
        assert self._stream is not None
        tensor.record_stream(self._stream)
        return torch.empty_like(tensor, device="cpu", pin_memory=True).copy_(tensor, non_blocking=True)


def _each(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return nested dicts, lists and tuples with every tensor changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _each(part, change) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_each(part, change) for part in value)
    return value
