"""Which frames of a clip, which part of a picture and which speech a talking face's networks look at.

Shapes: clips (B, T, C, H, W), speech (B, T, A) with A samples a frame. All of it is gathering and cutting on the
device: no place in a clip is ever known to the host.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

REGIONS = ("full", "lower_half", "upper_half")
AS_THE_DATA = {"offset": 0.0, "scale": 1.0}
Value = TypeVar("Value", Tensor, float)


class Pixels(NamedTuple):
    """From the data's normalised values to those that networks see and gen puts out: (value - offset) / scale."""

    offset: float
    scale: float

    def inward(self, pictures: Tensor) -> Tensor:
        """Return what networks see of the data's pictures."""
        return pictures if self == (0.0, 1.0) else (pictures - self.offset) / self.scale

    def outward(self, seen: Value) -> Value:
        """Return the data's values of what networks see."""
        return seen if self == (0.0, 1.0) else seen * self.scale + self.offset


class Place(NamedTuple):
    """One frame of each clip: the `start` (B) of the run of frames around it, and `at` (B), its place in that run."""

    start: Tensor
    at: Tensor


def drawn_place(uniform: Tensor, frames: int, run: int) -> Place:
    """Return a frame of each clip, by a draw (B) from [0, 1), as the last of a run of `run` frames.

    Where fewer frames stand before it, the run is the clip's first and the frame stands earlier in it.
    """
    frame = (uniform * frames).long().clamp(max=frames - 1)
    start = (frame - (run - 1)).clamp(min=0)
    return Place(start, frame - start)


def taken(clips: Tensor, start: Tensor, count: int) -> Tensor:
    """Return `count` entries of axis 1 from `start` (B) on, (B, count, …)."""
    rows = start[:, None] + torch.arange(count, device=start.device)
    shape = (*rows.shape, *clips.shape[2:])
    return clips.gather(1, rows.reshape(*rows.shape, *[1] * (clips.dim() - 2)).expand(shape))


def region(frames: Tensor, which: str) -> Tensor:
    """Return the rows of the region, (…, H or half of it, W); of an odd height the lower half has the middle row."""
    if which == "full":
        return frames
    middle = frames.shape[-2] // 2
    return frames[..., middle:, :] if which == "lower_half" else frames[..., :middle, :]


def region_px(height_px: int, which: str) -> int:
    """Return the height of a region."""
    return {"full": height_px, "lower_half": height_px - height_px // 2, "upper_half": height_px // 2}[which]


def with_context(speech: Tensor, context: int) -> Tensor:
    """Return speech with `context` silent frames before and after it, (B, T + 2 context, A): the clip's ends."""
    return F.pad(speech, (0, 0, context, context)) if context else speech


def windows(entries: Tensor, count: int, stride: int) -> Tensor:
    """Return windows of `count` entries of axis 1, one every `stride`, all in one batch: (B · windows, count, …)."""
    return entries.unfold(1, count, stride).movedim(-1, 2).flatten(0, 1)


def heard(speech: Tensor, frames: int, context: int) -> Tensor:
    """Return the speech of each window of `frames` frames with its context, (B, windows, samples).

    `speech` has its context already: (B, n + 2 context, A) for n frames.
    """
    of_windows = windows(speech, frames + 2 * context, frames)
    return of_windows.flatten(1).unflatten(0, (len(speech), -1))


def motion(made: Tensor, real: Tensor) -> Tensor:
    """Return how much the made frames (B, n, …) change in time, over how much the real ones do: 0 when all are equal.

    The standard deviation over a run's frames, averaged over its pixels; 1 is as lively as the data. A batch whose real
    frames stand still counts as 0.001 (in -1..1; speakers of `talking` change by about 0.02).
    """
    return made.std(1, correction=0).mean() / real.std(1, correction=0).mean().clamp(min=1e-3)
