"""The report of findings: one table, then for each claim the sweeps, the rule, the numbers and the picture."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from finding_rules import CANNOT_TELL, Claim, Interval, Values, verdict

TITLE = "# Nine claims of the journals, each as a small sweep"
FOREWORD = (
    "Each claim is run on embedded data that are drawn, not photographed, with thin networks and few steps: what "
    "is supported here holds here, and what is not may still hold at the journal's size. The rules stand in "
    "benchmarks/finding_claims.py and finding_more_claims.py and were written before the numbers were taken; "
    "where a rule, a setting or the number of seeds was changed after a look, the claim's section tells what came "
    "out before, and seeds not seen then decide. Intervals: 95 % over seeds, Student's t; comparisons are of runs "
    "with the same seed. A claim is supported when the intervals of all its quantities lie in their ranges, not "
    "supported when one lies wholly outside, and cannot be told here when one straddles an end or a control does "
    "not hold."
)


@dataclass
class Result:
    """What a claim's runs gave. `mark` tells the claim's settings and rule apart from others; `failed` says why not."""

    name: str
    mark: str
    seeds: list[int]
    values: Values
    commands: dict[str, str]
    cpu_s: float
    wall_s: float
    taken: str
    load: str
    commit: str
    failed: str | None = None

    def plain(self) -> dict[str, Any]:
        """Return it as plain values for JSON."""
        return asdict(self)


def judged(claim: Claim, result: Result) -> str:
    """Return the verdict; runs that failed tell nothing."""
    return CANNOT_TELL if result.failed else verdict(claim.bounds, result.values)


def number(value: float) -> str:
    """Return a value with four significant digits."""
    return "none" if math.isnan(value) else f"{value:.4g}"


def spread_in_words(values: Sequence[float]) -> str:
    """Return `mean [low, high]`."""
    interval = Interval.over(values)
    return f"{number(interval.mean)} [{number(interval.low)}, {number(interval.high)}]"


def table(claims: Sequence[Claim], results: dict[str, Result]) -> str:
    """Return the table of all claims: what decides them (of controls, what does not hold), intervals, verdicts."""
    rows = ["| claim | journal | measured: mean [95 % interval] | verdict | CPU s |", "|---|---|---|---|---|"]
    for claim in claims:
        result = results[claim.name]
        told = result.failed or "; ".join(
            f"{'control: ' if bound.control else ''}{bound.what}: "
            f"{spread_in_words(result.values[bound.quantity])}, must be {bound.words()}"
            for bound in claim.bounds
            if not bound.control or bound.holds(result.values[bound.quantity]) is not True
        )
        cells = [f"{claim.name}: {claim.says}", claim.journal, told, f"**{judged(claim, result)}**"]
        rows.append("| " + " | ".join([*cells, f"{result.cpu_s:.0f}"]) + " |")
    return "\n".join(rows)


def section(claim: Claim, result: Result, picture: str | None) -> str:
    """Return a claim's part of the report."""
    lines = [f"## {claim.name}: {judged(claim, result)}", "", f"{claim.journal}: {claim.says}", "", claim.read, ""]
    lines += [claim.history, ""] if claim.history else []
    lines += ["```", *result.commands.values(), "```", ""]
    if result.failed:
        return "\n".join([*lines, f"A sweep failed: {result.failed}", ""])
    lines += ["| quantity | must be | mean [95 %] | each seed | |", "|---|---|---|---|---|"]
    said = {True: "holds", False: "does not hold", None: "open"}
    for bound in claim.bounds:
        values = result.values[bound.quantity]
        each = ", ".join(map(number, values))
        kind = "control, " if bound.control else ""
        told = f"{kind}{said[bound.holds(values)]}"
        lines.append(f"| {bound.what} | {bound.words()} | {spread_in_words(values)} | {each} | {told} |")
    for quantity, what in claim.shown.items():
        values = result.values[quantity]
        lines.append(f"| {what} | | {spread_in_words(values)} | {', '.join(map(number, values))} | shown only |")
    if picture:
        lines += ["", f"![{claim.name}]({picture})", "", claim.caption]
    seeds = ", ".join(map(str, result.seeds))
    lines += ["", f"Seeds {seeds}; {result.cpu_s:.0f} CPU s, {result.wall_s:.0f} s; taken {result.taken}, "]
    lines[-1] += f"commit {result.commit}, load {result.load}."
    return "\n".join([*lines, ""])


def report(claims: Sequence[Claim], results: dict[str, Result], head: str, pictures: dict[str, Path], out: Path) -> str:
    """Return the whole report; picture paths are made relative to the folder of `out`."""
    total = sum(result.cpu_s for result in results.values())
    sections = []
    for claim in claims:
        picture = pictures.get(claim.name)
        place = os.path.relpath(picture, out.parent) if picture else None
        sections.append(section(claim, results[claim.name], place))
    foot = (
        f"All sweeps together: {total:.0f} CPU s. Claims may have been run one by one and joined (--only, --keep): "
        "each section tells its own time, its load, and the commit of the program that was run. CPU time grows where "
        "other work shares the cores. Widths, steps and rates were chosen for their cost, with a look at one seed of "
        "the talking face with everything (three rates), of HDGAN with batches of 16 and of siamese with a fixed "
        "light, and at both sides of smoothing-floor as it stands."
    )
    return "\n".join([TITLE, "", head, "", FOREWORD, "", table(claims, results), "", foot, "", *sections])
