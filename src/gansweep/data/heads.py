"""`data=heads`: drawn heads of people who do not exist, from nine sides under twenty lights, named as Multi-PIE's."""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gansweep.data.faces import CAMERAS, FRONTAL, LIGHTS, YAW_DEG, Face, Faces, hash_of, parsed, read_mask
from gansweep.data.head_drawing import View, albedo_of, lit, look_at, shadow_map
from gansweep.data.head_shape import Floats, Person
from gansweep.data.kept import keeps_last
from gansweep.data.source import Item, Listing, Picture
from gansweep.errors import UserError

if TYPE_CHECKING:
    from gansweep.config.settings import DataSettings

# To be raised with every change of what is drawn: older sets are then drawn anew.
DRAWING = 2
_MOST_PEOPLE, _LEAST_PX = 999, 16
_CONTOUR_SHARE, _CONTOUR_WEIGHT = 0.139, 5
# The common mask's contours are those of people who are not in the set.
_MASK_PEOPLE, _FIRST_OF_MASK = 20, 1_000_000
_LUMA = (0.299, 0.587, 0.114)


class Heads(Faces):
    """Drawn people: the lights stand still with the head, the cameras go round it, as in Multi-PIE.

    Light codes go from the face's left to its right (as seen) in steps of 19 degrees, even ones from 40 degrees above,
    odd ones from 8; 09 is the one nearest to the camera in front. The column mask weighs contours: 5 where the frontal
    face changes most (13.9 % of the pixels, as in the journal's mask_20), else 1.
    """

    pixel_keys = ("size", "channels", "include", "exclude", "limit")
    own_args: ClassVar[dict[str, Any]] = {"people": 200, "seed": 0, "mask": "common"}
    licence = "made by gansweep (MIT)"
    procedural = True

    def __init__(self, cfg: DataSettings) -> None:
        super().__init__(cfg)
        self._lock = threading.Lock()  # here, where one thread alone can make it

    def check(self) -> None:
        """Raise UserError for arguments that are out of range, or a mask that does not fit."""
        for key, least, most in (("people", 1, _MOST_PEOPLE), ("seed", 0, 2**63 - 1)):
            value = self.args[key]
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
                raise UserError(f"data.args.{key}={value} is out of range: {least} to {most}")
        if self.cfg.size < _LEAST_PX:
            raise UserError(f"data.size={self.cfg.size} is too small for a face: {_LEAST_PX} or more")
        if self.args["mask"] not in ("common", "own"):
            read_mask(str(self.args["mask"]), self.cfg.size)

    def stamp(self) -> str:
        """Return what the pictures are made from; the mask's own weights where a file gives them."""
        mask = self.args["mask"]
        weights = "" if mask in ("common", "own") else f" {hash_of(read_mask(str(mask), self.cfg.size))}"
        words = [f"{key}={self.args[key]}" for key in ("people", "seed", "label", "mask")]
        return f"drawing {DRAWING} {' '.join(words)}{weights}{self.selection()}"

    def describe(self) -> str:
        """Say that nobody is shown."""
        return f"heads (drawn, seed {self.args['seed']}: procedural, not real people)"

    @functools.cached_property
    def subjects(self) -> Sequence[str]:
        """001 to as many as data.args.people."""
        return [f"{number:03d}" for number in range(1, self.args["people"] + 1)]

    def items(self) -> Listing:
        """List the faces that tags and limit select."""
        faces = [
            Face(subject, "01", "01", camera, light)
            for subject in self.subjects
            for camera in sorted(YAW_DEG)
            for light in LIGHTS
        ]
        items = [self.item(face.name, face) for face in faces]
        names = self.label_names if self.args["label"] != "pose" else list(CAMERAS[: len(YAW_DEG)])
        return Listing(self.selected(items), names)

    def picture(self, item: Item) -> Picture:
        """Draw one face."""
        face = parsed(item.id)
        assert face is not None
        number, size = int(face.subject) - 1, self.cfg.size
        with self._lock:  # twenty lights share a view: no two threads are to make the same one
            view = self._view(number, face.camera)
            shadow = self._shadow(number, face.light)
        pixels = lit(view, light_of(face.light), shadow)
        if self.cfg.channels == 1:
            pixels = np.rint(np.tensordot(np.array(_LUMA), pixels, axes=1))[None].astype(np.uint8)
        return Picture(pixels, (0, 0, size, size), {**self.numbers(face), "mask": self._mask(number)})

    @keeps_last(8)
    def _person(self, number: int) -> Person:
        return Person.of(self.args["seed"], number)

    @keeps_last(3)
    def _view(self, number: int, camera: str) -> View:
        return look_at(self._person(number), YAW_DEG[camera], self.cfg.size)

    @keeps_last(40)
    def _shadow(self, number: int, light: str) -> Floats:
        return shadow_map(self._person(number), light_of(light))

    @keeps_last(4)
    def _mask(self, number: int) -> NDArray[Any]:
        if self.args["mask"] == "own":
            return contour_mask([self._person(number)], self.cfg.size)
        return self._common_mask

    @functools.cached_property
    def _common_mask(self) -> NDArray[Any]:
        if self.args["mask"] != "common":
            return read_mask(str(self.args["mask"]), self.cfg.size)
        others = [Person.of(self.args["seed"], _FIRST_OF_MASK + number) for number in range(_MASK_PEOPLE)]
        return contour_mask(others, self.cfg.size)


def light_of(code: str) -> Floats:
    """Return the direction to a light, a unit vector in the head's frame (x to the viewer's right, y up, z forward)."""
    number = int(code)
    azimuth, elevation = np.deg2rad(-85 + 170 * (number // 2) / 9), np.deg2rad(8 if number % 2 else 40)
    flat = np.cos(elevation)
    return np.array([np.sin(azimuth) * flat, np.sin(elevation), np.cos(azimuth) * flat], dtype=np.float32)


def contour_mask(people: Sequence[Person], size_px: int) -> NDArray[np.uint8]:
    """Return weights (1, H, W): 5 where the frontal faces of `people` change most in colour, on average, else 1."""
    total = np.zeros((size_px, size_px))
    for person in people:
        colours = np.pad(albedo_of(look_at(person, YAW_DEG[FRONTAL], size_px)), ((0, 0), (1, 1), (1, 1)), mode="edge")
        across = np.abs(colours[:, 1:-1, 2:] - colours[:, 1:-1, :-2]).sum(axis=0)
        total += across + np.abs(colours[:, 2:, 1:-1] - colours[:, :-2, 1:-1]).sum(axis=0)
    padded = np.pad(total, 1, mode="edge")
    wide = np.sum([padded[i : i + size_px, j : j + size_px] for i in range(3) for j in range(3)], axis=0)
    heavy = round(_CONTOUR_SHARE * wide.size)
    mask = np.ones(wide.size, dtype=np.uint8)
    mask[np.argsort(-wide.reshape(-1), kind="stable")[:heavy]] = _CONTOUR_WEIGHT
    return mask.reshape(1, size_px, size_px)
