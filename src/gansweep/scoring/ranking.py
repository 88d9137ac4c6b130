"""Which cards are comparable, and which of those are better by more than the noise of their samples.

Only cards of one key whose measures agree are ranked against each other. Two cards are a tie when they differ by no
more than their 95 % half-widths on the sides that face each other, joined as the root of the sum of squares: the
interval of a difference of independent scores. Ties are no equivalence (a tie with b and b with c leave a and c open),
so a rank counts who is better for sure. No file is read here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gansweep.scoring.card import Card, lower_is_better
from gansweep.scoring.words import differences, order_of_keys

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Place:
    """A card's place among those comparable with it.

    `rank`: 1 + how many of them are better by more than the noise; None when the value is not finite. `ties`: how many
    of them differ from it by no more than the noise. `best_of_run`: no other card of its run here has a better value.
    """

    card: Card
    rank: int | None
    ties: int
    best_of_run: bool

    @property
    def text(self) -> str:
        """The rank as shown: `3`, `1=` for a tie, `–` for none."""
        return "–" if self.rank is None else f"{self.rank}{'=' * (self.ties > 0)}"


@dataclass(frozen=True)
class Group:
    """Cards that are comparable, best rank first.

    `measure`: what they agree in. `differs`: part -> (theirs, the reference group's), empty for that group itself.
    """

    measure: Mapping[str, str]
    places: tuple[Place, ...]
    differs: Mapping[str, tuple[str | None, str | None]] = field(default_factory=dict)

    @property
    def cards(self) -> list[Card]:
        """The cards, best rank first."""
        return [place.card for place in self.places]

    @property
    def without_interval(self) -> int:
        """How many of the cards were ranked by their value alone, as they have no interval."""
        return sum(place.rank is not None and place.card.interval is None for place in self.places)

    @property
    def intransitive(self) -> bool:
        """Whether cards of different ranks are ties too, so that no rank can tell which."""
        shared: dict[int | None, int] = {}
        for place in self.places:
            shared[place.rank] = shared.get(place.rank, 0) + 1
        return any(place.rank is not None and place.ties != shared[place.rank] - 1 for place in self.places)


@dataclass(frozen=True)
class Ranking:
    """The cards of one key: `groups` with the reference group first, then larger before smaller, and `retracted`."""

    key: str
    groups: tuple[Group, ...]
    retracted: tuple[Card, ...]

    @property
    def reference(self) -> Group | None:
        """The group of the most runs (then the most cards, then the newest); None when every card is retracted."""
        return self.groups[0] if self.groups else None


def rank(cards: Iterable[Card]) -> Ranking:
    """Rank the cards of one key; a card that is given twice counts once. ValueError for none, or for several keys."""
    known: dict[str, Card] = {}
    for card in cards:
        # A run's directory may have been copied; retracted in one of them is retracted.
        if card.id not in known or card.retracted is not None:
            known[card.id] = card
    keys = {card.key for card in known.values()}
    if len(keys) != 1:
        raise ValueError(f"a ranking is of one key, not of {sorted(keys)}")
    alike: dict[tuple[tuple[str, str], ...], list[Card]] = {}
    for card in known.values():
        if card.retracted is None:
            alike.setdefault(tuple(sorted(card.compared().items())), []).append(card)
    members = sorted(alike.values(), key=_weight, reverse=True)
    measures = [cards[0].compared() for cards in members]
    groups = tuple(
        Group(measure, places(cards), differences(measure, measures[0]))
        for measure, cards in zip(measures, members, strict=True)
    )
    return Ranking(keys.pop(), groups, tuple(card for card in known.values() if card.retracted is not None))


def rankings(cards: Iterable[Card]) -> dict[str, Ranking]:
    """Return key -> the ranking of its cards, Inception Scores first."""
    by_key: dict[str, list[Card]] = {}
    for card in cards:
        by_key.setdefault(card.key, []).append(card)
    return {key: rank(by_key[key]) for key in order_of_keys(by_key)}


def _weight(cards: Sequence[Card]) -> tuple[int, int, str]:
    return len({run_of(card) for card in cards}), len(cards), max(str(card.context.get("time", "")) for card in cards)


def run_of(card: Card) -> str:
    """Return the id of the run whose checkpoint was scored."""
    return str(card.subject.get("run", ""))


def places(cards: Sequence[Card]) -> tuple[Place, ...]:
    """Return comparable cards (of one key and measure) with their places, best rank first, then best value."""
    import numpy as np  # here, as `diff` needs no more than two cards compared

    goodness, worse, better, known = _oriented(cards)
    finite = np.isfinite(goodness)
    found: list[tuple[float, float, str, Place]] = []
    best: dict[str, float] = {}
    for card, value in zip(cards, goodness, strict=True):
        if math.isfinite(value):
            best[run_of(card)] = max(best.get(run_of(card), -math.inf), float(value))
    for i, card in enumerate(cards):
        if not finite[i]:
            found.append((math.inf, 0.0, card.id, Place(card, None, 0, False)))
            continue
        ahead = goodness - goodness[i]
        # The side of each interval that faces the other card.
        mine, theirs = np.where(ahead > 0, better[i], worse[i]), np.where(ahead > 0, worse, better)
        noise = np.where(known & known[i], np.hypot(mine, theirs), 0.0)
        number = 1 + int((finite & (ahead > noise)).sum())
        ties = int((finite & (np.abs(ahead) <= noise)).sum()) - 1
        place = Place(card, number, ties, bool(goodness[i] == best[run_of(card)]))
        found.append((number, -float(goodness[i]), card.id, place))
    return tuple(place for _, _, _, place in sorted(found, key=lambda item: item[:3]))


def _oriented(cards: Sequence[Card]) -> tuple[np.ndarray, ...]:
    """Return, each (N,): the values turned so that more is better, the half-widths towards worse and towards better.

    And whether there is an interval at all.
    """
    import numpy as np

    values = np.array([card.value for card in cards], dtype=np.float64)
    ends = np.array([card.interval or (math.nan, math.nan) for card in cards], dtype=np.float64).reshape(-1, 2)
    known = np.asarray(np.isfinite(ends).all(axis=1))
    with np.errstate(invalid="ignore"):  # values that are not finite have no rank
        below, above = np.fmax(values - ends[:, 0], 0.0), np.fmax(ends[:, 1] - values, 0.0)
    lower = bool(cards) and lower_is_better(cards[0].key)
    return (-values, above, below, known) if lower else (values, below, above, known)


def noise_between(first: Card, second: Card) -> float | None:
    """Return the largest difference of two comparable cards that is a tie; None when one of them has no interval."""
    if first.interval is None or second.interval is None:
        return None
    low, high = sorted((first, second), key=lambda card: card.value)
    upper, lower = high.interval or (0.0, 0.0), low.interval or (0.0, 0.0)
    return math.hypot(max(high.value - upper[0], 0.0), max(lower[1] - low.value, 0.0))


def tie(first: Card, second: Card) -> bool:
    """Say whether two comparable cards are told apart by nothing but noise; without intervals, only equal ones are."""
    return abs(first.value - second.value) <= (noise_between(first, second) or 0.0)
