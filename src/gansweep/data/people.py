"""`data=people`: drawn people who do not exist, standing, sitting, lying or crouching, each lit by one light.

They stand in for photographs: portraits of 427 x 640 px and landscapes of 640 x 427, named, tagged and fitted to the
square as a folder of photographs is.
"""

from __future__ import annotations

import functools
import json
import math
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from gansweep.data.people_bodies import Body
from gansweep.data.people_poses import POSES
from gansweep.data.people_scene import Setting, drawn
from gansweep.data.resize import Fit, fit_picture
from gansweep.data.source import Item, Listing, Picture, Source
from gansweep.data.split import limited
from gansweep.data.tags import is_oriented, select_tags
from gansweep.errors import UserError, nearest

# To be raised with every change of what is drawn: older sets are then drawn anew.
DRAWING = 1
_LONG_PX, _SHORT_PX = 640, 427
_MOST = 100_000
_ARGS = {"count": 1000, "seed": 0}
# Pictures of a set (one person, clothes and backdrop), and sets of a person.
_OF_SET, _OF_PERSON = 8, 2
_WATERMARKED, _DUO = 0.10, 0.08
# How often each pose is seen, and how often each is a landscape.
_SHARES, _LANDSCAPES = (0.45, 0.25, 0.15, 0.15), (0.08, 0.3, 0.85, 0.25)
# Which things are drawn by chance; each has a stream of its own, so that one more picture changes no other.
_PERSON, _COMPANION, _DAY, _COMPANIONS_DAY, _SHOT, _POSE = range(6)
_FIRST_NAMES = (
    "anna ben carla david elena felix grace hugo ida jonas kira leo maya noah olga paul rosa sam tara umar vera willem "
    "xenia yusuf zoe amir bela chen dora emil fatima gita hana ivan julia karim lena mika nina omar priya quentin ravi"
)
_NAMES = f"{_FIRST_NAMES} sofia tomas ulla victor wanda yara zeno".split()


@dataclass(frozen=True)
class Shot:
    """One picture before it is drawn: its number in the set of all, and what is to be seen."""

    number: int
    pose: str
    landscape: bool
    watermark: bool
    duo: bool

    @staticmethod
    def of(seed: int, number: int) -> Shot:
        """Draw what picture `number` shows."""
        random = np.random.default_rng([seed, _SHOT, number])
        chance = random.uniform(size=4)
        kind = min(int(np.searchsorted(np.cumsum(_SHARES), chance[0])), len(POSES) - 1)
        wide, marked, two = (bool(one) for one in chance[1:] < (_LANDSCAPES[kind], _WATERMARKED, _DUO))
        return Shot(number, POSES[kind], wide, marked, two)

    @property
    def day(self) -> int:
        """The number of the set: pictures of one person in one place and the same clothes."""
        return self.number // _OF_SET

    @property
    def person(self) -> int:
        """The number of the person."""
        return self.day // _OF_PERSON

    @property
    def subject(self) -> str:
        """The person's name; the later ones of a name bear a number."""
        again = self.person // len(_NAMES)
        return f"{_NAMES[self.person % len(_NAMES)]}{again + 1 if again else ''}"

    @property
    def extent(self) -> tuple[int, int]:
        """Width and height of the original in px."""
        return (_LONG_PX, _SHORT_PX) if self.landscape else (_SHORT_PX, _LONG_PX)

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the file's name: number, subject, pose, and what else is to be seen."""
        more = [word for word, there in (("duo", self.duo), ("watermark", self.watermark)) if there]
        return (str(self.number + 1), self.subject, self.pose, *more)

    @property
    def name(self) -> str:
        """The path within the set, as set-7/123-anna-standing_640v427.jpg (height, then width)."""
        width, height = self.extent
        return f"set-{self.day + 1}/{'-'.join(self.words)}_{height}v{width}.jpg"

    @property
    def tags(self) -> tuple[str, ...]:
        """Folder, words, and the set as the journal's own list writes it."""
        return (f"set-{self.day + 1}", *self.words, f"set_{self.day + 1}")


