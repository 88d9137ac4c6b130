"""A packed set in use: its pixels, its fields, its split."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gansweep.data.split import held_out
from gansweep.errors import UserError, nearest

Fields = dict[str, Any]

# For the message about a field that is not there; image, group and box are in every shipped set.
_SHIPPED_WITH = {
    "label": ("emoji", "fashion_mnist", "folder with a sub-folder per class or a label in its metadata"),
    "caption": ("emoji", "folder with captions in its metadata or in .txt files"),
    "tags": ("emoji", "fashion_mnist", "folder with sub-folders or tags in its metadata"),
}


@dataclass
class Dataset:
    """Pictures as uint8 (N, C, H, W) with what is known of each.

    `images` is a read-only memory map, or an array when small. `fields` holds only what the set has: "label" int64
    (N,), "box" int16 (N, 4) as left, top, right, bottom in px of the part that is picture, "caption" and "tags" (a list
    of texts per row), "group" and "id" (text per row). `fingerprint` is a SHA-256 of the content without paths.
    """

    images: NDArray[np.uint8]
    fields: Fields
    label_names: list[str]
    fingerprint: str
    manifest: dict[str, Any]
    source: str
    val_fraction: float = 0.0
    _held_out: NDArray[np.bool_] | None = field(default=None, repr=False)

    @property
    def count(self) -> int:
        """Number of pictures."""
        return int(self.images.shape[0])

    @property
    def size_px(self) -> int:
        """Height and width of a picture in px."""
        return int(self.images.shape[2])

    @property
    def channels(self) -> int:
        """1 for grey, 3 for red, green and blue."""
        return int(self.images.shape[1])

    def split(self, name: Literal["train", "val"]) -> NDArray[np.int64]:
        """Return the row numbers of a part, ascending, int64; "val" is empty without held-out pictures."""
        if name not in ("train", "val"):
            raise UserError(f"a split is train or val, not {name}{nearest(name, ('train', 'val'))}")
        if self._held_out is None:
            self._held_out = held_out(self.fields["group"], self.val_fraction)
        return np.flatnonzero(self._held_out if name == "val" else ~self._held_out).astype(np.int64)

    def require(self, names: Iterable[str]) -> None:
        """Raise UserError for a field that the set has not, naming those it has and the shipped sets that have it."""
        for name in names:
            if name in self.fields:
                continue
            known = ", ".join(["image", *self.fields])
            shipped = "; ".join(_SHIPPED_WITH.get(name, ()))
            hint = f"; sets that have it: {shipped}" if shipped else ""
            raise UserError(f"data: {self.source} has no field '{name}' (it has {known}){hint}")

    def column(self, name: str) -> NDArray[Any]:
        """Return a field of numbers, one row per picture; raises UserError for a missing field or one of text."""
        self.require([name])
        values = self.fields[name]
        if not isinstance(values, np.ndarray):
            raise UserError(f"data: the field '{name}' of {self.source} is text, which no batch of tensors can hold")
        return values
