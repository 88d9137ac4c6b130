"""Vectors that somebody made of the captions beforehand: embeddings.npy beside the metadata of a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gansweep.data.source import BadPicture
from gansweep.data.told import shown
from gansweep.errors import UserError

VECTORS_FILE = "embeddings.npy"


class GivenVectors:
    """A file of floats (pictures, length), or (pictures, captions, length): a row for each picture, in a known order.

    The order is that in which the metadata first name the pictures; without metadata, that of their names.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: dict[str, int] = {}
        self._vectors: NDArray[Any] = np.empty((0, 0))

    def stamp(self) -> str:
        """Return size and time of the file; UserError when there is none."""
        try:
            stat = self.path.stat()
        except OSError as error:
            raise UserError(f"data.args.encoder=precomputed: {self.path} cannot be read ({error.strerror})") from None
        return f"{stat.st_size}:{stat.st_mtime_ns}"

    def open(self, order: Sequence[str], wanted: Sequence[str]) -> None:
        """Map the file; UserError unless it is as described, with a row for each of `order`, `wanted` among them."""
        try:
            vectors = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except Exception as error:  # Headers are read as Python text, other formats tried: each raises its own.
            what = next(iter(str(error).splitlines()), type(error).__name__)
            raise UserError(f"data.path: {self.path} cannot be read as .npy ({what})") from None
        if not isinstance(vectors, np.ndarray) or vectors.dtype.kind != "f" or vectors.ndim not in (2, 3):
            has = f"{getattr(vectors, 'dtype', 'several arrays')} {getattr(vectors, 'shape', '')}"
            raise UserError(
                f"data.path: {self.path} is {has}; give floats (pictures, length) or (pictures, captions, ...)"
            )
        if len(vectors) != len(order):
            row = f"row {len(order)} has no picture"
            if len(vectors) < len(order):
                row = f"row {len(vectors)} ({shown(order[len(vectors)])}) has none"
            text = f"{self.path} has {len(vectors):,} rows, where there are {len(order):,} pictures"
            raise UserError(f"data.path: {text}: {row}, counted from 0")
        if 0 in vectors.shape:
            raise UserError(f"data.path: {self.path} is {vectors.shape}: vectors without numbers")
        self._rows = {name: row for row, name in enumerate(order)}
        self._vectors = vectors
        lost = next((name for name in wanted if name not in self._rows), None)
        if lost is not None:
            raise UserError(f"data.path: {self.path} has no row for {shown(lost)}, which the metadata do not name")

    def of(self, name: str) -> NDArray[np.float32]:
        """Return a picture's vectors; BadPicture when one is not finite."""
        found = np.array(self._vectors[self._rows[name]], dtype=np.float32)
        if not np.isfinite(found).all():
            raise BadPicture("vectors damaged", f"row {self._rows[name]} of {self.path.name} is not finite")
        return found
