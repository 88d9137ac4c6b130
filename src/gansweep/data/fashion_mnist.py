"""`data=fashion_mnist`: 70,000 grey pictures of clothing, 28 px, ten classes (Xiao et al. 2017), from idx files."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from gansweep.data.kept import keeps_last
from gansweep.data.resize import Fit, fit_picture
from gansweep.data.source import Item, Listing, Picture, Source
from gansweep.data.split import limited
from gansweep.data.tags import select_tags
from gansweep.errors import Missing, UserError

DEBIAN_PLACE = Path("/usr/share/datasets/fashion-mnist")
HOW_TO_GET_IT = "apt-get install dataset-fashion-mnist, or data.path=FOLDER with its idx files (.gz or not)"

# In the order of the label files' numbers.
LABELS = [
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
]  # fmt: skip
_PREFIXES = {"train": "train", "test": "t10k"}
_IMAGES, _LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"
_UBYTE = 0x08


class FashionMnist(Source):
    """Grey pictures of clothing, each with a class, whose name is caption and tag; train or test is a tag too."""

    pixel_keys = ("size", "channels", "resize", "resample", "pad_value", "part", "include", "exclude", "limit")

    licence = "MIT (Zalando SE)"

    @property
    def parts(self) -> list[str]:
        """The parts that data.part asks for."""
        return list(_PREFIXES) if self.cfg.part == "all" else [self.cfg.part]

    def check(self) -> None:
        """Raise Missing when the files are not in Debian's place, UserError when they are not in data.path."""
        if self.cfg.path and not Path(self.cfg.path).expanduser().is_dir():
            raise UserError(f"data.path={self.cfg.path} is not a folder; to get Fashion-MNIST: {HOW_TO_GET_IT}")
        for part in self.parts:
            self._file(part, _IMAGES)
            self._file(part, _LABELS)

    def stamp(self) -> str:
        """Return size and time of the files."""
        files = [self._file(part, kind) for part in self.parts for kind in (_IMAGES, _LABELS)]
        return " ".join(f"{path.name}:{path.stat().st_size}:{path.stat().st_mtime_ns}" for path in files)

    def describe(self) -> str:
        """Name the set and the part of it."""
        return f"fashion_mnist ({self.cfg.part}, MIT)"

    def items(self) -> Listing:
        """List the pictures of the wanted parts that tags and limit select."""
        items = []
        for part in self.parts:
            for number, label in enumerate(self._labels(part).tolist()):
                name = f"{part}/{number:05d}"
                items.append(Item(name, name, (LABELS[label],), (LABELS[label], part), LABELS[label]))
        items.sort(key=lambda item: item.id)
        items = select_tags(items, self.cfg.include or [], self.cfg.exclude or [])
        return Listing(limited(items, self.cfg.limit), LABELS)

    def picture(self, item: Item) -> Picture:
        """Resize one picture; the grey is repeated when data.channels=3."""
        part, _, number = item.id.partition("/")
        image = Image.fromarray(self._images(part)[int(number)])
        return fit_picture(image if self.cfg.channels == 1 else image.convert("RGB"), Fit.of(self.cfg))

    def _file(self, part: str, kind: str) -> Path:
        folder = Path(self.cfg.path).expanduser() if self.cfg.path else DEBIAN_PLACE
        name = f"{_PREFIXES[part]}-{kind}"
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
        message = f"data=fashion_mnist: no {name}(.gz) in {folder}; to get it: {HOW_TO_GET_IT}"
        raise UserError(message) if self.cfg.path else Missing(message)

    @keeps_last(2)
    def _images(self, part: str) -> np.ndarray:
        return read_idx(self._file(part, _IMAGES), dimensions=3)

    def _labels(self, part: str) -> np.ndarray:
        path = self._file(part, _LABELS)
        labels = read_idx(path, dimensions=1)
        if len(labels) != len(self._images(part)):
            raise UserError(f"data: {path} has {len(labels):,} labels for {len(self._images(part)):,} pictures")
        if labels.max(initial=0) >= len(LABELS):
            raise UserError(f"data: {path} has the label {labels.max()}, where 0 to {len(LABELS) - 1} are known")
        return labels


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Read an idx file of bytes: two zeros, type, number of axes, their lengths (big-endian, 32 bits), values.

    Gzipped when its name ends in .gz. Raises UserError unless it has that many axes and exactly the bytes it announces.
    """
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"data: {path} is truncated or cannot be read ({error})") from None
    start = 4 + 4 * dimensions
    if len(raw) < start or raw[:4] != bytes((0, 0, _UBYTE, dimensions)):
        raise UserError(f"data: {path} is not an idx file of bytes with {dimensions} axes")
    shape = tuple(int(length) for length in np.frombuffer(raw, dtype=">u4", count=dimensions, offset=4))
    if len(raw) - start != int(np.prod(shape)):
        raise UserError(f"data: {path} is truncated: {len(raw) - start:,} bytes of {int(np.prod(shape)):,}")
    return np.frombuffer(raw, dtype=np.uint8, offset=start).reshape(shape)
