"""Drawing a head: where each ray meets it, what is painted there, and how twenty lights fall on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gansweep.data.head_shape import Floats, Person, distances

# What the picture shows, in head units: the height and width, and the height of its middle.
_SPAN, _MIDDLE = 2.34, -0.12
_NEAR = np.float32(1.7)  # in front of everything
_FAR = -2.2
_FINER = 2  # rays a pixel along each axis
_AMBIENT, _DIRECT, _SHINE = 0.10, 1.05, 0.11
_BACKGROUND = (0.24, 0.27, 0.31)
_SHADOW_PX = 72
_SHADOW_SPAN = 3.2
_SHADOW_DROP = np.float32(0.3)  # how far below the head's origin its middle is


@dataclass(frozen=True)
class View:
    """One person from one side: what every ray that met something found, in the head's frame."""

    hit: NDArray[np.bool_]
    points: Floats
    normals: Floats
    albedo: Floats
    shine: Floats
    open: Floats
    toward: Floats
    edge_px: int


def look_at(person: Person, yaw_deg: float, size_px: int) -> View:
    """Return what a camera sees that stands `yaw_deg` to the right of the face's middle (of whoever looks at it)."""
    edge = size_px * _FINER
    right, toward = _camera(yaw_deg)
    at = ((np.arange(edge, dtype=np.float32) + 0.5) / edge - 0.5) * np.float32(_SPAN)
    u, v = (axis.reshape(-1) for axis in np.meshgrid(at, np.float32(_MIDDLE) - at))
    x, y, z, found = _march(person, u, v, right, toward, edge)
    parts = distances(person, x, y, z)
    albedo, shine = _painted(person, parts, x, y, z)
    normals = _normals(person, x, y, z)
    beyond = distances(person, *(p + np.float32(0.14) * n for p, n in zip((x, y, z), normals, strict=True)))
    opening = np.clip(np.minimum(np.minimum(*beyond[:2]), beyond[2]) / np.float32(0.14), 0.0, 1.0)
    return View(found, np.stack([x, y, z]), normals, albedo, shine, opening, toward, edge)


def shadow_map(person: Person, light: Floats) -> Floats:
    """Return how far along `light`, a direction to the light, the solid reaches: (_SHADOW_PX, _SHADOW_PX)."""
    right, up = _frame(light)
    at = ((np.arange(_SHADOW_PX, dtype=np.float32) + 0.5) / _SHADOW_PX - 0.5) * np.float32(_SHADOW_SPAN)
    u, v = (axis.reshape(-1) for axis in np.meshgrid(at, at))
    start = [
        np.float32(2.0) * light[n] + u * right[n] + v * up[n] - np.float32(0.3) * np.float32(n == 1) for n in range(3)
    ]
    depth = np.full(u.shape, np.float32(2.0))
    alive = np.arange(len(u))
    for _ in range(26):
        travelled = np.float32(2.0) - depth[alive]
        where = [start[n][alive] - travelled * light[n] for n in range(3)]
        step = np.minimum.reduce(distances(person, *where))
        depth[alive] -= np.float32(0.9) * step
        alive = alive[(step > 0.004) & (depth[alive] > -2.0)]
    return depth.reshape(_SHADOW_PX, _SHADOW_PX)


def lit(view: View, light: Floats, shadow: Floats) -> NDArray[np.uint8]:
    """Return the picture, uint8 (3, H, W), under one light (a direction to it, in the head's frame)."""
    facing = np.einsum("c,cn->n", light, view.normals)
    bright = np.maximum(facing, 0) * _unshadowed(view.points + np.float32(0.03) * view.normals, light, shadow)
    half = light + view.toward
    half = half / np.float32(np.sqrt((half * half).sum()))
    gleam = np.maximum(np.einsum("c,cn->n", half, view.normals), 0) ** 16 * (bright > 0.02)
    sky = np.float32(0.75) + np.float32(0.25) * view.normals[1]
    power = (
        np.float32(_AMBIENT) * sky * (np.float32(0.35) + np.float32(0.65) * view.open) + np.float32(_DIRECT) * bright
    )
    colour = view.albedo * power + view.shine * gleam * np.float32(_SHINE)
    return np.rint(_seen(view, colour) * 255).astype(np.uint8)


