"""How batches reach a step: made on the host, gathered on the device, or streamed to it ahead of time.

A feed has two halves. `raw(index)` hands over what has to come from outside the step; `finish(raw)` makes the batch of
it by device work alone, so that it can be part of a recorded step. Whichever feed: the same batches.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gansweep.data.batches import OWN, Batches, Part, cast, normalized
from gansweep.data.columns import Column, Kind, Repeated
from gansweep.data.crops import cut_held

# Share of the free device memory that a data set may take; the rest is for activations, which come later.
_SHARE = 0.4
# Batches whose row numbers and mirrorings are brought to the device at once.
_CHUNK = 256
# Rows brought to the device at once, when the whole set goes there.
_ROWS = 4096
# Streamed batches on their way: one in use, one ready, one being gathered.
_SLOTS = 3


class Feed(Protocol):
    """What the loop takes batches from."""

    where: str

    def raw(self, index: int) -> dict[str, Tensor]:
        """Return what batch `index` is made of."""

    def finish(self, raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the batch: `index` and the fields, as `Batches.batch`; device work alone."""


class Plain:
    """Batches made on the host, as they are: for the CPU."""

    where = "host memory"

    def __init__(self, batches: Batches) -> None:
        self.raw = batches.batch

    def finish(self, raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return `raw`."""
        return dict(raw)


class Resident:
    """The whole set on the device, as bytes; a batch is gathered, mirrored and normalised there."""

    where = "device memory"

    def __init__(self, batches: Batches) -> None:
        self.batches, self.device = batches, batches.device
        kept = batches.reach() if batches.relations else batches.rows
        columns = {part.held: part for part in batches.parts if part.column != "index"}
        self._columns = {name: self._brought(part, kept) for name, part in columns.items()}
        self._cuts = any(part.cut for part in batches.parts)
        self._rows = torch.from_numpy(np.ascontiguousarray(kept)).to(self.device)
        # Row numbers of the data set → places among those kept here.
        self._places = np.full(batches.dataset.count, -1, dtype=np.int64)
        self._places[kept] = np.arange(len(kept))
        self._chunk: tuple[int, dict[str, Tensor]] | None = None

    def _brought(self, part: Part, kept: NDArray[np.int64]) -> tuple[Tensor, Tensor | None]:
        """Return a column on the device, and the place in it of every kept row where rows share values."""
        column, of = self.batches.held(part), None
        if isinstance(column, Repeated):
            of = torch.from_numpy(column.of[kept]).to(self.device)
            kept = np.arange(len(column.values))
        values = column.values if isinstance(column, Repeated) else column
        inner = _inner(part.kind, values.ndim)
        shape = [len(kept), *(values.shape[axis] for axis in inner[1:])]
        dtype = torch.from_numpy(np.empty(0, values.dtype)).dtype
        held = torch.empty(shape, dtype=dtype, device=self.device)
        for at in range(0, len(kept), _ROWS):
            some = np.ascontiguousarray(np.take(values, kept[at : at + _ROWS], axis=0).transpose(inner))
            held[at : at + len(some)].copy_(torch.from_numpy(some))
        return held, of

    def raw(self, index: int) -> dict[str, Tensor]:
        """Return batch `index` on the device: places (B) int64, one for each relation too, and mirrorings (B) bool.

        And corners (B, 2) int64, where windows are cut.
        """
        number, at = divmod(index, _CHUNK)
        if self._chunk is None or self._chunk[0] != number:
            wanted = range(number * _CHUNK, (number + 1) * _CHUNK)
            whose = [self.batches.whose(n) for n in wanted]
            host = {_place(name): np.stack([self._places[one[name]] for one in whose]) for name in whose[0]}
            host["mirrored"] = np.stack([self.batches.mirrored(n) for n in wanted])
            if self._cuts:
                host["corners"] = np.stack([self.batches.corners(n) for n in wanted])
            self._chunk = (number, {name: upload(values, self.device) for name, values in host.items()})
        return {name: values[at] for name, values in self._chunk[1].items()}

    def finish(self, raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Gather or cut, mirror, normalise."""
        batch = {"index": self._rows.index_select(0, raw[_place(OWN)])}
        for part in self.batches.parts:
            place = raw[_place(part.relation)]
            if part.column == "index":
                batch[part.name] = self._rows.index_select(0, place)
                continue
            held, of = self._columns[part.held]
            if part.cut:
                values = cut_held(held, place, raw["corners"], self.batches.dataset.size_px, part.cut)
            else:
                values = held.index_select(0, place if of is None else of.index_select(0, place))
            batch[part.name] = _made(values, part.kind, raw["mirrored"], self.batches)
        return batch


class Streamed:
    """Batches gathered by a thread into pinned memory and copied on a stream of their own, ahead of the step."""

    where = "pinned host memory, streamed"

    def __init__(self, batches: Batches) -> None:
        self.batches, self.device = batches, batches.device
        self._stream = torch.cuda.Stream(self.device)
        self._gatherer = ThreadPoolExecutor(1, thread_name_prefix="gansweep-feed")
        self._coming: dict[int, Future[tuple[dict[str, Tensor], torch.cuda.Event]]] = {}

    def raw(self, index: int) -> dict[str, Tensor]:
        """Return the bytes and mirrorings of batch `index`, on the device; the next two are on their way."""
        for number in range(index, index + _SLOTS):
            if number not in self._coming:
                self._coming[number] = self._gatherer.submit(self._fetch, number)
        tensors, arrived = self._coming.pop(index).result()
        for number in [n for n in self._coming if n < index]:
            del self._coming[number]
        now = torch.cuda.current_stream(self.device)
        now.wait_event(arrived)
        for tensor in tensors.values():
            tensor.record_stream(now)
        return tensors

    def _fetch(self, index: int) -> tuple[dict[str, Tensor], torch.cuda.Event]:
        batches = self.batches
        whose = batches.whose(index)
        host: dict[str, Any] = {"mirrored": batches.mirrored(index), "index": whose[OWN]}
        for part in batches.parts:
            taken = batches.gathered(part, whose[part.relation], index)
            host[part.name] = taken.transpose(_inner(part.kind, taken.ndim))
        with torch.cuda.stream(self._stream):
            tensors = {name: upload(np.ascontiguousarray(array), self.device) for name, array in host.items()}
            return tensors, self._stream.record_event()

    def finish(self, raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Mirror and normalise."""
        batch = {"index": raw["index"]}
        for part in self.batches.parts:
            batch[part.name] = _made(raw[part.name], part.kind, raw["mirrored"], self.batches)
        return batch


def _inner(kind: Kind, axes: int) -> tuple[int, ...]:
    """Return the order in which a column's axes are kept: channels innermost, as convolutions want them gathered."""
    return (0, 2, 3, 1) if kind == "picture" and axes == 4 else tuple(range(axes))


def _place(relation: str) -> str:
    return f"place.{relation}" if relation else "place"


def _made(values: Tensor, kind: Kind, mirrored: Tensor, batches: Batches) -> Tensor:
    """Make a field of what was gathered, as `Batches.batch` does of the same bytes."""
    if kind == "plain":
        return cast(values, kind, batches.dtype)
    pixels = values.permute(0, 3, 1, 2) if kind == "picture" and values.ndim == 4 else values
    if batches.flip:
        pixels = torch.where(mirrored.view(-1, *[1] * (pixels.ndim - 1)), pixels.flip(-1), pixels)
    if kind == "map":
        return cast(pixels, kind, batches.dtype)
    laid_out = batches.channels_last and pixels.ndim == 4
    layout = torch.channels_last if laid_out else torch.contiguous_format
    return normalized(pixels.contiguous(memory_format=layout), batches.normalize, batches.dtype)


def upload(array: Any, device: torch.device) -> Tensor:
    """Return `array` on the device, through pinned memory where there is any, without waiting for it."""
    host = torch.from_numpy(array)
    return host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else host.to(device)


def open_feed(batches: Batches) -> Feed:
    """Return the feed that fits the batches' device: on CUDA the whole set is there if free memory allows, measured."""
    if batches.device.type != "cuda":
        return Plain(batches)
    kept = batches.reach() if batches.relations else batches.rows
    columns = {part.held: part for part in batches.parts if part.column != "index"}
    needed = sum(_bytes(batches.held(part), len(kept)) for part in columns.values())
    free, _ = torch.cuda.mem_get_info(batches.device)
    return Resident(batches) if needed <= _SHARE * free else Streamed(batches)


def _bytes(column: Column, rows: int) -> int:
    if isinstance(column, Repeated):
        return column.nbytes
    return rows * int(np.prod(column.shape[1:])) * column.dtype.itemsize
