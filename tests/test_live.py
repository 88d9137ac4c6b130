"""Scores while training: taken as eval-is takes them, told with their time, followed by best.pt, moving nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import tiny_judge
from gansweep.config.settings import Settings
from gansweep.errors import Missing, UserError
from gansweep.evaluate import evaluate
from gansweep.runs import checkpoint, spool
from gansweep.scoring.card import Card, cards_of
from gansweep.train import resume, train

Compose = Callable[..., Settings]
JUDGED = ["judge._target_=tiny_judge.SeeingJudge", "judge.name=tiny", "eval.n=48", "eval.splits=4"]
SCORED = [*JUDGED, "eval.every_steps=4"]
SMALL = ["model=vaegan", "steps=10", "log_every=2", "checkpoint_every=4", "sample_every=0", "val_every=0"]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def points(run_dir: Path, key: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in spool.points(run_dir) if point.key == key]


def told(cards: list[Card]) -> list[tuple[int, str, float]]:
    return [(card.step, card.key, card.value) for card in cards]


def test_scores_come_every_so_many_steps_and_at_the_end_with_their_time(compose: Compose, tmp_path: Path) -> None:
    train(compose(*SMALL, *SCORED, "eval.metrics=[is,fid]"), tmp_path / "run", [])
    cards = cards_of(tmp_path / "run")
    assert [card.step for card in cards if card.key == "is_tiny"] == [4, 8, 10]
    assert [card.step for card in cards if card.key == "fid_tiny"] == [4, 8, 10]
    assert points(tmp_path / "run", "is_tiny") == [(card.step, card.value) for card in cards if card.key == "is_tiny"]
    assert [step for step, _ in points(tmp_path / "run", "perf/eval_s")] == [4, 8, 10]


def test_a_run_is_the_same_with_and_without_being_scored(compose: Compose, tmp_path: Path) -> None:
    options = [*SMALL, "runtime.ema_decay=0.9"]
    with_scores = train(compose(*options, *SCORED), tmp_path / "scored", [])
    without = train(compose(*options), tmp_path / "plain", [])
    assert with_scores.last_losses == without.last_losses


def test_eval_is_finds_the_same_networks_already_scored(compose: Compose, tmp_path: Path) -> None:
    train(compose(*SMALL, *SCORED, "runtime.ema_decay=0.9"), tmp_path / "run", [])
    before = cards_of(tmp_path / "run")
    done = evaluate(str(tmp_path / "run"))
    assert [one.step for one in done] == [4, 8, 10] and not any(one.fresh for one in done)
    again = evaluate(str(tmp_path / "run"), again=True)
    assert told([card for one in again for card in one.cards]) == told(before)


def test_best_follows_a_score_upwards(compose: Compose, tmp_path: Path) -> None:
    settings = compose(*SMALL, *SCORED, "checkpoint.best_by=is_tiny", "checkpoint_every=0")
    outcome = train(settings, tmp_path / "run", [])
    best = max(cards_of(tmp_path / "run"), key=lambda card: card.value)
    assert outcome.best == best.value
    assert checkpoint.load(tmp_path / "run" / "checkpoints" / "best.pt")["step"] == best.step


@pytest.mark.parametrize(("key", "direction"), [("fid_tiny", "min"), ("is_tiny", "max"), ("val/enc/l1", "min")])
def test_which_way_is_better_follows_from_the_metric(compose: Compose, key: str, direction: str) -> None:
    settings = compose(*SMALL, *SCORED, "eval.metrics=[is,fid]", "val_every=2", f"checkpoint.best_by={key}")
    assert settings.checkpoint.best_is == direction


def test_a_score_that_will_not_be_taken_cannot_pick_the_best(compose: Compose, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"best_by=is_tiny: a score, .*eval\.every_steps=N"):
        train(compose(*SMALL, *JUDGED, "checkpoint.best_by=is_tiny"), tmp_path / "run", [])
    with pytest.raises(UserError, match=r"best_by=is_tinny: no such metric.*is_tiny"):
        train(compose(*SMALL, *SCORED, "checkpoint.best_by=is_tinny"), tmp_path / "run", [])


def test_a_judge_without_weights_stops_the_run_before_it_begins(compose: Compose, tmp_path: Path) -> None:
    with pytest.raises(Missing, match="gansweep weights get"):
        train(
            compose(*SMALL, "judge=inception", "eval.n=48", "eval.splits=4", "eval.every_steps=4"), tmp_path / "run", []
        )
    assert not (tmp_path / "run").exists()


def test_training_mode_is_not_for_scores_in_training(compose: Compose) -> None:
    with pytest.raises(UserError, match=r"eval.*every_steps scores in eval mode only"):
        compose(*SMALL, *SCORED, "eval.mode=train")


def test_a_resumed_run_has_the_scores_of_the_uninterrupted_one(
    compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = compose(*SMALL, *SCORED)
    train(settings, tmp_path / "whole", [])
    dying = tiny_judge.SeeingJudge.logits

    def stop(self: tiny_judge.SeeingJudge, images: object) -> object:
        if len(points(tmp_path / "cut", "is_tiny")) == 1:
            raise KeyboardInterrupt
        return dying(self, images)  # type: ignore[arg-type]

    monkeypatch.setattr(tiny_judge.SeeingJudge, "logits", stop)
    assert train(settings, tmp_path / "cut", []).status == "KILLED"
    monkeypatch.setattr(tiny_judge.SeeingJudge, "logits", dying)
    assert resume(str(tmp_path / "cut")).status == "FINISHED"
    assert told(cards_of(tmp_path / "cut")) == told(cards_of(tmp_path / "whole"))
