"""Score cards made by hand, as eval-is leaves them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from gansweep.runs import rundir
from gansweep.runs.rundir import Run
from gansweep.runs.store import open_run
from gansweep.scoring.card import Card, append, card_id
from gansweep.scoring.words import told_card

CARD_MEASURE = {
    "judge": "lite0",
    "weights_sha256": "a" * 64,
    "resize": "to 9",
    "protocol": "torch-fidelity",
    "n": "500",
    "splits": "10",
    "seed": "0",
    "mode": "eval",
    "ema": "true",
}


def make_card(
    value: float,
    interval: tuple[float, float] | None = None,
    run: str = "1" * 32,
    step: int = 10,
    key: str = "is_lite0",
    retracted: str | None = None,
    time: str = "2026-11-22T12:00:00.000+00:00",
    attempt: int = 0,
    **parts: str | None,
) -> Card:
    """A card; `parts` change its measure, None takes one out."""
    measure = {part: text for part, text in (CARD_MEASURE | parts).items() if text is not None}
    checkpoint = f"step-{step:08d}.pt"
    weights = hashlib.sha256(f"{run} {step}".encode()).hexdigest()
    subject = {"run": run, "checkpoint": checkpoint, "step": str(step), "weights_sha256": weights}
    ends = {} if interval is None else {"ci95_low": interval[0], "ci95_high": interval[1]}
    found = card_id(key, measure, subject, "cpu", attempt)
    return Card(found, key, value, {"std": 0.2, **ends}, measure, subject, {"device": "cpu", "time": time}, retracted)


def add_card(
    run_dir: Path, key: str, value: float, step: int, interval: tuple[float, float] | None, device: str, **parts: str
) -> dict[str, Any]:
    """Append a card to a run's file; return it as it is to be told."""
    run = open_run(run_dir)
    card = make_card(value, interval, run.id, step, key, **parts)
    card = Card(**{**card.__dict__, "context": {"device": device}})
    append(run.dir, card)
    return told_card(card)


def bare_run(run_dir: Path, run_id: str, name: str, **fields: Any) -> Run:
    """A finished run of a record alone."""
    from gansweep.runs.record import RunRecord

    rundir.create(run_dir, RunRecord(run_id, name, run_dir, **fields))
    return rundir.update(run_dir, status="FINISHED")
