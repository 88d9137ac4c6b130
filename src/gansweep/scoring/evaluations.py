"""What eval-is prints of several checkpoints: one row each, one column a metric, the best of each metric marked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from gansweep.runs.rundir import Run
from gansweep.scoring.card import Card, lower_is_better
from gansweep.scoring.ranking import Group, Place, Ranking, rankings, tie
from gansweep.scoring.words import (
    SHORT_ID,
    cut,
    decimals_of,
    differences_in_words,
    measure_in_words,
    one_line,
    with_interval,
)
from gansweep.tables import console, print_table

_BEST, _TIE = "best", "="
# Under so many letters a run's name says nothing.
_LEAST_NAME = 10


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
    for line, keys in _by_measure(ranked).items():
        out.print(Text(f"{', '.join(keys)}: {line}"), soft_wrap=True)
    for key, ranking in ranked.items():
        for turn, group in list(enumerate(ranking.groups))[1:]:
            why = f"≠ {turn} not comparable ({differences_in_words(group.differs)}): "
            out.print(
                Text(f"{why}{key}: {measure_in_words(key, group.measure, _seeds(group))}", "yellow"), soft_wrap=True
            )
        for card in ranking.retracted:
            value = with_interval(card, decimals_of([card]))
            line = f"{key}: {value} of step {card.step} is retracted: {one_line(card.retracted or '')}"
            how = measure_in_words(key, card.measure)
            out.print(Text.assemble((line, "yellow"), f" ({how})"), soft_wrap=True)
        if _TIE in _marks(ranking).values():
            note = f"{key}: = a tie with the best, no more apart than the joint noise of the two 95 % intervals"
            out.print(Text(note, style="dim"), soft_wrap=True)


def _by_measure(ranked: Mapping[str, Ranking]) -> dict[str, list[str]]:
    """Return how the reference cards were measured, in words -> the metrics that were measured so."""
    found: dict[str, list[str]] = {}
    for key, ranking in ranked.items():
        for group in ranking.groups[:1]:
            found.setdefault(measure_in_words(key, group.measure, _seeds(group)), []).append(key)
    return found


def _seeds(group: Group) -> list[str]:
    return [card.measure.get("seed", "?") for card in group.cards]


def evaluations_table(rows: Sequence[Row], ranked: Mapping[str, Ranking]) -> Table:
    """Return the table of `print_evaluations`; `ranked` is the ranking of all the rows' cards by metric."""
    columns: dict[str, list[Text]] = {
        "step": [Text(str(row.step)) for row in rows],
        # A step's own file says nothing that the step does not.
        "checkpoint": [Text("" if row.checkpoint == f"step-{row.step:08d}.pt" else row.checkpoint) for row in rows],
        **{key: _evaluations(rows, ranking) for key, ranking in ranked.items()},
        "remark": [Text(row.remark) for row in rows],
    }
    columns = {name: texts for name, texts in columns.items() if name in ranked or any(texts)}
    taken = SHORT_ID + sum(
        2 + max([len(name), *(len(line) for text in texts for line in text.plain.splitlines())])
        for name, texts in columns.items()
    )
    room = console().width - taken - 1
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("run", no_wrap=True)
    for name in columns:
        justify: JustifyMethod = "right" if name == "step" else "left"
        table.add_column(name, overflow="fold", no_wrap=name == "step", justify=justify)
    for turn, row in enumerate(rows):
        name = f" {cut(one_line(row.run_name), room)}" if room >= _LEAST_NAME else ""
        table.add_row(Text(row.run_id[:SHORT_ID] + name), *(texts[turn] for texts in columns.values()))
    return table


def _evaluations(rows: Sequence[Row], ranking: Ranking) -> list[Text]:
    """Return one cell a row: the row's cards of this metric, one a line, with the seed where not all have the same."""
    marks, decimals = _marks(ranking), decimals_of(_all(ranking))
    several = len({card.measure.get("seed") for card in _all(ranking)}) > 1
    cells = []
    for row in rows:
        own = [card for card in row.cards if card.key == ranking.key]
        lines = [_evaluation(card, decimals, marks.get(card.id, ""), several) for card in own]
        cells.append(Text("\n").join(lines or [Text("–")]))
    return cells


def _all(ranking: Ranking) -> list[Card]:
    return [card for group in ranking.groups for card in group.cards] + list(ranking.retracted)


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
    """Return the card of the best value among comparable ones, the first given of equals; ValueError for none.

    One whose value is not finite is the best only where all are so.
    """
    given = list(cards)
    sign = 1.0 if given and lower_is_better(given[0].key) else -1.0
    return min(given, key=lambda card: sign * card.value if math.isfinite(card.value) else math.inf)


def _evaluation(card: Card, decimals: int | None, mark: str, with_seed: bool) -> Text:
    text = with_interval(card, decimals) + (f" seed {card.measure.get('seed', '–')}" if with_seed else "")
    if card.retracted is not None:
        return Text.assemble((text, "strike"), " retracted")
    return Text.assemble(text, (f" {mark}", "bold" if mark == _BEST else "") if mark else "")


def labels(runs: Iterable[Run]) -> dict[str, str]:
    """Return run id -> a name that no other of `runs` has: its own, with the id's start where several are called so."""
    given = {run.id: run.name for run in runs}
    counts: dict[str, int] = {}
    for name in given.values():
        counts[name] = counts.get(name, 0) + 1
    return {run_id: name if counts[name] == 1 else f"{name} ({run_id[:SHORT_ID]})" for run_id, name in given.items()}
