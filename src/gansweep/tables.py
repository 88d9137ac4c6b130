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
from gansweep.scores import Compared, Scored, measure

# A pipe or a file has no width; folding a table at 80 letters helps nobody there.
_PIPE_WIDTH = 200
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


def quote(score: Scored) -> str:
    """Return a score with its spread, the number of its samples and the step of its checkpoint."""
    spread = "" if score["std"] is None else f" ±{number(score['std'])}"
    n = score["protocol"].get("n")
    return f"{number(score['value'])}{spread} ({f'n={n}' if n else 'n not recorded'}, step {score['step']})"


def newest_scores(found: Mapping[str, Sequence[Scored]]) -> str:
    """Return the score of the newest step under each key, in one line."""
    return ", ".join(f"{key} {quote(scores[-1])}" for key, scores in found.items())


def every_score(found: Mapping[str, Sequence[Scored]]) -> str:
    """Return every score in a line of its own; behind those that were measured alike, their whole protocol once."""
    lines: list[str] = []
    for key, scores in found.items():
        for score, following in zip(scores, [*scores[1:], None], strict=True):
            told = score["protocol"]
            where = [f"{name} {told[name]}" for name in ("checkpoint", "device") if name in told]
            lines.append(", ".join([f"{key} {quote(score)}", *where]))
            if following is None or measure(following) != measure(score):
                parts = [f"{part}: {_short(part, text)}" for part, text in measure(score).items()]
                lines.append("  " + ("; ".join(parts) or "its protocol was not recorded"))
    return "\n".join(lines)


def _short(part: str, text: str) -> str:
    return text[:16] if part.endswith("sha256") else text


def not_comparable(key: str, told: Compared, ids: Sequence[str]) -> str:
    """Return in one sentence why the two scores under `key` cannot be compared; empty when they can."""
    if told["comparable"]:
        return ""
    unknown = [name for name, score in zip(ids, told["pair"], strict=True) if not score["protocol"]]
    if unknown:
        why = f"no protocol was recorded for {' and '.join(unknown)}"
    else:
        measured = measure(told["pair"][0]) | measure(told["pair"][1])
        differing = {part: pair for part, pair in told["differs"].items() if part in measured}
        sides = ((part, *(_short(part, text or "–") for text in pair)) for part, pair in differing.items())
        why = ", ".join(f"{part} {first} against {second}" for part, first, second in sides)
    return f"the two {key} are not comparable: {why}"


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
    table = _table("id", "name", "status", "step", "losses", "scores", "age", fold=("name", "losses", "scores"))
    for told in found:
        table.add_row(
            str(told["id"])[:8],
            Text(str(told["name"])),
            status(str(told["status"])),
            progress(told["step"], told["steps"]),
            Text(values(told["losses"])),
            Text(newest_scores(told["scores"])),
            age(told["created"]),
        )
    print_table(table)


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
    for key in dict.fromkeys([*first["scores"], *second["scores"]]):
        sides = [side["scores"][key][-1] if key in side["scores"] else None for side in (first, second)]
        pair = told["scores"][key]["pair"] if key in told["scores"] else sides
        table.add_row(Text(key), *(_cell(score and quote(score)) for score in pair))
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
    for key, compared in told["scores"].items():
        if remark := not_comparable(key, compared, ids):
            out.print(Text(remark, style="yellow"))


def _cell(value: object) -> Text:
    text = "–" if value is None else str(value)
    return Text(text if len(text) <= 60 else text[:59] + "…")
