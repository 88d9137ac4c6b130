"""Poses: where a body's joints are when it stands, sits, lies or crouches, with chance in every angle.

Metres, in the body's own frame: x to its left, y up from the floor, z forward. Elbows and knees follow from where hands
and feet are (two bones and the side to which they bend).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gansweep.data.people_bodies import Body

Floats = NDArray[Any]
Joints = dict[str, Floats]
POSES = ("standing", "sitting", "lying", "crouching")
_SIDES = (("l", 1.0), ("r", -1.0))


def vector(x: float, y: float, z: float) -> Floats:
    """Return a point or direction."""
    return np.array([x, y, z], dtype=np.float64)


def unit(direction: Floats) -> Floats:
    """Return a direction of length 1."""
    return direction / max(float(np.linalg.norm(direction)), 1e-9)


def posed(body: Body, pose: str, random: np.random.Generator) -> tuple[Joints, float | None]:
    """Return joints and directions of a body in a pose, and the height of what it sits on, None without a seat."""
    made: dict[str, Callable[[Body, np.random.Generator], tuple[Joints, float | None]]] = {
        "standing": _standing,
        "sitting": _sitting,
        "lying": _lying,
        "crouching": _crouching,
    }
    return made[pose](body, random)


def reach(start: Floats, goal: Floats, first: float, second: float, toward: Floats) -> tuple[Floats, Floats]:
    """Return the joint between two bones and their end: `goal`, or as near as they reach; the joint is at `toward`."""
    way = goal - start
    far = float(np.clip(np.linalg.norm(way), abs(first - second) + 1e-3, 0.998 * (first + second)))
    along = unit(way)
    across = unit(toward - along * float(toward @ along))
    share = (first**2 - second**2 + far**2) / (2 * far)
    out = np.sqrt(max(first**2 - share**2, 0.0))
    return start + along * share + across * out, start + along * far


def _spine(body: Body, pelvis: Floats, up: Floats, front: Floats, random: np.random.Generator, bow: float) -> Joints:
    """Return trunk and head; `bow` is how far (radians) the upper half leans forward of the lower one."""
    size = body.size
    side = unit(np.cross(up, front))
    front = unit(np.cross(side, up))
    upper, ahead = _turned(up, front, bow)
    twist = random.uniform(-0.25, 0.25)
    waist = pelvis + 0.4 * size["torso"] * up
    throat = waist + 0.62 * size["torso"] * upper
    shoulder_side = unit(np.cos(twist) * side + np.sin(twist) * ahead)
    at: Joints = {
        "pelvis": pelvis, "waist": waist, "throat": throat, "hips_side": side, "side": shoulder_side,
        "up": upper, "front": unit(np.cross(shoulder_side, upper)),
    }  # fmt: skip
    for of, sign in _SIDES:
        at[f"hip_{of}"] = pelvis + sign * size["hip"] * side - 0.02 * size["tall"] * up
        at[f"shoulder_{of}"] = throat + sign * size["shoulder"] * shoulder_side - 0.050 * size["tall"] * upper
    tilt, turn, nod = random.uniform(-0.18, 0.18), random.uniform(-0.6, 0.6), random.uniform(-0.25, 0.2) - 0.5 * bow
    head_up, head_front = _turned(upper, at["front"], nod)
    head_side = np.cross(head_up, head_front)
    head_front, head_side = (
        unit(np.cos(turn) * head_front + np.sin(turn) * head_side),
        unit(np.cos(turn) * head_side - np.sin(turn) * head_front),
    )
    head_up, head_side = (
        unit(np.cos(tilt) * head_up + np.sin(tilt) * head_side),
        unit(np.cos(tilt) * head_side - np.sin(tilt) * head_up),
    )
    skull = throat + size["neck"] * unit(upper + head_up)
    at |= {"skull": skull, "head_up": head_up, "head_front": head_front, "head_side": head_side}
    at["head"] = skull + 0.8 * size["head"] * head_up + 0.1 * size["head"] * head_front
    return at


def _turned(up: Floats, front: Floats, angle: float) -> tuple[Floats, Floats]:
    return (
        unit(np.cos(angle) * up + np.sin(angle) * front),
        unit(np.cos(angle) * front - np.sin(angle) * up),
    )


def _leg(body: Body, at: Joints, of: str, ankle: Floats, toward: Floats, foot: Floats) -> None:
    """Bend one leg so that its ankle is there; `foot` is the direction from heel to toes."""
    size = body.size
    at[f"knee_{of}"], at[f"ankle_{of}"] = reach(at[f"hip_{of}"], ankle, size["thigh"], size["shin"], toward)
    sole = unit(at[f"ankle_{of}"] - at[f"knee_{of}"])
    foot = unit(foot)
    down = unit(sole - foot * float(sole @ foot))
    drop = 0.5 * size["ankle"]
    at[f"heel_{of}"] = at[f"ankle_{of}"] - 0.02 * size["tall"] * foot + drop * down
    at[f"toes_{of}"] = at[f"heel_{of}"] + size["foot"] * foot + 0.15 * drop * down


def _arm(body: Body, at: Joints, of: str, wrist: Floats, toward: Floats, curl: float = 0.15) -> None:
    """Bend one arm so that its wrist is there; the hand goes on, bent by `curl` away from where the elbow points."""
    size = body.size
    at[f"elbow_{of}"], at[f"wrist_{of}"] = reach(at[f"shoulder_{of}"], wrist, size["arm"], size["forearm"], toward)
    along = unit(at[f"wrist_{of}"] - at[f"elbow_{of}"])
    at[f"fingers_{of}"] = at[f"wrist_{of}"] + size["hand"] * unit(along - curl * unit(toward))


def _free_arm(body: Body, at: Joints, of: str, sign: float, kind: str, random: np.random.Generator) -> None:
    """Put an arm where arms are when they carry nothing."""
    size, side, front, up = body.size, at["side"], at["front"], at["up"]
    length = size["arm"] + size["forearm"]
    start, out = at[f"shoulder_{of}"], sign * side
    back = -front + 0.3 * out
    if kind == "hip":
        goal = at["pelvis"] + 0.115 * size["tall"] * out + 0.05 * size["tall"] * up - 0.01 * front
        _arm(body, at, of, goal, out - 0.5 * front, 0.6)
    elif kind == "raised":
        goal = start + length * (random.uniform(0.05, 0.55) * out + random.uniform(0.65, 0.95) * up + 0.1 * front)
        _arm(body, at, of, goal, out - 0.2 * front)
    elif kind == "head":
        goal = at["head"] + 0.075 * size["tall"] * out + 0.01 * size["tall"] * up - 0.03 * front
        _arm(body, at, of, goal, out + 0.3 * up, 0.8)
    elif kind == "chest":
        goal = at["waist"] + 0.2 * size["torso"] * up + 0.13 * size["tall"] * front - 0.03 * size["tall"] * out
        _arm(body, at, of, goal, out - up, 0.2)
    elif kind == "aside":
        goal = start + length * (random.uniform(0.75, 0.98) * out + random.uniform(-0.5, 0.3) * up + 0.15 * front)
        _arm(body, at, of, goal, back - 0.3 * up)
    else:
        aside, ahead = random.uniform(0.08, 0.28), random.uniform(-0.1, 0.2)
        _arm(body, at, of, start + 0.985 * length * unit(aside * out - up + ahead * front), back)


def _chosen(random: np.random.Generator, **weights: float) -> str:
    names, shares = list(weights), np.cumsum(list(weights.values()))
    return names[int(np.searchsorted(shares, random.uniform(0, shares[-1])))]


def _standing(body: Body, random: np.random.Generator) -> tuple[Joints, float | None]:
    size = body.size
    leg = size["thigh"] + size["shin"]
    shift, lean = random.uniform(-0.05, 0.05), random.uniform(-0.06, 0.06)
    stride = random.uniform(0.12, 0.28) if random.uniform() < 0.3 else random.uniform(0, 0.06)
    apart = random.uniform(0.06, 0.17)
    aside = abs(apart - size["hip"]) + abs(shift)  # of the leg that has farther to go
    hips = size["ankle"] + random.uniform(0.97, 0.99) * float(np.sqrt(leg**2 - stride**2 - aside**2))
    up = unit(vector(-0.6 * shift, 1, lean))
    pelvis = vector(shift, hips + 0.02 * size["tall"], 0)
    at = _spine(body, pelvis, up, vector(0, 0, 1), random, random.uniform(-0.05, 0.1))
    ahead = 1 if random.uniform() < 0.5 else -1
    for of, sign in _SIDES:
        out = random.uniform(0.1, 0.6)
        ankle = vector(sign * apart, size["ankle"], sign * ahead * stride)
        _leg(body, at, of, ankle, vector(sign * 0.35, 0, 1), vector(sign * out, 0, 1))
        kind = _chosen(random, hang=5, hip=2, raised=1, head=0.6, chest=1, aside=0.7)
        _free_arm(body, at, of, sign, kind, random)
    return at, None


def _sitting(body: Body, random: np.random.Generator) -> tuple[Joints, float | None]:
    return _on_floor(body, random) if random.uniform() < 0.3 else _on_seat(body, random)


def _on_seat(body: Body, random: np.random.Generator) -> tuple[Joints, float | None]:
    size = body.size
    seat = random.uniform(0.24, 0.29) * size["tall"]
    lean = random.uniform(-0.1, 0.35)
    pelvis = vector(0, seat + 0.062 * size["tall"], 0.02)
    at = _spine(body, pelvis, unit(vector(0, 1, lean)), vector(0, 0, 1), random, random.uniform(0, 0.3))
    crossed = random.uniform() < 0.3
    apart, forward = random.uniform(0.06, 0.2), random.uniform(0.95, 1.3) * size["thigh"]
    for of, sign in _SIDES:
        ankle = vector(sign * apart, size["ankle"], forward + random.uniform(-0.08, 0.08))
        _leg(body, at, of, ankle, vector(sign * 0.3, 1, 0.6), vector(sign * 0.25, 0, 1))
    if crossed:
        over = at["knee_r"] + vector(-0.10, 0.02, 0.14) * size["tall"] / 1.7
        _leg(body, at, "l", over + vector(0, -0.10, 0), vector(-0.1, 1, 0.6), vector(-0.3, -0.4, 1))
    for of, sign in _SIDES:
        kind = _chosen(random, knee=4, seat=2, chest=1, head=0.4, raised=0.4)
        if kind == "knee":
            goal = at[f"knee_{of}"] + vector(0, 0.062, -0.06) * size["tall"] / 1.7
            _arm(body, at, of, goal, vector(sign * 0.8, 0, -0.6), -0.3)
        elif kind == "seat":
            _arm(body, at, of, vector(sign * 0.2, seat + 0.04, -0.08), vector(sign * 0.3, 0, -1), 0.8)
        else:
            _free_arm(body, at, of, sign, kind, random)
    return at, seat


def _on_floor(body: Body, random: np.random.Generator) -> tuple[Joints, float | None]:
    size = body.size
    back = random.uniform(-0.5, 0.1)
    at = _spine(
        body, vector(0, 0.075 * size["tall"], 0), unit(vector(0, 1, back)), vector(0, 0, 1), random, 0.25 - 0.3 * back
    )
    leg = size["thigh"] + size["shin"]
    for of, sign in _SIDES:
        far = random.uniform(0.42, 0.75) if random.uniform() < 0.75 else 0.97
        _leg(
            body, at, of, vector(sign * random.uniform(0.05, 0.16), size["ankle"] + 0.01, far * leg),
            vector(sign * 0.25, 1, 0.1), vector(sign * 0.2, 0.9 if far > 0.9 else 0.05, 1),
        )  # fmt: skip
        if back < -0.15:
            goal = vector(sign * 0.26, 0.05, -0.36) * size["tall"] / 1.7
            _arm(body, at, of, goal, vector(sign * 0.4, 0, -1), 0.9)
        else:
            goal = at[f"knee_{of}"] + vector(-sign * 0.03, 0.04, 0.05)
            _arm(body, at, of, goal, vector(sign, -0.3, -0.2), -0.4)
    return at, None


def _crouching(body: Body, random: np.random.Generator) -> tuple[Joints, float | None]:
    size = body.size
    kneels = random.uniform() < 0.35
    low = random.uniform(0.19, 0.24) if not kneels else random.uniform(0.24, 0.28)
    lean, bow = random.uniform(0.25, 0.75), random.uniform(0.1, 0.4)
    pelvis = vector(0, low * size["tall"], -0.10 * size["tall"])
    at = _spine(body, pelvis, unit(vector(0, 1, lean)), vector(0, 0, 1), random, bow)
    for of, sign in _SIDES:
        wide = random.uniform(0.06, 0.13)
        ankle = vector(sign * wide, size["ankle"] + 0.02, random.uniform(-0.02, 0.06) * size["tall"])
        toward, foot = vector(sign * random.uniform(0.2, 0.6), 0.5, 1), vector(sign * 0.3, -0.12, 1)
        if kneels and of == "r":
            ankle, toward = vector(-0.1, 0.05, -0.36 * size["tall"]), vector(-0.1, -1, 0.7)
            foot = vector(0, -0.1, -1)
        _leg(body, at, of, ankle, toward, foot)
        if random.uniform() < 0.6:
            goal = at[f"knee_{of}"] + vector(-sign * 0.02, 0.05, 0.09) * size["tall"] / 1.7
            _arm(body, at, of, goal, vector(sign * 0.9, -0.4, -0.2), -0.3)
        else:
            goal = vector(sign * random.uniform(0.05, 0.3), 0.08, 0.30 * size["tall"])
            _arm(body, at, of, goal, vector(sign * 0.6, 0.2, -0.6), 0.3)
    return at, None


def _lying(body: Body, random: np.random.Generator) -> tuple[Joints, float | None]:
    """On the back, on the side towards the viewer, or on the front, propped up; the head is to the viewer's left."""
    size = body.size
    kind = _chosen(random, back=1, side=1, front=0.7)
    leg, tall = size["thigh"] + size["shin"], size["tall"]
    front = {"back": vector(0, 1, 0.15), "side": vector(0, 0.25, 1), "front": vector(0, -1, 0.1)}[kind]
    rise = {"back": 0.05, "side": random.uniform(0.1, 0.5), "front": random.uniform(0.25, 0.5)}[kind]
    up = unit(vector(-1, rise, 0.0))
    at = _spine(body, vector(0, 0.085 * tall, 0), up, front, random, {"back": 0.05, "side": 0.1, "front": -0.4}[kind])
    front = at["front"]
    for of, sign in _SIDES:
        bent = random.uniform() < 0.45 and kind != "front"
        far = random.uniform(0.5, 0.75) if bent else 0.995 if kind == "front" else random.uniform(0.93, 0.99)
        side = at["hips_side"]
        ankle = at[f"hip_{of}"] + leg * unit(vector(1, 0, 0.05) + 0.08 * sign * side) * far
        ankle[1] = 0.05 * tall if kind != "side" else max(0.04, at[f"hip_{of}"][1] - 0.06)
        toward = {"back": vector(0, 1, 0.1), "side": vector(-0.1, 0.35, 1), "front": vector(0, -1, 0.1)}[kind]
        foot = {"back": vector(0.5, 0.9, 0), "side": vector(0.7, 0, 0.6), "front": vector(1, -0.3, 0)}[kind]
        _leg(body, at, of, ankle, toward, vector(0.9, -0.1, 0.1) if bent and kind == "back" else foot)
        if kind == "front":
            goal = at["throat"] + 0.16 * tall * vector(-1, 0, 0) + sign * 0.09 * tall * at["side"]
            goal[1] = 0.03
            _arm(body, at, of, goal, vector(0.6, -0.7, 0) + 0.5 * sign * at["side"], 0.2)
            continue
        kinds = {"head": 1.0, "chest": 1.0, "hang": 1.5}
        if kind == "side":  # the lower arm props the body up, the upper one lies on it or before it
            if at[f"shoulder_{of}"][1] < at["throat"][1]:
                goal = at["throat"] + vector(-0.1, 0, 0.12) * tall
                goal[1] = 0.03
                _arm(body, at, of, goal, vector(0.5, -0.6, 0.2), 0.2)
                continue
            kinds = {"hang": 1.5, "chest": 1.0}
        _free_arm(body, at, of, sign, _chosen(random, **kinds), random)
    return at, None
