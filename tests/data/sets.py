"""A made-up set with every kind of column and relation, for tests of batches and feeds."""

from __future__ import annotations

from typing import Any

import numpy as np

from gansweep.data.columns import Repeated
from gansweep.data.crops import centre, reduced
from gansweep.data.dataset import Dataset
from gansweep.data.relations import NOBODY, Drawn, Listed, Mixed

COUNT = 36
FIELDS = (
    "image", "pose", "target.image", "pair.image", "pair_target.image", "pair.pose", "image_3", "frames", "mask",
    "target.mask", "weight_mask", "embedding", "wrong.index", "wrong.image_3", "real.image", "target.index",
)  # fmt: skip


def related(val_fraction: float = 0.3) -> Dataset:
    """Return 36 pictures of nine people, four each, the first of which is the others' target."""
    rng = np.random.default_rng(0)
    person = np.arange(COUNT) // 4
    fields: dict[str, Any] = {
        "label": person,
        "pose": np.arange(COUNT) % 4,
        "image_3": rng.integers(0, 256, (COUNT, 3, 3, 3), dtype=np.uint8),
        "frames": rng.integers(0, 256, (COUNT, 2, 3, 4, 5), dtype=np.uint8),
        "mask": Repeated(rng.integers(1, 6, (9, 1, 6, 4), dtype=np.uint8), person),
        "weight_mask": rng.random((COUNT, 1, 6, 4), dtype=np.float32),
        "embedding": rng.random((COUNT, 7), dtype=np.float32),
        "group": [f"person {number}" for number in person],
        "id": [f"{number:02d}" for number in range(COUNT)],
        "caption": [["a person"]] * COUNT,
    }
    images = rng.integers(0, 256, (COUNT, 3, 6, 4), dtype=np.uint8)
    neighbours = np.arange(COUNT)[:, None] + np.array([[-1, 1]])
    neighbours[neighbours // 4 != person[:, None]] = NOBODY
    relations = {
        "target": Listed(person * 4),
        "pair": Mixed(0.5, Listed(neighbours), Drawn(what="another one", alone=True, differ=np.arange(COUNT))),
        "real": Drawn(among=np.arange(COUNT) % 4 == 0, what="frontal"),
    }
    return Dataset(images, fields, [], "f" * 64, {}, "people", val_fraction, relations)


WINDOWS = ("image", "image_16", "image_8", "wrong.image", "wrong.image_4", "wrong.index")


def windowed() -> Dataset:
    """Return 20 pictures of 16 px with a margin of 3, of four classes, and their smaller ones."""
    wide = np.random.default_rng(0).integers(0, 256, (20, 3, 19, 19), dtype=np.uint8)
    images = centre(wide, 16)
    fields: dict[str, Any] = {
        "label": np.arange(20) % 4,
        "group": [str(number) for number in range(20)],
        "image_8": reduced(images, 2),
        "image_4": reduced(images, 4),
    }
    cuts = {"image": 1, "image_16": 1, "image_8": 2, "image_4": 4}
    return Dataset(images, fields, [], "f" * 64, {}, "windows", wide=wide, cuts=cuts)
