"""What `runs`, `show`, `diff` and the end of a sweep print: tables for people, on stdout."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gansweep.look import age
from gansweep.scoring.card import Card
from gansweep.scoring.pair import newest, verdict
from gansweep.scoring.words import conditions, measure_in_words, quote, untold, with_spread

# A pipe or a file has no width; folding a table at 80 letters helps nobody there.
_PIPE_WIDTH = 200
# Of each run in the table of runs; `show` and `scores` tell the others.
_SCORES_SHOWN = 3
_COLOURS = {"FINISHED": "green", "FAILED": "red", "KILLED": "yellow", "RUNNING": "cyan"}


def console() -> Console:
    """Return the console of stdout; wide when stdout is no terminal."""
    width = None if sys.stdout.isatty() else int(os.environ.get("COLUMNS") or _PIPE_WIDTH)
    return Console(file=sys.stdout, width=width, highlight=False, soft_wrap=False)


def number(value: float | None) -> str:
    """Return a metric's value with four significant digits."""
    return "–" if value is None else f"{value:.4g}"


def print_table(table: Table) -> None:
    """Print a table; into a pipe without the blanks that fill its lines up, which would wrap in a narrower window."""
    out = console()
    if sys.stdout.isatty():
        out.print(table)
        return
    with out.capture() as captured:
        out.print(table)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def values(found: Mapping[str, float], most: int = 4) -> str:
    """Return `key value` pairs in one line, one of each phase before a second of any; how many more there are."""
    turns: dict[str, int] = {}
    ranked = []
    for place, key in enumerate(found):
        phase = key.partition("/")[0]
        turns[phase] = turns.get(phase, 0) + 1
        ranked.append((turns[phase], place, key))
    chosen = list(found) if len(found) <= most else [key for _, _, key in sorted(ranked)[:most]]
    shown = [f"{key} {number(found[key])}" for key in chosen]
    return ", ".join(shown) + (f", … {len(found) - most} more" if len(found) > most else "")


def newest_scores(found: Mapping[str, Sequence[Mapping[str, Any]]], marks: Mapping[str, str]) -> Text:
    """Return the score of the newest step under each metric, in one line; `marks`: card id -> which measure is its."""
    cards = [newest([untold(card) for card in given])[-1] for given in found.values()]
    cells: list[Text] = []
    for card, following in zip(cards, [*cards[1:_SCORES_SHOWN], None], strict=False):
        mark = f" {marks[card.id]}" if marks.get(card.id) else ""
        # Of metrics taken together it is said once how they were.
        together = following is not None and conditions(card) == conditions(following)
        text = f"{card.key} {with_spread(card)}{mark}" + ("" if together else f" ({conditions(card)})")
        cells.append(Text(text) if card.retracted is None else Text.assemble((text, "strike"), _retracted(card)))
    left = len(cards) - len(cells)
    return Text(", ").join([*cells, *[Text(f"… {left} more")][: left > 0]])


def _retracted(card: Card) -> str:
    return f" retracted: {card.retracted}"


def every_score(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> Text:
    """Return every score in a line of its own; behind those that were measured alike, their whole measure once."""
    lines: list[Text] = []
    for key, plain in found.items():
        cards = [untold(card) for card in plain]
        for card, following in zip(cards, [*cards[1:], None], strict=True):
            where = [card.subject.get("checkpoint", ""), card.context.get("device", ""), f"card {card.id}"]
            line = Text(", ".join(text for text in (f"{key} {quote(card)}", *where) if text))
            if card.retracted is not None:
                line = Text.assemble((line.plain, "strike"), _retracted(card))
            lines.append(line)
            if following is None or following.compared() != card.compared():
                lines.append(Text("  " + measure_in_words(key, card.compared(), full=True)))
    return Text("\n").join(lines)


def status(word: str) -> Text:
    """Return a status in its colour."""
    return Text(word, style=_COLOURS.get(word, ""))


def progress(step: int | None, steps: int | None) -> str:
    """Return how far a run came."""
    return f"{step if step is not None else '–'}/{steps if steps is not None else '–'}"


def _table(*columns: str, fold: Iterable[str] = ()) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column not in fold)
    return table


def print_runs(found: Sequence[Mapping[str, Any]]) -> None:
    """Print one line per run."""
    if not found:
        print("no runs in outputs/ or multirun/ of this directory; start one with: gansweep train")
        return
    marks, legend = _measures(found)
    table = _table("id", "name", "status", "step", "losses", "scores", "age", fold=("name", "losses", "scores"))
    for told in found:
        table.add_row(
            str(told["id"])[:8],
            Text(str(told["name"])),
            status(str(told["status"])),
            progress(told["step"], told["steps"]),
            Text(values(told["losses"])),
            newest_scores(told["scores"], marks),
            age(told["created"]),
        )
    print_table(table)
    for line in legend:
        console().print(Text(line, style="dim"), soft_wrap=True)


def _measures(found: Sequence[Mapping[str, Any]]) -> tuple[dict[str, str], list[str]]:
    """Return card id -> the mark of its measure, where its metric was measured in several ways; and a line for each."""
    alike: dict[str, dict[tuple[tuple[str, str], ...], list[Card]]] = {}
    for run in found:
        for key, cards in list(run["scores"].items())[:_SCORES_SHOWN]:
            card = newest([untold(card) for card in cards])[-1]
            alike.setdefault(key, {}).setdefault(tuple(card.compared().items()), []).append(card)
    marks: dict[str, str] = {}
    lines = []
    for key, measures in alike.items():
        for number_of, cards in enumerate(measures.values(), 1):
            mark = f"[{number_of}]" if len(measures) > 1 else ""
            marks |= {card.id: mark for card in cards}
            lines.append(f"{key}{' ' * bool(mark)}{mark}: {measure_in_words(key, cards[0].compared())}")
    return marks, lines


