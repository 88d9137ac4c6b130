"""The solid of a drawn head: one person's numbers, and how far any point is from skin, hair and cloth.

Head frame: the origin between the ears, x to the right of whoever looks at the face, y up, z out of the face; a head
is about two units high. Solids are ellipsoids and rods joined smoothly; most come in pairs, so x is mostly folded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]
"""Numbers, float32 wherever there are many."""

HAIR_STYLES = ("bald", "receding", "short", "cropped", "fringe", "parted", "quiff", "curly", "bob", "long", "long")
_HAIR_COLOURS = (
    (0.02, 0.018, 0.016), (0.05, 0.03, 0.02), (0.10, 0.055, 0.03), (0.20, 0.10, 0.045), (0.42, 0.26, 0.11),
    (0.55, 0.40, 0.20), (0.28, 0.085, 0.03), (0.22, 0.21, 0.205), (0.48, 0.46, 0.44),
)  # fmt: skip
_IRIS_COLOURS = ((0.06, 0.03, 0.015), (0.12, 0.06, 0.02), (0.10, 0.14, 0.06), (0.09, 0.16, 0.26), (0.20, 0.22, 0.22))
_SKIN_DARK, _SKIN_MID, _SKIN_LIGHT = (0.10, 0.050, 0.030), (0.44, 0.24, 0.145), (0.80, 0.54, 0.42)


@dataclass(frozen=True)
class Person:
    """What makes one drawn person: lengths in head units, colours as linear red, green, blue in 0 to 1."""

    size: dict[str, float]
    hair_style: str
    beard: float
    colours: dict[str, Floats] = field(repr=False)

    @staticmethod
    def of(seed: int, number: int) -> Person:
        """Return the person that (seed, number) makes: always the same one."""
        random = np.random.Generator(np.random.PCG64([seed, number]))
        size = {name: float(mid + spread * random.uniform(-1, 1)) for name, (mid, spread) in _RANGES.items()}
        tone = float(random.uniform(0, 1))
        dark, mid, light = (np.array(colour, dtype=np.float32) for colour in (_SKIN_DARK, _SKIN_MID, _SKIN_LIGHT))
        skin = dark + (mid - dark) * 2 * tone if tone < 0.5 else mid + (light - mid) * (2 * tone - 1)
        style = HAIR_STYLES[int(random.integers(len(HAIR_STYLES)))]
        last = 3 if tone < 0.4 else len(_HAIR_COLOURS)  # dark skin goes with dark hair, grey apart
        pick = int(random.integers(last + 1))
        hair = _HAIR_COLOURS[pick if pick < last else -2]
        beard = float(random.uniform(0.35, 1.0)) if random.uniform() < 0.35 and style not in ("bob", "long") else 0.0
        colours = {
            "skin": skin * random.uniform(0.93, 1.07, 3),
            "hair": np.array(hair) * random.uniform(0.75, 1.2),
            "iris": np.array(_IRIS_COLOURS[int(random.integers(2 if tone < 0.5 else len(_IRIS_COLOURS)))]),
            "cloth": random.uniform(0.02, 0.6, 3),
            "lips": skin * np.array([0.86, 0.52, 0.55]) * random.uniform(0.85, 1.05),
        }
        return Person(size, style, beard, {name: colour.astype(np.float32) for name, colour in colours.items()})


# Each length's middle and the most that a person's differs from it.
_RANGES = {
    "skull_x": (0.735, 0.05), "skull_y": (0.80, 0.05), "skull_z": (0.90, 0.05), "jaw_x": (0.56, 0.085),
    "jaw_y": (0.62, 0.06), "chin_y": (-0.92, 0.07), "chin_x": (0.10, 0.07), "chin_r": (0.15, 0.025),
    "cheek": (0.24, 0.035), "cheek_y": (-0.22, 0.06), "brow_out": (0.155, 0.035), "eye_x": (0.285, 0.032),
    "eye_y": (0.04, 0.04), "eye_w": (0.138, 0.02), "eye_h": (0.062, 0.018), "nose_y": (-0.315, 0.06),
    "nose_out": (0.17, 0.06), "nose_r": (0.095, 0.025), "nose_wing": (0.105, 0.035), "bridge": (0.055, 0.02),
    "mouth_x": (0.255, 0.055), "mouth_y": (-0.60, 0.03), "lip": (0.062, 0.024), "ear": (0.20, 0.045),
    "ear_out": (0.01, 0.035), "neck": (0.36, 0.045), "hair_thick": (0.085, 0.035), "hairline": (0.58, 0.08),
    "part": (0.0, 0.35), "length": (-0.9, 0.4), "brow_y": (0.235, 0.035), "brow_w": (0.036, 0.018),
    "brow_tilt": (0.06, 0.14), "brow_x": (0.20, 0.03),
}  # fmt: skip


def distances(person: Person, x: Floats, y: Floats, z: Floats) -> tuple[Floats, Floats, Floats]:
    """Return about how far points are from skin, hair and cloth, negative inside; never much more than they are."""
    side = np.abs(x)
    skin = _skin(person, x, side, y, z)
    return skin, _hair(person, x, side, y, z), _ellipsoid(x, y + 1.74, z + 0.30, 1.40, 0.52, 0.58)


def _skin(person: Person, x: Floats, side: Floats, y: Floats, z: Floats) -> Floats:
    s = person.size
    body = _ellipsoid(x, y - 0.22, z + 0.10, s["skull_x"], s["skull_y"], s["skull_z"])
    body = _joined(body, _ellipsoid(x, y + 0.40, z - 0.14, s["jaw_x"], s["jaw_y"], 0.58), 0.22)
    chin = _rod(side, y - s["chin_y"], z - 0.46, (s["chin_x"], 0.0, 0.0), 1.0) - s["chin_r"]
    body = _joined(body, chin, 0.24)
    body = _joined(body, _ellipsoid(x, y + 0.62, z - 0.34, 0.40, 0.34, 0.31), 0.18)
    body = _joined(body, _ellipsoid(side - 0.36, y - s["cheek_y"], z - 0.44, s["cheek"], s["cheek"], 0.25), 0.16)
    brow = _ellipsoid(side - 0.20, y - 0.21, z - 0.60, 0.30, 0.10, s["brow_out"])
    body = _joined(body, brow, 0.14)
    socket = _ellipsoid(side - s["eye_x"], y - s["eye_y"], z - 0.86, 0.19, 0.125, 0.16)
    body = -_joined(-body, socket, 0.10)
    eye = _ellipsoid(side - s["eye_x"], y - s["eye_y"], z - 0.56, 0.175, 0.15, 0.175)
    body = _joined(body, eye, 0.03)
    tip = s["nose_out"] + 0.70
    nose = _rod(x, y - 0.14, z - 0.68, (0.0, s["nose_y"] - 0.14, tip - 0.68), 1.0)
    along = np.clip((0.14 - y) / (0.14 - s["nose_y"]), 0, 1)
    body = _joined(body, nose - (s["bridge"] + (s["nose_r"] - s["bridge"]) * along), 0.09)
    wing = _ellipsoid(side - s["nose_wing"], y - s["nose_y"] + 0.015, z - 0.73, 0.075, 0.07, 0.12)
    body = _joined(body, wing, 0.06)
    up, low = s["mouth_y"] + 0.55 * s["lip"], s["mouth_y"] - 0.75 * s["lip"]
    body = _joined(body, _ellipsoid(x, y - up, z - 0.66, s["mouth_x"], 0.8 * s["lip"], 0.105), 0.05)
    body = _joined(body, _ellipsoid(x, y - low, z - 0.655, 0.85 * s["mouth_x"], s["lip"], 0.11), 0.05)
    lean = z + 0.08 + 0.25 * (y + 0.05)
    ear = _ellipsoid(side - 0.70 - s["ear_out"], y + 0.04, lean, 0.06, s["ear"], 0.125)
    shell = _ellipsoid(side - 0.78 - s["ear_out"], y + 0.03, lean - 0.05, 0.07, 0.6 * s["ear"], 0.07)
    body = _joined(body, -_joined(-ear, shell, 0.03), 0.05)
    neck = _rod(x, y + 0.7, z + 0.20, (0.0, -1.2, -0.15), 1.0) - s["neck"]
    return _joined(body, neck, 0.12)


def _hair(person: Person, x: Floats, side: Floats, y: Floats, z: Floats) -> Floats:
    """Return the distance to the hair: a shell over the skull that thins out towards the hairline, and what hangs."""
    s, style = person.size, person.hair_style
    if style == "bald":
        return np.full_like(x, 9.0)
    skull = _ellipsoid(x, y - 0.22, z + 0.10, s["skull_x"], s["skull_y"], s["skull_z"])
    above = y - _hairline(person, x, side, z)
    cover = np.clip((above + 0.03) * np.float32(1 / 0.16), 0, 1)
    cover = cover * cover * (3 - 2 * cover)
    thick = s["hair_thick"] * _THICKNESS.get(style, 1.0)
    crown = np.clip(y - 0.4, 0, 0.6) if style in ("short", "parted", "quiff") else np.float32(0)
    deep: Any = np.float32(thick) + np.float32(0.14) * crown
    if style == "quiff":
        deep = deep + np.float32(0.3) * crown * np.clip(z, 0, 0.7)
    if style == "curly":
        deep = deep + np.float32(0.022) * (
            np.sin(17 * x) * np.sin(17 * y + 1) + np.sin(17 * z + 2) * np.sin(13 * x + y)
        )
    # The shell is steep where the hairline is: shorter steps, so that no ray jumps over it.
    cap = (skull - cover * deep + np.float32(0.03) * (1 - cover)) * np.float32(0.55)
    if style not in _HANGING:
        return cap
    low = s["length"] if style == "long" else -0.70
    wide = s["skull_x"] + thick + 0.07
    fall = _ellipsoid(x, y - 0.5 * low, z + 0.20, wide, 0.72 - 0.62 * low, 0.68)
    open_face = _ellipsoid(x, y + 0.45, z - 0.85, 0.60, 1.10, 0.95)
    fall = -_joined(-np.maximum(fall, low - 0.30 - y), open_face, 0.10)
    return _joined(cap, fall, 0.10)


_THICKNESS = {"cropped": 0.30, "receding": 0.45, "curly": 1.9}
_HANGING = ("bob", "long")
# Where hair begins: heights by the angle from the face's middle (0) to the back of the head.
_ANGLES = (0.0, 0.35, 0.70, 0.98, 1.18, 1.38, 1.55, 1.95, 2.25, 3.1416)
_HEIGHTS = (0.0, 0.0, -0.06, -0.24, -0.52, -0.60, -0.36, -0.36, -0.90, -1.06)
_STYLE_HEIGHTS = {
    "receding": (0.10, 0.22, 0.20, -0.02, -0.40, -0.56, -0.36, -0.36, -0.86, -1.0),
    "fringe": (-0.24, -0.24, -0.26, -0.30, -0.52, -0.60, -0.36, -0.36, -0.95, -1.10),
}


def _hairline(person: Person, x: Floats, side: Floats, z: Floats) -> Floats:
    """Return how high the hair begins, all round the head."""
    angle = np.arctan2(side, z + np.float32(0.1))
    heights = np.array(_STYLE_HEIGHTS.get(person.hair_style, _HEIGHTS)) + person.size["hairline"]
    line = np.interp(angle, _ANGLES, heights).astype(np.float32)
    if person.hair_style == "parted":
        part = person.size["part"]
        line = line - np.float32(0.5 if part > 0 else -0.5) * (x - np.float32(part)) * (angle < 0.9)
    return line


def _ellipsoid(x: Floats, y: Floats, z: Floats, a: float, b: float, c: float) -> Floats:
    """Return about the distance to an ellipsoid at the origin, exact at its surface to first order (Quilez' bound)."""
    u, v, w = x * np.float32(1 / a), y * np.float32(1 / b), z * np.float32(1 / c)
    reach = np.sqrt(u * u + v * v + w * w)
    u *= np.float32(1 / a)
    v *= np.float32(1 / b)
    w *= np.float32(1 / c)
    slope = np.sqrt(u * u + v * v + w * w) + np.float32(1e-6)
    return reach * (reach - np.float32(1)) / slope


def _rod(x: Floats, y: Floats, z: Floats, to: tuple[float, float, float], scale: float) -> Floats:
    """Return the distance to the line from the origin to a point."""
    a, b, c = (np.float32(scale * one) for one in to)
    length = a * a + b * b + c * c
    along = np.clip((x * a + y * b + z * c) * np.float32(1 / max(float(length), 1e-9)), 0, 1)
    dx, dy, dz = x - along * a, y - along * b, z - along * c
    return np.sqrt(dx * dx + dy * dy + dz * dz)


def _joined(first: Floats, second: Floats, width: float) -> Floats:
    """Return the distance to both, their seam rounded over `width` (the quadratic smooth minimum)."""
    near = np.maximum(np.float32(width) - np.abs(first - second), 0)
    return np.minimum(first, second) - near * near * np.float32(0.25 / width)
