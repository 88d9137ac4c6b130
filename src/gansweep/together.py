"""Training in several processes: the leader trains as ever and tells the others, which follow it step for step."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gansweep.arithmetic import set_arithmetic
from gansweep.assemble import pick_device, warm_start
from gansweep.config.explain import validate
from gansweep.config.settings import Settings
from gansweep.data import open_data
from gansweep.engine.distributed import World, join, part, world
from gansweep.errors import RunFailed
from gansweep.learner import build_learner, open_drive, refuse_unreached
from gansweep.loop import Interrupted, Loop, Parts
from gansweep.observe import Observer
from gansweep.preflight import refuse_too_large_a_step
from gansweep.runs import checkpoint
from gansweep.runs.tracker import NullTracker


def announce(place: World, settings: Settings, run_dir: Path, start: Path | None = None) -> None:
    """Tell the followers which run begins, and from which checkpoint if it is resumed."""
    if not place.alone:
        join(place)
        config = settings.model_dump(mode="json")
        place.tell({"config": config, "run_dir": str(run_dir), "start": str(start) if start else None})


def follow() -> int:
    """Do what the leader says; returns the exit status. It is the leader that tells the user."""
    place = world()
    join(place)
    try:
        with contextlib.suppress(Interrupted):  # the leader stops at the same step
            _train_along(place.tell(), place)
    except RunFailed:
        return RunFailed.exit_code  # the leader fails by the same numbers, and tells of it
    place.meet()
    part()
    return 0


def _train_along(message: Mapping[str, Any], place: World) -> None:
    """Take every step of the run that the leader takes, on this process's part of each batch; keep nothing."""
    settings, run_dir = validate(message["config"]), Path(message["run_dir"])
    set_arithmetic(settings.runtime)
    device = place.device(pick_device(settings.runtime.device))
    dataset = open_data(settings.data, progress=False)
    learner = build_learner(settings, dataset, device, place)
    if message["start"] is None:
        warm_start(settings, learner.engine)
    refuse_too_large_a_step(settings, learner, device)
    refuse_unreached(settings, learner)
    feed, driver = open_drive(settings, learner, device, lambda note: None)
    keeper = checkpoint.Keeper(run_dir / "checkpoints", settings.checkpoint)
    observer = Observer(settings, dataset, learner.engine, device)
    engine, plan, _ = learner
    loop = Loop(
        Parts(settings, run_dir, "", {}, device, engine, plan, feed, driver, observer, NullTracker(), keeper, place)
    )
    if message["start"] is not None:
        loop.load_state_dict(checkpoint.load(Path(message["start"])))
    loop.run()
