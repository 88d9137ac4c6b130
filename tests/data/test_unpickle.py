"""Pickles of others: what these files need is read, from every protocol; everything else is refused in one line."""

from __future__ import annotations

import collections
import datetime
import os
import pickle
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gansweep.data import unpickle
from gansweep.data.pickled_array import LEAST_SPAN, Held
from gansweep.data.unpickle import read_pickle
from gansweep.errors import UserError

from .pickles import python2

RANDOM = np.random.default_rng(0)
ARRAYS = [
    RANDOM.integers(0, 256, (48, 40, 3), dtype=np.uint8),
    RANDOM.random((10, 1024), dtype=np.float32),
    np.asfortranarray(RANDOM.random((5, 7))),
    np.arange(3, dtype=">f8"),
    np.arange(-4, 4, dtype=np.int16),
    np.array([True, False]),
]
VALUES: list[Any] = [
    ["001.Black_footed_Albatross/Black_Footed_0046", "für", "", "a'b\"c\\d\n"],
    [b"COCO_val2014_000000000042", b"", b"\xff\x00\n'\"\\"],
    [1, 0, 255, 300, 70_000, -1, -70_000, True, False, None, 1.5, -2.25],
    {"a": ["one", "two"], b"b": [], 7: ["x"]},
    [],
    [[], ["x"]],
    [("a", 1)],
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "names.pickle"


def read(path: Path, raw: bytes, max_gb: float = 1.0) -> Any:
    path.write_bytes(raw)
    return read_pickle(path, max_gb)


def refused(path: Path, raw: bytes, max_gb: float = 1.0) -> str:
    """Return the one line that a file is refused with, less its name."""
    with pytest.raises(UserError) as caught:
        read(path, raw, max_gb)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message and caught.value.exit_code == 2
    return message.partition(str(path))[2]


def same(found: Any, wanted: np.ndarray) -> None:
    assert isinstance(found, Held) and found.shape == wanted.shape and found.dtype == wanted.dtype
    np.testing.assert_array_equal(found.array(), wanted)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("value", VALUES, ids=str)
def test_python_3_values_of_every_protocol(path: Path, value: Any, protocol: int) -> None:
    assert read(path, pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", range(6))
def test_python_3_arrays_and_numbers_of_every_protocol(path: Path, protocol: int) -> None:
    for found, wanted in zip(read(path, pickle.dumps(ARRAYS, protocol)), ARRAYS, strict=True):
        same(found, wanted)
    assert read(path, pickle.dumps([np.int64(7), np.float32(0.5)], protocol)) == [7, 0.5]
    same(read(path, pickle.dumps(np.zeros((2, 0, 3)), protocol)), np.zeros((2, 0, 3)))


@pytest.mark.parametrize("protocol", range(3))
def test_python_2_values_and_arrays(path: Path, protocol: int) -> None:
    for value in VALUES:
        assert read(path, python2(value, protocol)) == value
    for found, wanted in zip(read(path, python2(ARRAYS, protocol)), ARRAYS, strict=True):
        same(found, wanted)


def test_python_2_bytes_are_those_that_python_3_reads(path: Path) -> None:
    """The writer of these tests is held against the reader that everybody has."""
    for protocol in range(3):
        found = pickle.loads(python2(ARRAYS, protocol), encoding="latin1")
        for one, wanted in zip(found, ARRAYS, strict=True):
            np.testing.assert_array_equal(one, wanted)
        assert pickle.loads(python2(VALUES[1], protocol), encoding="bytes") == VALUES[1]


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        (b"(lp0\nS'001.a/b'\np1\naS\"it's\"\np2\na.", [b"001.a/b", b"it's"]),
        (b"(lp0\r\nS'a'\r\np1\r\na.", [b"a"]),  # once opened as text by Windows
        (b"]q\x00(K\x01M\x2c\x01J\xff\xff\xff\xffe.", [1, 300, -1]),
        (b"\x80\x02]q\x00(U\x01aX\x02\x00\x00\x00\xc3\xbce.", [b"a", "ü"]),
        (b"(lp0\nVf\\u00fcr\np1\naL7L\naI01\naF1.5\naNa.", ["für", 7, True, 1.5, None]),
        (b"(I1\nI2\nl.", [1, 2]),
        (b"(S'a'\nI1\nd.", {b"a": 1}),
        (b"\x80\x02\x8a\x05\x00\x00\x00\x00\x01.", 2**32),
    ],
)
def test_bytes_by_hand(path: Path, raw: bytes, wanted: Any) -> None:
    assert read(path, raw) == wanted


