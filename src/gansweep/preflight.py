"""Before a run: one trial step tells what it needs of memory, and a batch that cannot fit is refused with a figure."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from gansweep.config.settings import Settings
from gansweep.engine.trial import LiveBytes, as_before
from gansweep.errors import UserError
from gansweep.learner import Learner

# Of what is free: grids, scratch memory and the data's pages need some too.
_SHARE = 0.9
# Pictures of the smallest and of the largest step that is tried on a CPU.
_FEWEST, _MOST = 2, 16
_GIB, _MIB = 2**30, 2**20
# What a process takes of a GPU beside its tensors: CUDA's context with its kernels, cuDNN's and cuBLAS's handles.
_CONTEXT_BYTES = 768 * _MIB
_CGROUP = Path("/sys/fs/cgroup")


def refuse_too_large_a_step(settings: Settings, learner: Learner, device: torch.device) -> int | None:
    """Raise UserError, with the figure measured and the largest batch that fits, for a step that memory cannot hold.

    Returns the bytes that this process was measured to need all in all; None where so small a step is not measured.

    On CUDA the whole step is tried. A CPU has no way back from too large a step, so there two small ones are tried and
    the line through them is drawn on. Nothing is learnt from any of them.
    """
    trial = _Trial(learner, device)
    micro, processes = settings.runtime.accumulate, learner.batches.shards
    count = settings.batch_size // processes
    limit = int(_SHARE * available_bytes(device))
    if device.type != "cuda" and count <= 2 * _FEWEST * micro:
        return None
    try:
        if device.type == "cuda":
            peak = trial.peak(count)
            if peak is not None and peak <= limit:
                return torch.cuda.max_memory_reserved(device) + _CONTEXT_BYTES
            line = trial.line(*_two_below(trial, count, micro))
        else:
            line = _drawn(trial, count, micro, limit)
            peak = int(line.at(count))
            if peak <= limit:
                return int(psutil.Process().memory_info().rss) + peak
    except (ValueError, RuntimeError, TypeError, AttributeError, LookupError):
        return None  # what cannot be computed at all is told of by the check of gradients, which follows
    needed = (line.at(count) if peak is None else peak) / _GIB
    most = int(line.largest(limit)) // micro * micro * processes
    advice = f"the largest that fits is {most}" if most else "not even the smallest fits"
    tried = f"{line.fixed / _MIB:,.0f} MiB and {line.each / _MIB:.3g} MiB a picture, by trial"
    raise UserError(
        f"batch_size={settings.batch_size}: a step needs {needed:.1f} GiB on {device} ({tried}), "
        f"{limit / _GIB:.1f} GiB can be had; {advice}, and runtime.accumulate takes a batch in parts"
    )


def step_bytes(settings: Settings, learner: Learner, device: torch.device) -> int | None:
    """Return the bytes that a whole step needs at its peak beyond what is there now, by trial; None when it ran out.

    On a CPU the line through two small steps is drawn on, as in `refuse_too_large_a_step`. Nothing is learnt.
    """
    trial = _Trial(learner, device)
    micro, count = settings.runtime.accumulate, settings.batch_size // learner.batches.shards
    if device.type == "cuda" or count <= 2 * _FEWEST * micro:
        return trial.peak(count)
    return int(_drawn(trial, count, micro, int(_SHARE * available_bytes(device))).at(count))


@dataclass(frozen=True)
class Line:
    """Bytes that a step needs: `fixed`, and `each` for every picture of the batch."""

    fixed: float
    each: float

    def at(self, count: int) -> float:
        """Return the bytes for `count` pictures."""
        return self.fixed + self.each * count

    def largest(self, limit: float) -> float:
        """Return how many pictures fit into `limit` bytes."""
        return max((limit - self.fixed) / self.each, 0.0) if self.each > 0 else 0.0


class _Trial:
    """Tries the longest step of a run's timetable with some of the first batch's pictures."""

    def __init__(self, learner: Learner, device: torch.device) -> None:
        engine, plan, batches = learner
        self.engine, self.device = engine, device
        self.groups = max(plan.shapes(batches.steps_per_epoch + 1), key=lambda groups: sum(map(len, groups)))
        self.batch = batches.batch(0)
        self._found: dict[int, int | None] = {}

    def peak(self, count: int) -> int | None:
        """Return the bytes a step with `count` pictures needs beyond what is there now; None when memory ran out."""
        if count not in self._found:
            self._found[count] = self._measure(count)
        return self._found[count]

    def _measure(self, count: int) -> int | None:
        inputs = self.engine.system.inputs
        batch = {k: v[:count] if k not in inputs or inputs[k].batched else v for k, v in self.batch.items()}
        batches = [batch] * (1 + max(entry.batch for group in self.groups for entry in group))
        with as_before(self.engine):
            noises = self.engine.draw(0, self.groups, count)
            if self.device.type != "cuda":
                with LiveBytes() as live:
                    self.engine.run(self.groups, batches, noises)
                return live.peak
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
            before = torch.cuda.memory_allocated(self.device)
            with contextlib.suppress(torch.cuda.OutOfMemoryError):
                self.engine.run(self.groups, batches, noises)
                return torch.cuda.max_memory_allocated(self.device) - before
            return None

    def line(self, fewer: int, more: int) -> Line:
        """Return the line through the peaks of two numbers of pictures."""
        low, high = self.peak(fewer) or 0, self.peak(more) or 0
        each = (high - low) / (more - fewer)
        return Line(low - each * fewer, each)


def _drawn(trial: _Trial, count: int, micro: int, limit: int) -> Line:
    """Return the line through the two smallest steps, drawn anew through larger ones as long as they decide something.

    With few pictures the update's own memory may be the greatest, which makes the line too flat.
    """
    enough = limit / 2
    line = trial.line(_FEWEST * micro, 2 * _FEWEST * micro)
    for fewer, more in ((4, 8), (8, 16)):
        fits, settled = line.at(more * micro) < enough, more == _MOST and line.at(count) > 2 * limit
        if line.at(count) < enough or count <= more * micro or not fits or settled:
            break
        line = trial.line(fewer * micro, more * micro)
    return line


def _two_below(trial: _Trial, count: int, micro: int) -> tuple[int, int]:
    """Return two numbers of pictures, the greater one found by halving, whose step fits."""
    more = count
    while more > 4 * micro and trial.peak(more) is None:
        more = more // 2 // micro * micro
    return max(more // 2 // micro * micro, micro), more


def available_bytes(device: torch.device) -> int:
    """Return the bytes that can still be had on a device; on the CPU within the limits of this process's container."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free = psutil.virtual_memory().available
    with contextlib.suppress(OSError, ValueError):  # no such limit, or none that is a number
        limit = int((_CGROUP / "memory.max").read_text())
        free = min(free, max(limit - psutil.Process().memory_info().rss, 0))
    return int(free)
