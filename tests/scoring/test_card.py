"""Score cards on the disk: written whole, read whatever else stands in the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gansweep.errors import UserError
from gansweep.scoring.card import CARDS_FILE, Card, append, card_id, cards_of, retract

MEASURE = {"judge": "j", "n": "50", "splits": "10", "seed": "0", "mode": "eval"}
SUBJECT = {"run": "a" * 32, "name": "one\u2028two", "checkpoint": "last.pt", "step": "7", "weights_sha256": "0"}


def card(key: str = "is_j", value: float = 2.0, **values: float) -> Card:
    return Card(card_id(key, MEASURE, SUBJECT, "cpu"), key, value, values, MEASURE, SUBJECT, {"device": "cpu"})


def test_a_card_comes_back_as_it_was_even_with_a_line_separator_in_its_name(tmp_path: Path) -> None:
    written = card(std=0.5, ci95_low=1.5, ci95_high=2.5)
    append(tmp_path, written)
    (found,) = cards_of(tmp_path)
    assert found == written and found.interval == (1.5, 2.5) and found.step == 7
    assert found.points() == {"is_j": 2.0, "is_j_std": 0.5, "is_j_ci95_low": 1.5, "is_j_ci95_high": 2.5}


def test_an_id_follows_from_what_was_measured_and_from_nothing_else() -> None:
    base = card_id("is_j", MEASURE, SUBJECT, "cpu")
    assert base == card_id("is_j", dict(reversed(MEASURE.items())), {**SUBJECT, "checkpoint": "best.pt"}, "cpu")
    others = [
        card_id("is_k", MEASURE, SUBJECT, "cpu"),
        card_id("is_j", {**MEASURE, "seed": "1"}, SUBJECT, "cpu"),
        card_id("is_j", MEASURE, {**SUBJECT, "weights_sha256": "1"}, "cpu"),
        card_id("is_j", MEASURE, {**SUBJECT, "step": "8"}, "cpu"),
        card_id("is_j", MEASURE, SUBJECT, "cuda"),
        card_id("is_j", MEASURE, SUBJECT, "cpu", attempt=1),
    ]
    assert len({base, *others}) == 7


def test_a_torn_line_swallows_no_other(tmp_path: Path) -> None:
    append(tmp_path, card())
    with (tmp_path / CARDS_FILE).open("a") as file:
        file.write('{"kind": "card", "id": "torn", "ke')
    append(tmp_path, card("fid_j", 30.0))
    assert [one.key for one in cards_of(tmp_path)] == ["is_j", "fid_j"]


@pytest.mark.parametrize(
    "spoil",
    [
        {"value": "abc"},
        {"values": None},
        {"values": {"std": "x"}},
        {"subject": {}},
        {"subject": {**SUBJECT, "step": "x"}},
        {"measure": {"n": 5}},
        {"context": []},
        {"retracted": "by hand"},
        {"more": 1},
        {"id": 5},
    ],
)
def test_a_line_that_somebody_spoilt_is_no_card(tmp_path: Path, spoil: dict[str, object]) -> None:
    append(tmp_path, card())
    line = json.loads((tmp_path / CARDS_FILE).read_text()) | spoil
    (tmp_path / CARDS_FILE).write_text(json.dumps(line) + "\n[]\n5\n\n")
    assert cards_of(tmp_path) == []


def test_a_retraction_needs_a_reason_and_happens_once(tmp_path: Path) -> None:
    append(tmp_path, card())
    with pytest.raises(UserError, match="--why needs a reason"):
        retract(tmp_path, card(), "  ")
    retract(tmp_path, card(), "training mode")
    (found,) = cards_of(tmp_path)
    assert found.retracted == "training mode"
    with pytest.raises(UserError, match="retracted already: training mode"):
        retract(tmp_path, found, "again")
