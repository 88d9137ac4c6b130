"""`data=coco data.path=FOLDER`: COCO 2014 as StackGAN and HDGAN keep it, pictures as JPEG and the rest in pickles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from gansweep.data.crops import centre
from gansweep.data.encoders import PRECOMPUTED
from gansweep.data.relations import Drawn, Relation
from gansweep.data.resize import Fit, read_picture
from gansweep.data.source import Item, Listing, Picture
from gansweep.data.split import limited
from gansweep.data.tags import select_tags
from gansweep.data.text_sets import EMBEDDINGS, FILE_NAMES, TextSet, text_of
from gansweep.data.told import shown
from gansweep.errors import UserError

_CAPTIONS = "captions.pickle"
_PICTURES = {"train": "coco_official/train2014", "test": "coco_official/val2014"}
_SUFFIXES = (".jpg", ".jpeg")


class Coco(TextSet):
    """Folders train and val with pickles of names, vectors and captions; pictures in coco_official/{train,val}2014.

    Fields embedding and caption; no classes: wrong is any other picture. The part val is held out (data.part=test).
    """

    pixel_keys = (
        "size", "channels", "resize", "resample", "pad_value", "min_side", "max_aspect", "max_megapixels", "part",
        "include", "exclude", "limit",
    )  # fmt: skip
    folders: ClassVar[Mapping[str, str]] = {"train": "train", "test": "val"}
    own_args: ClassVar[Mapping[str, Any]] = {"encoder": PRECOMPUTED, "captions": 5, "crop": "none"}
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {"crop": ("none", "random", "centre")}

    def needed(self, part: str) -> list[Path]:
        """Return the part's pickles and its folder of pictures."""
        names = [FILE_NAMES, _CAPTIONS, *([EMBEDDINGS] if self.encoding.encoder == PRECOMPUTED else [])]
        return [self.root / _PICTURES[part], *(self.place(part, name) for name in names)]

    def describe(self) -> str:
        """Name the folder, without the path to it."""
        return f"coco {self.root.name} ({self.cfg.part})"

    def items(self) -> Listing:
        """List the pictures of the wanted parts that tags and limit select; the part is their tag.

        UserError, with file and row, where a list is shorter than that of the names, or a name has too few captions.
        """
        items = []
        self.vectors  # noqa: B018
        for part, names in self.names.items():
            captions = self._captions(part)
            for row, name in enumerate(names):
                texts = captions.get(name, ())
                if len(texts) < (self.encoding.captions or 1):
                    has = f"{len(texts)} captions" if texts else "no captions"
                    asked = f"{self.encoding.captions or 1} are asked for (data.args.captions)"
                    of = f"{shown(name)}, row {row} of {FILE_NAMES}"
                    raise UserError(f"data.path: {self.place(part, _CAPTIONS)} has {has} for {of}, where {asked}")
                items.append(Item(f"{part}/{name}", f"{part}/{name}", texts, (part,)))
        items = select_tags(sorted(items, key=lambda item: item.id), self.cfg.include or [], self.cfg.exclude or [])
        return Listing(limited(items, self.cfg.limit))

    def picture(self, item: Item) -> Picture:
        """Decode one picture and bring it to data.size and its margin; raise BadPicture if that fails."""
        part, row = self.rows[item.id]
        name = self.names[part][row]
        file = self.root / _PICTURES[part] / (name if name.lower().endswith(_SUFFIXES) else f"{name}.jpg")
        found = read_picture(file, replace(Fit.of(self.cfg), size=self.wide_px))
        size = self.cfg.size
        window = centre(found.pixels, size)
        pixels = found.pixels if self.margin_px else np.ascontiguousarray(window)
        box = found.box if self.wide_px == size else (0, 0, size, size)
        return Picture(pixels, box, self.columns(item, window))

    def relations(self, fields: Mapping[str, Any]) -> Mapping[str, Relation]:
        """Return wrong as any other picture: there are no classes."""
        return {"wrong": Drawn(differ=np.arange(len(fields["id"])), what="another picture")}

    def _captions(self, part: str) -> dict[str, tuple[str, ...]]:
        path = self.place(part, _CAPTIONS)
        given = self.pickle(path)
        if not isinstance(given, dict):
            raise UserError(f"data.path: {path} is no dictionary of a name's captions")
        found = {}
        for key, texts in given.items():
            name = text_of(key, f"{path}, a name,")
            if not isinstance(texts, list | tuple):
                raise UserError(f"data.path: {path}, the captions of {shown(name, 80)}, is no list")
            read = (text_of(text, f"{path}, a caption of {shown(name, 80)},").strip() for text in texts)
            found[name] = tuple(text for text in read if text)
        return found
