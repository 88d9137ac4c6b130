"""Which of a run's checkpoints is the best by each metric, as tags of the run."""

from __future__ import annotations

from collections.abc import Sequence

from gansweep.scoring.card import Card
from gansweep.scoring.evaluations import best_of
from gansweep.scoring.words import measure_in_words


def best_tags(cards: Sequence[Card], fresh: Sequence[Card]) -> dict[str, str]:
    """Return `gansweep.best.<key>` -> the best checkpoint, for every key among `fresh` cards.

    Held against each other are the run's cards that count and were taken like the newest fresh one.
    """
    tags: dict[str, str] = {}
    for newest in fresh:
        rivals = [
            card
            for card in cards
            if card.key == newest.key and card.retracted is None and card.compared() == newest.compared()
        ]
        if rivals:
            best = best_of(rivals)
            spread = "" if best.interval is None else " [{:.4g}, {:.4g}]".format(*best.interval)
            how = measure_in_words(newest.key, best.measure)
            tags[f"gansweep.best.{newest.key}"] = (
                f"{best.subject['checkpoint']}, step {best.step}: {best.value:.4g}{spread}, card {best.id} ({how})"
            )
    return tags
