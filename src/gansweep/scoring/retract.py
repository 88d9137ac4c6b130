"""Taking a score back: it stays visible, struck through and with the reason, and leaves every ranking."""

from __future__ import annotations

from pathlib import Path

from gansweep.errors import UserError, nearest
from gansweep.runs import store
from gansweep.runs.rundir import Run
from gansweep.runs.tracker import annotate
from gansweep.scoring.best import best_tags
from gansweep.scoring.card import Card, cards_of, retract
from gansweep.scoring.words import SHORT_ID, one_line

LEAST_PREFIX = 4


def retract_card(card_id: str, why: str) -> str:
    """Retract the card of that id, or of an id that begins so, among the runs here; returns the line that says so.

    The run gets the tag `gansweep.<key>.retracted`, in its tracker too; its best checkpoint is marked anew, and a plot
    of its scores drawn anew. UserError for an id that is unknown, too short or of several cards, for a card that is
    retracted already, and for a blank reason.
    """
    found = find_card(card_id)
    reason = one_line(why.encode("utf-8", "replace").decode())  # a shell's argument may be no text
    # Of a run that was copied, a copy may be retracted already.
    for run, card in [pair for pair in found if pair[1].retracted is None] or found[:1]:
        retract(run.dir, card, reason)
        tags = {f"gansweep.{card.key}.retracted": f"{card.id}: {reason}", **_best_now(run, card.key)}
        annotate(run, {}, card.step, tags=tags, files=_drawn_anew(run, card.key), artifact_dir="scores")
    run, card = found[0]
    what = f"{card.key} of run {run.id[:SHORT_ID]} ({run.name}), step {card.step}"
    return f"card {card.id} ({what}) is retracted: {reason}"


def _best_now(run: Run, key: str) -> dict[str, str]:
    """Return the tag that marks the run's best checkpoint by `key`, as eval-is does, of the cards that are left."""
    cards = cards_of(run.dir)
    left = [card for card in cards if card.key == key and card.retracted is None]
    return best_tags(cards, left[-1:]) or {f"gansweep.best.{key}": "none: every score is retracted"}


def _drawn_anew(run: Run, key: str) -> list[Path]:
    """Return the plot of the run's scores that eval-is has left, as it is without the retracted card."""
    path = run.dir / "scores" / f"{key}.png"
    if not path.is_file():
        return []
    from gansweep.scoring.plot import plot_scores  # matplotlib takes its time

    return [plot_scores({run.name: cards_of(run.dir)}, key, path)]


def find_card(card_id: str) -> list[tuple[Run, Card]]:
    """Return the one card of that id, or beginning of an id, with its run; several times where its run was copied."""
    prefix = card_id.strip().lower()
    known = [(run, card) for run in store.all_runs() for card in cards_of(run.dir)]
    ids = {card.id for _, card in known}
    if not known:
        raise UserError(f"{card_id}: there are no score cards in outputs/ or multirun/ of this directory")
    if len(prefix) < LEAST_PREFIX:
        raise UserError(f"'{card_id}': a card's id needs at least {LEAST_PREFIX} characters{nearest(prefix, ids)}")
    matches = sorted(found for found in ids if found.startswith(prefix))
    if not matches:
        raise UserError(f"{card_id}: no card with this id here{nearest(prefix, ids)}")
    if len(matches) > 1 and prefix not in matches:
        listed = ", ".join(matches[:8]) + (", …" if len(matches) > 8 else "")
        raise UserError(f"{card_id}: {len(matches)} cards begin so: {listed}; give more characters")
    chosen = prefix if prefix in matches else matches[0]
    return [(run, card) for run, card in known if card.id == chosen]
