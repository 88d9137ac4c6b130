"""What `scores` prints: the cards of the runs here, ranked among those that are comparable."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

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
    decimals_of,
    differences_in_words,
    measure_in_words,
    number,
    one_line,
    std_of,
    told_card,
    with_interval,
)
from gansweep.tables import console, print_table

__all__ = ["Row", "as_plain", "print_evaluations", "print_ranking", "print_scores"]


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
    return (
        f"the {len(runs)} runs here"
        if runs
        else "any run: there are no runs in outputs/ or multirun/ of this directory"
    )


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
        print_table(_retracted_table(ranking, names))


def _notes(group: Group) -> list[str]:
    """Return what must be known to read the group's ranks; nothing for one card."""
    if len(group.places) < 2:
        return []
    found = []
    if any(place.ties for place in group.places):
        found.append("= is a tie: no more apart than the joint noise of the two 95 % intervals")
    if group.intransitive:
        found.append("cards of different ranks can be ties too: a rank counts those that are better by more than noise")
    if group.without_interval:
        found.append(
            f"{group.without_interval} of {len(group.places)} cards without an interval: ranked by value alone"
        )
    return found


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    right = ("rank", "score", "± std", "step", "seed")
    for name in columns:
        kept = name in ("rank", "score", "95 %", "± std", "step", "card")
        table.add_column(name, overflow="fold", no_wrap=kept, justify="right" if name in right else "left")
    return table


def _group_table(group: Group, names: Mapping[str, str]) -> Table:
    table = _table("rank", "score", "95 %", "± std", "run", "step", "checkpoint", "seed", "card", "")
    decimals = decimals_of(group.cards)
    cards_in: dict[str, int] = {}
    for card in group.cards:
        cards_in[run_of(card)] = cards_in.get(run_of(card), 0) + 1
    for place in group.places:
        mark = "best of its run" if place.best_of_run and cards_in[run_of(place.card)] > 1 else ""
        table.add_row(place.text, *_cells(place.card, decimals, names), mark)
    return table


def _cells(card: Card, decimals: int | None, names: Mapping[str, str], style: str = "") -> list[Text]:
    std = std_of(card)
    interval = with_interval(card, decimals).partition(" ")[2]
    texts = (
        number(card.value, decimals),
        interval or "–",
        "–" if std is None else number(std, decimals),
        f"{run_of(card)[:SHORT_ID]} {names.get(run_of(card), '')}".strip(),
        str(card.step),
        str(card.subject.get("checkpoint", "–")),
        str(card.measure.get("seed", "–")),
        card.id,
    )
    return [Text(one_line(text), style=style) for text in texts]


def _retracted_table(ranking: Ranking, names: Mapping[str, str]) -> Table:
    table = _table("score", "95 %", "± std", "run", "step", "checkpoint", "seed", "card", "how and why")
    decimals = decimals_of(ranking.retracted)
    for card in ranking.retracted:
        how = measure_in_words(ranking.key, card.compared())
        why = Text.assemble((how, "strike"), "; ", f"retracted: {one_line(card.retracted or '')}")
        table.add_row(*_cells(card, decimals, names, style="strike"), why)
    return table
