"""A plan as people read it: the points, their course, what they will take, what to look at again."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from gansweep.config.naming import unnamed
from gansweep.sweep.plan_points import listed
from gansweep.tables import console, number, print_table

_MOST_COLUMNS = 6
_MOST_NAMED = 6


def print_plan(plan: Mapping[str, Any]) -> None:
    """Print a plan (see plan.show_plan for its parts) on stdout."""
    count = len(plan["points"])
    if plan["search"] is not None:
        _print_search(plan["search"], plan["points"][0])
    else:
        _print_points(plan["points"], plan["follow"])
    for curves in plan["curves"]:
        print()
        _print_curves(curves, count)
    print()
    for epoch in plan["epochs"]:
        _say(_epoch(epoch, count))
    print()
    _print_prediction(plan["trials"], plan["total"], count)
    print()
    for warning in plan["warnings"]:
        who = listed(warning["points"], count)
        _say(f"warning: {who + ': ' if count > 1 else ''}{warning['text']}", "yellow")
    for path in plan["packed"]:
        _say(f"made: {path}, the packed data, as the first run would have made it; nothing else")
    if not plan["packed"]:
        _say("nothing was started and nothing was made", "dim")


def _say(text: str, style: str = "", hang: int = 2) -> None:
    """Print a line; in a window it is folded at words, later lines `hang` letters in; a pipe gets it whole."""
    out = console()
    lines = textwrap.wrap(text, out.width, subsequent_indent=" " * hang) if out.is_terminal else [text]
    for line in lines:
        out.print(Text(line, style=style), soft_wrap=True)


def _how_many(points: Sequence[Mapping[str, Any]]) -> str:
    """Return how many jobs there are, and of how many points where seeds repeat them."""
    seeds = {point["differs"].get("seed") for point in points}
    if len(seeds) < 2 or len(points) % len(seeds):
        return f"{len(points)} points"
    each = {str({key: value for key, value in point["differs"].items() if key != "seed"}) for point in points}
    return f"{len(each)} point{'s' if len(each) > 1 else ''} with {len(seeds)} seeds: {len(points)} jobs"


def _print_points(points: Sequence[Mapping[str, Any]], follow: Mapping[str, str]) -> None:
    if len(points) == 1:
        _say(f"one run: {points[0]['name']}", "bold")
        return
    _say(_how_many(points), "bold")
    keys = list(points[0]["differs"])
    shown = keys[:_MOST_COLUMNS]
    table = _plain_table("", "name", *shown)
    table.columns[1].overflow, table.columns[1].no_wrap = "fold", False
    for point in points:
        table.add_row(str(point["number"]), point["name"], *(point["differs"][key] for key in shown))
    print_table(table)
    if len(keys) > len(shown):
        _say(f"also varied: {', '.join(keys[_MOST_COLUMNS:])}")
    if follow:
        equal = [f"{key} (as {whom})" for key, whom in follow.items() if whom]
        others = [key for key, whom in follow.items() if not whom and not unnamed(key)]
        said = _few([*equal, *others])
        _say(f"what follows from these: {said}", "dim")


def _print_search(search: Mapping[str, Any], first: Mapping[str, Any]) -> None:
    pruner = "no pruner" if search["pruner"] == "none" else f"pruner {search['pruner']}, which ends some runs earlier"
    _say(f"a search of {search['points']} points for {', '.join(search['objective'])}", "bold")
    _say(f"sampler {search['sampler']}, {pruner}; what follows is told of its first point, {first['name']}")
    table = _plain_table("key", "range")
    table.columns[1].no_wrap = False
    for key, text in search["ranges"].items():
        table.add_row(key, text)
    print_table(table)


# The course


def _print_curves(curves: Mapping[str, Any], count: int) -> None:
    """Print a table of what changes, rates and turns always, and a line of what stays as it is."""
    constant: list[str] = []
    rows: dict[str, list[tuple[str, Sequence[float]]]] = {}
    here = curves["points"]
    for label, own in _merged(curves["knobs"]).items():
        every = sorted(point for row in own for point in row["points"]) == sorted(here)
        if all(len(set(row["values"])) == 1 for row in own) and label.startswith("scale"):
            numbers = _or([number(row["values"][0]) for row in own])
            of = "" if every else f" ({listed([point for row in own for point in row['points']], count)})"
            constant.append(f"{label.partition(' ')[2]}{of}: {numbers}")
        else:
            whole = every and len(own) == 1
            rows[label] = [("" if whole else listed(row["points"], count), row["values"]) for row in own]
    several = any(who for own in rows.values() for who, _ in own)
    where = "" if len(curves["points"]) == count else f", {listed(curves['points'], count)}"
    steps = [f"{step:,}" for step in curves["at"]]
    table = _plain_table(f"at step{where}", *(["of"] if several else []), *steps)
    table.columns[0].no_wrap = False
    for column in table.columns[-len(steps) :]:
        column.justify = "right"
    for label, lines in rows.items():
        for place, (who, values) in enumerate(lines):
            cells = [label if place == 0 else "", *([who] if several else []), *(number(value) for value in values)]
            table.add_row(*cells)
    print_table(table)
    if constant:
        _say("scales that stay as they are: " + "; ".join(constant))


def _merged(knobs: Mapping[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Return label -> rows, with knobs of one family that have equal values in all points under one label."""
    families: dict[tuple[str, str], list[str]] = {}
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for knob, rows in knobs.items():
        family, name = _family(knob)
        key = (family, repr(rows))
        families.setdefault(key, []).append(name)
        found[key] = rows
    return {_label(family, families[family, rows]): found[family, rows] for family, rows in found}


