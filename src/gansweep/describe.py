"""What is written down of a run when it begins: its record, the names it may log, where its curves lead."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor

from gansweep.config.settings import Settings
from gansweep.data import Dataset
from gansweep.engine.step import EagerEngine
from gansweep.runs import provenance, rundir
from gansweep.runs.record import DatasetRecord, RunRecord, flatten
from gansweep.system import aim_of

CONFIG_FILE = "config.yaml"


def record(
    settings: Settings,
    run_dir: Path,
    overrides: list[str],
    sweep: Mapping[str, Any] | None,
    dataset: Dataset,
    parent: Mapping[str, Any] | None,
    device: torch.device,
    run_id: str | None = None,
) -> RunRecord:
    """Return the run's record; for a new run also write its config, environment and diff to `run_dir`."""
    config = settings.model_dump(mode="json")
    facts = provenance.collect(gpu=torch.cuda.get_device_name(device) if device.type == "cuda" else None)
    files: list[Path] = []
    if not (run_dir / CONFIG_FILE).exists():
        written = run_dir / CONFIG_FILE
        OmegaConf.save(OmegaConf.create(config), written)
        files = [written, *facts.write(run_dir)]
    return RunRecord(
        run_id=run_id or rundir.new_run_id(),
        name=settings.name or settings.model.target.rpartition(".")[2].lower(),
        run_dir=run_dir,
        params=flatten(config),
        tags={**facts.tags(), "gansweep.device": str(device), **_stand_in_tag(settings)},
        dataset=DatasetRecord(settings.data.name, dataset.fingerprint, dataset.source, dataset.count),
        parent=parent,
        sweep=sweep,
        overrides=overrides,
        note=settings.note,
        files=files,
        commit=facts.commit,
        dirty=facts.dirty,
        steps=settings.steps,
    )


def data_identity(dataset: Dataset) -> dict[str, str]:
    """Return what a resumed run must find again: the pictures' `fingerprint`, and which rows are `held_out` (hex)."""
    rows = dataset.split("val").tobytes()
    return {"fingerprint": dataset.fingerprint, "held_out": hashlib.sha256(rows).hexdigest()}


def _stand_in_tag(settings: Settings) -> dict[str, str]:
    what = settings.data.stand_in
    return {"gansweep.stand_in": what} if what else {}


def data_notes(settings: Settings, dataset: Dataset) -> Iterator[str]:
    """Say of drawn data that they are, with the voice where there is one, and of a stand-in what it stands in for."""
    if "procedural" in dataset.source:
        yield f"data: {dataset.source}"
    if settings.data.stand_in:
        yield f"{settings.data.stand_in}: results do not transfer"


def previews(settings: Settings, engine: EagerEngine) -> Iterator[str]:
    """Say where each curve begins and ends: a rate that decays to nothing is seen before the run, not after."""
    for name in engine.knobs.curves:
        first, last = engine.knobs.value(name, 0), engine.knobs.value(name, settings.steps - 1)
        fading = "; fades to less than a thousandth" if 0 < abs(last) < abs(first) / 1000 else ""
        yield f"{name}: {first:.4g} at step 0, {last:.4g} at step {settings.steps - 1}{fading}"


def range_notes(engine: EagerEngine, batch: Mapping[str, Tensor]) -> Iterator[str]:
    """Say what share of a batch's picture values the outputs or the cross-entropy cannot meet.

    A journal lost days to both: an output that cannot reach its target looks dark, and cross-entropy against targets
    outside [0, 1] has no minimum and runs away.
    """
    aim = next((name for name in (aim_of(engine.system), "frames") if name in batch), None)
    if aim is None:
        return
    reach = getattr(engine.system, "output_range", None)
    if reach is not None:
        share = _outside(batch[aim], *reach)
        if share > 0.001:
            ends = f"[{reach[0]:g}, {reach[1]:g}]"
            yield f"{share:.1%} of the pictures' values lie outside {ends}, all that the output activation can reach"
    bce = [f"{phase}/{term}" for phase, own in engine.charged.items() for term in own if term.startswith("bce")]
    if bce and (share := _outside(batch[aim], 0.0, 1.0)) > 0:
        where = f"where {', '.join(bce)} has no minimum (data.normalize=unit)"
        yield f"{share:.1%} of the pictures' values lie outside [0, 1], {where}"


def _outside(images: Tensor, lowest: float, highest: float) -> float:
    return float(((images < lowest - 1e-6) | (images > highest + 1e-6)).float().mean())
