"""FID Inception weights and pictures that anyone can make again from a seed, for tests without the real file.

The convolutions are He-scaled with mild batch norm statistics. A plain random head would give every picture nearly the
same logits, so the head is turned away from the mean feature (kept beside the golden numbers, rounded to float16) and
scaled until the logits vary by about 2.5 between pictures. NumPy's RandomState never changes its streams.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gansweep.metrics.fid_network import CLASSES, FEATURES, wanted_entries

GOLDEN = Path(__file__).parents[1] / "golden" / "inception"
MEAN_FEATURE_FILE = GOLDEN / "mean_feature.npy"
SEED = 20151205
HEAD_SCALE = 0.838


def seeded_state(mean_feature: np.ndarray | None = None) -> dict[str, Tensor]:
    """All 472 entries of the public port, and its 94 batch counters, from the seed; takes half a second."""
    draw = np.random.RandomState(SEED)
    state: dict[str, Tensor] = {}
    for name, shape in wanted_entries().items():
        if name.endswith("conv.weight"):
            values = draw.standard_normal(shape) * np.sqrt(2.0 / np.prod(shape[1:]))
        elif name.endswith(("bn.weight", "running_var")):
            values = draw.uniform(0.8, 1.2, shape)
        elif name == "fc.weight":
            values = _head(draw, mean_feature)
        else:
            values = draw.standard_normal(shape) * 0.1
        state[name] = torch.from_numpy(np.asarray(values, dtype=np.float32))
        if name.endswith("running_var"):
            state[name.replace("running_var", "num_batches_tracked")] = torch.tensor(0)
    return state


def _head(draw: np.random.RandomState, mean_feature: np.ndarray | None) -> np.ndarray:
    head = draw.standard_normal((CLASSES, FEATURES))
    if mean_feature is not None:
        direction = mean_feature.astype(np.float64) / np.linalg.norm(mean_feature.astype(np.float64))
        head -= np.outer(head @ direction, direction)
    return head * HEAD_SCALE


def pictures(count: int, size_px: int = 64) -> Tensor:
    """Structured uint8 pictures (count, 3, size_px, size_px): a gradient, a wave and a disc, in random colours."""
    draw = np.random.RandomState(SEED + 1)
    y, x = np.mgrid[0:size_px, 0:size_px] / size_px
    images = np.empty((count, 3, size_px, size_px), dtype=np.uint8)
    for index in range(count):
        angle, frequency, phase = draw.uniform(0, 2 * np.pi), draw.uniform(1, 12), draw.uniform(0, 2 * np.pi)
        along = np.cos(angle) * x + np.sin(angle) * y
        base, wave, disc = (draw.uniform(0, 255, (3, 1, 1)) for _ in range(3))
        inside = (x - draw.uniform()) ** 2 + (y - draw.uniform()) ** 2 < draw.uniform(0.02, 0.2)
        picture = base * along + wave * (0.5 + 0.5 * np.sin(2 * np.pi * frequency * along + phase))
        images[index] = np.clip(np.where(inside, disc, picture), 0, 255).astype(np.uint8)
    return torch.from_numpy(images)


def logits_table(rows: int = 237, classes: int = 40) -> np.ndarray:
    """Seeded float64 logits whose row count no number of splits between 2 and 10 but 3 divides."""
    draw = np.random.RandomState(SEED + 2)
    return draw.standard_normal((rows, classes)) * 3.0
