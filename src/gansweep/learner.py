"""What learns, put together: engine, timetable, batches; and what is tried before a run is allowed to begin."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

import torch

from gansweep.assemble import build_engine, check_reach
from gansweep.config.settings import Settings
from gansweep.data import Batches, Dataset, Feed, open_feed
from gansweep.engine.distributed import World
from gansweep.engine.drive import Driver
from gansweep.engine.graph import open_driver
from gansweep.engine.schedule import Timetable
from gansweep.engine.step import EagerEngine
from gansweep.errors import UserError

_BATCHES_LOOKED_AT = 8
log = logging.getLogger("gansweep")


class Learner(NamedTuple):
    """What is learnt, when, and from what."""

    engine: EagerEngine
    plan: Timetable
    batches: Batches


def build_learner(settings: Settings, dataset: Dataset, device: torch.device, world: World) -> Learner:
    """Return engine, timetable and batches; UserError for data whose samples are not what the system takes."""
    parts = world.size * settings.runtime.accumulate
    if settings.batch_size % parts:
        raise UserError(
            f"batch_size={settings.batch_size} is not divided by {parts}: {world.size} processes, "
            f"each with runtime.accumulate={settings.runtime.accumulate}"
        )
    if device.type == "cuda":
        torch.cuda.set_device(device)  # streams and recordings are made on the current one
    engine, plan = build_engine(settings, device, world)
    batches = Batches(
        dataset,
        dataset.split("train"),
        settings.batch_size,
        settings.seed,
        flip=settings.data.flip,
        crop=True,
        normalize=settings.data.normalize,
        fields=tuple(engine.system.inputs),
        device=device,
        dtype=engine.noise.dtype,
        channels_last=settings.runtime.channels_last,
        shard=world.shard,
    )
    for name, spec in engine.system.inputs.items():
        found = tuple(batches.batch(0)[name].shape[1:])
        if found != spec.shape:
            keys = "data.size, data.channels"
            if name.rpartition(".")[2] == "embedding":
                keys = "data.args.captions and model.captions, data.args.embedding and model.embedding"
            raise UserError(f"data: field '{name}' is {found} a sample, the system takes {spec.shape}; see {keys}")
    return Learner(engine, plan, batches)


def open_drive(
    settings: Settings, learner: Learner, device: torch.device, say: Callable[[str], None]
) -> tuple[Feed, Driver]:
    """Return the feed and the driver that fit the device; networks to be compiled are, in the driver's first steps."""
    if settings.runtime.compile:
        learner.engine.nets.compile()
    feed = open_feed(learner.batches)
    return feed, open_driver(settings.runtime.engine, learner.engine, feed.finish, device, say)


def refuse_unreached(settings: Settings, learner: Learner) -> None:
    """Refuse (UserError), or with runtime.reach=warn mention, charged terms that move nothing their phase learns.

    A term that a few pictures give a true zero (no pair of one class among them) is looked at with others too.
    """
    lost = check_reach(settings, learner.engine, learner.plan, learner.batches.batch(0))
    for index in range(1, _BATCHES_LOOKED_AT):
        if not lost:
            break
        still = set(check_reach(settings, learner.engine, learner.plan, learner.batches.batch(index)))
        lost = [term for term in lost if term in still]
    if not lost:
        return
    message = f"charged terms that give no gradient to what their phase learns: {', '.join(lost)}"
    if settings.runtime.reach == "error":
        raise UserError(f"{message}; remove them (scales.{lost[0].split('/')[1]}=null) or say runtime.reach=warn")
    log.warning(message)
