"""The pass over the samples: drawn, judged, summed, on one process or several, and taken up again where it stopped.

Whatever way the samples are cut into batches, processes and sessions, each is drawn from its own number and in a batch
of one size: the score is the same, to the last bit on one machine and one process.
"""

from __future__ import annotations

import os
import pickle
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from gansweep.data.progress import packing_bar
from gansweep.errors import UserError
from gansweep.metrics.frechet import point_sizes
from gansweep.metrics.judges import Judge, Reading
from gansweep.metrics.panel import Measures, Panel
from gansweep.metrics.precision import LARGEST_SHIFT, Precision
from gansweep.metrics.protocols import lay_out
from gansweep.metrics.reference import Reference
from gansweep.metrics.score import InceptionScore

KEEP_EVERY_S = 20.0
# Several processes keep their states together, at the ends of so many parts.
PARTS_AMONG_SEVERAL = 20
# A faster arithmetic is held against the exact one on so many of the first samples.
GATE_IMAGES = 1000

Draw = Callable[[Sequence[int]], Mapping[str, Tensor]]


class Place(Protocol):
    """This process among those that score together; `gather` returns what every one gives, by rank."""

    @property
    def rank(self) -> int:
        """Number of this process."""

    @property
    def size(self) -> int:
        """How many there are."""

    def gather(self, own: Any) -> list[Any]:
        """Return what every process gives."""


@dataclass(frozen=True)
class Pass:
    """What one pass works with.

    `draw`: rows -> output -> uint8 (B, C, H, W). `references`: output -> real pictures, or None where none are needed.
    `whole_batches`: the last batch is filled up with repeats, which are not judged (not in training mode, where they
    would count). `keep_at`: where an interrupted pass is kept; None: nowhere. `what`: the bar's words.
    """

    draw: Draw
    judge: Judge
    measures: Measures
    references: Mapping[str, Reference | None]
    device: torch.device
    place: Place
    batch_size: int
    judge_batch_size: int
    whole_batches: bool = True
    keep_at: Path | None = None
    progress: bool = True
    what: str = "scoring"


def judge_samples(work: Pass) -> dict[str, Panel]:
    """Return output -> the complete panel of all samples, the same in every process."""
    alone = work.place.size == 1
    gather = None if alone else work.place.gather
    panels = {name: Panel(work.measures, reference, work.device, gather) for name, reference in work.references.items()}
    kept = Kept(work)
    done, reached = kept.take_up(panels)
    own = own_rows(work.measures, work.place)
    with packing_bar(work.progress and work.place.rank == 0) as bar:
        task = bar.add_task(work.what, total=len(own), completed=done)
        for bound in _bounds(work.measures, alone):
            if bound <= reached:
                continue
            end = int(torch.searchsorted(own, bound))
            for rows in own[done:end].split(work.batch_size) if end > done else ():  # several: none of this part's own
                _judge_batch(work, panels, rows)
                done += len(rows)
                bar.advance(task, len(rows))
                if alone:
                    kept.offer(panels, done, 0)
            if not alone:
                for panel in panels.values():
                    panel.reach(bound)
                kept.offer(panels, done, bound)
    for panel in panels.values():
        panel.join()
    return panels


def own_rows(measures: Measures, place: Place) -> Tensor:
    """Return the numbers, ascending, of the samples that this process judges: whole blocks of the score's layout."""
    layout = lay_out(measures.n, measures.splits, measures.protocol)
    if place.size == 1:
        return torch.arange(measures.n)
    own = layout.share(place.rank, place.size)
    # What the protocol leaves out of the score counts for its companions: it goes to the last.
    left_out = torch.nonzero(layout.block_of_row < 0).flatten() if place.rank == place.size - 1 else own[:0]
    return torch.cat([own, left_out]).sort().values


