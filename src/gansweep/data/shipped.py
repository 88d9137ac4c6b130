"""Which shipped sets have a field or relation that not all have: for messages, and to refuse before anything is drawn.

image, group and box are in every shipped set, the relations pair, real and wrong in every set.
"""

from __future__ import annotations

_FACES = ("heads", "multipie")
_CLIPS = ("talking", "grid")
_CAPTIONED = ("emoji", "stackgan", "coco", "folder with captions in its metadata or in .txt files")
SHIPPED_WITH = {
    "label": (
        "emoji",
        "fashion_mnist",
        "heads",
        "people",
        "stackgan",
        "folder with a sub-folder per class or a label in its metadata",
    ),
    "caption": _CAPTIONED,
    "tags": (
        "emoji",
        "fashion_mnist",
        "heads",
        "people",
        "talking",
        "grid",
        "folder with sub-folders or tags in its metadata",
    ),
    "identity": (*_FACES, *_CLIPS),
    "pose": _FACES,
    "light": _FACES,
    "mask": ("heads", "multipie with data.args.mask=FILE.npy"),
    "target": _FACES,
    "still": _CLIPS,
    "frames": _CLIPS,
    "audio": _CLIPS,
    "lips": ("talking",),
    "loudness": ("grid",),
    "embedding": _CAPTIONED,
}


def hint(name: str) -> str:
    """Return the end of a message about a field or relation that a set has not: which shipped sets have it."""
    shipped = "; ".join(SHIPPED_WITH.get(name, ()))
    if name.startswith("image_"):
        shipped = f"emoji, stackgan, coco, folder with data.args.sizes=[{name.removeprefix('image_')}]"
    return f"; sets that have it: {shipped}" if shipped else ""


def never_has(shipped_set: str, name: str) -> bool:
    """Say whether the shipped set of that name has no field or relation `name`, whatever its files and arguments."""
    return name in SHIPPED_WITH and all(text.partition(" ")[0] != shipped_set for text in SHIPPED_WITH[name])
