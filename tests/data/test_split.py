from __future__ import annotations

import numpy as np
import pytest

from gansweep.data.source import Item
from gansweep.data.split import held_out, limited, share_of


def test_adding_pictures_moves_no_other_to_the_other_side() -> None:
    before = [f"group {number}" for number in range(400)]
    after = [f"new {number}" for number in range(300)] + before
    assert held_out(after, 0.1)[300:].tolist() == held_out(before, 0.1).tolist()


def test_a_larger_share_holds_out_all_that_a_smaller_one_does() -> None:
    groups = [f"group {number}" for number in range(1000)]
    small, large = held_out(groups, 0.05), held_out(groups, 0.2)
    assert (large | ~small).all()
    assert 0.03 < small.mean() < 0.07
    assert 0.16 < large.mean() < 0.24


def test_a_group_is_never_torn_apart() -> None:
    groups = [f"group {number % 50}" for number in range(500)]
    sides = held_out(groups, 0.3)
    for group in set(groups):
        assert len({bool(side) for side, name in zip(sides, groups, strict=True) if name == group}) == 1


@pytest.mark.parametrize("fraction", [1e-9, 0.999999999])
def test_a_small_set_has_pictures_on_both_sides(fraction: float) -> None:
    sides = held_out(["a", "b", "c"], fraction)
    assert sides.any() and not sides.all()


def test_nothing_is_held_out_of_one_group_or_with_a_share_of_zero() -> None:
    assert not held_out(["only"] * 5, 0.5).any()
    assert not held_out(["a", "b"], 0.0).any()


def test_shares_are_spread_evenly_and_purposes_are_independent() -> None:
    names = [f"name {number}" for number in range(2000)]
    split = np.array([share_of(name, "split") for name in names])
    limit = np.array([share_of(name, "limit") for name in names])
    assert abs(split.mean() - 0.5) < 0.03
    assert abs(np.corrcoef(split, limit)[0, 1]) < 0.1


def test_a_smaller_limit_is_part_of_a_larger_one_and_order_stays() -> None:
    items = [Item(id=f"{number:03d}", group="") for number in range(100)]
    ten, thirty = limited(items, 10), limited(items, 30)
    assert len(ten) == 10
    assert {item.id for item in ten} < {item.id for item in thirty}
    assert [item.id for item in thirty] == sorted(item.id for item in thirty)
    assert limited(items, None) == items == limited(items, 1000)