def _family(knob: str) -> tuple[str, str]:
    head, _, rest = knob.partition(".")
    if head == "optimizer":
        return "rate of", rest.rpartition(".")[0]
    if knob.startswith("turns/"):
        return "turns a step of", knob.partition("/")[2]
    return ("scale of" if head == "scales" else "knob"), rest


def _label(family: str, names: Sequence[str]) -> str:
    return f"scale {', '.join(names)}" if family == "scale of" else f"{family} {', '.join(names)}"


def _or(texts: Sequence[str]) -> str:
    shown = list(dict.fromkeys(texts))
    return " or ".join(shown) if len(shown) <= 4 else f"{shown[0]} to {shown[-1]} ({len(shown)} values)"


def _epoch(epoch: Mapping[str, Any], count: int) -> str:
    who = f"{listed(epoch['points'], count)}: " if len(epoch["points"]) < count else ""
    several = epoch["batches_per_step"] > 1
    batches = f" (a step takes {epoch['batches_per_step']:.3g} batches)" if several else ""
    return (
        f"{who}{epoch['pictures']:,} pictures to learn from in batches of {epoch['batch_size']}: "
        f"{epoch['steps_per_epoch']:.4g} steps an epoch{batches}, {epoch['steps']:,} steps are {_epochs(epoch)}"
    )


def _epochs(epoch: Mapping[str, Any]) -> str:
    return f"{epoch['epochs']:,.0f} epochs" if epoch["epochs"] >= 10 else f"{epoch['epochs']:.2g} epochs"


# The prediction


def _print_prediction(trials: Sequence[Mapping[str, Any]], total: Mapping[str, Any], count: int) -> None:
    for trial in trials:
        who = f"{listed(trial['points'], count)}: " if len(trials) > 1 else ""
        least, most = trial["run_s"]
        run = in_time(most) if most <= 1.05 * least else f"{in_time(least)} to {in_time(most)}"
        on = "the GPU" if trial["device"] != "cpu" else "the CPU"
        _say(f"{who}predicted from {trial['steps_tried']} trial steps on {on}:", "bold")
        _say(
            f"  time    {in_time(trial['step_s'])} a step, {run} a run, and {in_time(trial['start_s'])} to begin",
            hang=10,
        )
        step = "more than there is" if trial["step_bytes"] is None else in_bytes(trial["step_bytes"])
        parts = f"weights and moments {in_bytes(trial['kept_bytes'])}, a step {step}"
        own = f", the process {in_bytes(trial['process_bytes'])}" if trial["device"] == "cpu" else ""
        free = in_bytes(trial["free_bytes"])
        _say(f"  memory  {in_bytes(trial['memory_bytes'])} a job ({parts}{own}); {free} free", hang=10)
    if len(trials) > 1:
        _say("all together:", "bold")
    low, high = total["disk_bytes_of_a_run"]
    run = in_bytes(high) if low == high else f"{in_bytes(low)} to {in_bytes(high)}"
    files = total["checkpoints_of_a_run"][1]
    kept = f"{files} checkpoint{'s' if files > 1 else ''}"
    every = f", {in_bytes(total['disk_bytes'])} in all" if total["runs"] > 1 else ""
    free = in_bytes(total["disk_free_bytes"])
    _say(f"  disk    {run} a run ({kept}, and up to 64 MiB for the rest){every}; {free} free", hang=10)
    if total["runs"] > 1:
        _say(f"  in all  {_in_all(total)}", hang=10)
    _say("  Times are predictions: held-out losses, grids, checkpoints and scores come on top.", "dim")
    if total["load"] > total["cores"]:
        load = f"load {total['load']:.1f} on {total['cores']} cores"
        _say(f"  Other work was on this machine ({load}): without it steps are faster.", "dim")


def _in_all(total: Mapping[str, Any]) -> str:
    runs = f"{total['runs']} runs"
    if total["at_once"] is None:
        return f"{runs}, {in_time(total['work_s'])} of work; how many run at once is for the cluster to say"
    if total["at_once"] == 1:
        return f"{runs} one after the other: {in_time(total['wall_s'])}"
    return f"{runs}, {total['at_once']} at once: {in_time(total['wall_s'])} (were each as fast as alone)"


def in_time(seconds: float) -> str:
    """Return a time in its largest unit: 3.2 ms, 4.5 s, 12 min, 3.4 h, 2.1 d."""
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.2g} {unit}" if seconds < 10 * length else f"{seconds / length:.0f} {unit}"
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"


def in_bytes(count: int) -> str:
    """Return bytes in KiB, MiB or GiB."""
    if count < 2**20:
        return f"{count / 2**10:.0f} KiB"
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def _few(texts: Sequence[str]) -> str:
    more = len(texts) - _MOST_NAMED
    return ", ".join(texts[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _plain_table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(Text(column), no_wrap=True, overflow="fold")
    return table
