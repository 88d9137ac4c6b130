"""Batches as a pure function of (seed, index): whoever knows the step knows the batch, so resuming needs no state."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gansweep.data.columns import Column, Kind, kind_of, take
from gansweep.data.crops import WIDE, cut
from gansweep.data.dataset import Dataset
from gansweep.data.normalize import check_kind, normalize
from gansweep.errors import UserError

# Separate streams of the same seed: the order of an epoch, the flips of a batch, and its windows.
_ORDER, _FLIP, _CROP = 0, 1, 2
OWN = ""
"""Where a relation is named: the sample itself."""


class Part(NamedTuple):
    """A field of a batch: whose it is (a relation's name, or OWN), which column, and what is made of it.

    `cut` is 0, or how many px of a window, cut anew for the batch, become one.
    """

    name: str
    relation: str
    column: str
    kind: Kind
    cut: int = 0

    @property
    def held(self) -> str:
        """The name of what it is taken from: its column, or the pictures that windows are cut from."""
        return WIDE if self.cut else self.column


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
        crop: bool = False,
        normalize: str = "tanh",
        fields: tuple[str, ...] = ("image",),
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        shuffle: bool = True,
        channels_last: bool = False,
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        """Prepare batches of `batch_size` of `rows`.

        Each epoch is a new order made from (seed, epoch); its last, partial batch is dropped. `fields` are columns of
        the set, or `relation.column`: the same column of the sample that the relation names. With `flip` every image
        is mirrored left to right with probability 1/2, decided from (seed, index); all pixels of one place of the
        batch, its own and its relations', are mirrored alike, so that what belongs together stays so. With `crop` the
        pictures of a set that keeps a margin are windows of data.size at a place decided likewise. `shard` (k, n)
        hands out the k-th of n equal parts of each batch, as one of n processes sees it. Raises UserError when a batch
        is larger than the rows, is not divided by n, or a field is not in the set.
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
        self.dataset, self.rows, self.batch_size, self.seed = (
            dataset,
            np.asarray(rows, dtype=np.int64),
            batch_size,
            seed,
        )
        self.flip, self.normalize, self.shuffle = flip, normalize, shuffle
        self.crop = crop and dataset.wide is not None
        self.fields, self.device, self.dtype = fields, torch.device(device), dtype
        self.channels_last = channels_last
        self.shards = shard[1]
        part = batch_size // shard[1]
        self._part = slice(shard[0] * part, (shard[0] + 1) * part)
        # One cache per object: an epoch's order is asked for once a batch, and seldom more than two epochs are in play.
        self._order = functools.lru_cache(maxsize=2)(self._make_order)
        self.parts = self._plan()
        self.relations = tuple(dict.fromkeys(part.relation for part in self.parts if part.relation != OWN))
        for relation in self.relations:
            dataset.related(relation, self.rows, seed, 0)  # so that who finds nobody is told of now

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in one pass over the rows."""
        return len(self.rows) // self.batch_size

    def rows_of(self, index: int) -> NDArray[np.int64]:
        """Return the row numbers of batch `index` (of this shard's part of it), in the batch's order."""
        epoch, place = divmod(index, self.steps_per_epoch)
        cut = slice(place * self.batch_size, (place + 1) * self.batch_size)
        return (self.rows[self._order(epoch)[cut]] if self.shuffle else self.rows[cut])[self._part]

    def whose(self, index: int) -> dict[str, NDArray[np.int64]]:
        """Return the row numbers of batch `index`, its own under OWN and those of each relation that is asked for."""
        rows = self.rows_of(index)
        related = {name: self.dataset.related(name, rows, self.seed, index) for name in self.relations}
        return {OWN: rows, **related}

    def reach(self) -> NDArray[np.int64]:
        """Return every row that a batch may need, ascending: its own, and all that relations could lead to."""
        if not self.relations:
            return np.unique(self.rows)
        sides = np.unique(self.dataset.held_out[self.rows])
        if len(sides) == 2 or self.dataset.crosses(self.relations):
            return np.arange(self.dataset.count)
        return np.flatnonzero(self.dataset.held_out == sides[0])

    def mirrored(self, index: int) -> NDArray[np.bool_]:
        """Return which images of batch `index` (of this shard's part of it) are mirrored; none without `flip`."""
        if not self.flip:
            return np.zeros(self._part.stop - self._part.start, dtype=np.bool_)
        return (self._random(_FLIP, index).random(self.batch_size) < 0.5)[self._part]

    def corners(self, index: int) -> NDArray[np.int64]:
        """Return where the windows of batch `index` (of this shard's part of it) begin, (B, 2) as top, left in px."""
        wide = self.dataset.wide
        margin_px = 0 if wide is None else wide.shape[-1] - self.dataset.size_px
        return self._random(_CROP, index).integers(0, margin_px + 1, (self.batch_size, 2))[self._part]

    def held(self, part: Part) -> Column:
        """Return what a part is taken from."""
        wide = self.dataset.wide
        return self.dataset.stored(part.column) if wide is None or not part.cut else wide

    def gathered(self, part: Part, rows: NDArray[np.int64], index: int) -> NDArray[Any]:
        """Return a part's values for some rows, windows cut, before mirroring."""
        if part.column == "index":
            return rows.copy()
        values = take(self.held(part), rows)
        return cut(values, self.corners(index), self.dataset.size_px, part.cut) if part.cut else values

    def batch(self, index: int) -> dict[str, Tensor]:
        """Return batch `index` (from 0): the fields asked for, and `index`, int64 row numbers (B).

        `image` and other pictures are float (B, C, H, W), or (B, T, C, H, W), in the range of the normalisation; maps
        and vectors are floats as they are, labels int64.
        """
        whose, mirrored = self.whose(index), self.mirrored(index)
        own = torch.from_numpy(whose[OWN].copy())
        out: dict[str, Tensor] = {"index": own.to(self.device, non_blocking=True)}
        for part in self.parts:
            values = self.gathered(part, whose[part.relation], index)
            if self.flip and part.kind != "plain":
                values[mirrored] = values[mirrored][..., ::-1]
            out[part.name] = self._made(part, values)
        return out

    def _made(self, part: Part, values: NDArray[Any]) -> Tensor:
        if part.kind != "picture":
            return cast(torch.from_numpy(values).to(self.device, non_blocking=True), part.kind, self.dtype)
        # Bytes are laid out and moved before they become floats: a quarter of the traffic.
        laid_out = self.channels_last and values.ndim == 4
        pixels = _channels_last(values) if laid_out else torch.from_numpy(values)
        return normalized(pixels.to(self.device, non_blocking=True), self.normalize, self.dtype)

    def _plan(self) -> tuple[Part, ...]:
        self.dataset.require([name for name in self.fields if name != "image"])
        if self.flip:
            self.dataset.refuse_mirrored(self.fields)
        parts = []
        for name in self.fields:
            relation, _, column = name.rpartition(".")
            kind: Kind = "plain" if column == "index" else kind_of(column, self.dataset.stored(column))
            parts.append(Part(name, relation, column, kind, self.dataset.cuts.get(column, 0) if self.crop else 0))
        return tuple(parts)

    def _make_order(self, epoch: int) -> NDArray[np.int64]:
        return self._random(_ORDER, epoch).permutation(len(self.rows))

    def _random(self, stream: int, number: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64([self.seed, stream, number]))


def cast(values: Tensor, kind: Kind, dtype: torch.dtype) -> Tensor:
    """Return what is no picture in the batch's own type: maps and vectors of floats as `dtype`, others as are."""
    return values.to(dtype) if kind == "map" or values.is_floating_point() else values


def normalized(pixels: Tensor, kind: str, dtype: torch.dtype) -> Tensor:
    """Return uint8 pixels (B, C, H, W), or clips (B, T, C, H, W) frame by frame, as `normalize` does."""
    if pixels.ndim == 4:
        return normalize(pixels, kind, dtype)
    return normalize(pixels.flatten(0, 1), kind, dtype).unflatten(0, pixels.shape[:2])


def _channels_last(pixels: NDArray[np.uint8]) -> Tensor:
    """Return bytes (N, C, H, W) in torch's channels_last layout; plane by plane is six times as fast as torch's own."""
    count, channels, height, width = pixels.shape
    laid_out = np.empty((count, height, width, channels), dtype=np.uint8)
    for channel in range(channels):
        laid_out[..., channel] = pixels[:, channel]
    return torch.from_numpy(laid_out).permute(0, 3, 1, 2)