def _bounds(measures: Measures, alone: bool) -> list[int]:
    """Return at which numbers of samples all processes meet: at FID's points, else at even parts."""
    if alone:
        return [measures.n]
    if "fid" in measures.metrics:
        return point_sizes(measures.n)
    parts = min(PARTS_AMONG_SEVERAL, measures.n)
    return [measures.n * (part + 1) // parts for part in range(parts)]


def _judge_batch(work: Pass, panels: Mapping[str, Panel], rows: Tensor) -> None:
    numbers = rows.tolist()
    if work.whole_batches:
        numbers += numbers[-1:] * (work.batch_size - len(numbers))
    for name, images in work.draw(numbers).items():
        readings = read(work.judge, images, work.judge_batch_size, features=work.measures.needs_reference)
        logits, features = readings
        count = len(rows)
        panels[name].update(logits[:count] if features is None else Reading(logits[:count], features[:count]), rows)


def read(judge: Judge, images: Tensor, batch_size: int, features: bool) -> tuple[Tensor, Tensor | None]:
    """Return the judge's logits for uint8 images, and its features where they are wanted, `batch_size` at a time."""
    parts = images.split(batch_size)
    if not features:
        return torch.cat([judge.logits(part) for part in parts]), None
    readings: list[Reading] = [judge.read(part) for part in parts]  # type: ignore[attr-defined]
    return torch.cat([one.logits for one in readings]), torch.cat([one.features for one in readings])


class Kept:
    """Where an interrupted pass stands, on the disk: every process's state, written whole, from time to time."""

    def __init__(self, work: Pass) -> None:
        self._place = work.place
        name = work.keep_at and f"{work.keep_at.name}.{work.place.rank}of{work.place.size}.pt"
        self.path = work.keep_at.with_name(name) if work.keep_at and name else None
        self._last = time.monotonic()

    def take_up(self, panels: Mapping[str, Panel]) -> tuple[int, int]:
        """Load an earlier pass's state into `panels`; return how many of its samples were judged, and the last bound.

        Several processes go on only from states that were written together; (0, 0) otherwise.
        """
        state = self._read()
        told = self._place.gather(None if state is None else state["bound"])
        if state is None or len(set(told)) > 1 or set(state["panels"]) != set(panels):
            return 0, 0
        for name, panel in panels.items():
            panel.load(state["panels"][name])
        return int(state["done"]), int(state["bound"])

    def _read(self) -> dict[str, Any] | None:
        if self.path is None:
            return None
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            return state if {"done", "bound", "panels"} <= set(state) else None
        except FileNotFoundError:
            return None
        except (pickle.UnpicklingError, zipfile.BadZipFile, RuntimeError, EOFError, KeyError, ValueError, TypeError):
            return None  # begun anew: it was no record

    def offer(self, panels: Mapping[str, Panel], done: int, bound: int) -> None:
        """Keep the state if the last time is long enough ago, by the leader's clock."""
        late = time.monotonic() - self._last >= KEEP_EVERY_S
        if self.path is None or not self._place.gather(late)[0]:
            return
        self._last = time.monotonic()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f".{self.path.name}")
        states = {name: panel.state() for name, panel in panels.items()}
        try:
            torch.save({"done": done, "bound": bound, "panels": states}, temporary)
            os.replace(temporary, self.path)
        except (OSError, RuntimeError):
            temporary.unlink(missing_ok=True)  # a full disk must not end what only wanted to be safe

    def forget(self) -> None:
        """Remove the state: the score it led to has been recorded."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def shift_of_precision(work: Pass, precision: Precision) -> dict[str, float]:
    """Return output -> by how much `precision` moves the Inception Score of the first samples (as one split).

    UserError when one moves by more than 0.01: such a number would not be this judge's.
    """
    count = min(GATE_IMAGES, work.measures.n)
    scores: dict[tuple[str, str], InceptionScore] = {}
    for start in range(0, count, work.batch_size):
        rows = range(start, min(start + work.batch_size, count))
        for name, images in work.draw(rows).items():
            for mode in ("exact", precision):
                work.judge.precision = mode  # type: ignore[attr-defined]
                logits, _ = read(work.judge, images, work.judge_batch_size, features=False)
                scores.setdefault((name, mode), InceptionScore(count, 1, device=work.device)).update(logits)
    shifts: dict[str, float] = {}
    for name in {name for name, _ in scores}:
        shifts[name] = scores[name, precision].compute().mean - scores[name, "exact"].compute().mean
        if abs(shifts[name]) > LARGEST_SHIFT:
            raise UserError(
                f"eval.precision={precision} is refused: it moves the score of the first {count} samples by "
                f"{shifts[name]:+.3f}, more than {LARGEST_SHIFT}; choices: exact"
            )
    return shifts
