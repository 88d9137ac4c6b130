"""`data=stackgan data.path=birds`: birds (CUB) or flowers (Oxford-102) in the pickles of StackGAN and HDGAN."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from gansweep.data.crops import centre
from gansweep.data.encoders import PRECOMPUTED
from gansweep.data.kept import keeps_last
from gansweep.data.metadata import read_sidecar
from gansweep.data.pickled_array import Held
from gansweep.data.relations import Relation, Shifted
from gansweep.data.resize import Fit, fit_picture
from gansweep.data.source import BadPicture, Item, Listing, Picture
from gansweep.data.split import limited
from gansweep.data.tags import select_tags
from gansweep.data.text_sets import EMBEDDINGS, FILE_NAMES, TextSet
from gansweep.data.told import shown
from gansweep.errors import UserError

# 64 and 256 px with the margin that windows are cut from.
_SIDES = (76, 304)
_CLASSES, _CAPTIONS = "class_info.pickle", "text_c10"
_FLOWERS = "jpg/"
_MOST_TEXT_BYTES = 2**20


class StackGan(TextSet):
    """Folders train and test, of different classes, each with pickles of pictures, vectors, names and class numbers.

    Sentences are the lines of text_c10/NAME.txt; of flowers, jpg/image_00001 is there as class_00077/image_00001.
    Fields embedding and label, and caption where there are sentences. The test part is held out.
    """

    pixel_keys = ("size", "channels", "resample", "part", "include", "exclude", "limit")
    folders: ClassVar[Mapping[str, str]] = {"train": "train", "test": "test"}
    own_args: ClassVar[Mapping[str, Any]] = {
        "encoder": PRECOMPUTED, "captions": 10, "crop": "random", "wrong": "other_class",
    }  # fmt: skip
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "crop": ("random", "centre"), "wrong": ("other_class", "as_coded"),
    }  # fmt: skip

    def needed(self, part: str) -> list[Path]:
        """Return the part's pickles; of the two sizes of picture the one that is used."""
        names = [FILE_NAMES, _CLASSES, *([EMBEDDINGS] if self.encoding.encoder == PRECOMPUTED else [])]
        return [self._pictures_file(part), *(self.place(part, name) for name in names)]

    def further(self, part: str) -> list[Path]:
        """Return the folder of sentences and all in it, however deep: a name may have several folders, or none."""
        texts = self.root / _CAPTIONS
        below = [Path(folder, name) for folder, names, _ in os.walk(texts) for name in names]
        return [texts, *below] if texts.is_dir() else []

    def describe(self) -> str:
        """Name the folder, without the path to it."""
        return f"stackgan {self.root.name} ({self.cfg.part})"

    def items(self) -> Listing:
        """List the pictures of the wanted parts that tags and limit select: part, class and the name's folder are tags.

        UserError, with file and row, where a list is shorter than that of the names.
        """
        items = []
        self.vectors  # noqa: B018
        for part, names in self.names.items():
            self._pictures(part)
            for row, (name, number) in enumerate(zip(names, self._classes(part), strict=True)):
                label = f"class_{number:05d}"
                captions = self._captions(part, row, name, label)
                tags = tuple(dict.fromkeys((part, label, *name.split("/")[:-1])))
                items.append(Item(f"{part}/{name}", label, captions, tags, label))
        labels = sorted({item.label or "" for item in items})
        items = select_tags(sorted(items, key=lambda item: item.id), self.cfg.include or [], self.cfg.exclude or [])
        return Listing(limited(items, self.cfg.limit), labels)

    def picture(self, item: Item) -> Picture:
        """Bring one picture to data.size with its margin; raise BadPicture for what is no picture."""
        part, row = self.rows[item.id]
        try:
            stored = self._pictures(part)[row].array()
        except ValueError as error:
            raise BadPicture("damaged", str(error)) from error
        square = stored.ndim == 3 and stored.shape[0] == stored.shape[1] > 0 and stored.shape[2] == 3
        if stored.dtype != np.uint8 or not square:
            raise BadPicture("not a picture", f"row {row} is {stored.dtype} {stored.shape}, not uint8 (side, side, 3)")
        image = Image.fromarray(stored)
        image = image if self.cfg.channels == 3 else image.convert("L")
        wide = fit_picture(image, Fit(self.wide_px, self.cfg.channels, "stretch", self.cfg.resample)).pixels
        size = self.cfg.size
        window = centre(wide, size)
        pixels = wide if self.margin_px else np.ascontiguousarray(window)
        return Picture(pixels, (0, 0, size, size), self.columns(item, window))

    def relations(self, fields: Mapping[str, Any]) -> Mapping[str, Relation]:
        """Return wrong as the published code draws it, where data.args.wrong asks for that; else nothing new."""
        return {"wrong": Shifted(fields["label"])} if self.args["wrong"] == "as_coded" else {}

    def _pictures_file(self, part: str) -> Path:
        """Return the pickle whose pictures are large enough, the smaller one if it is."""
        small, large = (self.place(part, f"{side}images.pickle") for side in _SIDES)
        return small if self.wide_px <= _SIDES[0] and small.exists() else large

    @keeps_last(2)
    def _pictures(self, part: str) -> list[Held]:
        path = self._pictures_file(part)
        found = self.matched(self.pickle(path), part, path)
        for row, one in enumerate(found):
            if not isinstance(one, Held):
                raise UserError(f"data.path: {path} row {row} is {type(one).__name__}, no picture")
        return found

    @keeps_last(2)
    def _classes(self, part: str) -> list[int]:
        path = self.place(part, _CLASSES)
        given = self.pickle(path)
        values = given
        if isinstance(given, Held) and len(given.shape) == 1:
            try:
                values = given.array().tolist()
            except ValueError as error:
                raise UserError(f"data.path: {path} is damaged: {error}") from None
        for row, number in enumerate(self.matched(values, part, path)):
            if type(number) is not int or not 0 <= number < 100_000:
                raise UserError(f"data.path: {path} row {row} is {number!r}, no number of a class")
        return values

    def _captions(self, part: str, row: int, name: str, label: str) -> tuple[str, ...]:
        """Return the lines of a picture's sentences; without the folder, none, where its vectors are given."""
        asked = self.encoding.captions or 1
        folder = self.root / _CAPTIONS
        if self.encoding.encoder == PRECOMPUTED and not folder.is_dir():
            return ()
        inner = f"{label}/{name.removeprefix(_FLOWERS)}" if name.startswith(_FLOWERS) else name
        path = folder / f"{inner}.txt"
        of = f"row {row} of {self.place(part, FILE_NAMES)}"
        try:
            plain = path.is_file() and path.stat().st_size <= _MOST_TEXT_BYTES
            if not plain and path.exists():
                raise UserError(f"data.path: {shown(path)}, the captions of {of}, is no text file of up to a megabyte")
            captions = read_sidecar(path)
        except OSError as error:
            text = f"{shown(path)}, the captions of {of}, cannot be read ({error.strerror})"
            raise UserError(f"data.path: {text}") from None
        if len(captions) < asked:
            has = f"{len(captions)} captions, where {asked} are asked for ({of}; data.args.captions)"
            raise UserError(f"data.path: {shown(path)} has {has}")
        return captions
