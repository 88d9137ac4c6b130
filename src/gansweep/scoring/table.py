"""What `scores` prints: the cards of the runs here, ranked among those that are comparable."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from gansweep.errors import UserError, nearest
from gansweep.runs import store
from gansweep.runs.rundir import Run
from gansweep.scoring.card import Card, cards_of, lower_is_better
from gansweep.scoring.evaluations import Row, print_evaluations
from gansweep.scoring.ranking import Group, Place, Ranking, rankings, run_of
from gansweep.scoring.words import (
    SHORT_ID,
    cut,
    decimals_of,
    differences_in_words,
    measure_in_words,
    number,
    one_line,
    own_file,
    std_of,
    told_card,
    with_interval,
)
from gansweep.tables import console, print_table

__all__ = ["Row", "as_plain", "print_evaluations", "print_ranking", "print_scores"]

_BEST = "*"
# What a line of the table takes beside the run's name; under so many letters a name says nothing.
_WIDTH_WITHOUT_NAMES = 84
_LEAST_NAME = 10


def print_scores(
    run: str | None = None, sweep: str | None = None, key: str | None = None, as_json: bool = False
) -> int:
    """Print the cards of all runs here, of one run or of one sweep, by metric (or of `key` alone); returns 0.

    UserError for a run, sweep or key that nobody has.
    """
    runs = _chosen(run, sweep)
    names = {found.id: found.name for found in runs}
    ranked = rankings(card for found in runs for card in cards_of(found.dir))
    if ranked and key is not None:
        if key not in ranked:
            raise UserError(f"scores: no card under '{key}'{nearest(key, ranked)}")
        ranked = {key: ranked[key]}
    if as_json:
        print(json.dumps([as_plain(ranking, names) for ranking in ranked.values()], indent=1, ensure_ascii=False))
    elif not ranked:
        print(f"no scores of {_whose(runs, run, sweep)} yet; get one with: gansweep eval-is {run or sweep or 'RUN'}")
    else:
        for turn, ranking in enumerate(ranked.values()):
            if turn:
                print()
            print_ranking(ranking, names)
    return 0


def _chosen(run: str | None, sweep: str | None) -> list[Run]:
    if run is not None and sweep is not None:
        raise UserError("scores: name a run or a sweep, not both")
    if run is not None:
        return [store.find(run)]
    if sweep is None:
        return store.all_runs()
    if store.names_sweep(sweep):
        return store.find_many(sweep)
    by_id: dict[str, list[Run]] = {}
    for found in store.all_runs():
        name = str((found.record.get("sweep") or {}).get("id") or "")
        if name:
            by_id.setdefault(name, []).append(found)
    if sweep not in by_id:
        raise UserError(f"scores: no sweep '{sweep}': neither its directory nor its id{nearest(sweep, by_id)}")
    return by_id[sweep]


def _whose(runs: Sequence[Run], run: str | None, sweep: str | None) -> str:
    if run is not None:
        return f"run {runs[0].id[:SHORT_ID]} ({runs[0].name})"
    if sweep is not None:
        return f"the {len(runs)} runs of sweep {sweep}"
    return f"the {len(runs)} runs here" if runs else "any run in outputs/ or multirun/ of this directory"


def as_plain(ranking: Ranking, names: Mapping[str, str]) -> dict[str, Any]:
    """Return a ranking as JSON types; `names`: run id -> the run's name."""
    reference = ranking.reference
    others = [
        {
            "measure": dict(group.measure),
            "differs": {part: list(pair) for part, pair in group.differs.items()},
            "why": differences_in_words(group.differs),
            "cards": [_plain_place(place, names) for place in group.places],
        }
        for group in ranking.groups[1:]
    ]
    return {
        "key": ranking.key,
        "lower_is_better": lower_is_better(ranking.key),
        "measure": dict(reference.measure) if reference else None,
        "cards": [_plain_place(place, names) for place in reference.places] if reference else [],
        "not_comparable": others,
        "retracted": [{"run_name": names.get(run_of(card), ""), **told_card(card)} for card in ranking.retracted],
    }


