"""The scores of two runs under one key, set beside each other for `diff`."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from gansweep.scoring.card import Card, lower_is_better
from gansweep.scoring.ranking import noise_between, tie
from gansweep.scoring.words import differences, differences_in_words, number, told_card

_CIRCUMSTANCE = "device"


class Compared(TypedDict):
    """Two cards as JSON types: `differs` is part of the measure, or device, -> (first, second), None where absent.

    `tie`: whether they differ by no more than the noise; None when they are not comparable.
    """

    pair: list[dict[str, Any]]
    differs: dict[str, list[str | None]]
    comparable: bool
    tie: bool | None


def newest(cards: Sequence[Card]) -> list[Card]:
    """Return the cards of the newest step, retracted ones only where there is no other, the last taken last."""
    counted = [card for card in cards if card.retracted is None] or list(cards)
    last = max((card.step for card in counted), default=0)
    return [card for card in counted if card.step == last]


def compare(first: Sequence[Card], second: Sequence[Card]) -> Compared:
    """Set the newest steps' scores of two runs beside each other; neither side may be empty.

    Of several cards of one step, two that are comparable are taken when there are such, of one seed if possible.
    """
    pairs = list(itertools.product(newest(first)[::-1], newest(second)[::-1]))
    one, other = min(pairs, key=lambda pair: (not comparable(*pair), pair[0].measure != pair[1].measure))
    differs = differences(_circumstances(one), _circumstances(other))
    alike = comparable(one, other)
    return {
        "pair": [told_card(one), told_card(other)],
        "differs": {part: list(pair) for part, pair in differs.items()},
        "comparable": alike,
        "tie": tie(one, other) if alike else None,
    }


def comparable(one: Card, other: Card) -> bool:
    """Say whether two cards of a key may be compared: both count, and their measures agree but for the seed."""
    return one.retracted is None and other.retracted is None and one.compared() == other.compared()


def _circumstances(card: Card) -> Mapping[str, str]:
    device = {_CIRCUMSTANCE: card.context[_CIRCUMSTANCE]} if _CIRCUMSTANCE in card.context else {}
    return {**card.measure, **device}


def verdict(one: Card, other: Card, ids: Sequence[str]) -> str:
    """Return in one sentence what two cards of a key say of their runs, which are called `ids`."""
    key = one.key
    gone = [(name, card) for name, card in zip(ids, (one, other), strict=True) if card.retracted is not None]
    if gone:
        return f"the two {key} are not compared: " + "; ".join(
            f"that of {name} is retracted: {card.retracted}" for name, card in gone
        )
    if not comparable(one, other):
        parts = differences(one.compared(), other.compared())
        return f"the two {key} are not comparable: {differences_in_words(parts, 'against')}"
    apart, noise = abs(one.value - other.value), noise_between(one, other)
    better = f"{ids[0] if (one.value < other.value) == lower_is_better(key) else ids[1]} is better by {number(apart)}"
    if apart == 0.0:
        return f"the two {key} are equal"
    if noise is None:
        return f"{key}: {better}; whether that is noise is not known, as an interval is missing"
    joint = f"their joint 95 % noise of {number(noise)}"
    if tie(one, other):
        return f"the two {key} are a tie: they differ by {number(apart)}, no more than {joint}"
    return f"{key}: {better}, more than {joint}"
