"""Small sets in the very layouts of StackGAN's and HDGAN's birds, flowers and COCO."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .pickles import python2

CAPTIONS = 10
LENGTH = 1024


def dump(path: Path, value: Any, protocol: int, python: int = 2) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(python2(value, protocol) if python == 2 else pickle.dumps(value, protocol))


def text(value: str, python: int) -> str | bytes:
    """Return a text as the pickles of that Python have it."""
    return value.encode() if python == 2 else value


def sentence(name: str, number: int) -> str:
    return f"this {name.split('/')[-1].replace('_', ' ').lower()} has number {number}"


def picture(side: int, number: int) -> np.ndarray:
    """Return a picture in which every pixel tells where it is: red across, green down, blue the number."""
    made = np.empty((side, side, 3), dtype=np.uint8)
    made[..., 0] = np.arange(side) * 255 // (side - 1)
    made[..., 1] = np.arange(side)[:, None] * 255 // (side - 1)
    made[..., 2] = number
    return made


def vectors(number: int, captions: int = CAPTIONS, length: int = LENGTH) -> np.ndarray:
    return np.random.default_rng(number).standard_normal((captions, length), dtype=np.float32)


def birds(
    root: Path,
    *,
    flowers: bool = False,
    protocol: int = 2,
    python: int = 2,
    classes: tuple[int, int] = (3, 2),
    each: int = 3,
    sides: tuple[int, ...] = (76, 304),
    length: int = LENGTH,
) -> dict[str, list[str]]:
    """Write train (classes 1, 2, …) and test (the next ones) with `each` pictures a class; return the parts' names."""
    names: dict[str, list[str]] = {}
    first = 0
    for part, count in zip(("train", "test"), classes, strict=True):
        numbers = [first + number // each + 1 for number in range(count * each)]
        rows = range(first * each, (first + count) * each)
        first += count
        if flowers:
            names[part] = [f"jpg/image_{row + 1:05d}" for row in rows]
        else:
            names[part] = [
                f"{number:03d}.Bird_{number}/Bird_{number}_{row:04d}" for number, row in zip(numbers, rows, strict=True)
            ]
        folder = root / part
        for side in sides:
            dump(folder / f"{side}images.pickle", [picture(side, row) for row in rows], protocol, python)
        dump(folder / "filenames.pickle", [text(name, python) for name in names[part]], protocol, python)
        dump(folder / "class_info.pickle", numbers, protocol, python)
        own = [vectors(row, length=length) for row in rows]
        dump(folder / "char-CNN-RNN-embeddings.pickle", own, protocol, python)
        for name, number in zip(names[part], numbers, strict=True):
            inner = name.replace("jpg/", f"class_{number:05d}/") if flowers else name
            path = root / "text_c10" / f"{inner}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(sentence(name, number) for number in range(CAPTIONS)) + "\n")
    return names


def coco(
    root: Path, *, counts: tuple[int, int] = (6, 4), protocol: int = 2, python: int = 2, length: int = LENGTH
) -> dict[str, list[str]]:
    """Write COCO's two parts with so many pictures, 24 by 16 px; return the parts' names."""
    names = {}
    for part, folder, count in (("train", "train2014", counts[0]), ("val", "val2014", counts[1])):
        names[part] = [f"COCO_{folder}_{number:012d}" for number in range(count)]
        for number, name in enumerate(names[part]):
            path = root / "coco_official" / folder / f"{name}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            level = 40 * number % 256
            wide = np.repeat(np.array([[[level, 0, 0], [0, level, 0]]], dtype=np.uint8), 12, axis=1)
            Image.fromarray(np.repeat(wide, 16, axis=0)).save(path, quality=95)
        dump(root / part / "filenames.pickle", [name.encode() for name in names[part]], protocol, python)
        captions = {text(name, python): [text(sentence(name, n), python) for n in range(5)] for name in names[part]}
        dump(root / part / "captions.pickle", captions, protocol, python)
        own = [vectors(number, 5, length) for number in range(count)]
        dump(root / part / "char-CNN-RNN-embeddings.pickle", own, protocol, python)
    return names
