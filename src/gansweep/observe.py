"""What is looked at beside the step: held-out losses, and grids of fixed latents and fixed pictures.

Always the same pictures and the same noise, whatever the run's seed, so that the grids of two runs line up; always in
evaluation mode, with the running means of the weights where there are any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gansweep.clips import Clips, gathered, writing_notes
from gansweep.config.settings import Settings
from gansweep.data import Batches, Dataset, invertible, to_uint8
from gansweep.data.clips import utterances
from gansweep.engine.handle import Nets, evaluation
from gansweep.engine.look import Looker, StepContext
from gansweep.engine.noise import Noise, mix
from gansweep.engine.schedule import Entry
from gansweep.engine.step import EagerEngine
from gansweep.system import aim_of

# Films: so many utterances, of each as many whole clips as reach so many frames (a second), or one.
FILM_UTTERANCES, FILM_FRAMES = 4, 24
# Noise of grids and of held-out losses: the same for every run, apart from each other and from training.
GRID_SEED, HELD_OUT_SEED = mix(1, 0x9A1D), mix(2, 0x9A1D)
GRID_COUNT, GRID_COLUMNS = 64, 8
HELD_OUT_MOST = 1024


class Observer:
    """Looks at one engine's networks with the data set's held-out pictures (or, without any, its training ones)."""

    def __init__(self, settings: Settings, dataset: Dataset, engine: EagerEngine, device: torch.device):
        self.settings, self.engine, self.device = settings, engine, device
        held_out = dataset.split("val")
        self.has_held_out = len(held_out) > 0
        rows = held_out if self.has_held_out else dataset.split("train")
        # Made anew at each look: a thousand pictures of 640 px would be gigabytes if they were kept as floats.
        self._held_out = self._fixed_batches(dataset, rows[:HELD_OUT_MOST], settings.batch_size)
        self._shown = self._fixed_batches(dataset, rows[: GRID_COUNT // 2], GRID_COUNT // 2)[0]
        kind = settings.data.normalize
        stretched = f"data.normalize={kind} cannot be undone: each picture of a grid is stretched to its own range"
        self.notes = [] if invertible(kind) else [stretched]
        self._films = hasattr(engine.system, "clips")
        if self._films:
            self.notes += writing_notes()
            clip = engine.system.inputs.get("frames")
            most = max(1, FILM_FRAMES // clip.shape[0]) if clip is not None else 1
            runs = [run[:most] for run in utterances(dataset, rows, FILM_UTTERANCES)]
            self._runs = [len(run) for run in runs]
            self._filmed = self._fixed_batches(dataset, np.concatenate(runs), settings.batch_size)

    def _fixed_batches(self, dataset: Dataset, rows: Any, size: int) -> list[Batches]:
        options: dict[str, Any] = {
            "normalize": self.settings.data.normalize,
            "fields": tuple(self.engine.system.inputs),
            "device": self.device,
            "dtype": self.engine.noise.dtype,
            "shuffle": False,
            "channels_last": self.settings.runtime.channels_last,
        }
        parts = [rows[at : at + size] for at in range(0, len(rows), size)]
        return [Batches(dataset, part, len(part), 0, **options) for part in parts]

    def held_out(self) -> dict[str, float]:
        """Return every charged term on the held-out pictures, `val/phase/term`, and `val/squared_error`.

        The latter is the squared error of reconstructions from the mean code, summed over one picture's values in the
        normalised range and averaged over pictures: it compares runs whose scales differ.
        """
        sums: dict[str, float] = {}
        found: list[dict[str, Tensor]] = []
        sizes: list[int] = []
        noise = Noise(HELD_OUT_SEED, self.device, self.engine.noise.dtype)
        with evaluation(self.engine.evaluation_modules()) as nets:
            for n, batches in enumerate(self._held_out):
                batch, size = batches.batch(0), batches.batch_size
                found.append(self._losses(nets, batch, noise.draw(self.engine.system.noise, size, 0, n)))
                sizes.append(size)
        host = torch.stack([torch.stack(list(losses.values())).double() for losses in found]).tolist()  # one copy
        for size, row in zip(sizes, host, strict=True):
            for name, value in zip(found[0], row, strict=True):
                sums[name] = sums.get(name, 0.0) + value * size
        return {name: total / sum(sizes) for name, total in sums.items()}

    def _losses(self, nets: Nets, batch: Mapping[str, Tensor], noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        engine, system = self.engine, self.engine.system
        groups = [(Entry(phase.name, 0, 0, watch=True),) for phase in system.phases]
        context = StepContext(groups, system.shared, engine.updates)
        found: dict[str, Tensor] = {}
        for position, phase in enumerate(system.phases):
            look = Looker(nets, phase, context, position, 0, batch, noise, engine.knobs.group("knobs"), system.memory)
            for name, value in engine.terms(phase, look).items():
                found[f"val/{phase.name}/{name}"] = value
            for name, report in phase.reports.items():
                if look.seen(report.reads):
                    found[f"val/{phase.name}/{name}"] = report.fn(*(look[read] for read in report.reads))
        reconstruct = getattr(system, "reconstruct", None)
        if reconstruct is not None:
            rebuilt = list(reconstruct(nets, batch, noise).values())[-1]
            found["val/squared_error"] = (rebuilt - batch[aim_of(system)]).square().sum() / len(rebuilt)
        return found

    def grids(self) -> dict[str, Tensor]:
        """Return the pictures of this step's grids, uint8 (N, C, H, W) on the device, GRID_COLUMNS to a row.

        `samples` (one for each output of a system with several): 64 pictures of the prior. `reconstructions`: rows of
        originals, each above the row of their reconstructions, and that above the targets where these are others.
        """
        system, kind = self.engine.system, self.settings.data.normalize
        noise = Noise(GRID_SEED, self.device, self.engine.noise.dtype)
        drawn: dict[str, Tensor] = {}
        with evaluation(self.engine.evaluation_modules()) as nets:
            pictures = self._shown.batch(0)
            outputs = self._sampled(nets, noise, pictures)
            for name, images in outputs.items():
                drawn["samples" if len(outputs) == 1 else f"samples_{name}"] = to_uint8(images.float(), kind)
            reconstruct = getattr(system, "reconstruct", None)
            if reconstruct is not None:
                codes = noise.draw(system.noise, self._shown.batch_size, 0, 1)
                rebuilt = to_uint8(list(reconstruct(nets, pictures, codes).values())[-1].float(), kind)
                originals = to_uint8(pictures["image"].float(), kind)
                aim = aim_of(system)
                wanted = [] if aim == "image" else [to_uint8(pictures[aim].float(), kind)]
                drawn["reconstructions"] = _stacked_rows([originals, rebuilt, *wanted], GRID_COLUMNS)
        return drawn

    def clips(self) -> Clips | None:
        """Return the clips of this step's film, on the device; None for a system that makes none.

        The beginnings of FILM_UTTERANCES utterances, of as many people as there are.
        """
        if not self._films:
            return None
        system, noise = self.engine.system, Noise(GRID_SEED, self.device, self.engine.noise.dtype)
        parts = []
        with evaluation(self.engine.evaluation_modules()) as nets:
            for n, batches in enumerate(self._filmed):
                drawn = noise.draw(system.noise, batches.batch_size, n, 2)
                parts.append(system.clips(nets, batches.batch(0), drawn))  # type: ignore[attr-defined]
        return gathered(parts, self.settings.data.normalize, self._runs)

    def _sampled(self, nets: Nets, noise: Noise, pictures: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Sample GRID_COUNT pictures, in batches of at most the run's size, so that a grid never needs more memory."""
        system = self.engine.system
        drawn = noise.draw(system.noise, GRID_COUNT, 0)
        size = min(self.settings.batch_size, GRID_COUNT)
        parts: list[dict[str, Tensor]] = []
        for at in range(0, GRID_COUNT, size):
            cut = {k: v[at : at + size] if system.noise[k].batched else v for k, v in drawn.items()}
            rows = torch.arange(at, min(at + size, GRID_COUNT), device=self.device) % self._shown.batch_size
            parts.append(system.sample(nets, {k: v[rows] for k, v in pictures.items()}, cut))
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _stacked_rows(parts: Sequence[Tensor], columns: int) -> Tensor:
    """Return pictures so that a grid of `columns` has a row of the first part above the same of the second, and so on.

    A last row that is not full is filled up with blanks (0).
    """
    blank = torch.zeros_like(parts[0][:1]).expand(-len(parts[0]) % columns, *parts[0].shape[1:])
    rows = [torch.cat([part, blank]).split(columns) for part in parts]
    return torch.cat([row for stack in zip(*rows, strict=True) for row in stack])
