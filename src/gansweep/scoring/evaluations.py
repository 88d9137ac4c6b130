"""What eval-is prints of several checkpoints: one row each, one column a metric, the best of each metric marked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from gansweep.runs.rundir import Run
from gansweep.scoring.card import Card, lower_is_better
from gansweep.scoring.ranking import Place, Ranking, rankings, tie
from gansweep.scoring.words import (
    SHORT_ID,
    decimals_of,
    differences_in_words,
    measure_in_words,
    one_line,
    order_of_keys,
    with_interval,
)
from gansweep.tables import console, print_table

_BEST, _TIE = "best", "="


@dataclass(frozen=True)
class Row:
    """One checkpoint in the table of eval-is: its cards, and a remark (already scored, or why it could not be)."""

    run_id: str
    run_name: str
    checkpoint: str
    step: int
    cards: Sequence[Card]
    remark: str = ""


def print_evaluations(rows: Sequence[Row]) -> None:
    """Print the scores of several checkpoints, one column a metric; the best of each metric is marked.

    Below the table stand the measures once each, and which cards are not comparable with the others of their metric.
    """
    ranked = rankings(card for row in rows for card in row.cards)
    print_table(evaluations_table(rows, ranked))
    out = console()
    for key, ranking in ranked.items():
        for turn, group in enumerate(ranking.groups):
            seeds = [card.measure.get("seed", "?") for card in group.cards]
            line = f"{key}: {measure_in_words(key, group.measure, seeds)}"
            why = f"≠ {turn} not comparable ({differences_in_words(group.differs)}): " if turn else ""
            out.print(Text(f"{why}{line}", style="yellow" if turn else ""), soft_wrap=True)
        if _TIE in _marks(ranking).values():
            out.print(
                Text(f"{key}: = is a tie with the best, no more apart than the noise", style="dim"), soft_wrap=True
            )


def evaluations_table(rows: Sequence[Row], ranked: Mapping[str, Ranking]) -> Table:
    """Return the table of `print_evaluations`; `ranked` is the ranking of all the rows' cards by metric."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("run", overflow="fold")
    table.add_column("step", justify="right", no_wrap=True)
    table.add_column("checkpoint", overflow="fold")
    for key in order_of_keys(ranked):
        table.add_column(key, overflow="fold", no_wrap=True)
    if any(row.remark for row in rows):
        table.add_column("remark", overflow="fold")
    marks = {key: _marks(ranking) for key, ranking in ranked.items()}
    decimals = {
        key: decimals_of(card for group in ranking.groups for card in group.cards) for key, ranking in ranked.items()
    }
    for row in rows:
        cells = [
            Text("\n").join(
                _evaluation(card, decimals[key], marks[key].get(card.id, "")) for card in row.cards if card.key == key
            )
            for key in order_of_keys(ranked)
        ]
        name = one_line(f"{row.run_id[:SHORT_ID]} {row.run_name}")
        remark = [Text(row.remark)] if any(other.remark for other in rows) else []
        table.add_row(Text(name), str(row.step), Text(row.checkpoint), *(cell or Text("–") for cell in cells), *remark)
    return table


def _marks(ranking: Ranking) -> dict[str, str]:
    """Return card id -> what stands behind its value: best, a tie with the best, or the number of its group."""
    found = {card.id: f"≠ {turn}" for turn, group in enumerate(ranking.groups) if turn for card in group.cards}
    places: Iterable[Place] = ranking.reference.places if ranking.reference else ()
    finite = [place for place in places if place.rank is not None]
    if len(finite) < 2:
        return found
    best = best_of(place.card for place in finite)
    for place in finite:
        if place.card.value == best.value:
            found[place.card.id] = _BEST
        elif tie(place.card, best):
            found[place.card.id] = _TIE
    return found


def best_of(cards: Iterable[Card]) -> Card:
    """Return the card of the best value among comparable ones, the first given of equals; ValueError for none."""
    given = list(cards)
    return min(given, key=lambda card: card.value if lower_is_better(card.key) else -card.value)


def _evaluation(card: Card, decimals: int | None, mark: str) -> Text:
    text = with_interval(card, decimals)
    if card.retracted is not None:
        return Text.assemble((text, "strike"), f" retracted: {one_line(card.retracted)}")
    return Text.assemble(text, (f" {mark}", "bold" if mark == _BEST else "") if mark else "")


def labels(runs: Iterable[Run]) -> dict[str, str]:
    """Return run id -> a name that no other of `runs` has: its own, with the id's start where several are called so."""
    given = {run.id: run.name for run in runs}
    counts: dict[str, int] = {}
    for name in given.values():
        counts[name] = counts.get(name, 0) + 1
    return {run_id: name if counts[name] == 1 else f"{name} ({run_id[:SHORT_ID]})" for run_id, name in given.items()}
