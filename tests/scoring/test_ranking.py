"""Ranks, ties, groups: on cards made by hand."""

from __future__ import annotations

import dataclasses
import math
import time

import numpy as np
import pytest

from gansweep.scoring.card import Card
from gansweep.scoring.evaluations import best_of
from gansweep.scoring.ranking import noise_between, places, rank, rankings, tie
from gansweep.scoring.words import differences_in_words, measure_in_words
from score_cards import make_card


def card(value: float, half: float | None, number: int = 0, **parts: str | None) -> Card:
    interval = None if half is None else (value - half, value + half)
    return make_card(value, interval, run=f"{number:032x}", **parts)  # type: ignore[arg-type]


def ranks(*cards: Card) -> list[str]:
    """The rank of each card as it is shown, in the order given."""
    group = rank(cards).reference
    assert group is not None
    texts = {place.card.id: place.text for place in group.places}
    return [texts[one.id] for one in cards]


def test_best_first_and_higher_is_better() -> None:
    given = [card(3.0, 0.1, 0), card(5.0, 0.1, 1), card(4.0, 0.1, 2)]
    assert ranks(*given) == ["3", "1", "2"]
    group = rank(given).reference
    assert group is not None and [one.value for one in group.cards] == [5.0, 4.0, 3.0]
    assert not group.intransitive and group.without_interval == 0


@pytest.mark.parametrize("key", ["fid", "fid_lite0", "kid"])
def test_lower_is_better_for_distances(key: str) -> None:
    given = [card(30.0, 1.0, 0, key=key), card(20.0, 1.0, 1, key=key), card(20.5, 1.0, 2, key=key)]
    assert ranks(*given) == ["3", "1=", "1="]
    assert best_of(given) is given[1]


def test_two_of_the_journal_s_scores_of_one_checkpoint_are_a_tie() -> None:
    assert ranks(card(4.0114, 0.05, 0), card(4.0779, 0.05, 1)) == ["1=", "1="]
    assert ranks(card(3.43, 0.05, 0), card(4.0779, 0.05, 1)) == ["2", "1"]


@pytest.mark.parametrize(
    ("better", "worse", "tied"),
    [
        # 0.5 apart. Only the sides that face each other count: the better one's lower, the worse one's upper half.
        ((5.0, 4.7, 5.0), (4.5, 4.5, 4.9), True),  # hypot(0.3, 0.4) = 0.5: the boundary is a tie
        ((5.0, 4.71, 9.0), (4.5, 0.1, 4.89), False),
        ((5.0, 4.0, 5.0), (4.5, 4.5, 4.5), True),
        ((5.0, 5.0, 6.0), (4.5, 3.0, 4.5), False),
    ],
)
def test_the_noise_is_that_of_the_sides_that_face_each_other(
    better: tuple[float, ...], worse: tuple[float, ...], tied: bool
) -> None:
    high, low = make_card(better[0], better[1:], run="a"), make_card(worse[0], worse[1:], run="b")  # type: ignore[arg-type]
    assert tie(high, low) is tie(low, high) is tied
    assert ranks(high, low) == (["1=", "1="] if tied else ["1", "2"])
    mirrored = [
        make_card(-one.value, (-one.values["ci95_high"], -one.values["ci95_low"]), run=name, key="fid")
        for one, name in ((high, "a"), (low, "b"))
    ]
    assert ranks(*mirrored) == ranks(high, low) and tie(*mirrored) is tied


def test_ties_are_not_transitive() -> None:
    a, b, c = card(5.0, 0.1, 0), card(4.9, 0.1, 1), card(4.8, 0.1, 2)
    assert tie(a, b) and tie(b, c) and not tie(a, c)
    assert ranks(a, b, c) == ["1=", "1=", "2="]
    group = rank([a, b, c]).reference
    assert group is not None and group.intransitive
    assert [place.ties for place in group.places] == [1, 2, 1]


def test_an_uncertain_card_stands_with_those_it_is_not_told_apart_from() -> None:
    sure, near, vague = card(5.0, 0.01, 0), card(4.9, 0.01, 1), card(4.8, 1.0, 2)
    assert ranks(sure, near, vague) == ["1=", "2=", "1="]
    group = rank([sure, near, vague]).reference
    assert group is not None and [one.value for one in group.cards] == [5.0, 4.8, 4.9]
    assert best_of(group.cards) is sure


def test_cards_without_an_interval_are_ranked_by_value_alone() -> None:
    bare, sure = card(4.99, None, 0), card(5.0, 0.5, 1)
    assert ranks(bare, sure) == ["2", "1"] and noise_between(bare, sure) is None
    assert ranks(card(5.0, None, 0), card(5.0, 0.5, 1), card(4.0, None, 2)) == ["1=", "1=", "3"]
    group = rank([bare, sure]).reference
    assert group is not None and group.without_interval == 1


def test_values_that_are_not_finite_have_no_rank() -> None:
    given = [card(math.nan, 0.1, 0), card(4.0, 0.1, 1), card(math.inf, 0.1, 2), card(3.0, 0.1, 3)]
    assert ranks(*given) == ["–", "1", "–", "2"]
    group = rank(given).reference
    assert group is not None and [one.value for one in group.cards][:2] == [4.0, 3.0]
    assert best_of(given) is given[1]
    assert not any(place.best_of_run for place in group.places if place.rank is None)


def test_a_value_outside_its_own_interval_has_no_negative_noise() -> None:
    odd, plain = make_card(5.0, (5.5, 6.0), run="a"), make_card(4.95, (4.9, 5.0), run="b")
    assert noise_between(odd, plain) == pytest.approx(0.05)
    assert ranks(odd, plain) == ["1=", "1="]