def _plain_place(place: Place, names: Mapping[str, str]) -> dict[str, Any]:
    standing = {"rank": place.rank, "ties": place.ties, "best_of_run": place.best_of_run}
    return {**standing, "run_name": names.get(run_of(place.card), ""), **told_card(place.card)}


def print_ranking(ranking: Ranking, names: Mapping[str, str]) -> None:
    """Print one metric's cards: the ranked, those that are not comparable with them and why, the retracted."""
    out = console()
    better = "lower is better" if lower_is_better(ranking.key) else "higher is better"
    out.print(Text(f"{ranking.key} ({better})", style="bold"))
    for turn, group in enumerate(ranking.groups):
        if turn:
            why = differences_in_words(group.differs)
            out.print(Text(f"not comparable with these: {why}", style="yellow"), soft_wrap=True)
        seeds = (card.measure.get("seed", "?") for card in group.cards)
        out.print(Text(measure_in_words(ranking.key, group.measure, seeds)), soft_wrap=True)
        print_table(_group_table(group, names))
        for note in _notes(group):
            out.print(Text(note, style="dim"), soft_wrap=True)
    if ranking.retracted:
        out.print(Text("retracted, out of every ranking:", style="yellow"))
        table, cells = _table(ranking.retracted, names, style="strike")
        for card in ranking.retracted:
            table.add_row(*cells(card))
        print_table(table)
        for card in ranking.retracted:
            how = measure_in_words(ranking.key, card.measure)
            out.print(Text(f"{card.id} retracted: {one_line(card.retracted or '')} ({how})"), soft_wrap=True)


def _notes(group: Group) -> list[str]:
    """Return what must be known to read the group's ranks; nothing for one card."""
    if len(group.places) < 2:
        return []
    found = [f"{_BEST} the best of its run"] if _runs_with_several(group) else []
    if any(place.ties for place in group.places):
        found.append("= a tie: no more apart than the joint noise of the two 95 % intervals")
    if group.intransitive:
        found.append("cards of different ranks can be ties too: a rank counts those that are better by more than noise")
    if group.without_interval:
        found.append(
            f"{group.without_interval} of {len(group.places)} cards without an interval: ranked by value alone"
        )
    return found


def _group_table(group: Group, names: Mapping[str, str]) -> Table:
    table, cells = _table(group.cards, names, "rank")
    several = _runs_with_several(group)
    for place in group.places:
        best = place.best_of_run and run_of(place.card) in several
        table.add_row(place.text, *cells(place.card), _BEST if best else "")
    return table


def _runs_with_several(group: Group) -> set[str]:
    runs = [run_of(card) for card in group.cards]
    return {run for run, count in Counter(runs).items() if count > 1}


def _table(
    cards: Sequence[Card], names: Mapping[str, str], *first: str, style: str = ""
) -> tuple[Table, Callable[[Card], list[Text]]]:
    """Return an empty table for `cards` and what makes a card's cells, all but those of `first` and a mark."""
    decimals = decimals_of(cards)
    room = max(console().width - _WIDTH_WITHOUT_NAMES, 0)
    columns: dict[str, Callable[[Card], str]] = {
        "score": lambda card: number(card.value, decimals),
        "95 %": lambda card: with_interval(card, decimals).partition(" ")[2] or "–",
        "± std": lambda card: "–" if (std := std_of(card)) is None else number(std, decimals),
        "run": lambda card: f"{run_of(card)[:SHORT_ID]} {cut(one_line(names.get(run_of(card), '')), room)}".strip(),
        "step": lambda card: str(card.step),
        "checkpoint": lambda card: "" if own_file(card) else str(card.subject.get("checkpoint", "–")),
        "seed": lambda card: str(card.measure.get("seed", "–")),
        "card": lambda card: card.id,
    }
    if all(own_file(card) for card in cards):
        del columns["checkpoint"]
    if room < _LEAST_NAME:
        columns["run"] = lambda card: run_of(card)[:SHORT_ID]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in [*first, *columns, ""]:
        justify: JustifyMethod = "right" if name in ("rank", "score", "± std", "step", "seed") else "left"
        table.add_column(name, overflow="fold", no_wrap=name not in ("run", "checkpoint", ""), justify=justify)
    return table, lambda card: [Text(one_line(text(card)), style=style) for text in columns.values()]
