"""Part `step` of the GPU list: the ladder from the plain eager loop to everything we have, model by model."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import torch
from clocks import COUNTED_STEPS, Deadline, OutOfTime, compilations, host_waits, in_turns, peak_memory, why
from machine import spread
from rungs import LOOSE, OURS, PLAIN, WORKLOADS, Rung, Size, Workload, exact_difference, our_rung, plain_rung
from sides import furthest

# Seconds kept for timing when something is compiled, which may take minutes; `--only` gives one model all the time.
KEPT_SECONDS = 45.0
PROTOCOL = (
    "All rungs of a model in one process, on the same weights (each a copy), pictures and, for the plain loops, the"
    " noise that ours draws in the step. A step: pictures already on the device, noise (ours), forwards, losses,"
    " gradients, every update, and what each does to know its losses (the plain loop: `.item()` of each, every step;"
    " ours: metrics, gradient norms, one reading in 100 steps). Losses of the first step are compared before timing."
)


def measure(size: Size, device: torch.device, deadline: Deadline, only: str | None, say: Callable[[str], None]) -> Any:
    """Return the part's table: one entry a model."""
    found = []
    chosen = [load for load in WORKLOADS if only in (None, load.name)]
    for number, load in enumerate(chosen):
        share = deadline.left() * load.weight / sum(other.weight for other in chosen[number:])
        say(f"{load.what}: at most {share:.0f} s")
        try:
            found.append(_workload(load, size, device, Deadline(share), say))
        except Exception as error:
            found.append({"name": load.name, "what": load.what, "failed": why(error), "rungs": [], "ratios": []})
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return {"protocol": PROTOCOL, "workloads": found}


def _workload(
    load: Workload, size: Size, device: torch.device, deadline: Deadline, say: Callable[[str], None]
) -> dict[str, Any]:
    exact = _exact(load, size, device)
    rungs, failed = _build(load, size, device, deadline, say)
    start = 1 + size.warm_up
    note = ""
    try:
        with deadline.within(deadline.left(), "timing"):
            in_turns(rungs, size, start, device)
            start += size.repeats * size.steps
            start += -start % COUNTED_STEPS
            for rung in rungs:
                count = min(COUNTED_STEPS, size.steps)
                rung.facts["syncs_per_100_steps"] = host_waits(rung.run, start, count, device)
    except OutOfTime as error:
        if not all(rung.times_ms for rung in rungs):
            raise
        note = f"cut short: {why(error)}"
    rows = [_row(rung) for rung in rungs] + failed
    order = [name for name, *_ in (*PLAIN, *OURS)]
    rows.sort(key=lambda row: order.index(row["name"]))
    return {
        "name": load.name,
        "what": load.what if size.batch is None else f"{load.name}, {size.size_px} px, batch {size.batch}: a rehearsal",
        "exact_difference": exact,
        "note": note,
        "rungs": rows,
        "ratios": ratios({row["name"]: row for row in rows if row["ms"]}),
    }


def _exact(load: Workload, size: Size, device: torch.device) -> dict[str, float]:
    """Compare in float64 before anything else; a difference ends the model."""
    found = {}
    for engine in ("eager", "graph") if device.type == "cuda" else ("eager",):
        found[engine] = exact_difference(load, size, device, engine)
        if not found[engine] <= LOOSE["fp64"]:
            raise RuntimeError(f"losses of {engine} differ by {found[engine]:.3g} in float64: not the same step")
    return found


def _build(
    load: Workload, size: Size, device: torch.device, deadline: Deadline, say: Callable[[str], None]
) -> tuple[list[Rung], list[dict[str, Any]]]:
    """Build, compare and warm up every rung; returns those to be timed, and rows that say why the others are not."""
    base = our_rung(*OURS[0], load, size, device)
    assert base.ours is not None
    source = base.ours
    makers: list[tuple[str, str, Callable[[], Rung]]] = [
        (name, what, lambda n=name, w=what, b=bf16: plain_rung(n, w, b, source, torch.float32, size, device))
        for name, what, bf16 in PLAIN
    ]
    makers += [
        (name, what, lambda n=name, w=what, r=runtime: our_rung(n, w, r, load, size, device))
        for name, what, runtime in OURS
    ]
    rungs: list[Rung] = []
    failed: list[dict[str, Any]] = []
    for name, what, make in makers:
        limit = deadline.left() - (KEPT_SECONDS if "compile" in name else 0.0)
        facts: dict[str, Any] = {}
        compiled = compilations()
        try:
            with deadline.within(limit, f"building {what}"), peak_memory(facts, device):
                rung = make()
                rung.facts = facts
                rung.run(0, 1)
                _compare(rung, rungs[0] if rungs else rung, load)
                rung.run(1, size.warm_up)
                if "compile" in name and compilations() == compiled:
                    raise RuntimeError("runtime.compile=true compiled nothing")
            rungs.append(rung)
            say(f"  {what}: ready")
        except Exception as error:
            if not rungs:
                raise
            failed.append({"name": name, "what": what, "ms": None, "reason": why(error)})
            say(f"  {what}: {why(error)}")
    return rungs, failed


def _compare(rung: Rung, plain: Rung, load: Workload) -> None:
    """Hold the first step's losses against the plain loop's, which stay in its facts."""
    losses = dict(rung.losses())
    reference = plain.facts.setdefault("first_losses", losses)
    difference = furthest(losses, reference)
    allowed = LOOSE[rung.precision] * load.slack
    rung.facts |= {"first_losses": losses, "loss_difference": difference, "loss_difference_allowed": allowed}
    if not difference <= allowed:
        raise RuntimeError(f"first losses differ by {difference:.3g} from the plain loop's (allowed {allowed:g})")


def _row(rung: Rung) -> dict[str, Any]:
    row = {"name": rung.name, "what": rung.what, "precision": rung.precision, "ms": spread(rung.times_ms)}
    return {**row, "repeats_ms": rung.times_ms, "syncs_per_100_steps": None, **rung.facts}


# Which medians are held against which: numerator, denominator.
PAIRS = (
    ("plain", "eager"),
    ("plain", "graph"),
    ("plain", "graph_bf16"),
    ("plain", "graph_bf16_compile"),
    ("plain_bf16", "graph_bf16"),
    ("plain_bf16", "graph_bf16_compile"),
    ("eager", "graph"),
    ("graph", "graph_bf16"),
    ("graph_bf16", "graph_bf16_compile"),
)


def ratios(rows: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return ratios of medians, each with what stands above and below; `precision` says whether both are the same."""
    found = []
    for above, below in PAIRS:
        if above in rows and below in rows:
            found.append(
                {
                    "ratio": rows[above]["ms"]["median"] / rows[below]["ms"]["median"],
                    "numerator": rows[above]["what"],
                    "denominator": rows[below]["what"],
                    "names": [above, below],
                    "same_precision": rows[above]["precision"] == rows[below]["precision"],
                }
            )
    return found