def test_data_stay_in_the_file_until_they_are_asked_for(path: Path) -> None:
    large = np.arange(4 * LEAST_SPAN, dtype=np.uint8)
    found = read(path, pickle.dumps([large], 4))[0].array()
    assert not found.flags.owndata and not found.flags.writeable
    np.testing.assert_array_equal(found, large)


class Calls:
    """An object whose pickle calls a function."""

    def __init__(self, called: Any, *arguments: Any) -> None:
        self.called, self.arguments = called, arguments

    def __reduce__(self) -> Any:
        return self.called, self.arguments


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    ("value", "asked"),
    [
        (Calls(os.system, "touch hacked"), f"asks for {os.system.__module__}.system"),
        (Calls(eval, "open('hacked', 'w')"), "asks for .*builtin.*eval"),
        (Calls(exec, "open('hacked', 'w')"), "asks for .*builtin.*exec"),
        (Calls(getattr, "a", "b"), "asks for .*builtin.*getattr"),
        (Calls(open, "hacked", "w"), "asks for .*open"),
        (Calls(subprocess.call, ["touch", "hacked"]), "asks for (subprocess|commands).call"),
        (Calls(np.load, "x.npy"), "asks for numpy.*load"),
        (Calls(np.zeros, 10**12), "asks for numpy.*zeros"),
        (collections.OrderedDict(a=1), "asks for collections.OrderedDict"),
        (datetime.date(2017, 10, 30), "asks for datetime.date"),
        (Path("x"), "asks for pathlib"),
        (bytearray(b"abc"), ""),
        ({1, 2}, ""),
        (frozenset((1,)), ""),
        (1j, "asks for .*complex"),
        (np.array([{}, []], dtype=object), r"plain numbers alone are read|record|of objects|asks for"),
        (np.zeros(2, dtype=[("a", "f4"), ("b", "i2")]), "plain numbers alone are read"),
        (np.array(["a", "b"]), "plain numbers alone are read"),
        (np.array(["2017-10-30"], dtype="M8[D]"), "plain numbers alone are read"),
        (np.array([1j]), "plain numbers alone are read"),
        (np.dtype("O"), "plain numbers alone are read"),
        (np.ma.masked_array([1, 2]), "asks for numpy"),
        (range(3), "asks for"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value[:24],
)
def test_whatever_else_a_pickle_asks_for_is_refused_by_name(
    path: Path, value: Any, asked: str, protocol: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    raw = pickle.dumps([value], protocol)
    if isinstance(value, bytearray) and protocol == 5:  # the bytes of arrays look like that
        assert read(path, raw) == [b"abc"]
        return
    message = refused(path, raw)
    assert "nothing of it was run" in message
    if asked:
        with pytest.raises(UserError, match=asked):
            read(path, raw)
    assert sorted(os.listdir(path.parent)) == [path.name]


def text(value: bytes) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
U1 = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR"


def array(shape: bytes, data: bytes, dtype: bytes = U1) -> bytes:
    """Return an array with a shape of its maker's choosing."""
    return ARRAY + b"(K\x01(" + shape + b"t" + dtype + b"I00\n" + data + b"tb"


HOSTILE = {
    "os.system by INST": (b"(S'touch hacked'\nios\nsystem\n.", "asks for os.system"),
    "os.system by OBJ": (b"(cos\nsystem\nS'x'\no.", "asks for os.system"),
    "a class by NEWOBJ": (b"\x80\x02cnumpy\nndarray\n)\x81.", "makes an object of a class"),
    "a class by NEWOBJ_EX": (b"\x80\x04cnumpy\nndarray\n)}\x92.", "makes an object of a class"),
    "copyreg": (b"ccopy_reg\n_reconstructor\n(cnumpy\nndarray\nc__builtin__\nobject\nNtR.", "copy_reg._reconstructor"),
    "copyreg of Python 3": (b"\x80\x03ccopyreg\n__newobj__\n.", "asks for copyreg.__newobj__"),
    "a dotted name": (b"\x80\x04\x8c\x05numpy\x8c\x0ctesting.os.x\x93.", "asks for numpy.testing.os.x"),
    "a name by pieces": (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x01x\x85R.", "asks for os.system"),
    "a name that is a number": (b"\x80\x04K\x01K\x02\x93.", "no name"),
    "_codecs.decode": (b"c_codecs\ndecode\n.", "asks for _codecs.decode"),
    "an encoding of its own": (b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x04\x00\x00\x00zliatR.", "does not take"),
    "a persistent id": (b"Phacked\n.", "asks for the persistent id 'hacked'"),
    "a persistent id, binary": (b"U\x01aQ.", "asks for a persistent id"),
    "an extension code": (b"\x82\x05.", "asks for the extension code 5"),
    "an extension code of two bytes": (b"\x83\x05\x01.", "asks for the extension code 261"),
    "an extension code of four": (b"\x84\xff\xff\xff\x7f.", "asks for the extension code 2147483647"),
    "buffers elsewhere": (b"\x80\x05\x97.", "has its arrays in another file"),
    "calling a text": (b"U\x01a(U\x01btR.", "calls something that is no function"),
    "calling with a list": (b"cnumpy\ndtype\n]R.", "calls something that is no function"),
    "state of a list": (b"](K\x01tb.", "sets the state of a list"),
    "state of a name": (b"cnumpy\nndarray\n}b.", "sets the state of a Name"),
    "a subclass": (b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nmatrix\n(K\x00tU\x01btR.", "asks for numpy.matrix"),
    # memory
    "an array of terabytes": (array(b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f", b"U\x01a"), "bytes by its shape"),
    "a shape below 0": (array(b"J\xff\xff\xff\xff", b"U\x01a"), r"of the shape \(-1,\)"),
    "a shape of fractions": (array(b"G?\xf0\x00\x00\x00\x00\x00\x00", b"U\x01a"), "of the shape"),
    "too many axes": (array(b"K\x01" * 9, b"U\x01a"), "of the shape"),
    "fewer bytes than its shape": (array(b"K\x05", b"U\x04abcd"), "5 bytes by its shape .* and 4 bytes"),
    "more bytes than its shape": (array(b"K\x03", b"U\x04abcd"), "3 bytes by its shape .* and 4 bytes"),
    "no bytes": (array(b"K\x01", b"N"), "without bytes"),
    "a list for its bytes": (array(b"K\x01", b"U\x01a").replace(b"U\x01atb", b"]tb"), "tuple of lists"),
    "one array many times": (
        b"(l(" + array(b"K\x01", b"U\x01a") + b"q\x05" + b"h\x05" * 99 + b"e.", "one array in two places",
    ),
    "the same bytes for many arrays": (
        b"(lU\xff" + b"a" * 255 + b"q\x07" + b"a(" + array(b"K\xff", b"h\x07") * 99 + b"e.", "larger than the file",
    ),
    "lists doubled": (b"]q\x00]q\x01(h\x00h\x00e.", "uses one list in two places"),
    "a list in itself": (b"]q\x00h\x00a.", "uses one list in two places"),
    "a dictionary in itself": (b"}q\x00U\x01ah\x00s.", "uses one dict in two places"),
    "tuples doubled": (b"K\x01K\x01\x86q\x00h\x00h\x00\x86q\x01h\x01h\x01\x86.", "uses one tuple in two places"),
    "DUP": (b"]22222.", "copies a value"),
    "POP": (b"K\x01K\x020.", "drops a value"),
    "POP_MARK": (b"K\x01(1.", "drops a value"),
    "lists in lists in lists": (b"]" * 5000 + b"a" * 4999 + b".", "nested more than 4 deep"),
    "marks in marks": (b"(" * 100_000 + b".", "nested more than 16 deep"),
    "tuples in tuples": (b")" + b"\x85" * 100_000 + b".", "further tuples"),
    "a text of 4 GB": (b"X\xff\xff\xff\xffabc.", "truncated"),
    "bytes of 2^63": (b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc.", "truncated"),
    "a byte array of 2^63": (b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x7fabc.", "truncated"),
    "a frame of 2^63": (b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7fN.", "truncated"),
    "a text of less than nothing": (b"T\xff\xff\xff\xffabc.", "less than no letters"),
    "a whole number of a gigabyte": (b"\x80\x02\x8b\x00\x00\x00\x40" + b"1" * 99 + b".", "more than 64 bits"),
    "a whole number of -1 bytes": (b"\x80\x02\x8b\xff\xff\xff\xff.", "more than 64 bits"),
    "a number of ten thousand digits": (b"I" + b"1" * 10_000 + b"\n.", "a line of more than 64 bytes"),
    "a float of ten thousand digits": (b"F" + b"1" * 10_000 + b"\n.", "a line of more than 64 bytes"),
    "a name of ten thousand letters": (b"c" + b"a" * 10_000 + b"\nb\n.", "a line of more than 512 bytes"),
    "a place in the memo far off": (b"]r\xff\xff\xff\x7fj\xff\xff\xff\x7ea.", "recalls value"),
    "a place in the memo below 0": (b"]p-5\n.", "nothing to remember"),
    "a key twice": (b"}(U\x01aK\x01U\x01aK\x02u.", "key b'a' twice"),
    "a key that is a tuple": (b"}(K\x01K\x02\x86K\x01u.", "key that is tuple"),
    "a key without a value": (b"}(U\x01au.", "a key without a value"),
    # damage
    "nothing on the stack": (b".", "in the middle of a value"),
    "two values": (b"K\x01K\x02.", "in the middle of a value"),
    "a mark left": (b"(K\x01.", "in the middle of a value"),
    "no mark": (b"]K\x01e.", "a mark is missing"),
    "taking from under a mark": (b"K\x01(R.", "a value is missing"),
    "adding to a number": (b"K\x01K\x02a.", "items without a list"),
    "entries of a list": (b"]K\x01K\x02s.", "entries without a dictionary"),
    "bytes after the end": (b"N.N.", "2 bytes after its end"),
    "protocol 6": (b"\x80\x06N.", "protocol 6"),
    "no such operation": (b"\xff\xfe", "not a pickle"),
    "a picture": (b"\x89PNG\r\n\x1a\n", "not a pickle|truncated|damaged|whole number"),
    "HTML": (b"<html><body>Not found</body></html>", "not a pickle"),
    "text without its end quote": (b"S'abc\n.", "without its quotes"),
    "text of one quote": (b"S'\n.", "without its quotes"),
    "escapes that are none": (b"S'\\x'\n.", "cannot be read"),
    "no whole number": (b"Iabc\n.", "no whole number"),
    "no number": (b"Fabc\n.", "no number"),
    "text that is no UTF-8": (b"X\x01\x00\x00\x00\xff.", "cannot be read"),
    "an array without its numbers": (ARRAY + b".", "without its numbers"),
    "an array filled twice": (array(b"K\x01", b"U\x01a") + b"(K\x01(K\x01t" + U1 + b"I00\nU\x01atb.", "without shape"),
    "a byte order of its own": (
        b"cnumpy\ndtype\n(U\x02f4K\x00K\x01tR(K\x03U\x01!NNNJ\xff\xff\xff\xffK\x00K\x00tb.", "of the byte order '!'",
    ),
    "a type that is none": (b"cnumpy\ndtype\n(U\x02f1K\x00K\x01tR.", "of the type 'f1'"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_and_damaged_files_end_in_one_line(path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    raw, said = HOSTILE[name]
    raw = raw if raw.endswith(b".") else raw + b"."
    refused(path, raw)
    with pytest.raises(UserError, match=said):
        read(path, raw)
    assert sorted(os.listdir(path.parent)) == [path.name]


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_file_cut_anywhere_is_told_in_one_line(path: Path, protocol: int) -> None:
    raw = pickle.dumps([*ARRAYS[3:], "name", b"bytes", 1, 2.5, {"a": ["b"]}], protocol)
    for length in range(len(raw)):
        refused(path, raw[:length])
    message = refused(path, raw[: len(raw) // 2])
    assert "truncated: it ends at byte" in message


def test_bytes_changed_anywhere_are_read_or_told_in_one_line(path: Path) -> None:
    """Every byte of a small file, changed to others: never anything but a value or one line."""
    random = np.random.default_rng(1)
    for protocol in (0, 2, 4):
        raw = bytearray(pickle.dumps([np.arange(3, dtype=np.uint8), "ab", {"c": [1]}], protocol))
        for place in range(len(raw)):
            for value in random.integers(0, 256, 6):
                changed = bytes(raw[:place]) + bytes([int(value)]) + bytes(raw[place + 1 :])
                path.write_bytes(changed)
                try:
                    found = read_pickle(path, 1.0)
                    for one in found if isinstance(found, list) else []:
                        if isinstance(one, Held):
                            one.array()
                except (UserError, ValueError) as error:
                    assert "\n" not in str(error)


def test_sizes_are_looked_at_first(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "more than data.args.max_pickle_gb=1e-08 allows" in refused(path, pickle.dumps(list(range(99))), 1e-8)
    assert "empty" in refused(path, b"")
    with pytest.raises(UserError, match="cannot be read"):
        read_pickle(path.parent / "nowhere.pickle", 1.0)
    with pytest.raises(UserError, match="cannot be read"):
        read_pickle(path.parent, 1.0)
    monkeypatch.setattr(unpickle, "MOST_OPERATIONS", 100)
    assert "more than 100 operations" in refused(path, b"](" + b"]" * 200 + b"e.")


def test_escaped_data_of_the_wrong_length_are_told_when_they_are_read(path: Path) -> None:
    """How many bytes an escape stands for is known only when it is read."""
    raw = python2([np.full(5120, ord("a"), dtype=np.uint8)], 0)
    found = read(path, raw.replace(b"a" * 5120, b"a" * 5121))[0]
    with pytest.raises(ValueError, match=r"5,120 bytes by its shape \(5120,\) has 5,121"):
        found.array()
