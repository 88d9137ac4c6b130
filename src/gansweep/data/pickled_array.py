"""What a pickle may hold beside lists and texts: byte strings in their place, and plain numpy arrays made of them."""

from __future__ import annotations

import codecs
import mmap
import re
from enum import Enum
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gansweep.data.told import shown

# Shorter byte strings are read at once: names, captions and single numbers.
LEAST_SPAN = 4096
# A letter of data takes up to six of a pickle's: \u000a.
_MOST_ESCAPED = 6
_MOST_AXES = 8
MOST_SHOWN = 100
_DTYPE = re.compile(r"[<>=|]?(?:[iu][1248]|f[248]|b1)")
_ORDERS = ("<", ">", "=", "|")


class Refused(Exception):
    """A pickle asks for something that is not read: the words go on from the file's name."""


class Name(Enum):
    """The functions and classes that a pickle may name; none of them is called."""

    RECONSTRUCT = "numpy.core.multiarray._reconstruct"
    SCALAR = "numpy.core.multiarray.scalar"
    FROM_BUFFER = "numpy.core.numeric._frombuffer"
    NDARRAY = "numpy.ndarray"
    DTYPE = "numpy.dtype"
    ENCODE = "_codecs.encode"
    BYTES = "__builtin__.bytes"


_NAMES = {name.value: name for name in Name}
# numpy 2 moved its inner parts; Python 3 its built-in ones.
_MOVED = {"numpy._core.": "numpy.core.", "builtins.": "__builtin__."}


def named(module: Any, name: Any) -> Name:
    """Return what a pickle names, if it may; Refused, with the name, if not."""
    if isinstance(module, bytes) and isinstance(name, bytes):
        module, name = module.decode("latin1"), name.decode("latin1")
    if not isinstance(module, str) or not isinstance(name, str):
        raise Refused("is damaged: it asks for something that is no name")
    asked = f"{module}.{name}"
    moved = next((asked.replace(new, old, 1) for new, old in _MOVED.items() if asked.startswith(new)), asked)
    if moved not in _NAMES:
        raise Refused(f"asks for {shown(asked, MOST_SHOWN)}, which is not what pictures, vectors and names are made of")
    return _NAMES[moved]


class Span:
    """A byte string in its place in the file.

    `kind` says how it is written: bytes, as it is; escaped, as Python 2 prints it; unicode, as UTF-8 whose letters are
    the bytes (latin1); unicode_line, the same with backslashes.
    """

    __slots__ = ("_buffer", "kind", "start", "stop")

    def __init__(self, buffer: mmap.mmap, start: int, stop: int, kind: str) -> None:
        self._buffer, self.start, self.stop, self.kind = buffer, start, stop, kind

    def fits(self, count: int) -> bool:
        """Say whether it may stand for `count` bytes, without decoding it."""
        length = self.stop - self.start
        return length == count if self.kind == "bytes" else count <= length <= _MOST_ESCAPED * count

    def short(self) -> Any:
        """Return a short one at once, as bytes or (unicode) as str; a long one as itself."""
        if self.stop - self.start >= LEAST_SPAN:
            return self
        try:
            return self._text() if self.kind.startswith("unicode") else bytes(self.bytes())
        except ValueError as error:
            raise Refused(f"is damaged: a text that cannot be read ({error})") from None

    def bytes(self) -> bytes | memoryview:
        """Return the bytes, those of kind bytes without copying them; Refused for what is not written so."""
        try:
            if self.kind == "bytes":
                return memoryview(self._buffer)[self.start : self.stop]
            if self.kind == "escaped":
                return codecs.escape_decode(self._buffer[self.start : self.stop])[0]
            return self._text().encode("latin1")
        except ValueError as error:
            raise Refused(f"is damaged: bytes that cannot be read ({error})") from None

    def _text(self) -> str:
        raw = self._buffer[self.start : self.stop]
        return raw.decode("raw-unicode-escape") if self.kind == "unicode_line" else raw.decode("utf-8", "surrogatepass")


class DType:
    """A plain numeric type, as a pickle builds it: `f4`, then its byte order."""

    def __init__(self, code: str) -> None:
        if not _DTYPE.fullmatch(code):
            raise Refused(f"has an array of the type {code!r}; plain numbers alone are read, no objects")
        self.dtype = np.dtype(code)

    def order(self, order: str) -> None:
        """Take in the byte order."""
        if order not in _ORDERS:
            raise Refused(f"has an array of the byte order {order!r}")
        if order != "|":
            self.dtype = np.dtype(f"{order}{self.dtype.kind}{self.dtype.itemsize}")