def print_show(told: Mapping[str, Any]) -> None:
    """Print everything about one run, one thing a line."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, text in _lines(told):
        table.add_row(key, text if isinstance(text, Text) else Text(str(text)))
    print_table(table)


def _lines(told: Mapping[str, Any]) -> list[tuple[str, Any]]:
    parent, tracking, dataset = told["parent"], told["tracking"] or {}, told["dataset"]
    found: list[tuple[str, Any]] = [
        ("run", f"{told['id']}  {told['name']}"),
        ("status", Text.assemble(status(str(told["status"])), f"  step {progress(told['step'], told['steps'])}")),
        ("why", told["reason"]),
        ("note", told["note"]),
        ("started", f"{told['created']} ({age(told['created'])} ago)"),
        ("ended", told["finished"]),
        ("changed", _keys(told["changed"]) or "nothing: the defaults"),
        ("losses", values(told["losses"], 99)),
        ("held out", values(told["held_out"], 99)),
        ("scores", every_score(told["scores"])),
        (
            "data",
            dataset and f"{dataset['name']}: {dataset['count']} pictures, fingerprint {dataset['fingerprint'][:16]}",
        ),
        ("stand-in", told["tags"].get("gansweep.stand_in")),
        ("sweep", told["sweep"] and f"{told['sweep']['id']}, job {told['sweep']['job']}"),
        ("parent", parent and f"{parent['run_id']} at step {parent['step']}"),
        ("commit", told["commit"] and f"{told['commit'][:12]}{' with uncommitted changes' if told['dirty'] else ''}"),
        ("tracker", tracking.get("uri") or tracking.get("kind")),
        ("mlflow run", told["mlflow_run_id"]),
        ("checkpoints", "\n".join(os.path.relpath(path) for path in told["checkpoints"])),
        ("last grids", "\n".join(os.path.relpath(path) for path in told["grids"])),
        ("directory", os.path.relpath(told["dir"])),
    ]
    return [(key, text) for key, text in found if text]


def _keys(changed: Mapping[str, Any]) -> str:
    return "\n".join(f"{key}={value}" for key, value in changed.items())


def print_diff(told: Mapping[str, Any]) -> None:
    """Print two runs side by side: what was changed, what follows, results, circumstances."""
    out = console()
    first, second = told["runs"]
    ids = (str(first["id"])[:8], str(second["id"])[:8])
    table = _table("", *ids, fold=ids)
    table.add_row("name", Text(str(first["name"])), Text(str(second["name"])))
    for key in [key for key in told["config"] if key in told["changed"]]:
        table.add_row(Text(key, style="bold"), *(_cell(value) for value in told["config"][key]))
    for key in [key for key in told["config"] if key not in told["changed"]]:
        table.add_row(Text(key, style="dim"), *(_cell(value) for value in told["config"][key]))
    if not told["config"]:
        table.add_row("config", "the same", "the same")
    table.add_section()
    table.add_row("status", status(first["status"]), status(second["status"]))
    table.add_row("step", *(progress(run["step"], run["steps"]) for run in (first, second)))
    for kind in ("losses", "held_out"):
        for key in dict.fromkeys([*first[kind], *second[kind]]):
            table.add_row(key, number(first[kind].get(key)), number(second[kind].get(key)))
    pairs = {key: _pair(told, key) for key in dict.fromkeys([*first["scores"], *second["scores"]])}
    for key, cards in pairs.items():
        table.add_row(Text(key), *(_score_cell(card) for card in cards))
    table.add_section()
    for key, pair in told["circumstances"].items():
        table.add_row(Text(key, style="yellow"), *(_cell(value) for value in pair))
    print_table(table)
    if len(told["changed"]) > 1:
        keys = ", ".join(told["changed"])
        out.print(Text(f"{len(told['changed'])} things were changed at once: {keys}", style="yellow"))
    if told["circumstances"]:
        keys = ", ".join(told["circumstances"])
        out.print(Text(f"not the same circumstances: {keys}", style="yellow"))
    for key, (one, other) in pairs.items():
        for line in dict.fromkeys(measure_in_words(key, card.compared()) for card in (one, other) if card):
            out.print(Text(f"{key}: {line}", style="dim"), soft_wrap=True)
        if one and other:
            style = "" if told["scores"][key]["comparable"] else "yellow"
            out.print(Text(verdict(one, other, ids), style=style), soft_wrap=True)


def _pair(told: Mapping[str, Any], key: str) -> tuple[Card | None, Card | None]:
    """Return the two runs' cards under a metric that `diff` shows; None for a run that has none."""
    if key in told["scores"]:
        one, other = (untold(card) for card in told["scores"][key]["pair"])
        return one, other
    sides = [[untold(card) for card in run["scores"].get(key, [])] for run in told["runs"]]
    one, other = (newest(cards)[-1] if cards else None for cards in sides)  # type: ignore[assignment]
    return one, other


def _score_cell(card: Card | None) -> Text:
    if card is None or card.retracted is None:
        return Text("–" if card is None else quote(card))
    return Text.assemble((quote(card), "strike"), " retracted")


def _cell(value: object) -> Text:
    text = "–" if value is None else str(value)
    return Text(text if len(text) <= 60 else text[:59] + "…")
