"""`data=multipie data.path=FOLDER`: pictures named as those of Multi-PIE, a licensed set that one must have."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gansweep.data.faces import CAMERAS, Face, Faces, hash_of, parsed, read_mask
from gansweep.data.folder import Folder, is_picture
from gansweep.data.source import BadPicture, Item, Listing, Picture
from gansweep.data.told import shown
from gansweep.errors import UserError


class MultiPie(Faces, Folder):
    """Files subject_session_recording_camera_light.png (or .jpg and the like), in folders as one likes.

    Names that say something else are unusable pictures (data.on_bad). The target is the file of the same subject,
    session and recording from camera 051 under data.args.target_light.
    """

    pixel_keys = (
        "size", "channels", "resize", "resample", "pad_value", "min_side", "max_aspect", "max_megapixels",
        "include", "exclude", "limit",
    )  # fmt: skip
    licence = "Multi-PIE's own: not to be passed on"

    def check(self) -> None:
        """Raise UserError unless data.path is a folder with a picture in it, and the mask fits."""
        if not self.cfg.path:
            raise UserError("data=multipie needs to be told where: data.path=FOLDER")
        super(Faces, self).check()
        self._mask  # noqa: B018

    def stamp(self) -> str:
        """Return what the files are, and the arguments that are packed."""
        mask = "none" if self._mask is None else hash_of(self._mask)
        return f"{super(Faces, self).stamp()} label={self.args['label']} mask={mask}{self.selection()}"

    def describe(self) -> str:
        """Name the folder, without the path to it."""
        return f"multipie {self.root.name}"

    @functools.cached_property
    def names(self) -> list[str]:
        """The pictures' paths within the folder, sorted."""
        return sorted(name for name in self.files if is_picture(name))

    @functools.cached_property
    def subjects(self) -> Sequence[str]:
        """Every subject that a file is of."""
        return sorted({face.subject for face in map(parsed, self.names) if face})

    def items(self) -> Listing:
        """List the files that tags and limit select, and all whose names say nothing, to be told of."""
        items: list[Item] = []
        strange: list[Item] = []
        seen: dict[Face, str] = {}
        for name in self.names:
            face = parsed(name)
            if face is None:
                strange.append(Item(name, name))
                continue
            if face in seen:
                both = f"{shown(name)} and {shown(seen[face])} in {self.root}"
                raise UserError(f"data.path: {both} are one picture by their names")
            seen[face] = name
            items.append(self.item(name, face))
        if not items:
            example = "138_01_01_051_07.png"
            raise UserError(f"data.path={self.cfg.path}: no picture is named as Multi-PIE's are, such as {example}")
        items = self.selected(items)
        return Listing(sorted([*items, *strange], key=lambda item: item.id), self._labels(items))

    def picture(self, item: Item) -> Picture:
        """Decode and fit one file; raise BadPicture with the reason, a name that says nothing among them."""
        face = parsed(item.id)
        if face is None:
            name = PurePosixPath(item.id).name
            raise BadPicture("not named as Multi-PIE's", f"{name} is not subject_session_recording_camera_light")
        picture = super(Faces, self).picture(item)
        columns: dict[str, Any] = self.numbers(face)
        if self._mask is not None:
            columns["mask"] = self._mask
        return Picture(picture.pixels, picture.box, columns)

    def _labels(self, items: list[Item]) -> list[str]:
        """Return the class names, of the cameras as many as reach the last that is there."""
        if self.args["label"] != "pose":
            return self.label_names
        return list(CAMERAS[: max(CAMERAS.index(item.label or "") for item in items) + 1])

    @functools.cached_property
    def _mask(self) -> NDArray[np.float32] | None:
        mask = self.args["mask"]
        return None if mask is None else read_mask(str(mask), self.cfg.size)
