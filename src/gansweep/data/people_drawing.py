"""Drawing people: solids into layers of depth, direction and colour, one light on them, their shadow on floor and wall.

Points are (right, up, toward the camera) in metres; there is no perspective. Every picture is a function of where it is
looked at, so that it can be drawn at any grid of points.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gansweep.data.people_bodies import Ball, Solid

Floats = NDArray[Any]
_FAR = np.float32(-99.0)
# Where two solids meet, over how many metres one goes over into the other.
_MERGE_M = np.float32(0.012)
_DARK, _WHITE = (0.05, 0.04, 0.04), (0.93, 0.92, 0.90)
# Steps towards the light at which something may stand in its way, and how thick that is taken to be.
_STEPS_M, _THICK_M = (0.02, 0.04, 0.065, 0.095, 0.13, 0.17, 0.215, 0.27), np.float32(0.3)
_SHADED, _SKY = 0.72, 0.42
_UPWARD = (np.float32(0), np.float32(1))


class Layers:
    """What is seen at each point: depth, direction of the surface, colour; and how much of the point is covered."""

    def __init__(self, x: Floats, y: Floats, blur_m: float) -> None:
        """Look at columns `x` (rising) and rows `y` (falling), metres; edges are `blur_m` soft."""
        self.x, self.y = x.astype(np.float32), y.astype(np.float32)
        self.blur = np.float32(blur_m)
        self.seen = np.zeros((7, len(y), len(x)), dtype=np.float32)
        self.seen[0] = _FAR
        self.cover = np.zeros((len(y), len(x)), dtype=np.float32)

    def window(self, x: tuple[float, float], y: tuple[float, float]) -> tuple[slice, slice] | None:
        """Return the rows and columns between these limits (and their soft edges), None if there are none."""
        left, right = np.searchsorted(self.x, (x[0] - self.blur, x[1] + self.blur))
        top, bottom = np.searchsorted(-self.y, (-y[1] - self.blur, -y[0] + self.blur))
        return (slice(top, bottom), slice(left, right)) if right > left and bottom > top else None

    def put(self, where: tuple[slice, slice], share: Floats, depth: Floats, normal: Floats, colour: Any) -> None:
        """Lay a surface over what is there where it is nearer: `share` covered, `normal` (3, h, w), `colour` of 3."""
        seen, cover = self.seen[:, *where], self.cover[where]
        nearer = share * np.clip((depth - seen[0]) / _MERGE_M + np.float32(0.5), 0, 1)
        mine = nearer / (nearer + (1 - nearer) * cover + np.float32(1e-6))
        seen[0] += mine * (depth - seen[0])
        seen[1:4] += mine * (normal - seen[1:4])
        for channel, value in zip(seen[4:], colour, strict=True):
            channel += mine * (value - channel)
        cover += share * (1 - cover)


def draw_solid(layers: Layers, solid: Solid, camera: Floats) -> None:
    """Draw a limb: the distance from its axis, as a share of its half width there, tells how its surface turns."""
    start, end = camera @ solid.start, camera @ solid.end
    widest = max(solid.half) * 1.05
    where = layers.window(
        (min(start[0], end[0]) - widest, max(start[0], end[0]) + widest),
        (min(start[1], end[1]) - widest, max(start[1], end[1]) + widest),
    )
    if where is None:
        return
    flat = np.hypot(end[0] - start[0], end[1] - start[1])
    length = np.float32(max(flat, 1e-3))
    along_x, along_y = (np.float32(one / length) for one in (end - start)[:2]) if flat > 1e-3 else _UPWARD
    dx = layers.x[None, where[1]] - np.float32(start[0])
    dy = layers.y[where[0], None] - np.float32(start[1])
    along = dx * along_x + dy * along_y
    share = np.clip(along / length, 0, 1)
    wide, thick = _cross_section(solid, camera, (-along_y, along_x))
    knots = np.linspace(0, 1, len(solid.half), dtype=np.float32)
    half = np.interp(share, knots, np.array(solid.half)).astype(np.float32)
    u = (dy * along_x - dx * along_y) / (half * wide)
    beyond = along - share * length
    caps = np.where(beyond < 0, np.float32(solid.caps[0]), np.float32(solid.caps[1]))
    v = beyond / (half * caps * np.float32(min(wide, 1.0)))
    far = np.sqrt(u * u + v * v)
    covered = np.clip((1 - far) * half * np.float32(wide) / layers.blur + np.float32(0.5), 0, 1)
    up = np.sqrt(np.maximum(1 - far * far, np.float32(0.0025)))
    depth = np.float32(start[2]) + share * np.float32(end[2] - start[2]) + half * np.float32(thick) * up
    # The surface is z = thick sqrt(1 - u² - v²): its slope across, and along by how the axis itself comes nearer.
    across = u * np.float32(thick / wide)
    ahead = v / caps * np.float32(thick) - up * np.float32((end[2] - start[2]) / length) * ((share > 0) & (share < 1))
    normal = np.stack([ahead * along_x - across * along_y, ahead * along_y + across * along_x, up])
    if solid.lid:
        top = (along > length)[None]
        normal = np.where(top, camera[:, 1, None, None].astype(np.float32), normal)
    normal /= np.sqrt((normal * normal).sum(axis=0))
    layers.put(where, covered, depth, normal, _painted(solid, along / length, layers.blur / length))


def _cross_section(solid: Solid, camera: Floats, across: tuple[Any, Any]) -> tuple[float, float]:
    """Return how wide and how thick a limb looks, as shares of its half width; both 1 for a round one."""
    if solid.side is None:
        return 1.0, 1.0
    axis = solid.end - solid.start
    front = np.cross(solid.side, axis)
    side, front = camera @ solid.side, camera @ (front / max(np.linalg.norm(front), 1e-9))
    flat = np.array([*across, 0.0])
    wide, thick = np.hypot(side @ flat, solid.flat * (front @ flat)), np.hypot(side[2], solid.flat * front[2])
    return float(np.clip(wide, 0.3, 1.0)), float(np.clip(thick, 0.3, 1.0))


def _painted(solid: Solid, share: Floats, soft: np.float32) -> list[Any]:
    colour = [np.float32(value) for value in solid.paint[0][1]]
    painted: list[Any] = list(colour)
    for (until, _), (_, further) in zip(solid.paint, solid.paint[1:], strict=False):
        mine = np.clip((share - np.float32(until)) / soft + np.float32(0.5), 0, 1)
        painted = [one + mine * (np.float32(value) - one) for one, value in zip(painted, further, strict=True)]
    return painted


def draw_ball(layers: Layers, ball: Ball, camera: Floats) -> None:
    """Draw an ellipsoid exactly: where each ray meets it, in its own frame, tells what is painted there."""
    middle = camera @ ball.middle
    axes = (ball.axes @ camera.T) / np.array(ball.half)[:, None]  # rows: own axes, columns: right, up, toward
    reach = max(ball.half)
    where = layers.window((middle[0] - reach, middle[0] + reach), (middle[1] - reach, middle[1] + reach))
    if where is None:
        return
    a = axes.astype(np.float32)
    dx = layers.x[None, where[1]] - np.float32(middle[0])
    dy = layers.y[where[0], None] - np.float32(middle[1])
    flat = [a[n, 0] * dx + a[n, 1] * dy for n in range(3)]
    square = np.float32((a[:, 2] ** 2).sum())
    linear = sum(a[n, 2] * flat[n] for n in range(3)) / square
    least = sum(one * one for one in flat) - square * linear * linear
    depth = np.sqrt(np.maximum(1 - least, 0) / square) - linear
    own = [flat[n] + a[n, 2] * depth for n in range(3)]
    normal = np.stack([sum(a[n, axis] * own[n] for n in range(3)) for axis in range(3)])
    normal /= np.sqrt((normal * normal).sum(axis=0)) + np.float32(1e-6)
    covered = np.clip((1 - np.sqrt(least)) * np.float32(min(ball.half)) / layers.blur + np.float32(0.5), 0, 1)
    soft = layers.blur / np.float32(min(ball.half))
    colour: list[Any] = [np.float32(value) for value in ball.colour]
    if ball.look == "hair":
        covered = covered * _below(-(0.78 * own[1] - 0.62 * own[2] - 0.10 - 0.25 * own[0] ** 2), soft)
    elif ball.look != "plain":
        for mark, name in _marks(ball.look, own, soft):
            value = {"dark": _DARK, "white": _WHITE}.get(name) or ball.colours[name]
            colour = [one + mark * (np.float32(want) - one) for one, want in zip(colour, value, strict=True)]
    layers.put(where, covered, np.float32(middle[2]) + depth, normal, colour)


def _below(distance: Floats, soft: np.float32) -> Floats:
    """Return 1 where a distance is below 0, 0 where it is above, and between them within `soft`."""
    return np.clip(np.float32(0.5) - distance.astype(np.float32) / soft, 0, 1)


def _marks(look: str, own: Sequence[Floats], soft: np.float32) -> list[tuple[Floats, str]]:
    """Return brows, eyes and mouth: how much each covers, and its colour's name; `own` is (side, up, front)."""
    side, up, front = own
    faces = front > 0.2

    def spot(x: float, y: float, wide: float, high: float) -> Floats:
        far = np.sqrt(((side - np.float32(x)) / np.float32(wide)) ** 2 + ((up - np.float32(y)) / np.float32(high)) ** 2)
        return faces * _below((far - 1) * np.float32(min(wide, high)), soft)

    if look == "mouth":
        return [(spot(0, -0.12, 0.42, 0.15), "lips")]
    marks = []
    for x in (-0.38, 0.38):
        marks += [(spot(x, 0.24, 0.2, 0.045), "hair"), (spot(x, 0.04, 0.165, 0.085), "white")]
        marks.append((spot(x, 0.04, 0.085, 0.085), "dark"))
    return marks


