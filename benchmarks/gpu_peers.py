"""Part `peers` of the GPU list: the VAE-GAN's step as users of other tools take it, beside the plain loop and ours."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from clocks import Deadline, in_turns, why
from machine import spread
from rungs import WORKLOADS, Rung, Size, our_rung, plain_rung
from sides import drawn_batches, furthest

PYTHAE = "0.1.2"
PROTOCOL = (
    "All sides in one process, in turns, on the same weights (each a copy) and pictures already on the device; TF32"
    " but for our bf16 line. Users' steps, not like for like: pythae's VAEGAN is another algorithm, Lightning's module"
    " does what the plain loop does, through the trainer's hooks and with its losses logged instead of read."
)


def measure(size: Size, device: torch.device, deadline: Deadline, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the part's table; a side that is absent or fails is a row with its reason."""
    load = WORKLOADS[0]
    ours = our_rung("ours", "gansweep as it comes, TF32", {"engine": "auto", "precision": "fp32"}, load, size, device)
    assert ours.ours is not None
    source, pictures = ours.ours, drawn_batches(size.batch or load.batch, size.size_px, torch.float32, device)
    nets, rate = source.engine.system.nets, source.settings.optimizer.lr
    bf16 = ("ours_bf16", "gansweep as it comes, bf16", {"engine": "auto", "precision": "bf16"})

    def pythae(name: str, what: str, all_updates: bool) -> Rung:
        found = _version("pythae")
        if found != PYTHAE:
            raise RuntimeError(f"pythae {PYTHAE} is not here" + (f", but {found}" if found else ""))
        from pythae_side import NO_MARGIN, PythaeSide

        margin = NO_MARGIN if all_updates else None
        side = PythaeSide(nets, pictures, source.engine.system.noise["eps"].shape[0], rate, margin)
        rung = Rung(name, what, "tf32", side.run, dict)
        rung.facts["update_shares"] = side.update_shares
        return rung

    def lightning() -> Rung:
        if importlib.util.find_spec("lightning") is None:
            raise RuntimeError("lightning is not here")
        from lightning_side import LightningSide

        side = LightningSide(nets, pictures, source.scales, rate)
        return Rung("lightning", f"Lightning {_version('lightning')}, manual optimisation", "tf32", side.run, dict)

    # The networks of `ours` are copied by the others, so it takes its first step after they are built.
    tf32, theirs = "plain eager loop, TF32", f"pythae {PYTHAE}, VAEGAN trainer"
    everything = f"{theirs}, no update left out"
    makers: list[tuple[str, str, Callable[[], Rung]]] = [
        ("plain", tf32, lambda: plain_rung("plain", tf32, False, source, torch.float32, size, device)),
        ("pythae", theirs, lambda: pythae("pythae", theirs, False)),
        ("pythae_all", everything, lambda: pythae("pythae_all", everything, True)),
        ("lightning", "Lightning", lightning),
        (bf16[0], bf16[1], lambda: our_rung(*bf16, load, size, device)),
        ("ours", ours.what, lambda: ours),
    ]
    rungs: list[Rung] = []
    rows: list[dict[str, Any]] = []
    for name, what, make in makers:
        try:
            with deadline.within(deadline.left(), f"building {what}"):
                rungs.append(make())
            say(f"  {what}: ready")
        except Exception as error:
            rows.append({"name": name, "what": what, "ms": None, "reason": why(error)})
            say(f"  {what}: {why(error)}")
    difference = _compared(rungs)
    with deadline.within(deadline.left(), "timing"):
        for rung in rungs:
            rung.run(1, size.warm_up)
        in_turns(rungs, size, 1 + size.warm_up, device)
    return {"protocol": PROTOCOL, "loss_difference": difference, **_table(rungs, rows)}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _compared(rungs: list[Rung]) -> float:
    """Take every side's first step; ours and the plain loop must have the same losses."""
    for rung in rungs:
        rung.run(0, 1)
    by_name = {rung.name: rung for rung in rungs}
    difference = furthest(by_name["ours"].losses(), by_name["plain"].losses())
    if not difference <= 1e-3:
        raise RuntimeError(f"first losses of ours and the plain loop differ by {difference:.3g}: not timed")
    return difference


def _table(rungs: list[Rung], rows: list[dict[str, Any]]) -> dict[str, Any]:
    for rung in rungs:
        row = {"name": rung.name, "what": rung.what, "precision": rung.precision, "ms": spread(rung.times_ms)}
        row |= {"repeats_ms": rung.times_ms, **{k: v() if callable(v) else v for k, v in rung.facts.items()}}
        row["said"] = rung.ours.said if rung.ours else []
        rows.append(row)
    timed = {row["name"]: row for row in rows if row["ms"]}
    ratios = [
        {
            "ratio": timed[above]["ms"]["median"] / timed[below]["ms"]["median"],
            "numerator": timed[above]["what"],
            "denominator": timed[below]["what"],
            "names": [above, below],
            "same_precision": timed[above]["precision"] == timed[below]["precision"],
        }
        for below in ("ours", "ours_bf16")
        for above in ("plain", "pythae", "pythae_all", "lightning")
        if above in timed and below in timed
    ]
    return {"rungs": rows, "ratios": ratios}
