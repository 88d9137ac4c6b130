"""What readers keep goes with them, and names out of files stay on one line."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gansweep.data.fashion_mnist import FashionMnist
from gansweep.data.grid import Grid
from gansweep.data.heads import Heads
from gansweep.data.kept import keeps_last
from gansweep.data.stackgan import StackGan
from gansweep.data.talking import Talking
from gansweep.data.told import shown

from .conftest import Settings
from .films import SAMPLES, arrays
from .text_sets import birds


class Reader:
    def __init__(self) -> None:
        self.read: list[Any] = []

    @keeps_last(2)
    def of(self, name: str) -> str:
        self.read.append(name)
        if name == "bad":
            raise ValueError(name)
        return name * 2


def test_the_last_ones_asked_for_are_kept_by_each_reader_for_itself() -> None:
    one, other = Reader(), Reader()
    assert [one.of(name) for name in ("a", "b", "a", "c", "a", "b")] == ["aa", "bb", "aa", "cc", "aa", "bb"]
    assert one.read == ["a", "b", "c", "b"], "b was asked for longest ago when c came"
    assert other.of("a") == "aa" and other.read == ["a"]
    for _ in range(2):
        with pytest.raises(ValueError, match="bad"):
            one.of("bad")
    assert one.read[-2:] == ["bad", "bad"], "what is raised is not kept"


def readers(settings: Settings, root: Path) -> dict[str, Any]:
    """Return a reader of each kind that keeps something."""
    arrays(root / "films" / "s1_a", np.zeros((10, 16, 16, 3), np.uint8), np.full(10 * SAMPLES, 0.1))
    birds(root / "birds", classes=(1, 1), each=1, sides=(76,), length=4)
    small = {"size": 16, "limit": 2}
    return {
        "grid": Grid(settings("grid", path=str(root / "films"), **small)),
        "stackgan": StackGan(settings("stackgan", path=str(root / "birds"), **small)),
        "heads": Heads(settings("heads", **small, args={"people": 1})),
        "talking": Talking(settings("talking", **small, args={"voice": "syllables", "seconds": 1})),
    }


@pytest.mark.parametrize("name", ["grid", "stackgan", "heads", "talking"])
def test_a_reader_that_is_done_with_leaves_nothing_behind(settings: Settings, tmp_path: Path, name: str) -> None:
    reader = readers(settings, tmp_path)[name]
    reader.picture(reader.items().items[0])
    kept = [value for key, value in vars(reader).items() if key.startswith("_kept_")]
    assert kept and all(kept)
    gone = weakref.ref(reader)
    del reader
    gc.collect()
    assert gone() is None


def test_pictures_of_fashion_go_with_their_reader(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FashionMnist, "_file", lambda self, part, kind: Path(part))
    monkeypatch.setattr("gansweep.data.fashion_mnist.read_idx", lambda path, dimensions: np.zeros((1, 28, 28)))
    reader = FashionMnist(settings("fashion_mnist"))
    assert reader._images("train") is reader._images("train")
    gone = weakref.ref(reader)
    del reader
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("name", ["grid", "heads", "talking"])
def test_what_threads_share_is_there_before_any_of_them_asks(settings: Settings, tmp_path: Path, name: str) -> None:
    """From Python 3.12 on, two threads that ask a cached property at once may each get one of their own."""
    shared = {"grid": {"_lock", "_faults", "_extents"}}.get(name, {"_lock"})
    assert shared <= vars(readers(settings, tmp_path)[name]).keys()


def test_names_are_shown_on_one_line() -> None:
    assert shown("a/b c.png") == "a/b c.png" and shown(Path("é.txt")) == "é.txt"
    assert shown("a\nb") == r"'a\nb'" and shown("\ud800\x1b[1m") == r"'\ud800\x1b[1m'"
    assert shown("abcdef", 3) == "abc…" and shown("abc", 3) == "abc"