def albedo_of(view: View) -> Floats:
    """Return the picture without light or shade, its colours alone: float (3, H, W) in 0 to 1."""
    return _seen(view, view.albedo)


def _seen(view: View, colour: Floats) -> Floats:
    """Return colours (3, n) as a picture, (3, H, W) in 0 to 1, before the background."""
    canvas = np.empty((3, view.edge_px * view.edge_px), dtype=np.float32)
    canvas[:] = np.array(_BACKGROUND, dtype=np.float32)[:, None]
    canvas[:, view.hit] = colour
    small = view.edge_px // _FINER
    fine = np.clip(canvas, 0, 1).reshape(3, small, _FINER, small, _FINER)
    # Means of light, then the eye's curve: edges stay smooth.
    return np.sqrt(fine.mean(axis=(2, 4)))


def _camera(yaw_deg: float) -> tuple[Floats, Floats]:
    angle = np.deg2rad(yaw_deg)
    right = np.array([np.cos(angle), 0, -np.sin(angle)], dtype=np.float32)
    return right, np.array([np.sin(angle), 0, np.cos(angle)], dtype=np.float32)


def _frame(toward: Floats) -> tuple[Floats, Floats]:
    right = np.array([toward[2], 0, -toward[0]], dtype=np.float32)
    right /= np.float32(np.sqrt((right * right).sum()))
    return right, np.cross(toward, right).astype(np.float32)


def _march(
    person: Person, u: Floats, v: Floats, right: Floats, toward: Floats, edge: int
) -> tuple[Floats, Floats, Floats, NDArray[np.bool_]]:
    """Follow rays from in front until they meet a solid; return where, for those that do, and which do.

    First one ray in sixteen, as thick as sixteen; the others start where it came close to something.
    """
    coarse = -(-edge // 4)
    places = np.minimum(np.arange(coarse) * 4 + 1, edge - 1)
    middle = (places[:, None] * edge + places[None]).reshape(-1)
    depth = _followed(person, u[middle], v[middle], right, toward, None, 4 * _SPAN / edge).reshape(coarse, coarse)
    start = np.repeat(np.repeat(depth, 4, axis=0), 4, axis=1)[:edge, :edge].reshape(-1)
    depth = _followed(person, u, v, right, toward, start, 0.0)
    found = depth > _FAR
    w = depth[found]
    x, z = (u[found] * right[n] + w * toward[n] for n in (0, 2))
    return x, v[found], z, found


def _followed(
    person: Person, u: Floats, v: Floats, right: Floats, toward: Floats, start: Floats | None, thick: float
) -> Floats:
    """Return how near to the camera each ray, `thick` across, can come without meeting anything; _FAR if it misses."""
    depth = np.full(u.shape, _NEAR, dtype=np.float32) if start is None else start.copy()
    alive = np.flatnonzero(depth > _FAR)
    for _ in range(40):
        w = depth[alive]
        x, z = (u[alive] * right[n] + w * toward[n] for n in (0, 2))
        step = np.minimum.reduce(distances(person, x, v[alive], z)) - np.float32(thick)
        going = step > 0.003
        depth[alive] = w - np.where(going, step * np.float32(0.92), 0)
        lost = depth[alive] <= _FAR
        depth[alive[lost]] = _FAR
        alive = alive[going & ~lost]
        if not len(alive):
            break
    return depth


def _normals(person: Person, x: Floats, y: Floats, z: Floats) -> Floats:
    """Return unit normals (3, n): differences of the distance over a small step, at the corners of a tetrahedron."""
    total = np.zeros((3, len(x)), dtype=np.float32)
    step = np.float32(0.012)
    for corner in ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)):
        there = (axis + step * np.float32(sign) for axis, sign in zip((x, y, z), corner, strict=True))
        near = np.minimum.reduce(distances(person, *there))
        for axis, sign in enumerate(corner):
            total[axis] += np.float32(sign) * near
    return total / np.maximum(np.sqrt((total * total).sum(axis=0)), np.float32(1e-9))


