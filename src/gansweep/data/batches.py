"""Batches as a pure function of (seed, index): whoever knows the step knows the batch, so resuming needs no state."""

from __future__ import annotations

import functools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gansweep.data.dataset import Dataset
from gansweep.data.normalize import check_kind, normalize
from gansweep.errors import UserError

# Separate streams of the same seed: the order of an epoch, and the flips of a batch.
_ORDER, _FLIP = 0, 1


class Batches:
    """Cuts rows of a packed set into batches; `batch(i)` is the same whenever and wherever it is asked for."""

    def __init__(
        self,
        dataset: Dataset,
        rows: NDArray[np.int64],
        batch_size: int,
        seed: int,
        *,
        flip: bool = False,
        normalize: str = "tanh",
        fields: tuple[str, ...] = ("image",),
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        shuffle: bool = True,
        channels_last: bool = False,
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        """Prepare batches of `batch_size` of `rows`.

        Each epoch is a new order made from (seed, epoch); its last, partial batch is dropped. With `flip` every image
        is mirrored left to right with probability 1/2, decided from (seed, index). `shard` (k, n) hands out the k-th of
        n equal parts of each batch, as one of n processes sees it. Raises UserError when a batch is larger than the
        rows, is not divided by n, or a field is not in the set.
        """
        check_kind(normalize)
        if batch_size < 1:
            raise UserError(f"batch_size={batch_size} is out of range: 1 or more")
        if len(rows) < batch_size:
            raise UserError(
                f"batch_size={batch_size} is more than the {len(rows):,} pictures of {dataset.source} "
                f"it is drawn from: at most {len(rows)} is possible"
            )
        if batch_size % shard[1]:
            raise UserError(f"batch_size={batch_size} is not divided by the {shard[1]} processes that share it")
        dataset.require([name for name in fields if name != "image"])
        self.dataset, self.rows, self.batch_size, self.seed = (
            dataset,
            np.asarray(rows, dtype=np.int64),
            batch_size,
            seed,
        )
        self.flip, self.normalize, self.shuffle = flip, normalize, shuffle
        self.fields, self.device, self.dtype = fields, torch.device(device), dtype
        self.channels_last = channels_last
        self.shards = shard[1]
        part = batch_size // shard[1]
        self._part = slice(shard[0] * part, (shard[0] + 1) * part)
        # One cache per object: an epoch's order is asked for once a batch, and seldom more than two epochs are in play.
        self._order = functools.lru_cache(maxsize=2)(self._make_order)

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in one pass over the rows."""
        return len(self.rows) // self.batch_size

    def rows_of(self, index: int) -> NDArray[np.int64]:
        """Return the row numbers of batch `index` (of this shard's part of it), in the batch's order."""
        epoch, place = divmod(index, self.steps_per_epoch)
        cut = slice(place * self.batch_size, (place + 1) * self.batch_size)
        return (self.rows[self._order(epoch)[cut]] if self.shuffle else self.rows[cut])[self._part]

    def mirrored(self, index: int) -> NDArray[np.bool_]:
        """Return which images of batch `index` (of this shard's part of it) are mirrored; none without `flip`."""
        if not self.flip:
            return np.zeros(self._part.stop - self._part.start, dtype=np.bool_)
        return (self._random(_FLIP, index).random(self.batch_size) < 0.5)[self._part]

    def batch(self, index: int) -> dict[str, Tensor]:
        """Return batch `index` (from 0): `image` float (B, C, H, W), other fields asked for, `index` int64 rows (B)."""
        rows = self.rows_of(index)
        out: dict[str, Tensor] = {"index": torch.from_numpy(rows.copy()).to(self.device, non_blocking=True)}
        for name in self.fields:
            if name == "image":
                out[name] = self._images(rows, index)
            else:
                column = np.take(self.dataset.column(name), rows, axis=0)
                out[name] = torch.from_numpy(column).to(self.device, non_blocking=True)
        return out

    def _images(self, rows: NDArray[np.int64], index: int) -> Tensor:
        taken = np.take(self.dataset.images, rows, axis=0)
        if self.flip:
            mirrored = self.mirrored(index)
            taken[mirrored] = taken[mirrored][..., ::-1]
        # Bytes are laid out and moved before they become floats: a quarter of the traffic.
        pixels = _channels_last(taken) if self.channels_last else torch.from_numpy(taken)
        return normalize(pixels.to(self.device, non_blocking=True), self.normalize, self.dtype)

    def _make_order(self, epoch: int) -> NDArray[np.int64]:
        return self._random(_ORDER, epoch).permutation(len(self.rows))

    def _random(self, stream: int, number: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64([self.seed, stream, number]))


def _channels_last(pixels: NDArray[np.uint8]) -> Tensor:
    """Return bytes (N, C, H, W) in torch's channels_last layout; plane by plane is six times as fast as torch's own."""
    count, channels, height, width = pixels.shape
    laid_out = np.empty((count, height, width, channels), dtype=np.uint8)
    for channel in range(channels):
        laid_out[..., channel] = pixels[:, channel]
    return torch.from_numpy(laid_out).permute(0, 3, 1, 2)
