"""gansweep's own side of a comparison, and the pictures that every side looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gansweep.arithmetic import set_arithmetic
from gansweep.assemble import build_engine
from gansweep.config.compose import session
from gansweep.config.settings import Settings
from gansweep.engine.graph import open_driver
from gansweep.engine.noise import Noise
from gansweep.runs.meter import Meter

LOG_EVERY = 100
COUNT = 8
"""Batches drawn beforehand, used in turns."""


def settings_of(model: str, chosen: Mapping[str, Any], overrides: Sequence[str] = ()) -> Settings:
    """Return gansweep's settings of a shipped model, but for what is chosen."""
    with session() as hydra:
        lines = [f"model={model}", "tracker=none", *(f"{key}={value}" for key, value in chosen.items()), *overrides]
        return hydra.job(0, hydra.normal(lines)).settings


def drawn_batches(batch: int, size: int, dtype: torch.dtype, device: torch.device, count: int = COUNT) -> list[Tensor]:
    """Return seeded pictures in [-1, 1] as bytes give them, blocks of colour with some grain, NCHW."""
    generator = torch.Generator().manual_seed(1)
    found = []
    for _ in range(count):
        coarse = torch.rand(batch, 3, 8, 8, generator=generator).repeat_interleave(size // 8, 2)
        smooth = coarse.repeat_interleave(size // 8, 3)
        grain = torch.rand(batch, 3, size, size, generator=generator)
        pixels = (255 * (0.8 * smooth + 0.2 * grain)).round()
        found.append((pixels / 127.5 - 1).to(device=device, dtype=dtype))
    return found


class Ours:
    """gansweep's engine behind the loop's driver, with what the loop does around it at every step.

    That is: the step's groups, its batches, the driver (plain calls or a replayed recording), the meter, its reading
    every `LOG_EVERY` steps and, on the CPU, its look for non-finite values after each.
    """

    def __init__(self, settings: Settings, batches: Sequence[Tensor], device: torch.device):
        set_arithmetic(settings.runtime)
        self.settings = settings
        self.engine, self.plan = build_engine(settings, device)
        if settings.runtime.compile:
            self.engine.nets.compile()
        layout = torch.channels_last if settings.runtime.channels_last else torch.contiguous_format
        self.batches = [{"image": x.contiguous(memory_format=layout)} for x in batches]
        self.meter = Meter()
        self.said: list[str] = []
        self.driver = open_driver(settings.runtime.engine, self.engine, dict, device, self.said.append)
        self.looks = device.type == "cpu"

    def __call__(self, n: int) -> None:
        """Take step number `n`."""
        count = self.plan.batches(n)
        raws = [self.batches[(n * count + k) % len(self.batches)] for k in range(count)]
        self.driver.take(n, self.plan.at(n), raws, self.meter)
        if self.looks:
            self.meter.first_nonfinite()
        if (n + 1) % LOG_EVERY == 0:
            self.meter.read()

    def losses(self) -> dict[str, float]:
        """Return each phase's total, a mean over the steps since the meter was last read."""
        read = self.meter.read()
        return {phase.name: read[f"{phase.name}/total"] for phase in self.engine.system.phases}

    def noises(self, steps: int, dtype: torch.dtype, device: torch.device) -> list[dict[int, dict[str, Tensor]]]:
        """Return what the engine draws in each of the first `steps` steps: draw number → site → noise."""
        source, system = Noise(self.settings.seed, device, dtype), self.engine.system
        found = []
        for n in range(steps):
            draws = {entry.draw for group in self.plan.at(n) for entry in group}
            batch = self.settings.batch_size
            found.append({draw: source.draw(system.noise, batch, n, draw) for draw in draws})
        return found

    @property
    def scales(self) -> dict[str, float]:
        """The terms' weights."""
        return {name: value for name, value in self.settings.scales.items() if value is not None}


def furthest(found: Mapping[str, float], reference: Mapping[str, float]) -> float:
    """Return the largest relative difference between two tables of losses."""
    return max(abs(found[name] - value) / max(abs(value), 1e-300) for name, value in reference.items())