def _unshadowed(points: Floats, light: Floats, shadow: Floats) -> Floats:
    """Return how much of the light reaches points, 0 to 1: the map's four nearest cells, each with a soft threshold."""
    right, up = _frame(light)
    height = np.float32(0.3)
    x, y, z = points[0], points[1] + height, points[2]
    u = (x * right[0] + y * right[1] + z * right[2]) * np.float32(_SHADOW_PX / _SHADOW_SPAN) + np.float32(
        _SHADOW_PX / 2 - 0.5
    )
    v = (x * up[0] + y * up[1] + z * up[2]) * np.float32(_SHADOW_PX / _SHADOW_SPAN) + np.float32(_SHADOW_PX / 2 - 0.5)
    w = x * light[0] + y * light[1] + z * light[2]
    u, v = (np.clip(axis, 0, _SHADOW_PX - 1.001) for axis in (u, v))
    left, top = u.astype(np.int64), v.astype(np.int64)
    du, dv = u - left, v - top
    total = np.zeros_like(w)
    flat, corner = shadow.reshape(-1), top * _SHADOW_PX + left
    for shift, share in (
        (0, (1 - du) * (1 - dv)),
        (1, du * (1 - dv)),
        (_SHADOW_PX, (1 - du) * dv),
        (_SHADOW_PX + 1, du * dv),
    ):
        total += share * np.clip(1 - (flat[corner + shift] - w - np.float32(0.03)) * np.float32(14), 0, 1)
    return total


def _painted(
    person: Person, parts: tuple[Floats, Floats, Floats], x: Floats, y: Floats, z: Floats
) -> tuple[Floats, Floats]:
    """Return colours (3, n), linear, and how much each point shines."""
    s, colours = person.size, person.colours
    side = np.abs(x)
    front = _within(z, 0.25, 0.45)
    # Skin: redder cheeks, nose and ears, a beard's shade.
    flush = np.exp(-((side - 0.38) ** 2 + (y + 0.25) ** 2) * 14) + 0.7 * np.exp(-(x**2 + (y + 0.3) ** 2) * 40)
    skin = colours["skin"][:, None] * (1 - flush * front * np.array([[0.02], [0.13], [0.12]], dtype=np.float32))
    shade = np.ones((3, len(x)), dtype=np.float32)
    u = x / s["mouth_x"]
    lip_y = y - s["mouth_y"] - 0.02 * (1 - u * u)
    lip_room = np.clip(1 - u * u, 0, 1) * front
    lips = _within(lip_room * 1.55 * s["lip"] - np.abs(lip_y + 0.012), -0.012, 0.012) * lip_room.clip(0, 0.2) * 5
    colour = _over(skin, colours["lips"], lips)
    if person.beard:
        low = _within(-(y + 0.36 + 0.55 * np.maximum(side - 0.18, 0) * -1.0), -0.04, 0.10) * _within(z, -0.05, 0.2)
        moustache = _within(0.11 - np.abs(y - s["mouth_y"] - 0.14), 0.0, 0.05) * _within(0.30 - side, 0, 0.08) * front
        beard = np.maximum(low, moustache) * (1 - lips) * (y > -1.15)
        colour = _over(colour, 0.35 * colours["skin"] * 0.6 + 0.65 * colours["hair"], beard * person.beard)
    line = _within(0.014 - np.abs(lip_y), -0.006, 0.008) * (np.abs(u) < 0.97) * front
    shade *= 1 - 0.75 * line
    holes = np.exp(-((side - 0.55 * s["nose_wing"]) ** 2 / 0.0011 + (y - s["nose_y"] + 0.068) ** 2 / 0.0006)) * _within(
        z, 0.6, 0.7
    )
    shade *= 1 - 0.75 * holes
    colour, eye_shine = _eyes(person, colour, x, y, front)
    slope = s["brow_y"] + s["brow_tilt"] * (side - 0.15) - 1.1 * np.maximum(side - 0.33, 0) ** 2 * 4
    taper = s["brow_w"] * np.clip((s["brow_x"] + 0.34 - side) * 5, 0.15, 1)
    brows = (
        _within(taper - np.abs(y - slope), -0.012, 0.012)
        * _within(side, 0.10, 0.15)
        * (side < s["brow_x"] + 0.36)
        * front
    )
    colour = _over(colour, 0.8 * colours["hair"] * 0.9, brows * 0.92)
    if person.hair_style in ("cropped", "receding"):  # short hair lets the scalp through
        scalp = _within(y, 0.35, 0.55) * (z < 0.4)
        colour = _over(colour, 0.5 * (colours["hair"] + colours["skin"]), scalp * 0.5)
    colour = colour * shade
    hair = parts[1] < np.minimum(parts[0], parts[2])
    turn = np.arctan2(x, z + np.float32(0.1))
    strand = 1 + 0.12 * np.sin(23 * turn + 3 * np.sin(4 * y)) + 0.12 * np.sin(37 * turn - 7 * y + 4 * np.sin(3 * z))
    colour = np.where(hair, colours["hair"][:, None] * strand.astype(np.float32), colour)
    cloth = parts[2] < np.minimum(parts[0], parts[1])
    colour = np.where(cloth, colours["cloth"][:, None], colour)
    shine = np.where(hair, 0.55, np.where(cloth, 0.05, 0.5 + 0.9 * lips + eye_shine))
    return colour.astype(np.float32), shine.astype(np.float32)


