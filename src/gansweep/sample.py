"""sample: pictures from a checkpoint, as one grid and one by one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gansweep.clips import coders, strips, write_film, writing_notes
from gansweep.config.settings import Settings
from gansweep.data import invertible
from gansweep.data.clips import utterances
from gansweep.errors import UserError
from gansweep.grids import interleave, save_each, save_grid
from gansweep.restore import Restored, recorded, restore
from gansweep.runs import store
from gansweep.runs.rundir import say

BATCH_SIZE = 64
GRID_MOST = 256
RECONSTRUCTIONS_MOST = 32
# Of each utterance at most so many frames: 20 seconds.
FILM_UTTERANCES, FILM_FRAMES_MOST = 4, 480


@dataclass(frozen=True)
class Sampled:
    """Where the pictures are (the grid, the single files, the grid of reconstructions) and what they are, in words.

    `clips`: a grid of frames and, where PyAV is installed, a film, of a system that makes clips.
    """

    what: str
    folder: Path
    grid: Path
    singles: list[Path]
    reconstructions: Path | None
    clips: tuple[Path, ...] = ()

    def __str__(self) -> str:
        grids = [self.grid] if self.reconstructions is None else [self.grid, self.reconstructions]
        grids += self.clips
        return "\n".join([f"{len(self.singles)} pictures of {self.what}: {self.folder}", *map(str, grids)])


def sample(
    target: str, n: int = 64, seed: int = 0, ema: bool = True, out: str | Path | None = None, reconstruct: bool = False
) -> Sampled:
    """Draw `n` pictures of TARGET (a checkpoint, a run or its id) and write them as PNG: `grid.png` and one file each.

    The same seed gives the same noise for every checkpoint, so their grids compare picture by picture; they are the
    first `n` that eval-is scores. Default folder: `sampled/` in the run's directory. `reconstruct` adds
    `reconstructions.png`, held-out pictures each followed by its reconstruction. A system that makes clips adds
    `clips.png` and `clips.mp4`, whole held-out utterances of at most `n` clips together. UserError for a wrong target
    or n.
    """
    if n < 1 or seed < 0:
        raise UserError(f"n={n}, seed={seed}: out of range; n is 1 or more, seed 0 or more")
    run, path = store.resolve_checkpoint(target)
    if run is not None:
        run = store.reconcile(run)

    def change(config: Mapping[str, Any]) -> Settings:
        settings = recorded(config)
        return settings.model_copy(update={"eval": settings.eval.model_copy(update={"ema": ema, "mode": "eval"})})

    restored = restore(path, run, change)
    pairs = restored.reconstruct(RECONSTRUCTIONS_MOST, seed) if reconstruct else None
    folder = Path(out) if out is not None else _default_folder(restored, seed)
    shown: list[Tensor] = []
    singles: list[Path] = []
    for part in restored.draw(n, BATCH_SIZE, seed):
        singles += save_each(part, folder, names=[f"{len(singles) + row:05d}" for row in range(len(part))])
        if len(singles) - len(part) < GRID_MOST:
            shown.append(part.cpu())
    grid = save_grid(torch.cat(shown)[:GRID_MOST], folder / "grid.png")
    copies = None
    if pairs is not None:
        copies = save_grid(interleave(*(part.cpu() for part in pairs)), folder / "reconstructions.png", columns=8)
    films = _filmed(restored, n, seed, folder) if hasattr(restored.system, "clips") else ()
    kind = restored.settings.data.normalize
    if not invertible(kind):
        say(f"data.normalize={kind} cannot be undone: each picture is stretched to its own range")
    return Sampled(f"step {restored.step}, {restored.weights}, seed {seed}", folder, grid, singles, copies, films)


def _filmed(restored: Restored, most: int, seed: int, folder: Path) -> tuple[Path, ...]:
    """Write clips of the checkpoint: a grid of their frames, and a film, or one line that says what it needs."""
    dataset, held_out = restored.drawer.held_out
    clip = restored.system.inputs.get("frames")
    longest = max(1, FILM_FRAMES_MOST // clip.shape[0]) if clip is not None else 1
    numbers: list[int] = []
    runs: list[int] = []
    for utterance in utterances(dataset, held_out, FILM_UTTERANCES):
        run = np.searchsorted(held_out, utterance[: min(longest, most - len(numbers))]).tolist()
        numbers += run
        runs += [len(run)] if run else []
    shown = restored.drawer.clips(numbers, seed, BATCH_SIZE, runs)
    frames, columns = strips(shown)
    grid = save_grid(frames, folder / "clips.png", columns)
    for line in writing_notes():
        say(line)
    return (grid,) if coders() is None else (grid, write_film(shown, folder / "clips.mp4"))


def _default_folder(restored: Restored, seed: int) -> Path:
    name = f"step-{restored.step:08d}-seed-{seed}{'' if restored.ema else '-no-ema'}"
    if restored.run is not None:
        return restored.run.dir / "sampled" / name
    return Path.cwd() / "sampled" / f"{restored.run_id[:8]}-{name}"
