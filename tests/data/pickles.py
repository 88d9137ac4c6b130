"""Pickles as Python 2 wrote them, byte by byte, for there is no Python 2 here: protocols 0, 1 and 2."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np


def python2(value: Any, protocol: int) -> bytes:
    """Return what Python 2's `pickle.dumps(value, protocol)` gives; bytes are its str, str its unicode."""
    return (b"\x80\x02" if protocol == 2 else b"") + _Writer(protocol).made(value) + b"."


def printed(value: bytes) -> bytes:
    """Return the bytes as Python 2's repr prints them."""
    return repr(value)[1:].encode()


class _Writer:
    def __init__(self, protocol: int) -> None:
        self.protocol, self.count = protocol, 0
        self.types: dict[str, int] = {}

    def made(self, value: Any) -> bytes:
        if isinstance(value, list):
            return self._list(value)
        if isinstance(value, dict):
            return self._dict(value)
        if isinstance(value, tuple):
            return self._tuple(value)
        if isinstance(value, np.ndarray):
            return self._array(value)
        return self._scalar(value)

    def _scalar(self, value: Any) -> bytes:
        if value is None:
            return b"N"
        if isinstance(value, bool):
            return (b"\x89\x88"[value : value + 1]) if self.protocol == 2 else b"I0%d\n" % value
        if isinstance(value, int):
            return b"I%d\n" % value if self.protocol == 0 else b"J" + struct.pack("<i", value)
        if isinstance(value, float):
            return b"F%r\n" % value if self.protocol == 0 else b"G" + struct.pack(">d", value)
        if isinstance(value, str):
            escaped = value.replace("\\", "\\u005c").replace("\n", "\\u000a")
            raw = escaped.encode("raw-unicode-escape") if self.protocol == 0 else value.encode()
            return (
                b"V" + raw + b"\n" if self.protocol == 0 else b"X" + struct.pack("<I", len(raw)) + raw
            ) + self._put()
        if self.protocol == 0:
            return b"S" + printed(value) + b"\n" + self._put()
        head = b"U" + bytes([len(value)]) if len(value) < 256 else b"T" + struct.pack("<i", len(value))
        return head + value + self._put()

    def _put(self) -> bytes:
        number, self.count = self.count, self.count + 1
        return b"p%d\n" % number if self.protocol == 0 else b"r" + struct.pack("<I", number)

    def _get(self, number: int) -> bytes:
        return b"g%d\n" % number if self.protocol == 0 else b"j" + struct.pack("<I", number)

    def _list(self, values: list[Any]) -> bytes:
        if self.protocol == 0:
            return b"(l" + self._put() + b"".join(self.made(value) + b"a" for value in values)
        return b"]" + self._put() + b"(" + b"".join(self.made(value) for value in values) + b"e"

    def _dict(self, values: dict[Any, Any]) -> bytes:
        if self.protocol == 0:
            items = (self.made(key) + self.made(value) + b"s" for key, value in values.items())
            return b"(d" + self._put() + b"".join(items)
        items = (self.made(key) + self.made(value) for key, value in values.items())
        return b"}" + self._put() + b"(" + b"".join(items) + b"u"

    def _tuple(self, values: tuple[Any, ...]) -> bytes:
        inner = b"".join(self.made(value) for value in values)
        if self.protocol == 2 and 0 < len(values) < 4:
            return inner + b"\x85\x86\x87"[len(values) - 1 : len(values)] + self._put()
        return b"(" + inner + b"t" + self._put()

    def _array(self, value: np.ndarray) -> bytes:
        fortran = value.ndim > 1 and value.flags.f_contiguous and not value.flags.c_contiguous
        empty = b"cnumpy.core.multiarray\n_reconstruct\n" + self._put() + b"(cnumpy\nndarray\n" + self._put()
        empty += self._tuple((0,)) + self.made(b"b") + b"t" + self._put() + b"R" + self._put()
        state = b"(" + self.made(1) + self._tuple(value.shape) + self._type(value.dtype) + self.made(bool(fortran))
        return empty + state + self.made(value.tobytes("F" if fortran else "C")) + b"t" + self._put() + b"b"

    def _type(self, dtype: np.dtype[Any]) -> bytes:
        code, order = f"{dtype.kind}{dtype.itemsize}", b">" if dtype.byteorder == ">" else b"<"
        order = b"|" if dtype.itemsize == 1 else order
        if dtype.str in self.types:
            return self._get(self.types[dtype.str])
        made = b"cnumpy\ndtype\n" + self._put() + self._tuple((code.encode(), 0, 1)) + b"R"
        self.types[dtype.str] = self.count
        return made + self._put() + self._tuple((3, order, None, None, None, -1, -1, 0)) + b"b"
