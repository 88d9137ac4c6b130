"""A seeded choice of features, kept while all pass by: what metrics that compare images pair by pair work on."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gansweep.metrics.moments import check_features
from gansweep.metrics.sums import NotFinite, first_bad_row

KEEP = 10_000
KEEP_SEED = 2020


class KeptFeatures:
    """The features of `keep` of `images` images, chosen at random under `seed` before the first one.

    Memory is keep x D in the features' own type: 82 MB for 10,000 of 2048 float32. Parts of the set join by `merge`, to
    the same bits however they were cut.
    """

    def __init__(
        self, images: int, keep: int = KEEP, seed: int = KEEP_SEED, device: torch.device | str = "cpu"
    ) -> None:
        self.images, self.keep, self.seed = images, min(keep, images), seed
        self.device = torch.device(device)
        chosen = np.sort(np.random.RandomState(seed).permutation(images)[: self.keep])
        slot_of_row = np.full(images, -1, dtype=np.int64)
        slot_of_row[chosen] = np.arange(self.keep)
        self._slot_of_row = torch.from_numpy(slot_of_row)
        self._filled = torch.zeros(self.keep, dtype=torch.bool)
        self._table: Tensor | None = None
        self._first_bad = torch.tensor(images, device=self.device)
        self.seen = 0

    def update(self, features: Tensor, rows: Tensor | None = None) -> None:
        """Look at the features (B, D) of the next B images, or of the images numbered `rows` (int64 (B,), on the CPU).

        ValueError for more images than were announced. Nothing is read back from the device.
        """
        check_features(features)
        if self.seen + len(features) > self.images:
            raise ValueError(f"{self.seen + len(features)} images given where {self.images} were announced")
        rows = torch.arange(self.seen, self.seen + len(features)) if rows is None else rows
        self.seen += len(features)
        features = features.detach().to(self.device)
        if self._table is None:
            self._table = torch.zeros(self.keep, features.shape[1], dtype=features.dtype, device=self.device)
        if len(features):
            bad = first_bad_row(features, rows, self.images)
            self._first_bad = torch.minimum(self._first_bad, bad)
        kept = torch.nonzero(self._slot_of_row[rows] >= 0).flatten()
        slots = self._slot_of_row[rows[kept]]
        self._filled[slots] = True
        picked = features.index_select(0, kept.to(self.device, non_blocking=True))
        self._table.index_copy_(0, slots.to(self.device, non_blocking=True), picked)

    def merge(self, other: KeptFeatures) -> None:
        """Take over what another part of the same set (same images, keep and seed) has kept."""
        if (other.images, other.keep, other.seed) != (self.images, self.keep, self.seed):
            raise ValueError("the two parts were announced with different numbers of images, or seeds")
        self._first_bad = torch.minimum(self._first_bad, other._first_bad.to(self.device))
        self.seen += other.seen
        if other._table is None:
            return
        if self._table is None:
            self._table = torch.zeros_like(other._table, device=self.device)
        filled = other._filled.nonzero().flatten()
        self._table[filled.to(self.device)] = other._table[filled.to(other.device)].to(self.device)
        self._filled |= other._filled

    def state(self) -> dict[str, Any]:
        """Return what an interrupted pass, or another process, goes on from: tensors on the CPU and plain numbers."""
        table = None if self._table is None else self._table.cpu()
        return {"seen": self.seen, "filled": self._filled, "first_bad": self._first_bad.cpu(), "table": table}

    def load(self, state: dict[str, Any]) -> None:
        """Take up the state of the same choice (same images, keep and seed)."""
        self.seen, self._filled = int(state["seen"]), state["filled"].clone()
        self._first_bad = state["first_bad"].to(self.device)
        self._table = None if state["table"] is None else state["table"].to(self.device, copy=True)

    def features(self) -> Tensor:
        """Return the kept features (keep, D), by row; ValueError before all were given, NotFinite for a bad sample."""
        if int(self._first_bad) < self.images:
            raise NotFinite("the judge's features", int(self._first_bad))
        if self._table is None or not bool(self._filled.all()):
            raise ValueError(f"{int(self._filled.sum())} of the {self.keep} features to keep were given")
        return self._table
