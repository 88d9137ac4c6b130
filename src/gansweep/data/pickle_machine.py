"""The stack machine that reads pickles: what its operations do to values, and how much of them there may be."""

from __future__ import annotations

import mmap
import struct
from typing import Any

from gansweep.data.pickled_array import MOST_SHOWN, Budget, DType, Held, Name, Refused, Span, named, reduced, stated
from gansweep.data.told import shown

# Of lists and dictionaries in one another; these files have two.
_MOST_DEPTH = 4
_MOST_MARKS = 16
_MOST_LINE, MOST_NUMBER = 512, 64
# What may stand in several places, and what a tuple may hold.
_SHARED = (int, float, str, bytes, Span, Name, DType, type(None))
_SCALARS = (*_SHARED, Held)


class Machine:
    """The stack machine: `stack` of values, `marks` of places in it, `memo` of values by number."""

    def __init__(self, buffer: mmap.mmap) -> None:
        self.buffer, self.size = buffer, len(buffer)
        self.at = self.began = 0
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.depths: dict[int, int] = {}
        self.budget = Budget(self.size)

    def stop(self) -> Any:
        """Return the one value that is left at the end of the file."""
        if self.at != self.size:
            raise Refused(f"goes on for {self.size - self.at:,} bytes after its end")
        if len(self.stack) != 1 or self.marks:
            raise Refused("is damaged: it ends in the middle of a value")
        self.budget.finish()
        return self.stack[0]

    def take(self, count: int) -> bytes:
        """Return so many bytes, and go on behind them."""
        start = self.skip(count)
        return self.buffer[start : start + count]

    def skip(self, count: int) -> int:
        """Go on behind so many bytes, and return where they begin; EOFError when there are fewer."""
        start = self.at
        if count > self.size - start:
            raise EOFError
        self.at = start + count
        return start

    def number(self, form: str) -> Any:
        """Return a number of a `struct` form."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self, most: int = _MOST_LINE) -> bytes:
        """Return the bytes up to the end of the line, of which there may be `most`."""
        stop = self.buffer.find(b"\n", self.at, self.at + most + 1)
        if stop < 0:
            if self.size - self.at <= most:
                raise EOFError
            raise Refused(f"is damaged: a line of more than {most} bytes")
        start, self.at = self.at, stop + 1
        return self.buffer[start:stop].rstrip(b"\r")

    def whole(self) -> int:
        """Return the whole number that a line says."""
        text = self.line(MOST_NUMBER).removesuffix(b"L")
        try:
            return int(text)
        except ValueError:
            raise Refused(f"is damaged: {text!r} is no whole number") from None

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def pop(self) -> Any:
        """Take the last value off the stack, but none from before the last mark."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise Refused("is damaged: a value is missing")
        return self.stack.pop()

    def top(self, kind: type, what: str) -> Any:
        """Return the last value, which must be of a kind."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0) or not isinstance(self.stack[-1], kind):
            raise Refused(f"is damaged, or made by other means: {what}")
        return self.stack[-1]

    def mark(self) -> None:
        """Remember where on the stack the parts of something begin."""
        if len(self.marks) >= _MOST_MARKS:
            raise Refused(f"is nested more than {_MOST_MARKS} deep")
        self.marks.append(len(self.stack))

    def since_mark(self) -> list[Any]:
        """Take off the stack what was put there since the last mark."""
        if not self.marks:
            raise Refused("is damaged: a mark is missing")
        at = self.marks.pop()
        found = self.stack[at:]
        del self.stack[at:]
        return found

    def span(self, count: int, kind: str) -> None:
        """Push a byte string: as bytes (text of Python 3 as str) when it is short, else as its place in the file."""
        if count < 0:
            raise Refused("is damaged: a text of less than no letters")
        start = self.skip(count)
        self.push(Span(self.buffer, start, start + count, kind).short())

    def text_line(self, kind: str) -> None:
        """Push the text of a line, however long."""
        stop = self.buffer.find(b"\n", self.at)
        if stop < 0:
            raise EOFError
        start, self.at = self.at, stop + 1
        if kind == "escaped":
            last = stop - 1 if self.buffer[stop - 1 : stop] != b"\r" else stop - 2
            ends = self.buffer[start : start + 1] + self.buffer[last : last + 1]
            if last <= start or ends not in (b"''", b'""'):
                raise Refused("is damaged: a text without its quotes")
            start, stop = start + 1, last
        self.push(Span(self.buffer, start, stop, kind).short())

    def long(self, form: str) -> None:
        """Push a whole number of as many bytes as a number says, 8 at most."""
        count = self.number(form)
        if not 0 <= count <= 8:
            raise Refused("has a whole number of more than 64 bits")
        self.push(int.from_bytes(self.take(count), "little", signed=True))

    def keep(self, place: int) -> None:
        """Remember the last value under a number."""
        if place < 0 or not self.stack:
            raise Refused("is damaged: nothing to remember")
        self.memo[place] = self.stack[-1]

    def recall(self, place: int) -> None:
        """Push a remembered value again: never an array, list or dictionary, which in these files stand in one place.

        Repeated, they would make terabytes of a few kilobytes.
        """
        if place not in self.memo:
            raise Refused(f"is damaged: it recalls value {place}, which it did not keep")
        value = self.memo[place]
        parts = value if isinstance(value, tuple) else (value,)
        if not all(isinstance(part, _SHARED) for part in parts):
            kind = "array" if isinstance(value, Held) else type(value).__name__
            raise Refused(f"uses one {kind} in two places")
        self.push(value)

    def tuple_of(self, values: list[Any]) -> None:
        """Push a tuple of scalars, arrays and tuples of scalars: deeper ones no array needs."""
        for value in values:
            flat = value if isinstance(value, tuple) else (value,)
            if not all(isinstance(part, _SCALARS) for part in flat):
                raise Refused("has a tuple of lists, dictionaries or further tuples")
        self.push(tuple(values))

    def list_of(self, values: list[Any]) -> None:
        """Push a list."""
        self.push([])
        self.extend(values)

    def dict_of(self, values: list[Any]) -> None:
        """Push a dictionary of keys and values that take turns."""
        self.push({})
        self.assign(values)

    def extend(self, values: list[Any]) -> None:
        """Add to the list on the stack."""
        found = self.top(list, "items without a list")
        self._deepen(found, values)
        found.extend(values)

    def assign(self, values: list[Any]) -> None:
        """Add keys and values, which take turns, to the dictionary on the stack; no key twice."""
        found = self.top(dict, "entries without a dictionary")
        if len(values) % 2:
            raise Refused("is damaged: a key without a value")
        self._deepen(found, values[1::2])
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not isinstance(key, str | bytes | int):
                raise Refused(f"has a dictionary key that is {type(key).__name__}, not text or a number")
            if key in found:
                raise Refused(f"has the dictionary key {key!r} twice")
            found[key] = value

    def _deepen(self, outer: Any, values: list[Any]) -> None:
        """Note how deep `outer` is; what holds a list or dictionary is never freed here, so its id is its own."""
        inner = [self.depths.get(id(value), 1) for value in values if isinstance(value, list | dict)]
        if inner:
            depth = max(self.depths.get(id(outer), 1), 1 + max(inner))
            if depth > _MOST_DEPTH:
                raise Refused(f"has lists nested more than {_MOST_DEPTH} deep")
            self.depths[id(outer)] = depth

    def global_(self, module: Any, name: Any) -> None:
        """Push what may be named."""
        self.push(named(module, name))

    def instance(self) -> None:
        """Refuse to make an object, by name."""
        module, name = self.line(), self.line()
        raise Refused(f"asks for {shown((module + b'.' + name).decode('latin1'), MOST_SHOWN)}")

    def reduce(self) -> None:
        """Push what a call would give."""
        arguments, called = self.pop(), self.pop()
        self.push(reduced(called, arguments, self.budget))

    def build(self) -> None:
        """Give an array or type its state."""
        state = self.pop()
        stated(self.top(object, "a state of nothing"), state, self.budget)

    def persistent(self) -> None:
        """Refuse what lies outside the file, by name."""
        raise Refused(f"asks for the persistent id {self.line().decode('latin1')!r}")

    def extension(self, form: str) -> None:
        """Refuse what the reader would have to have been taught, by number."""
        raise Refused(f"asks for the extension code {self.number(form)}")