def test_retracted_cards_never_rank() -> None:
    gone = dataclasses.replace(card(9.0, 0.1, 0), retracted="training mode")
    found = rank([gone, card(4.0, 0.1, 1), card(3.0, 0.1, 2)])
    assert found.retracted == (gone,) and found.reference is not None
    assert [place.text for place in found.reference.places] == ["1", "2"]
    alone = rank([gone])
    assert alone.reference is None and alone.groups == () and alone.retracted == (gone,)


def test_a_copy_of_a_run_counts_once_and_is_retracted_when_one_of_the_two_is() -> None:
    one, other = card(4.0, 0.1, 0), card(3.0, 0.1, 1)
    assert ranks(one, other, one) == ["1", "2", "1"]
    gone = dataclasses.replace(one, retracted="why")
    for given in ([one, gone, other], [gone, one, other]):
        found = rank(given)
        assert found.retracted == (gone,) and found.reference is not None and found.reference.cards == [other]


def test_the_reference_group_has_the_most_runs_then_cards_then_the_newest() -> None:
    many_cards = [card(4.0, 0.1, 0, seed=str(seed)) for seed in range(5)]
    two_runs = [card(3.0, 0.1, number, n="5000") for number in (1, 2)]
    found = rank([*many_cards, *two_runs])
    assert found.reference is not None and found.reference.measure["n"] == "5000"
    assert [len(group.places) for group in found.groups] == [2, 5]
    three = [*two_runs[:1], *many_cards[:2]]
    assert rank(three).groups[0].measure["n"] == "500", "as many runs, more cards"
    old = make_card(4.0, time="2026-11-01T00:00:00.000+00:00")
    new = make_card(3.0, time="2026-11-02T00:00:00.000+00:00", n="5000")
    assert rank([old, new]).groups[0].cards == [new]


def test_what_keeps_groups_apart_is_said_in_words() -> None:
    ours = [card(4.0, 0.1, number) for number in range(3)]
    other = card(4.0, 0.1, 3, n="50", weights_sha256="b" * 64, ema=None, output="64")
    _, group = rank([*ours, other]).groups
    assert dict(group.differs) == {
        "weights_sha256": ("b" * 64, "a" * 64),
        "n": ("50", "500"),
        "ema": (None, "true"),
        "output": ("64", None),
    }
    assert differences_in_words(group.differs) == (
        "weights bbbbbbbb instead of aaaaaaaa, n 50 instead of 500, ema not recorded instead of true, "
        "output 64 instead of not recorded"
    )


def test_digests_that_begin_alike_are_shown_further_and_long_lists_are_cut() -> None:
    differs = {"weights_sha256": ("a" * 8 + "b" * 56, "a" * 64)}
    assert differences_in_words(differs) == "weights aaaaaaaabbbbbbbb instead of aaaaaaaaaaaaaaaa"
    differs = {"weights_sha256": ("a" * 63 + "b", "a" * 64)}
    assert differences_in_words(differs).startswith(f"weights {'a' * 63}b instead of {'a' * 64}")
    assert differences_in_words({str(part): ("1", "2") for part in range(7)}).endswith("4 1 instead of 2 and 2 more")


def test_another_seed_is_another_draw_of_the_same() -> None:
    found = rank([card(4.0, 0.1, 0), card(4.5, 0.1, 0, seed="1"), card(4.2, 0.1, 1)])
    assert len(found.groups) == 1
    marked = {place.card.value: place.best_of_run for place in found.groups[0].places}
    assert marked == {4.0: False, 4.5: True, 4.2: True}


def test_keys_are_ranked_apart_inception_scores_first() -> None:
    keys = ["precision_lite0", "kid", "fid", "is_lite0", "inception_score", "inception_score_64"]
    found = rankings(card(4.0, 0.1, key=key) for key in keys)
    assert list(found) == ["inception_score", "inception_score_64", "is_lite0", "fid", "kid", "precision_lite0"]
    with pytest.raises(ValueError, match="one key"):
        rank([card(4.0, 0.1, key=key) for key in keys])
    with pytest.raises(ValueError, match="one key"):
        rank([])


def test_many_cards_agree_with_the_definition_and_take_no_time() -> None:
    draw = np.random.RandomState(0)
    values, halves = draw.normal(4, 0.2, 3000), draw.uniform(0.0, 0.2, (3000, 2))
    given = [
        make_card(value, (value - low, value + high), run=f"{number:032x}")
        for number, (value, (low, high)) in enumerate(zip(values, halves, strict=True))
    ]
    begun = time.process_time()
    found = {place.card.id: place for place in places(given)}
    assert time.process_time() - begun < 5.0
    for one in given[::300]:
        better = sum(other.value > one.value and not tie(one, other) for other in given)
        ties = sum(tie(one, other) for other in given) - 1
        assert (found[one.id].rank, found[one.id].ties) == (1 + better, ties)


def test_an_inception_score_is_never_told_without_judge_n_splits_and_mode() -> None:
    for key in ("inception_score", "inception_score_64", "is_mine"):
        said = measure_in_words(key, {"seed": "3"})
        assert said == "judge not recorded; N not recorded; splits not recorded; mode not recorded; seed 3"
    assert measure_in_words("rec_psnr", {"n": "1024", "mode": "eval", "ema": "false"}) == "N 1024; eval mode; no EMA"
    many = measure_in_words("fid", {}, [str(seed) for seed in range(12)])
    assert many == "seeds 0, 1, 2, 3, 4, … (12 in all)"
    whole = {"b": "2", "size_px": "64", "splits": "1", "judge": "x", "weights_sha256": "c" * 64}
    assert measure_in_words("fid", whole) == "judge x (weights cccccccc); 1 split; 64 px; b 2"
