"""A picture of one person or two: who stands how before which backdrop, in which light, how near; and a logo on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gansweep.data.people_bodies import Ball, Body, Colour, Solid, hue, mixed, solids_of
from gansweep.data.people_drawing import Layers, draw_ball, draw_solid, lit
from gansweep.data.people_poses import posed, vector

Floats = NDArray[Any]
# Cells of the shadow's map along a picture's longer side.
_SHADOW_CELLS = 56


@dataclass(frozen=True)
class Setting:
    """What a day's pictures share: backdrop, light (a direction to it: right, up, toward), how far the wall is."""

    wall: Colour
    floor: Colour
    light: Floats
    strength: float
    wall_m: float

    @staticmethod
    def of(random: np.random.Generator) -> Setting:
        """Draw a plain backdrop and one light."""
        wall = hue(random, 0.4, 0.95, 0.35)
        floor = mixed(wall, hue(random, 0.25, 0.9, 0.4), random.uniform(0.1, 0.9))
        azimuth, height = random.uniform(-1.15, 1.15), random.uniform(0.5, 1.05)
        light = vector(np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height))
        return Setting(wall, floor, light, random.uniform(0.75, 1.1), random.uniform(0.6, 2.5))


def drawn(
    bodies: list[Body], pose: str, setting: Setting, extent: tuple[int, int], logo: bool,
    random: np.random.Generator, columns: Floats, rows: Floats, blur_px: float,
) -> NDArray[np.uint8]:  # fmt: skip
    """Return the picture at these columns and rows, uint8 (rows, columns, 3).

    `extent` is the whole picture's width and height in px, `columns` and `rows` are places in it (the first pixel's
    middle is 0.5), `blur_px` how soft edges are. The same chance gives the same picture at any grid.
    """
    pitch = random.uniform(0.12, 0.26) if pose != "lying" else random.uniform(0.28, 0.45)
    camera = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    parts = _people(bodies, pose, random)
    scale, left, top = _framed(parts, camera, extent, random)
    x, y = (columns - left) / scale, (top - rows) / scale
    layers = Layers(x, y, blur_px / scale)
    for part in sorted(parts, key=lambda part: float((camera @ _middle(part))[2])):
        if isinstance(part, Solid):
            draw_solid(layers, part, camera)
        else:
            draw_ball(layers, part, camera)
    people = lit(layers, camera @ setting.light, setting.strength)
    picture = _backdrop(layers, parts, setting, pitch)
    picture += layers.cover * (people - picture)
    picture = np.sqrt(np.clip(picture, 0, 1))
    if logo:
        _stamp(picture, columns, rows, extent, blur_px, random)
    return np.rint(picture * 255).astype(np.uint8).transpose(1, 2, 0)


def _people(bodies: list[Body], pose: str, random: np.random.Generator) -> list[Solid | Ball]:
    """Return the solids of all in the picture, turned, side by side, on the floor."""
    parts: list[Solid | Ball] = []
    for place, body in enumerate(bodies):
        joints, seat = posed(body, pose, random)
        yaw = random.uniform(-0.3, 0.3) if pose == "lying" else random.uniform(-1.1, 1.1)
        if pose == "standing" and random.uniform() < 0.12:
            yaw += np.pi
        mirror = -1.0 if pose == "lying" and random.uniform() < 0.5 else 1.0
        apart = random.uniform(0.85, 1.0) if pose != "lying" else 0.0
        away = (place - (len(bodies) - 1) / 2) * np.array([apart, 0, -0.75 if pose == "lying" else 0.1])
        turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
        turn = np.diag([mirror, 1, 1]) @ turn
        ways = {"hips_side", "side", "up", "front", "head_up", "head_front", "head_side"}
        joints = {name: turn @ point + (0 if name in ways else away) for name, point in joints.items()}
        solids = solids_of(body, joints)
        if seat is None:
            lowest = min(_lowest(part) for part in solids)
            joints = {name: point - (0 if name in ways else vector(0, lowest, 0)) for name, point in joints.items()}
            solids = solids_of(body, joints)
        else:
            under = joints["pelvis"] * [1, 0, 1]
            colour = hue(random, 0.15, 0.9, 0.5)
            wide = 0.125 * body.size["tall"]
            lid = Solid(under, under + vector(0, seat, 0), (wide, wide), ((1.0, colour),), None, 1.0, (0.2, 0.2), True)
            solids.append(lid)
        parts += solids
    return parts


def _lowest(part: Solid | Ball) -> float:
    if isinstance(part, Ball):
        return float(part.middle[1] - part.half[1])
    return float(min(part.start[1] - part.half[0], part.end[1] - part.half[-1]))


def _middle(part: Solid | Ball) -> Floats:
    return part.middle if isinstance(part, Ball) else (part.start + part.end) / 2


def _framed(
    parts: list[Solid | Ball], camera: Floats, extent: tuple[int, int], random: np.random.Generator
) -> tuple[float, float, float]:
    """Return px a metre, and where the point 0, 0 lies in px, so that everybody is in the picture."""
    points, radii = [], []
    for part in parts:
        for end in (part.middle,) if isinstance(part, Ball) else (part.start, part.end):
            points.append(camera @ end)
            radii.append(max(part.half))
    seen, round_ = np.array(points), np.array(radii)
    low, high = (seen[:, :2] - round_[:, None]).min(axis=0), (seen[:, :2] + round_[:, None]).max(axis=0)
    wide, tall = high - low
    scale = float(min(extent[0] * random.uniform(0.82, 0.94) / wide, extent[1] * random.uniform(0.8, 0.93) / tall))
    spare = np.array(extent) - scale * np.array([wide, tall])
    left = spare[0] * random.uniform(0.3, 0.7) - scale * low[0]
    top = spare[1] * random.uniform(0.35, 0.75) + scale * high[1]
    return scale, float(left), float(top)


