"""What is computed over a set while it is packed: its fingerprint, and the mean and deviation of its pixels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Words = tuple[Sequence[str], Sequence[str], str | None]
"""Captions, tags and label of one picture."""


class Content:
    """Adds up a set picture by picture: SHA-256 over pixels, columns, boxes, captions, tags, labels; sums of pixels.

    Paths and groups do not enter, so that the same pictures elsewhere have the same fingerprint.
    """

    def __init__(self, channels: int) -> None:
        self._digest = hashlib.sha256()
        self._counts = np.zeros((channels, 256), dtype=np.int64)

    def add(self, pixels: NDArray[np.uint8], raw: bytes | None = None, more: Iterable[bytes] = ()) -> None:
        """Take in one picture, uint8 (C, H, W), and digests of its further columns in the order of their names.

        `raw` are its bytes where the caller has them already.
        """
        self._digest.update(pixels.tobytes() if raw is None else raw)
        for digest in more:
            self._digest.update(digest)
        for counts, plane in zip(self._counts, pixels, strict=True):
            counts += np.bincount(plane.reshape(-1), minlength=256)

    def finish(self, boxes: NDArray[np.int16], words: Iterable[Words]) -> None:
        """Take in what is known of the pictures, in their order, after the last of them."""
        self._digest.update(boxes.tobytes())
        for one in words:
            self._digest.update(json.dumps(one).encode())

    def fingerprint(self) -> str:
        """Return the SHA-256 in hexadecimal."""
        return self._digest.hexdigest()

    def moments(self) -> dict[str, list[float]]:
        """Return mean and deviation per channel of all pixels, in units of the full range (0 to 1)."""
        values = np.arange(256) / 255
        number = np.maximum(self._counts.sum(axis=1), 1)
        mean = (self._counts * values).sum(axis=1) / number
        variance = (self._counts * (values[None] - mean[:, None]) ** 2).sum(axis=1) / number
        return {"mean": mean.tolist(), "std": np.sqrt(variance).tolist()}