class People(Source):
    """Drawn people: class and tag by pose, the person's name as tag and group, some tagged watermark or duo.

    A person has two sets of eight pictures; one who is seen beside him, in pictures tagged duo, is in no other's.
    """

    pixel_keys: ClassVar[tuple[str, ...]] = (
        "size", "channels", "resize", "resample", "pad_value", "include", "exclude", "orientation", "limit",
    )  # fmt: skip
    licence = "made by gansweep (MIT)"
    procedural = True

    @functools.cached_property
    def args(self) -> dict[str, Any]:
        """data.args, completed; UserError for an argument that is not known."""
        for key in self.cfg.args:
            if key not in _ARGS:
                raise UserError(f"data.args.{key} is unknown{nearest(key, _ARGS)}")
        return {**_ARGS, **self.cfg.args}

    def check(self) -> None:
        """Raise UserError for arguments that are out of range."""
        for key, least, most in (("count", 1, _MOST), ("seed", 0, 2**63 - 1)):
            value = self.args[key]
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
                raise UserError(f"data.args.{key}={value} is out of range: {least} to {most}")

    def stamp(self) -> str:
        """Return what the pictures are made from."""
        return f"drawing {DRAWING} count={self.args['count']} seed={self.args['seed']}"

    def describe(self) -> str:
        """Say that nobody is shown."""
        return f"people (drawn, seed {self.args['seed']}: procedural, not photographs, not real people)"

    def items(self) -> Listing:
        """List the pictures that tags, orientation and limit select."""
        shots = [Shot.of(self.args["seed"], number) for number in range(self.args["count"])]
        items = [Item(id=shot.name, group=shot.subject, tags=shot.tags, label=shot.pose) for shot in shots]
        extents = {shot.name: shot.extent for shot in shots}
        items = select_tags(sorted(items, key=lambda item: item.id), self.cfg.include or [], self.cfg.exclude or [])
        kept = [item for item in items if is_oriented(*extents[item.id], self.cfg.orientation)]
        if not kept:
            raise UserError(f"data.orientation={self.cfg.orientation}: none of the {len(items):,} drawn pictures is")
        return Listing(limited(kept, self.cfg.limit), list(POSES))

    def picture(self, item: Item) -> Picture:
        """Draw one picture and fit it as a file of it would be fitted."""
        number = int(PurePosixPath(item.id).name.partition("-")[0]) - 1
        fit = Fit.of(self.cfg)
        shot = Shot.of(self.args["seed"], number)
        if fit.resample == "nearest":
            image = _taken(self.args["seed"], shot, fit)
        else:
            image = photograph(self.args["seed"], shot, _enough(shot.extent, fit))
        return fit_picture(image if fit.channels == 3 else image.convert("L"), fit)


def photograph(seed: int, shot: Shot, long_px: int = _LONG_PX) -> Image.Image:
    """Draw a picture whose longer side is `long_px`, RGB; the same one at any size."""
    width, height = shot.extent
    scale = long_px / max(width, height)
    grid = [(np.arange(round(side * scale)) + 0.5) * side / round(side * scale) for side in (width, height)]
    return _at(seed, shot, grid[0], grid[1], 1 / scale)


def write_set(folder: Path, count: int, seed: int = 0, long_px: int = _LONG_PX) -> list[str]:
    """Write the first `count` pictures as the journal keeps its photographs; return their paths within `folder`.

    set-N/NUMBER-SUBJECT-POSE_HEIGHTvWIDTH.jpg, and metadata.json: a list of {filename, tags, width, height}. The names
    and numbers are those of whole pictures, also where `long_px` asks for smaller files.
    """
    rows = []
    for shot in (Shot.of(seed, number) for number in range(count)):
        path = folder / shot.name
        path.parent.mkdir(parents=True, exist_ok=True)
        photograph(seed, shot, long_px).save(path, quality=95, subsampling=0)
        width, height = shot.extent
        tags = [*shot.words, f"set_{shot.day + 1}"]
        rows.append({"filename": shot.name, "tags": tags, "width": width, "height": height})
    (folder / "metadata.json").write_text(json.dumps(rows), encoding="utf-8")
    return [str(row["filename"]) for row in rows]


def _at(seed: int, shot: Shot, columns: Any, rows: Any, blur_px: float) -> Image.Image:
    """Draw a picture at these places of the original, px from its left and top."""
    bodies = [_dressed(seed, shot, _PERSON, _DAY)]
    if shot.duo:
        bodies.append(_dressed(seed, shot, _COMPANION, _COMPANIONS_DAY))
    setting = Setting.of(np.random.default_rng([seed, _DAY, shot.day]))
    random = np.random.default_rng([seed, _POSE, shot.number])
    return Image.fromarray(
        drawn(bodies, shot.pose, setting, shot.extent, shot.watermark, random, columns, rows, blur_px)
    )


def _dressed(seed: int, shot: Shot, who: int, day: int) -> Body:
    body = Body.of(np.random.default_rng([seed, who, shot.person]))
    return body.dressed(np.random.default_rng([seed, day, shot.day, 1]))


def _enough(extent: tuple[int, int], fit: Fit) -> int:
    """Return the longer side, in px, at which to draw: one and a half times what the square needs."""
    needs = {"pad": max(extent), "crop": min(extent), "stretch": min(extent)}[fit.resize]
    return min(_LONG_PX, math.ceil(1.5 * fit.size * max(extent) / needs))


def _taken(seed: int, shot: Shot, fit: Fit) -> Image.Image:
    """Draw those pixels of the original that resampling to the nearest would take; fitting then changes nothing."""
    width, height = shot.extent
    box, sides = (0.0, 0.0, float(width), float(height)), (fit.size, fit.size)
    if fit.resize == "crop":
        left, top = (width - min(width, height)) / 2, (height - min(width, height)) / 2
        box = (left, top, width - left, height - top)
    elif fit.resize == "pad":
        scale = fit.size / max(width, height)
        sides = (round(width * scale), round(height * scale))
    columns, rows = (
        np.clip(np.floor(low + (np.arange(side) + 0.5) * (high - low) / side), 0, most - 1) + 0.5
        for side, low, high, most in zip(sides, box[:2], box[2:], (width, height), strict=True)
    )
    return _at(seed, shot, columns, rows, 1.0)
