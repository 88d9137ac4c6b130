"""Flat faces from the front: what is still is drawn once for a speaker; eyes, brows and mouth anew in every frame.

Face units: the picture is -1 to 1 in both directions, x to the right, y down. Shapes are told by how far a point is
from their edge, so that edges are smooth at any size.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]
Colour = tuple[float, float, float]

_SKINS = ((0.36, 0.23, 0.16), (0.50, 0.34, 0.24), (0.66, 0.47, 0.35), (0.82, 0.63, 0.50), (0.93, 0.76, 0.65))
_HAIRS = ((0.07, 0.06, 0.06), (0.18, 0.11, 0.07), (0.34, 0.20, 0.11), (0.55, 0.33, 0.16), (0.74, 0.58, 0.34))
_IRISES = ((0.22, 0.13, 0.08), (0.32, 0.22, 0.12), (0.25, 0.36, 0.22), (0.22, 0.36, 0.50), (0.38, 0.42, 0.45))
_STYLES = ("bald", "short", "short", "parted", "parted", "long", "long")
_DARK, _TEETH, _TONGUE, _WHITE = (0.16, 0.04, 0.05), (0.95, 0.94, 0.90), (0.72, 0.30, 0.30), (0.97, 0.97, 0.96)
_BLINK = (0.45, 0.05, 0.0, 0.4, 0.85)
# Each length's middle and the most that a face's differs from it.
_RANGES = {
    "head_x": (0.55, 0.06), "head_y": (0.74, 0.05), "jaw": (0.24, 0.12), "chin": (2.35, 0.25), "middle": (0.02, 0.03),
    "eye_x": (0.235, 0.025), "eye_y": (-0.10, 0.03), "eye_w": (0.105, 0.014), "eye_h": (0.060, 0.012),
    "brow_y": (0.155, 0.025), "brow_h": (0.026, 0.010), "brow_tilt": (0.10, 0.12), "nose_y": (0.17, 0.03),
    "nose_w": (0.075, 0.02), "mouth_y": (0.42, 0.025), "mouth_w": (0.205, 0.025), "lip": (0.045, 0.015),
    "drop": (0.15, 0.025), "ear": (0.13, 0.03), "hairline": (-0.42, 0.06), "hair": (0.075, 0.025), "part": (0.0, 0.3),
}  # fmt: skip


@dataclass(frozen=True)
class FlatFace:
    """What makes one drawn face: lengths in face units, colours as red, green, blue in 0 to 1."""

    size: dict[str, float]
    hair_style: str
    colours: dict[str, Colour] = field(repr=False)

    @staticmethod
    def of(random: np.random.Generator) -> FlatFace:
        """Draw a face."""
        size = {name: float(middle + spread * random.uniform(-1, 1)) for name, (middle, spread) in _RANGES.items()}
        tone = random.uniform(0, len(_SKINS) - 1)
        skin = _mixed(_SKINS[int(tone)], _SKINS[int(tone) + 1], tone % 1)
        hair = _HAIRS[int(random.integers(2 if tone < 1.5 else len(_HAIRS)))]
        colours = {
            "skin": skin,
            "shade": _mixed(skin, (0.25, 0.08, 0.05), 0.28),
            "hair": hair,
            "brow": _mixed(hair, (0.1, 0.07, 0.05), 0.4),
            "iris": _IRISES[int(random.integers(2 if tone < 1.5 else len(_IRISES)))],
            "lips": _mixed(skin, (0.66, 0.16, 0.20), random.uniform(0.35, 0.6)),
            "cloth": _drawn(random, 0.1, 0.7),
            "back": _drawn(random, 0.45, 0.95),
        }
        return FlatFace(size, _STYLES[int(random.integers(len(_STYLES)))], colours)


@dataclass(frozen=True)
class Looks:
    """What moves, for each frame: `lips` (frames, 2) open and wide, `eyes` (frames,) 0 closed to 1, `brows` raised."""

    lips: Floats
    eyes: Floats
    brows: Floats


def looks(lips: Floats, random: np.random.Generator) -> Looks:
    """Return eyes that blink every two to five seconds and brows that rise now and then, whatever the lips do."""
    eyes, brows, at = np.ones(len(lips)), np.zeros(len(lips)), int(random.integers(6, 110))
    while at < len(lips) - 2 * len(_BLINK):  # the last ones give the still, whose eyes are open
        eyes[at : at + len(_BLINK)] = _BLINK
        at += int(random.integers(48, 120))
    for _ in range(len(lips) // 60):
        peak, length = random.uniform(0, len(lips)), random.uniform(3, 8)
        brows = np.maximum(brows, np.exp(-0.5 * ((np.arange(len(lips)) - peak) / length) ** 2))
    return Looks(lips, eyes, brows)


def draw(face: FlatFace, moving: Looks, size_px: int) -> NDArray[np.uint8]:
    """Return the frames, uint8 (frames, 3, size_px, size_px), red, green, blue."""
    whole = _Canvas(size_px, (-1, -1, 1, 1))
    _draw_still(whole, face)
    frames = np.empty((len(moving.lips), *whole.pixels.shape), dtype=np.uint8)
    frames[:] = _levels(whole.pixels)
    one = face.size
    eyes = (-0.45, one["eye_y"] - 0.34, 0.45, one["eye_y"] + 0.14)
    mouth = (-0.34, one["mouth_y"] - 0.14, 0.34, one["mouth_y"] + 2 * one["drop"] + 0.16)
    for box, paint, states in (
        (eyes, _draw_eyes, np.stack([moving.eyes, moving.brows], axis=1)),
        (mouth, _draw_mouth, moving.lips),
    ):
        crop = _Canvas(size_px, box, whole)
        under = crop.pixels.copy()
        for frame, state in zip(frames, states.tolist(), strict=True):
            crop.pixels[:] = under
            paint(crop, face, *state)
            frame[crop.where] = _levels(crop.pixels)
    return frames


class _Canvas:
    """A part of the picture: its pixels (3, h, w) as floats in 0 to 1, and where their middles lie."""

    def __init__(self, size_px: int, box: tuple[float, float, float, float], of: _Canvas | None = None) -> None:
        left, top, right, bottom = (
            int(np.clip(edge, 0, size_px))
            for edge in (
                np.floor((box[0] + 1) / 2 * size_px),
                np.floor((box[1] + 1) / 2 * size_px),
                np.ceil((box[2] + 1) / 2 * size_px),
                np.ceil((box[3] + 1) / 2 * size_px),
            )
        )
        self.where = (slice(None), slice(top, bottom), slice(left, right))
        middles = ((np.arange(size_px, dtype=np.float32) + 0.5) * (2 / size_px) - 1).astype(np.float32)
        self.x, self.y, self.px = middles[None, left:right], middles[top:bottom, None], 2 / size_px
        blank = np.zeros((3, bottom - top, right - left), dtype=np.float32)
        self.pixels: Floats = blank if of is None else of.pixels[self.where].copy()

    def inside(self, distance: Floats) -> Floats:
        """Return how much of each pixel lies inside a shape: 0 to 1."""
        return np.clip(0.5 - distance / self.px, 0, 1)

    def ellipse(self, x: float, y: float, rx: float, ry: float, tilt: float = 0.0) -> Floats:
        """Return about how far points are from an ellipse, negative inside."""
        dx, dy = self.x - x, self.y - y + tilt * (self.x - x)
        far = np.sqrt((dx / rx) ** 2 + (dy / ry) ** 2)
        steep = np.sqrt((dx / rx**2) ** 2 + (dy / ry**2) ** 2)
        return far * (far - 1) / np.maximum(steep, 1e-6)

    def paint(self, colour: Colour, cover: Floats) -> None:
        """Lay a colour over the pixels, as much as `cover` (0 to 1) says."""
        self.pixels += (np.array(colour, dtype=np.float32)[:, None, None] - self.pixels) * cover


def _draw_still(on: _Canvas, face: FlatFace) -> None:
    one, colour = face.size, face.colours
    on.paint(colour["back"], np.ones_like(on.x * on.y))
    on.paint(_mixed(colour["back"], (0, 0, 0), 0.35), (on.y + 1) / 2 * 0.5 + 0 * on.x)
    head = _head(on, face, 0.0)
    if face.hair_style == "long":
        hair = on.ellipse(0, -0.08, one["head_x"] + 0.17, one["head_y"] + 0.12)
        fall = np.maximum(np.abs(on.x) - one["head_x"] - 0.15, np.maximum(-0.1 - on.y, on.y - 0.78))
        on.paint(colour["hair"], on.inside(np.minimum(hair, fall)))
    on.paint(colour["cloth"], on.inside(on.ellipse(0, 1.28, 0.95, 0.50)))
    neck = np.maximum(np.abs(on.x) - 0.27, on.y - 0.92)
    on.paint(colour["shade"], on.inside(np.maximum(neck, -on.y)))
    for side in (-1, 1):
        ear = on.ellipse(side * one["head_x"], one["middle"], 0.08, one["ear"])
        on.paint(colour["skin"], on.inside(ear))
        on.paint(colour["shade"], on.inside(ear + 0.035) * 0.6)
    on.paint(colour["skin"], on.inside(head))
    for side in (-1, 1):
        cheek = np.exp(-(((on.x - side * 0.30) / 0.13) ** 2 + ((on.y - 0.20) / 0.10) ** 2))
        on.paint(colour["lips"], 0.22 * cheek * on.inside(head))
    nose = on.ellipse(0, one["nose_y"], one["nose_w"], 0.055)
    on.paint(colour["shade"], on.inside(np.maximum(nose, one["nose_y"] - on.y)) * 0.8)
    bridge = np.maximum(np.abs(on.x + 0.035) - 0.012, np.abs(on.y - one["nose_y"] / 2) - 0.09)
    on.paint(colour["shade"], on.inside(bridge) * 0.4)
    if face.hair_style != "bald":
        over = (on.x - one["part"]) ** 2 if face.hair_style == "parted" else 0.35 * on.x**2
        front = on.y - one["hairline"] - (0.9 * over if face.hair_style == "parted" else over)
        on.paint(colour["hair"], on.inside(np.maximum(_head(on, face, one["hair"]), front)))


def _head(on: _Canvas, face: FlatFace, more: float) -> Floats:
    """Return about how far points are from the head's outline, `more` wider: an ellipse that narrows to the chin."""
    one = face.size
    below = np.clip((on.y - one["middle"]) / one["head_y"], 0, 1)
    rx, ry = one["head_x"] + more, one["head_y"] + more
    narrower = rx * (1 - one["jaw"] * below ** one["chin"])
    far = np.sqrt((on.x / narrower) ** 2 + ((on.y - one["middle"]) / ry) ** 2)
    steep = np.sqrt((on.x / narrower**2) ** 2 + ((on.y - one["middle"]) / ry**2) ** 2)
    return far * (far - 1) / np.maximum(steep, 1e-6)


