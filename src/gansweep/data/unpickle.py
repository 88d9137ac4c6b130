"""Pickles that others made, read without running anything in them: lists, dictionaries, texts, numbers, plain arrays.

A pickle is a program that may call whatever Python has. This is a machine of our own for the part of its language that
lists of pictures, vectors, names and captions are written in, protocols 0 to 5, by Python 2 or 3 (PEP 307, 3154, 574).
It imports nothing and calls nothing; whatever else a file asks for is refused by name. Array data stay in the file
until they are asked for (see `gansweep.data.pickled_array`).
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gansweep.data.pickle_machine import MOST_NUMBER, Machine
from gansweep.data.pickled_array import Refused
from gansweep.errors import UserError

# More than any set has: a million captions are four million. A byte of a pickle can make an object of sixty.
MOST_OPERATIONS = 20_000_000


def read_pickle(path: Path, max_gb: float) -> Any:
    """Return what a pickle holds: lists, tuples, dictionaries, str, bytes, numbers, and arrays as `Held`.

    Texts of Python 2 are bytes, and byte strings of 4 KiB or more a `Span`. UserError in one line, naming file and
    byte, for a file that is not there, larger than `max_gb` 10⁹ bytes, truncated, that asks for anything else than
    these, or whose arrays say they are larger than the file.
    """
    try:
        size = path.stat().st_size
        if size > max_gb * 1e9:
            text = f"{path} has {size:,} bytes, more than data.args.max_pickle_gb={max_gb:g} allows"
            raise UserError(f"data.path: {text}")
        if size == 0:
            raise UserError(f"data.path: {path} is truncated: it is empty")
        with path.open("rb") as file:
            buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no plain file"
        raise UserError(f"data.path: {path} cannot be read ({reason})") from None
    machine = Machine(buffer)
    try:
        return _run(machine)
    except EOFError:
        raise UserError(f"data.path: {path} is truncated: it ends at byte {size:,}, in the middle") from None
    except Refused as error:
        raise UserError(f"data.path: {path} {error} (byte {machine.began:,}); nothing of it was run") from None


def _run(machine: Machine) -> Any:
    """Work through a file to its STOP."""
    for _ in range(MOST_OPERATIONS):
        machine.began = machine.at
        opcode = machine.take(1)
        if opcode == b".":
            return machine.stop()
        do = _DO.get(opcode)
        if do is None:
            raise Refused(_REFUSED.get(opcode, f"is not a pickle, or is damaged: no such operation as {opcode!r}"))
        do(machine)
    raise Refused(f"has more than {MOST_OPERATIONS:,} operations")


def _after(form: str, then: Callable[[Machine, int], None]) -> Callable[[Machine], None]:
    """Return an operation that reads a number of a form and goes on with it."""
    return lambda machine: then(machine, machine.number(form))


def _pushes(value: Callable[[Machine], Any]) -> Callable[[Machine], None]:
    return lambda machine: machine.push(value(machine))


def _tuple(count: int) -> Callable[[Machine], None]:
    return lambda machine: machine.tuple_of([machine.pop() for _ in range(count)][::-1])


def _proto(machine: Machine, protocol: int) -> None:
    if protocol > 5:
        raise Refused(f"is of protocol {protocol}, where 0 to 5 are known")


def _float(machine: Machine) -> float:
    text = machine.line(MOST_NUMBER)
    try:
        return float(text)
    except ValueError:
        raise Refused(f"is damaged: {text!r} is no number") from None


def _int_or_bool(machine: Machine) -> int:
    start = machine.at
    value = machine.whole()
    text = machine.buffer[start : start + 2]
    return text == b"01" if text in (b"00", b"01") else value


def _stack_global(machine: Machine) -> None:
    name, module = machine.pop(), machine.pop()
    machine.global_(module, name)


def _frame(machine: Machine, count: int) -> None:
    if count > machine.size - machine.at:
        raise EOFError


_DO: dict[bytes, Callable[[Machine], None]] = {
    b"(": Machine.mark,
    b"I": _pushes(_int_or_bool),
    b"L": _pushes(Machine.whole),
    b"F": _pushes(_float),
    b"J": _pushes(lambda m: m.number("<i")),
    b"K": _pushes(lambda m: m.number("<B")),
    b"M": _pushes(lambda m: m.number("<H")),
    b"G": _pushes(lambda m: m.number(">d")),
    b"N": _pushes(lambda m: None),
    b"\x88": _pushes(lambda m: True),
    b"\x89": _pushes(lambda m: False),
    b"\x8a": lambda m: m.long("<B"),
    b"\x8b": lambda m: m.long("<i"),
    b"S": lambda m: m.text_line("escaped"),
    b"V": lambda m: m.text_line("unicode_line"),
    b"T": _after("<i", lambda m, n: m.span(n, "bytes")),
    b"U": _after("<B", lambda m, n: m.span(n, "bytes")),
    b"B": _after("<I", lambda m, n: m.span(n, "bytes")),
    b"C": _after("<B", lambda m, n: m.span(n, "bytes")),
    b"\x8e": _after("<Q", lambda m, n: m.span(n, "bytes")),
    b"\x96": _after("<Q", lambda m, n: m.span(n, "bytes")),
    b"X": _after("<I", lambda m, n: m.span(n, "unicode")),
    b"\x8c": _after("<B", lambda m, n: m.span(n, "unicode")),
    b"\x8d": _after("<Q", lambda m, n: m.span(n, "unicode")),
    b"]": _pushes(lambda m: []),
    b"}": _pushes(lambda m: {}),
    b")": _pushes(lambda m: ()),
    b"l": lambda m: m.list_of(m.since_mark()),
    b"d": lambda m: m.dict_of(m.since_mark()),
    b"t": lambda m: m.tuple_of(m.since_mark()),
    b"\x85": _tuple(1),
    b"\x86": _tuple(2),
    b"\x87": _tuple(3),
    b"a": lambda m: m.extend([m.pop()]),
    b"e": lambda m: m.extend(m.since_mark()),
    b"s": lambda m: m.assign([m.pop(), m.pop()][::-1]),
    b"u": lambda m: m.assign(m.since_mark()),
    b"p": lambda m: m.keep(m.whole()),
    b"q": _after("<B", Machine.keep),
    b"r": _after("<I", Machine.keep),
    b"\x94": lambda m: m.keep(len(m.memo)),
    b"g": lambda m: m.recall(m.whole()),
    b"h": _after("<B", Machine.recall),
    b"j": _after("<I", Machine.recall),
    b"\x80": _after("<B", _proto),
    b"\x95": _after("<Q", _frame),
    b"c": lambda m: m.global_(m.line(), m.line()),
    b"\x93": _stack_global,
    b"R": Machine.reduce,
    b"b": Machine.build,
    b"i": Machine.instance,
    b"P": Machine.persistent,
    b"\x82": lambda m: m.extension("<B"),
    b"\x83": lambda m: m.extension("<H"),
    b"\x84": lambda m: m.extension("<i"),
}

# Told apart from what is no pickle at all: operations that a pickle may have, and these files do not need.
_REFUSED = {
    b"Q": "asks for a persistent id",
    b"o": "makes an object of a class",
    b"\x81": "makes an object of a class",
    b"\x92": "makes an object of a class",
    b"0": "drops a value, which pickles of lists do not",
    b"1": "drops a value, which pickles of lists do not",
    b"2": "copies a value, which pickles of lists do not",
    b"\x8f": "has a set",
    b"\x90": "has a set",
    b"\x91": "has a set",
    b"\x97": "has its arrays in another file",
    b"\x98": "has its arrays in another file",
}
