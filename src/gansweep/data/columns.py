"""Columns: what a set knows of each picture as numbers, vectors or further pictures, in memory or mapped."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gansweep.errors import UserError

Kind = Literal["picture", "map", "plain"]

# Names that mean something else in a packed set or in a batch.
_TAKEN = "image images box label index id group caption captions tags rows manifest"
RESERVED = frozenset(_TAKEN.split())
_NAME = re.compile(r"[a-z][a-z0-9_]*")
# Smaller values are stored once a row: finding out that they repeat would cost more than they do.
_LEAST_SHARED_BYTES = 1024


class Repeated:
    """A column in which few values stand for many rows: row r has `values[of[r]]`."""

    def __init__(self, values: NDArray[Any], of: NDArray[np.int64]) -> None:
        self.values, self.of = values, of

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that the column would have if each row had its own value."""
        return (len(self.of), *self.values.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """The values' type."""
        return self.values.dtype

    @property
    def nbytes(self) -> int:
        """Bytes that are really there."""
        return self.values.nbytes + self.of.nbytes

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return the values of some rows."""
        return np.take(self.values, self.of[rows], axis=0)


Column = NDArray[Any] | Repeated


def take(column: Column, rows: NDArray[np.int64]) -> NDArray[Any]:
    """Return a column's values for some rows, in their order, as an array of its own."""
    return column.take(rows) if isinstance(column, Repeated) else np.take(column, rows, axis=0)


def kind_of(name: str, column: Column) -> Kind:
    """Say what a batch makes of a column: three axes or more beside the rows are pixels, which mirroring mirrors.

    picture: uint8 pixels, normalised as `image` is. map: pixels that are weights, not colours: floats, and whatever is
    named mask or ends in _mask; as they are. plain: numbers and vectors.
    """
    if len(column.shape) < 4:
        return "plain"
    if name == "mask" or name.endswith("_mask") or column.dtype != np.uint8:
        return "map"
    return "picture"


def check_name(name: str) -> None:
    """Raise UserError for a name that no column can have."""
    if not _NAME.fullmatch(name) or name in RESERVED:
        raise UserError(f"data: no column can be named '{name}' (lower case letters, digits and _; not {_reserved()})")


def _reserved() -> str:
    return ", ".join(sorted(RESERVED))


class ColumnWriters:
    """Writes the further columns of a set while it is packed, each into a file of its own; equal values only once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[str, _Writer] | None = None

    def add(self, columns: Mapping[str, Any], who: str) -> list[bytes]:
        """Take in one picture's columns; returns what is to enter the fingerprint. UserError unless all have alike."""
        arrays = {name: _array(columns[name], name, who) for name in sorted(columns)}
        if self._writers is None:
            self._writers = {name: _Writer(name, self._folder, array) for name, array in arrays.items()}
        if arrays.keys() != self._writers.keys():
            has, first = (", ".join(names) or "none" for names in (arrays, self._writers))
            raise UserError(f"data: {who} came with the columns {has}, where the first picture has {first}")
        return [self._writers[name].add(array, who) for name, array in arrays.items()]

    def finish(self) -> list[str]:
        """Complete the files, flush them to the disk, and return the columns' names."""
        for writer in (self._writers or {}).values():
            writer.finish()
        return list(self._writers or {})


class _Writer:
    """One column: `name.npy` holds its different values, `name.of.npy` which of them each row has, unless it is i."""

    def __init__(self, name: str, folder: Path, first: NDArray[Any]) -> None:
        check_name(name)
        self.name, self.folder = name, folder
        self.shape, self.dtype = first.shape, first.dtype
        self.out = (folder / f"{name}.npy").open("wb")
        self.known: dict[bytes, int] = {}
        self.of: list[int] = []
        self.count = 0
        self._header(1)

    def add(self, value: NDArray[Any], who: str) -> bytes:
        if value.shape != self.shape or value.dtype != self.dtype:
            raise UserError(
                f"data: the column '{self.name}' of {who} is {value.dtype} {value.shape}, where the first picture has "
                f"{self.dtype} {self.shape}"
            )
        raw = value.tobytes()
        digest = hashlib.sha256(raw).digest()
        place = self.known.get(digest)
        if place is None:
            place, self.count = self.count, self.count + 1
            self.out.write(raw)
            if len(raw) >= _LEAST_SHARED_BYTES:
                self.known[digest] = place
        self.of.append(place)
        return digest

    def finish(self) -> None:
        self.out.seek(0)
        self._header(self.count)
        _close(self.out)
        if self.count < len(self.of):
            with (self.folder / f"{self.name}.of.npy").open("wb") as out:
                np.save(out, np.array(self.of, dtype=np.int64), allow_pickle=False)
                _close(out)

    def _header(self, count: int) -> None:
        described = np.lib.format.dtype_to_descr(self.dtype)
        header = {"descr": described, "fortran_order": False, "shape": (count, *self.shape)}
        np.lib.format.write_array_header_1_0(self.out, header)


def read_column(folder: Path, name: str) -> Column:
    """Return a packed column, its values mapped from the file, read-only."""
    values: NDArray[Any] = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
    of = folder / f"{name}.of.npy"
    return Repeated(values, np.load(of, allow_pickle=False)) if of.exists() else values


def in_memory(column: Column) -> Column:
    """Return the same column read into memory, read-only."""
    if isinstance(column, Repeated):
        return Repeated(_read(column.values), column.of)
    return _read(column)


def row_digest(column: Column, row: int) -> bytes:
    """Return one row's part in the fingerprint, as `ColumnWriters.add` gave it."""
    value = column.values[column.of[row]] if isinstance(column, Repeated) else column[row]
    return hashlib.sha256(np.asarray(value).tobytes()).digest()


def _array(value: Any, name: str, who: str) -> NDArray[Any]:
    """Return a value as stored: whole numbers as int64 (uint8 pixels apart), other numbers as float32 or as are."""
    array = np.ascontiguousarray(value) if np.ndim(value) else np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise UserError(f"data: the column '{name}' of {who} is {array.dtype}; give numbers")
    if array.dtype.kind in "iu" and not (array.dtype == np.uint8 and array.ndim >= 3):
        return array.astype(np.int64)
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _read(values: NDArray[Any]) -> NDArray[Any]:
    read = np.array(values)
    read.setflags(write=False)
    return read


def _close(out: Any) -> None:
    out.flush()
    os.fsync(out.fileno())
    out.close()