def _backdrop(layers: Layers, parts: list[Solid | Ball], setting: Setting, pitch: float) -> Floats:
    """Return floor and wall with the shadows that fall on them, (3, h, w) in light."""
    edge = setting.wall_m * np.sin(pitch)  # the height at which floor goes over into wall
    soft = 0.25
    floor = np.clip((edge - layers.y) / np.float32(soft) + np.float32(0.5), 0, 1).astype(np.float32)
    floor = (floor * floor * (3 - 2 * floor))[:, None]
    wall, ground = (np.array(one, dtype=np.float32)[:, None, None] ** 2 for one in (setting.wall, setting.floor))
    # The light's own spot on the wall.
    far = (layers.x - np.float32(setting.light[0])) ** 2 + ((layers.y - np.float32(1.1)) ** 2)[:, None]
    spot = np.float32(0.62) + np.float32(0.5) / (1 + far / np.float32(2.5))
    dark = _shadows(layers, parts, setting, pitch, floor)
    return (wall + floor * (ground - wall)) * spot * (1 - np.float32(0.62) * dark)


def _shadows(layers: Layers, parts: list[Solid | Ball], setting: Setting, pitch: float, floor: Floats) -> Floats:
    """Return how much of the light is kept from floor and wall, 0 to 1: a coarse map, smooth between its cells."""
    starts, ends, radii = [], [], []
    for part in parts:
        ball = isinstance(part, Ball)
        starts.append(part.middle if isinstance(part, Ball) else part.start)
        ends.append(part.middle if isinstance(part, Ball) else part.end)
        radii.append(min(part.half) if ball else float(np.mean(part.half)))
    begin, finish, radius = np.array(starts), np.array(ends), np.array(radii, dtype=np.float32)[:, None]
    height, width = (abs(float(axis[-1] - axis[0])) + 1e-6 for axis in (layers.y, layers.x))
    step = max(height, width) / _SHADOW_CELLS
    x = layers.x[0] + step * np.arange(int(width / step) + 3, dtype=np.float32) - step
    y = layers.y[-1] + step * np.arange(int(height / step) + 3, dtype=np.float32) - step
    light = setting.light

    def cast(axis: int, level: float) -> Floats:
        """Map the shadow on the plane where coordinate `axis` is `level`."""
        flat = [n for n in range(3) if n != axis]
        at = []
        for points in (begin, finish):
            way = ((points[:, axis] - level) / max(light[axis], 0.12))[:, None]
            at.append(((points - way * light)[:, flat]).astype(np.float32))
        up = (y + np.float32(level * np.sin(pitch) if axis == 2 else 0)) / np.float32(
            np.cos(pitch) if axis == 2 else -np.sin(pitch)
        )
        dx, dy = x[None, None] - at[0][:, 0, None, None], up[None, :, None] - at[0][:, 1, None, None]
        ex, ey = ((at[1] - at[0])[:, n, None, None] for n in range(2))
        share = np.clip((dx * ex + dy * ey) / (ex * ex + ey * ey + np.float32(1e-6)), 0, 1)
        far = np.sqrt((dx - share * ex) ** 2 + (dy - share * ey) ** 2)
        high = begin[:, axis, None, None] + share * (finish - begin)[:, axis, None, None] - level
        blur = (np.float32(0.05) + np.float32(0.16) * np.maximum(high, 0)).astype(np.float32)
        dark = np.clip((radius[..., None] - far) / blur + np.float32(0.5), 0, 1)
        return (dark * dark * (3 - 2 * dark) / (1 + np.float32(0.5) * np.maximum(high, 0))).max(axis=0)

    both = []
    for axis, level in ((1, 0.0), (2, -setting.wall_m)):
        rows = _between(layers.y, y, step)
        both.append(rows @ cast(axis, level).astype(np.float32) @ _between(layers.x, x, step).T)
    return both[1] + floor * (both[0] - both[1])


def _between(places: Floats, knots: Floats, step: float) -> Floats:
    """Return the weights (places, knots) that interpolate between knots."""
    return np.maximum(0, 1 - np.abs(places[:, None] - knots[None]) / np.float32(step)).astype(np.float32)


def _stamp(
    picture: Floats, columns: Floats, rows: Floats, extent: tuple[int, int], blur_px: float, random: np.random.Generator
) -> None:
    """Lay a half-transparent logo over a picture (3, h, w) of levels: a ring with a bar, and a line like a name."""
    size = random.uniform(0.07, 0.11) * max(extent)
    shade, share = (1.0, 0.0)[int(random.uniform() < 0.25)], random.uniform(0.35, 0.6)
    place_x, place_y = random.uniform(0.2, 0.8) * extent[0], random.uniform(0.2, 0.9) * extent[1]
    x, y = ((columns - place_x) / size)[None, :], ((rows - place_y) / size)[:, None]
    soft = blur_px / size
    ring = np.abs(np.hypot(x + 1.3, y) - 0.6) - 0.14
    bar = np.maximum(np.abs(x + 1.3 + 0.5 * y) - 0.12, np.abs(y) - 0.5)
    marks = np.minimum(ring, bar)
    for letter in range(4):
        at = -0.25 + 0.62 * letter
        stem = np.maximum(np.abs(x - at) - 0.09, np.abs(y) - 0.45)
        arm = np.maximum(np.abs(x - at - 0.2) - 0.2, np.abs(y - (-0.36, 0.36, 0.0, -0.36)[letter]) - 0.09)
        marks = np.minimum(marks, np.minimum(stem, arm))
    mine = share * np.clip(0.5 - marks / soft, 0, 1)
    picture += mine.astype(np.float32) * (np.float32(shade) - picture)
