"""What eval-is says of its scores: one checkpoint in words, several as a table, a sweep's as a plot too."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gansweep.scoring.card import Card
from gansweep.scoring.evaluations import Row, print_evaluations
from gansweep.scoring.words import measure_in_words
from gansweep.tables import console

if TYPE_CHECKING:
    from gansweep.evaluate import Evaluation


def print_one(done: Evaluation) -> None:
    """Print every score of one checkpoint with the measure it was taken by, and where it went."""
    out = console()
    for card in done.cards:
        out.print(_line(card), soft_wrap=True, markup=False)
    told = dict.fromkeys(
        measure_in_words(card.key, card.measure, [card.measure.get("seed", "?")]) for card in done.cards
    )
    for line in told:
        out.print(line, soft_wrap=True, markup=False)
    if done.run is None:
        out.print(f"{done.path}: its run is not here, so the score was written nowhere", soft_wrap=True, markup=False)
        return
    where = f"run {done.run.id[:8]} ({done.run.name}) at step {done.step}"
    cards = ", ".join(card.id for card in done.cards)
    if done.fresh:
        out.print(f"written to {where}; card {cards}", soft_wrap=True, markup=False)
    else:
        out.print(f"scored before: {where}; card {cards}; --again scores it once more", soft_wrap=True, markup=False)


def _line(card: Card) -> str:
    """Return one score in full: value and spread, then what it says about itself."""
    values = card.values
    text = f"{card.key} {card.value:.4f}"
    if "std" in values:
        text += f" ± {values['std']:.4f}"
    if card.interval is not None:
        text += " [95 %: {:.4f}, {:.4f}]".format(*card.interval)
    parts = []
    if "single" in values:
        parts.append(f"as one split {values['single']:.4f}")
    if "infinity" in values:
        parts.append(f"for endless samples about {values['infinity']:.4f}")
    if "marginal_entropy" in values:
        parts.append(
            f"entropy of all {values['marginal_entropy']:.3f}, of one {values['conditional_entropy']:.3f} nats"
        )
    if card.retracted is not None:
        text += f"  retracted: {card.retracted}"
    return text + (f"  ({'; '.join(parts)})" if parts else "")


def print_several(target: str, done: Sequence[Evaluation], took_s: float) -> None:
    """Print one line a checkpoint, the best of each metric marked; of a sweep also draw its scores."""
    rows = [
        Row(
            one.run_id or (one.run.id if one.run is not None else ""),
            one.run.name if one.run is not None else "–",
            one.path.name if one.path.suffix == ".pt" else "–",
            one.step,
            one.cards,
            one.fault or ("" if one.fresh else "scored before"),
        )
        for one in done
    ]
    print_evaluations(rows)
    out = console()
    fresh = sum(bool(one.fresh) for one in done)
    out.print(f"{fresh} of {len(done)} checkpoints scored now, in {took_s:.1f} s", soft_wrap=True)
    for path in _plots(target, done):
        out.print(f"plot: {os.path.relpath(path)}", soft_wrap=True, markup=False)


def _plots(target: str, done: Sequence[Evaluation]) -> list[Path]:
    """Return the plots of what was scored: a run's own in its directory, several runs' in their sweep's."""
    from gansweep.scoring.evaluations import labels

    runs = {one.run.id: one.run for one in done if one.run is not None}
    keys = list(dict.fromkeys(card.key for one in done for card in one.cards))
    if len(runs) == 1:
        own = next(iter(runs.values())).dir / "scores"
        return [own / f"{key}.png" for key in keys if (own / f"{key}.png").is_file()]
    names, found = labels(runs.values()), []
    for key in keys:
        cards = {
            names[run_id]: [
                card
                for one in done
                if one.run is not None and one.run.id == run_id
                for card in one.cards
                if card.key == key
            ]
            for run_id in runs
        }
        cards = {name: of_run for name, of_run in cards.items() if of_run}
        if len(cards) > 1:
            from gansweep.scoring.plot import plot_scores  # matplotlib takes its time

            found.append(plot_scores(cards, key, Path(target).expanduser() / f"scores-{key}.png"))
    return found
