"""Which pictures are held out, and which kept under a limit: by hashes of names, so both stay when files are added."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gansweep.data.source import Item

_SPAN = float(2**64)


def share_of(name: str, purpose: str) -> float:
    """Return a number in [0, 1) that depends on the name and the purpose alone, spread evenly over names."""
    digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8, person=purpose.encode()).digest()
    # Two 64-bit integers next to 2^64 round up to it as floats: keep the half-open interval.
    return min(int.from_bytes(digest, "big") / _SPAN, 1.0 - 2**-53)


def held_out(groups: Sequence[str], val_fraction: float) -> NDArray[np.bool_]:
    """Say per row whether it is held out; all rows of a group fall on the same side.

    A group is held out when its hash falls under `val_fraction`, whatever else the set holds. In a set so small that
    none (or all) would fall under it, the group with the least hash (or all but the one with the greatest) is held out.
    A set of one group, or a fraction of 0, has no held-out rows.
    """
    shares = {group: share_of(group, "split") for group in set(groups)}
    if val_fraction <= 0 or len(shares) < 2:
        return np.zeros(len(groups), dtype=np.bool_)
    ordered = sorted(shares, key=lambda group: (shares[group], group))
    chosen = {group for group in ordered if shares[group] < val_fraction} or {ordered[0]}
    if len(chosen) == len(ordered):
        chosen.discard(ordered[-1])
    return np.fromiter((group in chosen for group in groups), dtype=np.bool_, count=len(groups))


def limited(items: list[Item], limit: int | None) -> list[Item]:
    """Keep the `limit` items with the least hashes, in order: a smaller limit's choice is part of a larger one's."""
    if limit is None or limit >= len(items):
        return items
    kept = {item.id for item in sorted(items, key=lambda item: (share_of(item.id, "limit"), item.id))[:limit]}
    return [item for item in items if item.id in kept]
