"""Which other sample a sample is shown with: a target, a partner drawn anew for every batch, a sample of another class.

A relation maps rows to rows. What is drawn is a pure function of (seed, index of the batch, relation, row): the same
wherever and in whatever company a row is asked for. Training rows draw among training rows alone, held-out rows among
held-out ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
Draw = Callable[[str, Rows], NDArray[np.float64]]
"""Numbers in [0, 1), one for each row, for a purpose."""

NOBODY = -1
_LEAST_SHIFT, _SHIFTS = 100, 100


class Relation(Protocol):
    """From rows to the rows they are shown with."""

    @property
    def what(self) -> str:
        """Who is looked for, in words that complete "none is ..."."""
        ...

    def pick(self, rows: Rows, held_out: NDArray[np.bool_], name: str, draw: Draw) -> Rows:
        """Return a row for each of `rows`, NOBODY where there is none; `held_out` says of every row of the set."""
        ...

    def crosses(self, held_out: NDArray[np.bool_]) -> bool:
        """Say whether a row may be given one of the other side."""
        ...


def uniform(seed: int, index: int, purpose: str, rows: Rows) -> NDArray[np.float64]:
    """Return numbers in [0, 1), one for each row, that depend on seed, index, purpose and the row's number alone.

    A counter through the finaliser of SplitMix64 (Steele, Lea, Flood 2014), whose key is a hash of the other three.
    """
    key = int.from_bytes(hashlib.blake2b(f"{seed} {index} {purpose}".encode(), digest_size=8).digest(), "little")
    mixed = rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


@dataclass(frozen=True)
class Listed:
    """Partners that the set knows by name: `rows` int64 (N,), or (N, K) of which one is drawn; NOBODY for none."""

    rows: Rows
    what: str = "listed for it"

    @cached_property
    def _packed(self) -> tuple[Rows, Rows]:
        table = self.rows.reshape(len(self.rows), -1)
        order = np.argsort(table == NOBODY, axis=1, kind="stable")
        return np.take_along_axis(table, order, axis=1), (table != NOBODY).sum(axis=1)

    def pick(self, rows: Rows, held_out: NDArray[np.bool_], name: str, draw: Draw) -> Rows:
        """Return one of each row's own; a set that lists partners answers for the sides they are on."""
        table, counts = self._packed
        count = counts[rows]
        place = np.zeros(len(rows), dtype=np.int64) if table.shape[1] == 1 else _place(draw(name, rows), count)
        return np.where(count > 0, table[rows, place], NOBODY)

    def crosses(self, held_out: NDArray[np.bool_]) -> bool:
        """Compare the sides of all that is listed."""
        table, _ = self._packed
        return bool(((held_out[table] != held_out[:, None]) & (table != NOBODY)).any())


@dataclass(frozen=True)
class Drawn:
    """A row of the same side: alike in `same`, unlike in `differ` (int64 (N,) codes), one of `among` (bool (N,)).

    Each of them may be None: no such condition. `alone`: a row that finds nobody gets itself.
    """

    same: Rows | None = None
    differ: Rows | None = None
    among: NDArray[np.bool_] | None = None
    what: str = "another one"
    alone: bool = False

    def pick(self, rows: Rows, held_out: NDArray[np.bool_], name: str, draw: Draw) -> Rows:
        """Return one candidate for each row, all equally likely."""
        candidates, blocks, owns, block, own = self._sorted(held_out)
        start, stop = (np.searchsorted(blocks, block[rows], side) for side in ("left", "right"))
        first, last = (np.searchsorted(owns, own[rows], side) for side in ("left", "right"))
        skipped = last - first if self.differ is not None else np.zeros(len(rows), dtype=np.int64)
        count = stop - start - skipped
        place = start + _place(draw(name, rows), count)
        place += np.where(place >= first, skipped, 0)  # over those that are like the row itself
        found = candidates[np.minimum(place, len(candidates) - 1)] if len(candidates) else rows
        return np.where(count > 0, found, rows if self.alone else NOBODY)

    def crosses(self, held_out: NDArray[np.bool_]) -> bool:
        """Never."""
        return False

    def _sorted(self, held_out: NDArray[np.bool_]) -> tuple[Any, ...]:
        """Return candidates in order of (side, same, differ), their two codes, and the codes of every row."""
        known = self.__dict__.get("_kept")
        if known is None or known[0] is not held_out:
            same, differ = (_codes(codes, len(held_out)) for codes in (self.same, self.differ))
            block = same * 2 + held_out
            own = block * (int(differ.max(initial=0)) + 1) + differ
            candidates = np.arange(len(held_out)) if self.among is None else np.flatnonzero(self.among)
            candidates = candidates[np.argsort(own[candidates], kind="stable")]
            known = (held_out, (candidates, block[candidates], own[candidates], block, own))
            object.__setattr__(self, "_kept", known)
        return known[1]


@dataclass(frozen=True)
class Mixed:
    """With probability `share`, and when it finds somebody, the `first` relation; the `second` otherwise."""

    share: float
    first: Relation
    second: Relation
    what: str = "another one"

    def pick(self, rows: Rows, held_out: NDArray[np.bool_], name: str, draw: Draw) -> Rows:
        """Return what the first gives where it is its turn, else what the second gives."""
        first = self.first.pick(rows, held_out, f"{name}/first", draw)
        second = self.second.pick(rows, held_out, f"{name}/second", draw)
        return np.where((draw(f"{name}/share", rows) < self.share) & (first != NOBODY), first, second)

    def crosses(self, held_out: NDArray[np.bool_]) -> bool:
        """Either may."""
        return self.first.crosses(held_out) or self.second.crosses(held_out)


@dataclass(frozen=True)
class Shifted:
    """As the published HDGAN draws a wrong picture: any of its side; if of the same class, 100 to 199 places further.

    Classes may be larger than the shift, so that it need not be of another class, or even another picture.
    """

    classes: Rows
    what: str = "another one, mostly of another class (as coded)"

    def pick(self, rows: Rows, held_out: NDArray[np.bool_], name: str, draw: Draw) -> Rows:
        """Return a row of the same side, in whose order places are counted, round and round."""
        found = np.empty_like(rows)
        first, shift = draw(f"{name}/first", rows), draw(f"{name}/shift", rows)
        for side in (False, True):
            own = held_out[rows] == side
            among = np.flatnonzero(held_out == side)
            place = (first[own] * len(among)).astype(np.int64)
            alike = self.classes[among[place]] == self.classes[rows[own]] if len(among) else place
            further = _LEAST_SHIFT + (shift[own] * _SHIFTS).astype(np.int64)
            found[own] = among[np.where(alike, (place + further) % max(1, len(among)), place)]
        return found

    def crosses(self, held_out: NDArray[np.bool_]) -> bool:
        """Never."""
        return False


def _place(drawn: NDArray[np.float64], count: Rows) -> Rows:
    return (drawn * np.maximum(count, 1)).astype(np.int64)


def _codes(values: Rows | None, count: int) -> Rows:
    return np.zeros(count, dtype=np.int64) if values is None else np.unique(values, return_inverse=True)[1]
