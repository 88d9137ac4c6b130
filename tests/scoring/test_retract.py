"""Taking a score back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from gansweep.errors import UserError
from gansweep.runs.rundir import Run
from gansweep.scoring.card import CARDS_FILE, append, cards_of
from gansweep.scoring.ranking import rank
from gansweep.scoring.retract import find_card, retract_card
from score_cards import bare_run, make_card

WHY = "the generator was in training mode"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    run = bare_run(tmp_path / "outputs" / "2026-11-22" / "a", "1" * 32, "naïve 模型")
    for step in (10, 20):
        append(run.dir, make_card(4.0 + step / 100, (4.0, 4.5), run.id, step))
    return run


def tags(run: Run) -> dict[str, str]:
    lines = [json.loads(line) for line in (run.dir / "spool.jsonl").read_text().splitlines()]
    return {name: text for line in lines if line["kind"] == "tags" for name, text in line["tags"].items()}


def test_it_stays_and_leaves_the_ranking_and_the_run_is_told(run: Run) -> None:
    first, second = cards_of(run.dir)
    said = retract_card(second.id[:6], f"  {WHY}\n")
    assert said == f"card {second.id} (is_lite0 of run 11111111 (naïve 模型), step 20) is retracted: {WHY}"
    assert [card.retracted for card in cards_of(run.dir)] == [None, WHY]
    assert rank(cards_of(run.dir)).retracted[0].id == second.id
    assert tags(run)["gansweep.is_lite0.retracted"] == f"{second.id}: {WHY}"
    assert f"card {first.id} (judge lite0" in tags(run)["gansweep.best.is_lite0"]
    retract_card(first.id.upper(), "so was this one")
    assert tags(run)["gansweep.best.is_lite0"] == "none: every score is retracted"


def test_its_plot_is_drawn_anew(run: Run) -> None:
    plot = run.dir / "scores" / "is_lite0.png"
    plot.parent.mkdir()
    plot.write_bytes(b"old")
    retract_card(cards_of(run.dir)[0].id, WHY)
    assert plot.read_bytes()[:4] == b"\x89PNG"
    assert '"scores/is_lite0.png"' in (run.dir / "spool.jsonl").read_text()


def test_a_card_is_retracted_once_and_for_a_reason(run: Run) -> None:
    card = cards_of(run.dir)[0]
    for blank in ("", " \n"):
        with pytest.raises(UserError, match="--why needs a reason"):
            retract_card(card.id, blank)
    retract_card(card.id, WHY)
    with pytest.raises(UserError, match=f"{card.id} is retracted already: {WHY}"):
        retract_card(card.id, "again")
    assert cards_of(run.dir)[0].retracted == WHY


def test_ids_that_name_no_card_or_several(run: Run) -> None:
    found = make_card(4.0, (3.9, 4.1), run.id, 30)
    for ending in ("00", "01"):
        append(run.dir, type(found)(**{**found.__dict__, "id": f"abcdef0123{ending}"}))
    with pytest.raises(UserError, match="at least 4 characters"):
        retract_card("abc", WHY)
    with pytest.raises(UserError, match="at least 4 characters"):
        retract_card("", WHY)
    with pytest.raises(UserError, match="2 cards begin so: abcdef012300, abcdef012301; give more characters"):
        retract_card("abcd", WHY)
    with pytest.raises(UserError, match=r"no card with this id here; did you mean 'abcdef01230[01]'"):
        retract_card("abcdef012309", WHY)
    for name in ("zz*zz", "abcdef012300x", "../abcdef012300"):
        with pytest.raises(UserError, match="no card with this id here"):
            retract_card(name, WHY)
    assert all(card.retracted is None for card in cards_of(run.dir))
    assert find_card("abcdef012301")[0][1].id == "abcdef012301"


def test_where_there_are_no_cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no score cards in outputs/ or multirun/") as caught:
        retract_card("abcdef012300", WHY)
    assert "\n" not in str(caught.value)


def test_of_a_copied_run_both_are_retracted(run: Run) -> None:
    copy = run.dir.with_name("b")
    shutil.copytree(run.dir, copy)
    card = cards_of(run.dir)[0]
    retract_card(card.id, WHY)
    for folder in (run.dir, copy):
        assert cards_of(folder)[0].retracted == WHY
    (copy / CARDS_FILE).unlink()
    shutil.copy(run.dir / CARDS_FILE, copy)
    second = cards_of(run.dir)[1]
    append(copy, make_card(1.0, None, "2" * 32, 50))
    retract_card(second.id, WHY)
    with pytest.raises(UserError, match="retracted already"):
        retract_card(second.id, WHY)


def test_a_reason_that_is_no_text_is_kept_as_far_as_it_is(run: Run) -> None:
    said = retract_card(cards_of(run.dir)[0].id, "b\udcffd “mode”\u2028x")
    assert said.endswith("b?d “mode” x")
    assert cards_of(run.dir)[0].retracted == "b?d “mode” x"


def test_a_retraction_behind_a_torn_line(run: Run) -> None:
    with (run.dir / CARDS_FILE).open("a") as file:
        file.write('{"kind": "card", "id": "torn')
    card = cards_of(run.dir)[1]
    retract_card(card.id, WHY)
    assert [card.retracted for card in cards_of(run.dir)] == [None, WHY]
