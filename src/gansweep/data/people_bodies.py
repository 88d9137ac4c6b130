"""Bodies that do not exist: lengths, colours, clothes, and the solids that a posed body is drawn from.

Lengths are in metres. A body's own frame: x to its left (the viewer's right when it faces him), y up, z forward.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]
Colour = tuple[float, float, float]

_SKINS = ((0.30, 0.19, 0.13), (0.45, 0.30, 0.21), (0.62, 0.43, 0.31), (0.80, 0.60, 0.47), (0.94, 0.77, 0.67))
_HAIRS = ((0.09, 0.08, 0.08), (0.20, 0.13, 0.09), (0.36, 0.22, 0.13), (0.58, 0.36, 0.18), (0.80, 0.66, 0.42))
_STYLES = ("bald", "short", "short", "short", "bun", "long", "long", "long")
# How much of each limb clothes cover; a dress has a skirt besides, of the colour of its top.
_OUTFITS = {
    "shirt and trousers": {"arm": 0.55, "forearm": 0.0, "thigh": 1.0, "shin": 1.0},
    "pullover and trousers": {"arm": 1.0, "forearm": 1.0, "thigh": 1.0, "shin": 1.0},
    "shirt and shorts": {"arm": 0.55, "forearm": 0.0, "thigh": 0.55, "shin": 0.0},
    "vest and shorts": {"arm": 0.0, "forearm": 0.0, "thigh": 0.35, "shin": 0.0},
    "vest and trousers": {"arm": 0.0, "forearm": 0.0, "thigh": 1.0, "shin": 1.0},
    "dress": {"arm": 0.3, "forearm": 0.0, "thigh": 0.75, "shin": 0.0},
}
# A share of the height each: half widths along a part, from its start to its end.
_UPPER_ARM, _FOREARM, _HAND = (0.031, 0.029, 0.024), (0.025, 0.025, 0.021, 0.016), (0.016, 0.020, 0.017, 0.010)
_THIGH, _SHIN, _FOOT = (0.056, 0.055, 0.046, 0.036), (0.034, 0.037, 0.034, 0.025, 0.021), (0.024, 0.026, 0.023, 0.017)
_LOOSE = 0.006


@dataclass(frozen=True)
class Solid:
    """A limb: its axis, half widths along it, and colours from its start on.

    `side` and `flat` make it elliptic: `flat` times as thick as wide, `side` being the direction of its width.
    `paint` is a list of (up to which share of the length, colour). `caps` are the round ends' lengths, as shares of
    the half width there; `lid` makes the end a flat top that faces up.
    """

    start: Floats
    end: Floats
    half: tuple[float, ...]
    paint: tuple[tuple[float, Colour], ...]
    side: Floats | None = None
    flat: float = 1.0
    caps: tuple[float, float] = (1.0, 1.0)
    lid: bool = False


@dataclass(frozen=True)
class Ball:
    """An ellipsoid: middle, axes as rows (side, up, front), half lengths along them; `look` paints a face or hair."""

    middle: Floats
    axes: Floats
    half: tuple[float, float, float]
    colour: Colour
    look: str = "plain"
    colours: dict[str, Colour] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Body:
    """What stays the same of a person: `size` in metres (or as shares), colours and hair."""

    size: dict[str, float]
    hair: str
    colours: dict[str, Colour] = field(repr=False)
    outfit: str = "shirt and trousers"
    stripes: int = 0

    @staticmethod
    def of(random: np.random.Generator) -> Body:
        """Draw a person, in the clothes of the first day."""
        tall, build, hips = random.uniform(1.52, 1.88), random.uniform(0.88, 1.2), random.uniform(0.94, 1.1)
        size = {
            "tall": tall, "build": build, "hips": hips,
            "thigh": 0.245 * tall, "shin": 0.240 * tall, "ankle": 0.042 * tall, "torso": 0.300 * tall,
            "arm": 0.172 * tall, "forearm": 0.148 * tall, "hand": 0.088 * tall, "foot": 0.115 * tall,
            "shoulder": random.uniform(0.086, 0.102) * tall * (1.5 + 0.5 * build) / 2, "hip": 0.050 * tall * hips,
            "neck": 0.052 * tall, "head": 0.066 * random.uniform(0.96, 1.06) * tall,
        }  # fmt: skip
        tone = random.uniform(0, len(_SKINS) - 1)
        skin = mixed(_SKINS[int(tone)], _SKINS[int(tone) + 1], tone % 1)
        red, yellow = random.uniform(-0.03, 0.03, 2)
        skin = (skin[0] + red / 2, skin[1] - red / 2 + yellow / 2, skin[2] - yellow)
        hair = _HAIRS[int(random.integers(2 if tone < 1.5 else len(_HAIRS)))]
        colours = {"skin": skin, "hair": hair, "lips": mixed(skin, (0.62, 0.16, 0.18), random.uniform(0.3, 0.6))}
        return Body(size, _STYLES[int(random.integers(len(_STYLES)))], colours).dressed(random)

    def dressed(self, random: np.random.Generator) -> Body:
        """Return the same person in other clothes."""
        top, bottom = hue(random, 0.15, 0.95), hue(random, 0.08, 0.75)
        outfit = list(_OUTFITS)[int(random.integers(len(_OUTFITS)))]
        shoes = [hue(random, 0.05, 0.9, 0.3), self.colours["skin"]][int(random.uniform() < 0.3)]
        more = {"top": top, "bottom": top if outfit == "dress" else bottom, "shoes": shoes}
        more["trim"] = hue(random, 0.2, 0.95)
        stripes = int(random.integers(2, 5)) if random.uniform() < 0.25 else 0
        return replace(self, outfit=outfit, colours={**self.colours, **more}, stripes=stripes)


def mixed(one: Colour, other: Colour, share: float) -> Colour:
    """Return the colour that is `share` of the way from one to the other."""
    red, green, blue = (a + share * (b - a) for a, b in zip(one, other, strict=True))
    return red, green, blue


def hue(random: np.random.Generator, dark: float, bright: float, most: float = 0.75) -> Colour:
    """Return any hue, of a brightness between `dark` and `bright` and a saturation up to `most`."""
    angle, value, saturation = random.uniform(0, 6), random.uniform(dark, bright), random.uniform(0.05, most)
    parts = [value * (1 - saturation * min(1.0, max(0.0, abs((angle + 2 * n) % 6 - 3) - 1))) for n in range(3)]
    return parts[0], parts[1], parts[2]


def solids_of(body: Body, at: dict[str, Floats]) -> list[Solid | Ball]:
    """Return what a person is drawn from; `at` are the joints and directions of `gansweep.data.people_poses`."""
    return [*_trunk(body, at), *_limbs(body, at), *_head(body, at)]


def _trunk(body: Body, at: dict[str, Floats]) -> list[Solid | Ball]:
    tall, build, hips = (body.size[name] for name in ("tall", "build", "hips"))
    wide = tall * (0.5 + 0.5 * build)
    top, bottom, skin = body.colours["top"], body.colours["bottom"], body.colours["skin"]
    chest, shoulder = 0.090 * wide, body.size["shoulder"]
    waist = 0.070 * tall * build
    paint: tuple[tuple[float, Colour], ...] = ((0.93, top), (1.0, skin))
    if body.stripes:
        edges = [0.93 * n / (2 * body.stripes) for n in range(1, 2 * body.stripes + 1)]
        paint = (*((edge, (top, body.colours["trim"])[n % 2]) for n, edge in enumerate(edges)), (1.0, skin))
    lower = Solid(
        at["pelvis"], at["waist"], (0.087 * wide * hips, 0.086 * wide * hips, waist),
        ((0.55, bottom), (1.0, top)), at["hips_side"], 0.66, (0.55, 0.6),
    )  # fmt: skip
    widths = (
        waist,
        0.5 * (waist + chest),
        chest,
        1.03 * chest,
        0.55 * (chest + shoulder),
        0.85 * shoulder,
        0.042 * tall,
    )
    upper = Solid(at["waist"], at["throat"], widths, paint, at["side"], 0.62, (0.6, 0.3))
    neck = Solid(at["throat"], at["skull"], (0.031 * tall, 0.029 * tall), ((1.0, skin),))
    parts: list[Solid | Ball] = [lower, upper, neck]
    knees = 0.5 * (at["knee_l"] + at["knee_r"])
    if body.outfit == "dress" and _hangs(at):
        spread = float(np.linalg.norm(at["knee_l"] - at["knee_r"])) / 2
        hem = min(0.09 * tall + spread, 0.17 * tall)
        half = (0.075 * wide * hips, 0.098 * wide * hips, hem)
        end = at["pelvis"] + 0.85 * (knees - at["pelvis"])
        parts.append(Solid(at["pelvis"], end, half, ((1.0, bottom),), at["hips_side"], 0.75, (0.5, 0.12)))
    return parts


def _hangs(at: dict[str, Floats]) -> bool:
    """Say whether the thighs go down from the pelvis, so that a skirt can be seen hanging."""
    way = 0.5 * (at["knee_l"] + at["knee_r"]) - at["pelvis"]
    return bool(way[1] < -0.8 * np.linalg.norm(way))


def _limbs(body: Body, at: dict[str, Floats]) -> list[Solid | Ball]:
    tall, build = body.size["tall"], body.size["build"]
    cover = _OUTFITS[body.outfit]
    cloth = {"arm": "top", "forearm": "top", "thigh": "bottom", "shin": "bottom"}
    parts: list[Solid | Ball] = []

    def limb(name: str, start: str, end: str, widths: tuple[float, ...]) -> None:
        share, skin = cover[name], body.colours["skin"]
        colour = body.colours[cloth[name]]
        paint = tuple(one for one in ((share, colour), (1.0, skin)) if one[0] > 0)[: 1 if share >= 1 else 2]
        thick = tall * (0.4 + 0.6 * build)
        half = tuple(thick * width + tall * _LOOSE * (share > n / len(widths)) for n, width in enumerate(widths))
        parts.append(Solid(at[start], at[end], half, paint))

    for of in "lr":
        limb("arm", f"shoulder_{of}", f"elbow_{of}", _UPPER_ARM)
        limb("forearm", f"elbow_{of}", f"wrist_{of}", _FOREARM)
        limb("thigh", f"hip_{of}", f"knee_{of}", _THIGH)
        limb("shin", f"knee_{of}", f"ankle_{of}", _SHIN)
        hand, foot = (tuple(tall * one for one in half) for half in (_HAND, _FOOT))
        parts.append(Solid(at[f"wrist_{of}"], at[f"fingers_{of}"], hand, ((1.0, body.colours["skin"]),)))
        parts.append(Solid(at[f"heel_{of}"], at[f"toes_{of}"], foot, ((1.0, body.colours["shoes"]),)))
    return parts


def _head(body: Body, at: dict[str, Floats]) -> list[Solid | Ball]:
    axes = np.stack([at["head_side"], at["head_up"], at["head_front"]])
    size, hair, skin = body.size["head"], body.colours["hair"], body.colours["skin"]

    def there(side: float, up: float, front: float) -> Floats:
        return at["head"] + size * (side * axes[0] + up * axes[1] + front * axes[2])

    colours = {**body.colours, "hair": skin if body.hair == "bald" else hair}
    parts: list[Solid | Ball] = [Ball(at["head"], axes, (0.76 * size, size, 0.88 * size), skin, "face", colours)]
    jaw = (0.57 * size, 0.5 * size, 0.58 * size)
    parts.append(Ball(there(0, -0.55, 0.2), axes, jaw, skin, "mouth", colours))
    parts.append(Ball(there(0, -0.13, 0.86), axes, (0.12 * size, 0.2 * size, 0.17 * size), skin))
    if body.hair in ("bald", "short", "bun"):
        ear = (0.10 * size, 0.22 * size, 0.15 * size)
        parts += [Ball(there(sign * 0.77, -0.1, -0.05), axes, ear, skin) for sign in (-1, 1)]
    if body.hair != "bald":
        parts.append(Ball(there(0, 0.06, -0.04), axes, (0.86 * size, 1.07 * size, 0.98 * size), hair, "hair"))
    if body.hair == "bun":
        parts.append(Ball(there(0, 0.75, -0.75), axes, (0.36 * size, 0.36 * size, 0.36 * size), hair))
    if body.hair == "long":
        back = at["throat"] - 0.045 * body.size["tall"] * at["front"] - 0.03 * body.size["tall"] * at["up"]
        half = (0.72 * size, 0.82 * size, 0.75 * size, 0.5 * size)
        parts.append(Solid(there(0, 0.2, -0.32), back, half, ((1.0, hair),), axes[0], 0.55, (1.0, 0.7)))
    return parts
