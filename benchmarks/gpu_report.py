"""The GPU list's tables as Markdown: what was measured, on what, and what failed and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gpu_score
from roofline import against

REHEARSAL = (
    "This is a rehearsal at tiny sizes on the CPU. It shows that the script runs; its times are CPU times (TF32 is"
    " plain fp32 there), and nothing here says anything about a GPU."
)
TINY = "These are tiny networks and pictures (`--quick`): a rehearsal on the GPU, no figure to quote."
# The goals: model, what is asked, rungs that may keep it, least ratio, the ratio aimed at; over the plain TF32 loop.
GOALS: tuple[tuple[str, str, tuple[str, ...], float, float], ...] = (
    ("vaegan", "any recorded precision of ours", ("eager", "graph", "graph_bf16", "graph_bf16_compile"), 3.0, 4.0),
    ("vaegan", "the same precision (TF32)", ("eager", "graph"), 1.5, 2.0),
    ("dcgan", "any recorded precision of ours", ("eager", "graph", "graph_bf16", "graph_bf16_compile"), 3.0, 4.0),
    ("wgan_gp", "any recorded precision of ours", ("eager", "graph", "graph_bf16", "graph_bf16_compile"), 2.5, 4.0),
)


def render(found: Mapping[str, Any]) -> str:
    """Return the report of one part."""
    on_gpu = found["figures_of"] == "gpu"
    where = found["machine"].get("gpu") or "the GPU"
    day = found["machine"]["date"][:10]
    title = f"# The GPU list, part {found['part']}: {where}, {day}"
    if not on_gpu:
        title = f"# A rehearsal on the CPU of part {found['part']} of the GPU list, {day}"
    lines = [title, ""]
    lines += [] if on_gpu and not found["quick"] else [TINY if on_gpu else REHEARSAL, ""]
    lines += [f"- {name}: {value}" for name, value in found["machine"].items()]
    if "failed" in found["table"]:
        return "\n".join([*lines, "", f"Not measured: {found['table']['failed']}", ""])
    lines += ["", found["table"]["protocol"], ""]
    body = {"step": _step, "peers": _peers, "profile": _profile, "score": gpu_score.lines}[found["part"]]
    lines += body(found, "ms" if on_gpu else "cpu_ms")
    return "\n".join([*lines, "", f"The part took {found['seconds']:.0f} s.", ""])


def _spread(ms: Mapping[str, float] | None) -> str:
    return "–" if ms is None else f"{ms['median']:.3f} ({ms['p10']:.3f}, {ms['p90']:.3f})"


def _number(value: float | None, form: str = ".0f") -> str:
    return "not measured" if value is None else format(value, form)


def _ratios(rows: list[Mapping[str, Any]]) -> list[str]:
    return [
        f"- {row['ratio']:.2f}: median of {row['numerator']} over median of {row['denominator']}"
        + ("" if row["same_precision"] else " (not the same precision)")
        for row in rows
    ]


def _step(found: Mapping[str, Any], unit: str) -> list[str]:
    lines: list[str] = []
    for load in found["table"]["workloads"]:
        lines += [f"## {load['what']}", ""]
        if "failed" in load:
            lines += [f"Not measured: {load['failed']}", ""]
            continue
        exact = ", ".join(f"{engine} {value:.1e}" for engine, value in load["exact_difference"].items())
        lines += [f"Losses against the plain loop's over three steps in float64, relative: {exact}. {load['note']}", ""]
        lines += [f"| rung | {unit} a step: median (p10, p90) | first losses off by | syncs in 100 steps | peak MB |"]
        lines += ["|---|---|---|---|---|"]
        for row in load["rungs"]:
            if row["ms"] is None:
                lines.append(f"| {row['what']} | not measured: {_cell(row['reason'])} | | | |")
                continue
            cells = [_spread(row["ms"]), f"{row['loss_difference']:.1e}", _number(row["syncs_per_100_steps"])]
            lines.append(f"| {row['what']} | {' | '.join([*cells, _number(row['peak_mb'])])} |")
        lines += ["", *_ratios(load["ratios"]), ""]
        lines += _goals(load) + _roofline(load) if found["figures_of"] == "gpu" and not found["quick"] else []
    return lines


def _goals(load: Mapping[str, Any]) -> list[str]:
    lines: list[str] = []
    over_plain = {row["names"][1]: row["ratio"] for row in load["ratios"] if row["names"][0] == "plain"}
    for model, what, rungs, least, aim in GOALS:
        measured = {name: over_plain[name] for name in rungs if name in over_plain}
        if model != load["name"] or not measured:
            continue
        best = max(measured, key=lambda name: measured[name])
        verdict = "reached the aim" if measured[best] >= aim else "kept" if measured[best] >= least else "not kept"
        asked = f"at least {least:g}, aim {aim:g}, the plain TF32 loop's time over ours"
        lines.append(f"- goal, {what}: {asked}: {measured[best]:.2f} ({best}), {verdict}")
    return [*lines, ""]


def _roofline(load: Mapping[str, Any]) -> list[str]:
    lines = []
    for row in load["rungs"]:
        known = against(load["name"], row["precision"], row["ms"]["median"]) if row["ms"] else None
        if known:
            share = f"{100 * known['share_of_roofline']:.0f} % of the roofline"
            lines.append(f"- {row['what']}: {share} ({known['floor']}, {known['floor_ms']:.2f} ms, {known['what']})")
    return [*lines, ""]


def _peers(found: Mapping[str, Any], unit: str) -> list[str]:
    table = found["table"]
    lines = [f"First losses of ours and the plain loop differ by {table['loss_difference']:.1e} (relative).", ""]
    lines += [f"| side | {unit} a step: median (p10, p90) |", "|---|---|"]
    for row in table["rungs"]:
        cell = _spread(row["ms"]) if row["ms"] else f"not measured: {_cell(row['reason'])}"
        lines.append(f"| {row['what']} | {cell} |")
    lines += ["", *_ratios(table["ratios"]), ""]
    for row in table["rungs"]:
        if row.get("update_shares"):
            shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in row["update_shares"].items())
            lines.append(f"- share of the steps of {row['what']} that updated: {shares}")
        lines += [f"- {row['what']}: {said}" for said in row.get("said", [])]
    return lines


def _profile(found: Mapping[str, Any], unit: str) -> list[str]:
    lines: list[str] = []
    for case in found["table"]["cases"]:
        lines += [f"## {case['model']}, {case['what']}", ""]
        if "failed" in case:
            lines += [f"Not measured: {case['failed']}", ""]
            continue
        busy = case["busy_share"]
        host = _number(case["host_between_replays_ms"], ".3f")
        lines += [
            f"- a step, as it runs: {case['step_ms']:.3f} ms (wall); between two ends of steps the host takes at least"
            f" {case['host_ms_p10']:.3f} ms (p10); nothing was recorded meanwhile",
            f"- of {case['steps']} recorded steps, each: kernels {_number(case['kernels_per_step'], '.1f')}, copies"
            f" and fills {_number(case['copies_per_step'], '.1f')}, waits {_number(case['waits_per_step'], '.2f')}",
            f"- GPU busy: {'not measured' if busy is None else f'{100 * busy:.1f} % of the time recorded'}",
            f"- the host between two replays, while recorded, ms (median): {host}",
        ]
        if case["roofline"]:
            known = case["roofline"]
            share = f"{100 * known['share_of_roofline']:.0f} %"
            lines.append(f"- roofline: {share} of {known['floor_ms']:.2f} ms ({known['floor']}, {known['what']})")
        lines += [f"- {said}" for said in case["said"]]
        lines += ["", f"| name | {unit} a step | share | times a step |", "|---|---|---|---|"]
        for row in case["names"]:
            cells = [f"{row['ms_per_step']:.4f}", f"{100 * row['share']:.1f} %", f"{row['per_step']:.1f}"]
            lines.append(f"| `{_cell(row['name'])}` | {' | '.join(cells)} |")
        lines.append("")
    return lines


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("`", "'").replace("\n", " ")[:140]