def _eyes(person: Person, colour: Floats, x: Floats, y: Floats, front: Floats) -> tuple[Floats, Floats]:
    """Paint eyes: white, iris, pupil, the lids' edge, and a crease above."""
    s = person.size
    u, v = (np.abs(x) - s["eye_x"]) / s["eye_w"], (y - s["eye_y"]) / s["eye_h"]
    top, low = 1 - u * u, -0.75 * (1 - u * u)
    inside = _within(np.minimum(top - v, v - low), 0.0, 0.22) * (np.abs(u) < 1) * front
    apart = np.sqrt((np.abs(x) - s["eye_x"]) ** 2 + (y - s["eye_y"] - 0.006) ** 2)
    white = np.array([0.60, 0.58, 0.56], dtype=np.float32)
    eye = np.repeat(white[:, None], len(x), axis=1)
    eye = _over(eye, person.colours["iris"], _within(0.066 - apart, -0.008, 0.008))
    eye = _over(eye, np.zeros(3, dtype=np.float32), _within(0.032 - apart, -0.008, 0.008))
    glint = _within(
        0.011 - np.sqrt((x - np.sign(x) * s["eye_x"] + 0.024) ** 2 + (y - s["eye_y"] - 0.03) ** 2), -0.006, 0.006
    )
    eye = _over(eye, white + np.float32(0.3), glint * 0.8)
    eye = eye * (1 - 0.45 * _within(v, 0.1, 0.9))  # the upper lid's shade
    lash = _within(0.20 - np.abs(v - top - 0.06), 0.0, 0.16) * (np.abs(u) < 1.08) * front
    crease = _within(0.10 - np.abs(v - 1.25 * top - 0.62), 0.0, 0.12) * (np.abs(u) < 1.05) * front
    colour = colour * (1 - 0.40 * crease)
    colour = np.where(inside > 0, colour * (1 - inside) + eye * inside, colour)
    return _over(colour, 0.06 * person.colours["skin"], lash * 0.85), 0.4 * inside


def _within(values: Any, least: float, most: float) -> Any:
    """Return 0 below `least`, 1 above `most`, smoothly between."""
    t = np.clip((values - least) / (most - least), 0, 1)
    return t * t * (3 - 2 * t)


def _over(below: Any, colour: Any, share: Any) -> Any:
    """Lay one colour (3,) over many (3, n), `share` of it."""
    return below + (colour[:, None] - below) * share