def _draw_eyes(on: _Canvas, face: FlatFace, open_: float, raised: float) -> None:
    one, colour = face.size, face.colours
    y, height = one["eye_y"], max(one["eye_h"] * open_, 0.008)
    for side in (-1, 1):
        x = side * one["eye_x"]
        lash = on.ellipse(x, y - 0.012, one["eye_w"] + 0.012, height + 0.014)
        on.paint(_DARK, on.inside(lash) * 0.85)
        white = on.inside(on.ellipse(x, y + 0.006 * open_, one["eye_w"], height)) * min(1.0, 4 * open_)
        on.paint(_WHITE, white)
        on.paint(colour["iris"], white * on.inside(on.ellipse(x, y, 0.056, 0.056)))
        on.paint((0.03, 0.03, 0.03), white * on.inside(on.ellipse(x, y, 0.027, 0.027)))
        on.paint((1.0, 1.0, 1.0), white * on.inside(on.ellipse(x + 0.018, y - 0.020, 0.011, 0.011)))
        brow = on.ellipse(
            x, y - one["brow_y"] - 0.03 * raised, one["eye_w"] + 0.03, one["brow_h"], -side * one["brow_tilt"]
        )
        on.paint(colour["brow"], on.inside(brow))


def _draw_mouth(on: _Canvas, face: FlatFace, open_: float, wide: float) -> None:
    """Open the lips downwards: the upper lip stays where it is."""
    one, colour = face.size, face.colours
    drop = one["drop"] * open_
    middle, rx = one["mouth_y"] + drop, one["mouth_w"] * wide * (1 - 0.12 * open_)
    lips = on.ellipse(0, middle, rx, drop + one["lip"] * (1 - 0.2 * open_))
    on.paint(colour["lips"], on.inside(lips))
    hollow = on.inside(on.ellipse(0, middle, max(rx - 0.035, 0.05), max(drop, 0.010)))
    on.paint(_DARK, hollow)
    on.paint(_TONGUE, hollow * on.inside(on.ellipse(0, middle + 1.05 * drop, 0.62 * rx, 0.5 * drop + 0.002)) * open_)
    on.paint(_TEETH, hollow * on.inside(on.y - (middle - drop + min(0.055, 0.5 * drop))) * min(1.0, 3 * open_))


def _levels(pixels: Floats) -> NDArray[np.uint8]:
    return np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)


def _mixed(first: Colour, second: Colour, share: float) -> Colour:
    red, green, blue = (float(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def _drawn(random: np.random.Generator, least: float, most: float) -> Colour:
    red, green, blue = (float(value) for value in random.uniform(least, most, 3))
    return red, green, blue
