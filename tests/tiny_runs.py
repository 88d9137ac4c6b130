"""Runs and checkpoints as training leaves them, of a tiny untrained VAE-GAN, without training."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from gansweep.build import build_system
from gansweep.config.compose import session
from gansweep.config.settings import Settings
from gansweep.runs import checkpoint, rundir
from gansweep.runs.record import RunRecord
from gansweep.runs.rundir import Run
from gansweep.runs.tracker import open_tracker

TINY = [
    "model=vaegan",
    "data.size=16",
    "model.latent=4",
    "model.width_factor=0.05",
    "tracker=none",
    "judge._target_=tiny_judge.TinyJudge",
    "judge.name=tiny",
    "eval.n=40",
    "eval.splits=4",
    "eval.batch_size=16",
    "runtime.device=cpu",
    "steps=100",
]


def tiny_settings(*overrides: str) -> Settings:
    return _composed(overrides).model_copy(deep=True)


@lru_cache(maxsize=32)
def _composed(overrides: tuple[str, ...]) -> Settings:
    with session() as hydra:
        return hydra.job(0, [*TINY, *overrides]).settings


def tiny_payload(settings: Settings, run_id: str, step: int = 7, ema: bool = False, seed: int = 0) -> dict[str, Any]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        system = build_system(settings)
    for weight in system.nets["dec"].parameters():
        weight.data *= 4.0  # an untrained decoder draws one grey picture: nothing to score
    nets = {name: net.state_dict() for name, net in system.nets.items()}
    # Weights clearly apart from the live ones, as those of a mean are.
    mean = {
        name: {k: v * 0.5 if v.is_floating_point() else v for k, v in state.items()} for name, state in nets.items()
    }
    return {
        "format": 1,
        "run_id": run_id,
        "step": step,
        "config": settings.model_dump(mode="json"),
        "data": {"fingerprint": "0" * 64, "held_out": "0" * 64},
        "nets": nets,
        "ema": mean if ema else None,
    }


def tiny_run(
    run_dir: Path, settings: Settings | None = None, ema: bool = False, checkpoints: bool = True, **fields: Any
) -> Run:
    """A finished run in `run_dir` with last.pt at step 7, recorded by the spool alone (tracker=none)."""
    settings = settings or tiny_settings()
    record = RunRecord(run_id=rundir.new_run_id(), name=run_dir.name, run_dir=run_dir, steps=7, **fields)
    tracker = open_tracker(settings.tracker, run_dir)
    tracker.start(record)
    OmegaConf.save(settings.model_dump(mode="json"), run_dir / "config.yaml")
    if checkpoints:
        checkpoint.save(run_dir / "checkpoints" / "last.pt", tiny_payload(settings, record.run_id, ema=ema))
    tracker.finish("FINISHED")
    return Run(run_dir, rundir.read(run_dir))