def lit(layers: Layers, light: Floats, strength: float) -> Floats:
    """Return the people's colours (3, h, w), in light, not levels; `light` is a direction as the camera sees it."""
    seen = layers.seen
    toward = light.astype(np.float32)
    facing = np.tensordot(toward, seen[1:4], axes=1)
    # A little light comes round edges: skin and cloth are no billiard balls.
    bright = np.clip((facing + np.float32(0.12)) / np.float32(1.12), 0, 1)
    bright *= 1 - np.float32(_SHADED) * _self_shadow(layers, toward)
    sky = np.float32(_SKY) * (np.float32(0.7) + np.float32(0.3) * seen[2])
    rim = np.float32(0.75) + np.float32(0.25) * np.sqrt(np.clip(seen[3], 0, 1))
    return seen[4:] ** 2 * (sky * rim + np.float32(strength) * bright)


def _self_shadow(layers: Layers, light: Floats) -> Floats:
    """Return how much of the light is kept away by what is seen between a point and the light, 0 to 1."""
    depth, (height, width) = layers.seen[0], layers.cover.shape
    shadow = np.zeros((height, width), dtype=np.float32)
    step_x = (layers.x[-1] - layers.x[0]) / max(width - 1, 1)
    step_y = (layers.y[0] - layers.y[-1]) / max(height - 1, 1)
    # Surfaces that are seen from the side would shade themselves between two points of the grid.
    steep = np.float32(0.012) / np.maximum(layers.seen[3], np.float32(0.08))
    for far in _STEPS_M:
        right, up = round(float(light[0] * far / step_x)), round(float(light[1] * far / step_y))
        if abs(right) >= width or abs(up) >= height:
            continue
        here = (slice(max(up, 0), height + min(up, 0)), slice(max(-right, 0), width - max(right, 0)))
        there = (slice(max(-up, 0), height - max(up, 0)), slice(max(right, 0), width + min(right, 0)))
        over = depth[there] - depth[here] - light[2] * np.float32(far) - steep[here]
        block = np.clip(over / np.float32(0.03), 0, 1) * (over < _THICK_M)
        np.maximum(shadow[here], block, out=shadow[here])
    return shadow
