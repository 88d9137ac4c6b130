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
from torch import Tensor

from gansweep.data.batches import Batches
from gansweep.data.normalize import normalize

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
        """Return the batch: `image` float (B, C, H, W), other fields, `index`; device work alone."""


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
        rows, images = batches.rows, batches.dataset.images
        count, channels, height, width = len(rows), *images.shape[1:]
        # Channels innermost: a gathered batch then has the layout that convolutions want.
        self._pixels = torch.empty((count, height, width, channels), dtype=torch.uint8, device=self.device)
        for at in range(0, count, _ROWS):
            part = np.ascontiguousarray(images[rows[at : at + _ROWS]].transpose(0, 2, 3, 1))
            self._pixels[at : at + len(part)].copy_(torch.from_numpy(part))
        self._rows = torch.from_numpy(np.ascontiguousarray(rows)).to(self.device)
        self._columns = {
            name: torch.from_numpy(np.ascontiguousarray(batches.dataset.column(name)[rows])).to(self.device)
            for name in batches.fields
            if name != "image"
        }
        # Row numbers of the data set → places among those kept here.
        self._places = np.full(batches.dataset.count, -1, dtype=np.int64)
        self._places[rows] = np.arange(count)
        self._chunk: tuple[int, Tensor, Tensor] | None = None

    def raw(self, index: int) -> dict[str, Tensor]:
        """Return batch `index` as places (B) int64 and mirrorings (B) bool, both on the device."""
        number, at = divmod(index, _CHUNK)
        if self._chunk is None or self._chunk[0] != number:
            wanted = range(number * _CHUNK, (number + 1) * _CHUNK)
            places = np.stack([self._places[self.batches.rows_of(n)] for n in wanted])
            mirrored = np.stack([self.batches.mirrored(n) for n in wanted])
            self._chunk = (number, upload(places, self.device), upload(mirrored, self.device))
        return {"place": self._chunk[1][at], "mirrored": self._chunk[2][at]}

    def finish(self, raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Gather, mirror, normalise."""
        place = raw["place"]
        batch = {"index": self._rows.index_select(0, place)}
        for name in self.batches.fields:
            if name == "image":
                pixels = self._pixels.index_select(0, place).permute(0, 3, 1, 2)
                batch[name] = _pictures(pixels, raw["mirrored"], self.batches)
            else:
                batch[name] = self._columns[name].index_select(0, place)
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
        rows = batches.rows_of(index)
        host: dict[str, Any] = {"mirrored": batches.mirrored(index), "index": rows}
        for name in batches.fields:
            source = batches.dataset.images if name == "image" else batches.dataset.column(name)
            taken = np.take(source, rows, axis=0)
            host[name] = taken.transpose(0, 2, 3, 1) if name == "image" else taken
        with torch.cuda.stream(self._stream):
            tensors = {name: upload(np.ascontiguousarray(array), self.device) for name, array in host.items()}
            return tensors, self._stream.record_event()

    def finish(self, raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Mirror and normalise."""
        batch = {name: value for name, value in raw.items() if name not in ("image", "mirrored")}
        batch["image"] = _pictures(raw["image"].permute(0, 3, 1, 2), raw["mirrored"], self.batches)
        return batch


def _pictures(pixels: Tensor, mirrored: Tensor, batches: Batches) -> Tensor:
    if batches.flip:
        pixels = torch.where(mirrored[:, None, None, None], pixels.flip(3), pixels)
    layout = torch.channels_last if batches.channels_last else torch.contiguous_format
    return normalize(pixels.contiguous(memory_format=layout), batches.normalize, batches.dtype)


def upload(array: Any, device: torch.device) -> Tensor:
    """Return `array` on the device, through pinned memory where there is any, without waiting for it."""
    host = torch.from_numpy(array)
    return host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else host.to(device)


def open_feed(batches: Batches) -> Feed:
    """Return the feed that fits the batches' device: on CUDA the whole set is there if free memory allows, measured."""
    if batches.device.type != "cuda":
        return Plain(batches)
    one = int(np.prod(batches.dataset.images.shape[1:]))
    free, _ = torch.cuda.mem_get_info(batches.device)
    return Resident(batches) if len(batches.rows) * one <= _SHARE * free else Streamed(batches)