class Held:
    """An array of plain numbers that is still in the file: `shape`, `dtype`, and `array()` to have it."""

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = ()
        self.dtype: np.dtype[Any] = np.dtype("u1")
        self._data: bytes | Span | None = None
        self._order = "C"

    @classmethod
    def of(cls, values: NDArray[Any]) -> Held:
        """Return one that stands for an array that is there already."""
        held = cls()
        held.shape, held.dtype, held._data = values.shape, values.dtype, values.tobytes()
        return held

    def array(self) -> NDArray[Any]:
        """Return the numbers, read-only; ValueError when they are not as many as the shape says."""
        try:
            data = self._data.bytes() if isinstance(self._data, Span) else self._data or b""
        except Refused as error:
            raise ValueError(str(error)) from None
        wanted = prod(self.shape) * self.dtype.itemsize
        if len(data) != wanted:
            raise ValueError(f"an array of {wanted:,} bytes by its shape {self.shape} has {len(data):,}")
        flat = np.frombuffer(data, dtype=self.dtype)
        return flat.reshape(self.shape, order="F" if self._order == "F" else "C")

    def fill(self, shape: Any, dtype: Any, data: Any, order: Any, budget: Budget) -> None:
        """Take in what a pickle says of it, sizes first."""
        if self._data is not None or not isinstance(dtype, DType) or not isinstance(shape, tuple):
            raise Refused("is damaged, or made by other means: an array without shape or type")
        if len(shape) > _MOST_AXES or not all(type(length) is int and length >= 0 for length in shape):
            raise Refused(f"has an array of the shape {shape}")
        data = data.encode("latin1", "replace") if isinstance(data, str) else data
        if not isinstance(data, bytes | Span):
            raise Refused("has an array without bytes: of objects, or made by other means")
        wanted = prod(shape) * dtype.dtype.itemsize
        if not (data.fits(wanted) if isinstance(data, Span) else len(data) == wanted):
            length = data.stop - data.start if isinstance(data, Span) else len(data)
            raise Refused(f"has an array of {wanted:,} bytes by its shape {shape}, and {length:,} bytes for it")
        budget.spend(wanted)
        self.shape, self.dtype, self._data, self._order = shape, dtype.dtype, data, "F" if order in ("F", b"F") else "C"

    @property
    def whole(self) -> bool:
        """Say whether it was filled."""
        return self._data is not None


class Budget:
    """Counts the bytes of all arrays: the same bytes may not stand for many, so there are no more than in the file."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._begun: list[Held] = []

    def spend(self, count: int) -> None:
        """Count the bytes of one array; Refused beyond the file's own."""
        self._left -= count
        if self._left < 0:
            raise Refused("says its arrays are larger than the file")

    def begin(self) -> Held:
        """Return an array that is still to be filled."""
        self._begun.append(Held())
        return self._begun[-1]

    def finish(self) -> None:
        """Refuse a file that left an array unfilled."""
        if not all(one.whole for one in self._begun):
            raise Refused("is damaged: an array without its numbers")


def reduced(called: Any, arguments: Any, budget: Budget) -> Any:
    """Return what calling a name would give, made here: an array, a type, a number, a byte string."""
    if not isinstance(called, Name) or not isinstance(arguments, tuple):
        raise Refused("calls something that is no function")
    match called, arguments:
        case Name.RECONSTRUCT, (Name.NDARRAY, (0,), b"b" | "b"):
            return budget.begin()
        case Name.DTYPE, (str() | bytes() as code, *_):
            return DType(code.decode("latin1") if isinstance(code, bytes) else code)
        case Name.FROM_BUFFER, (data, DType() as dtype, tuple() as shape, order):
            found = budget.begin()
            found.fill(shape, dtype, data, order, budget)
            return found
        case Name.SCALAR, (DType() as dtype, data):
            one = Held()
            one.fill((), dtype, data, "C", budget)
            return one.array().item()
        case Name.ENCODE, (str() as text, "latin1" | b"latin1"):
            return _latin1(text)
        case Name.ENCODE, (Span() as span, "latin1" | b"latin1") if span.kind.startswith("unicode"):
            return span
        case Name.BYTES, ():
            return b""
    raise Refused(f"calls {called.value} with what it does not take")


def stated(value: Any, state: Any, budget: Budget) -> None:
    """Give an array its shape, type and bytes, or a type its byte order; Refused for anything else."""
    match value, state:
        case Held(), (1, tuple() as shape, dtype, bool() | int() as fortran, data):
            value.fill(shape, dtype, data, "F" if fortran else "C", budget)
        case DType(), (3, str() | bytes() as order, None, None, None, *_):
            value.order(order.decode("latin1") if isinstance(order, bytes) else order)
        case DType(), _:
            raise Refused("has an array of records or of a type with more to it; plain numbers alone are read")
        case _:
            raise Refused(f"sets the state of a {type(value).__name__}")


def _latin1(text: str) -> bytes:
    try:
        return text.encode("latin1")
    except UnicodeEncodeError:
        raise Refused("is damaged: letters that are no bytes") from None
