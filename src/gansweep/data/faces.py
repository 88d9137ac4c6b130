"""Faces by identity, pose and light, named as Multi-PIE's files are: what heads and multipie have in common.

A name is subject_session_recording_camera_light, as in 138_01_01_051_07.png. Poses are cameras, numbered in the order
that the siamese journal's code gave them, not by angle.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gansweep.data.relations import NOBODY, Drawn, Listed, Mixed, Relation
from gansweep.data.source import Item, Source
from gansweep.data.split import share_of
from gansweep.data.tags import select_tags
from gansweep.errors import UserError, nearest

# Multi-PIE's cameras at the height of the head with the angles that the journal's set uses, then the others it has.
YAW_DEG = {"080": 45, "130": 30, "140": 15, "051": 0, "050": -15, "041": -30, "190": -45, "090": 60, "200": -60}
CAMERAS = (*YAW_DEG, "010", "081", "110", "120", "191", "240")
LIGHTS = tuple(f"{number:02d}" for number in range(20))
FRONTAL, STANDARD_LIGHT = "051", "09"
_NAME = re.compile(r"(\d{3})_(\d{2})_(\d{2})_(\d{3})_(\d{2})")
# Half of the pairs show the same person under the same light from the next camera in the order above.
_NEIGHBOUR_SHARE = 0.5

_CHOICES = {
    "label": ("pose", "light", "identity"),
    "real": ("any", "frontal", "standard", "target"),
    "pair": ("mixed", "random"),
}
_COMMON_ARGS = {"label": "pose", "target_light": STANDARD_LIGHT, "real": "any", "pair": "mixed", "mask": None}


class Face(NamedTuple):
    """What a file's name says."""

    subject: str
    session: str
    recording: str
    camera: str
    light: str

    @property
    def name(self) -> str:
        """The file's name."""
        return f"{'_'.join(self)}.png"

    @property
    def tags(self) -> tuple[str, ...]:
        """Words that include and exclude know it by."""
        frontal = ("frontal",) if self.camera == FRONTAL else ()
        standard = ("standard",) if self.light == STANDARD_LIGHT else ()
        return (f"subject{self.subject}", f"cam{self.camera}", f"light{self.light}", *frontal, *standard)


def parsed(path: str) -> Face | None:
    """Return what a path's last part says; None for no such name, or a camera or light that Multi-PIE has not."""
    found = _NAME.fullmatch(PurePosixPath(path).stem)
    face = Face(*found.groups()) if found else None
    return face if face and face.camera in CAMERAS and face.light in LIGHTS else None


class Faces(Source):
    """A reader of faces: columns identity, pose and light (int64); relations target, pair, real and wrong."""

    own_args: ClassVar[Mapping[str, Any]] = {}

    @functools.cached_property
    def args(self) -> dict[str, Any]:
        """data.args, completed; UserError for an argument that is not known or a choice that is not there."""
        known = {**_COMMON_ARGS, **self.own_args}
        for key in self.cfg.args:
            if key not in known:
                raise UserError(f"data.args.{key} is unknown{nearest(key, known)}")
        args = {**known, **self.cfg.args}
        for key, choices in _CHOICES.items():
            if args[key] not in choices:
                raise UserError(f"data.args.{key}={args[key]} is unknown{nearest(str(args[key]), choices)}")
        light = str(args["target_light"]).zfill(2)
        if light != "random" and light not in LIGHTS:
            raise UserError(f"data.args.target_light={args['target_light']} is no light: 0 to 19, or random")
        return args | {"target_light": light}

    @property
    def label_names(self) -> list[str]:
        """Names of the classes that data.args.label asks for."""
        names: dict[str, Sequence[str]] = {"pose": CAMERAS, "light": LIGHTS, "identity": self.subjects}
        return list(names[self.args["label"]])

    @property
    def subjects(self) -> Sequence[str]:
        """All subjects of the set, also of those that tags and limit leave out: identity is the place among them."""
        raise NotImplementedError

    @property
    def standard_light(self) -> str:
        """The light of the target, 09 where that is drawn."""
        light: str = self.args["target_light"]
        return STANDARD_LIGHT if light == "random" else light

    def selected(self, items: list[Item]) -> list[Item]:
        """Return the faces that tags and limit select."""
        items = select_tags(items, self.cfg.include or [], self.cfg.exclude or [])
        return few(items, self.cfg.limit, self.standard_light)

    def selection(self) -> str:
        """Return what beside the settings decides which faces a limit keeps, for the stamp."""
        return "" if self.cfg.limit is None else f" around light {self.standard_light}"

    def item(self, path: str, face: Face) -> Item:
        """Return the item of one face."""
        label = {"pose": face.camera, "light": face.light, "identity": face.subject}[self.args["label"]]
        return Item(id=path, group=face.subject, tags=face.tags, label=label)

    def numbers(self, face: Face) -> dict[str, Any]:
        """Return the columns that every face has."""
        return {
            "identity": self._places[face.subject],
            "pose": CAMERAS.index(face.camera),
            "light": LIGHTS.index(face.light),
        }

    @functools.cached_property
    def _places(self) -> dict[str, int]:
        return {subject: place for place, subject in enumerate(self.subjects)}

    def relations(self, fields: Mapping[str, Any]) -> Mapping[str, Relation]:
        """Return target, pair, real and wrong as data.args asks for them."""
        faces = [_known(path) for path in fields["id"]]
        scene = np.unique(["_".join(face[:3]) for face in faces], return_inverse=True)[1]
        light, pose, identity = fields["light"], fields["pose"], fields["identity"]
        frontal = np.array([face.camera == FRONTAL for face in faces])
        wanted, rows = self.args["target_light"], range(len(faces))
        standard = LIGHTS.index(self.standard_light)
        there = {key: row for row, key in enumerate(zip(scene.tolist(), pose.tolist(), light.tolist(), strict=True))}

        def row_of(camera: int, under: int, of: int) -> int:
            return there.get((int(scene[of]), camera, under), NOBODY)

        what = f"of that subject and session, from camera {FRONTAL}"
        target: Relation = Drawn(same=scene, among=frontal, what=what)
        if wanted != "random":
            front = CAMERAS.index(FRONTAL)
            targets = np.array([row_of(front, standard, row) for row in rows], dtype=np.int64)
            target = Listed(targets, f"{what} under light {wanted}")
        reals: dict[str, Relation] = {
            "any": Drawn(what="a picture"),
            "frontal": Drawn(among=frontal, what=f"from camera {FRONTAL}"),
            "standard": Drawn(
                among=frontal & (light == standard), what=f"from camera {FRONTAL} under light {LIGHTS[standard]}"
            ),
            "target": target,
        }
        pair: Relation = Drawn(differ=np.arange(len(faces)), what="another one", alone=True)
        if self.args["pair"] == "mixed":
            beside = [[row_of(int(pose[row]) + step, int(light[row]), row) for step in (-1, 1)] for row in rows]
            what = "the same subject and light from the next camera, for one half, and another one for the other"
            pair = Mixed(_NEIGHBOUR_SHARE, Listed(np.array(beside, dtype=np.int64).reshape(-1, 2)), pair, what)
        wrong = Drawn(differ=identity, what="of another subject")
        return {"target": target, "pair": pair, "real": reals[self.args["real"]], "wrong": wrong}


def few(items: list[Item], limit: int | None, target_light: str = STANDARD_LIGHT) -> list[Item]:
    """Keep `limit` faces, about as many subjects as pictures of each; order stays.

    Of each subject light by light, the target's first, and from the camera in front to its neighbours: so targets
    are there, and neighbours to pair with. A smaller limit's choice is part of a larger one's.
    """
    if limit is None or limit >= len(items):
        return items
    of_subject: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        of_subject[item.group].append(item)
    ranked = []
    for person, subject in enumerate(sorted(of_subject, key=lambda name: (share_of(name, "limit"), name))):
        ordered = sorted(of_subject[subject], key=lambda item: _rank(item, target_light))
        # Square shells around the first picture of the first subject.
        ranked += [(max(person, place), place, person, item) for place, item in enumerate(ordered)]
    ranked.sort(key=lambda one: one[:3])
    kept = {item.id for *_, item in ranked[:limit]}
    return [item for item in items if item.id in kept]


def _rank(item: Item, target_light: str) -> tuple[Any, ...]:
    face = _known(item.id)
    pose, front = CAMERAS.index(face.camera), CAMERAS.index(FRONTAL)
    light = 0.0 if face.light == target_light else 1 + share_of(face.light, "limit")
    return light, face.session, face.recording, abs(pose - front), pose, item.id


def read_mask(path: str, size_px: int) -> NDArray[np.float32]:
    """Read weights from a .npy of (H, W), (H, W, 1 or 3) or (1 or 3, H, W); returns float32 (1 or 3, H, W).

    UserError, naming the file, for anything else, another size than data.size, or weights that are not finite.
    """
    try:
        mask = np.load(Path(path).expanduser(), allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"data.args.mask={path} cannot be read as .npy ({error})") from None
    if mask.ndim == 2:
        mask = mask[None]
    elif mask.ndim == 3 and mask.shape[0] not in (1, 3):
        mask = mask.transpose(2, 0, 1)
    if mask.ndim != 3 or mask.shape[0] not in (1, 3) or mask.shape[1:] != (size_px, size_px):
        shape = " x ".join(map(str, mask.shape))
        raise UserError(f"data.args.mask={path} is {shape}, where data.size={size_px} asks for {size_px} x {size_px}")
    if mask.dtype.kind not in "biuf" or not np.isfinite(mask).all():
        raise UserError(f"data.args.mask={path} holds {mask.dtype} or what is no finite number; give weights")
    return np.ascontiguousarray(mask, dtype=np.float32)


def hash_of(mask: NDArray[np.float32]) -> str:
    """Return a short hash of weights, for the cache's key."""
    return hashlib.sha256(mask.tobytes()).hexdigest()[:16]


def _known(path: str) -> Face:
    face = parsed(path)
    assert face is not None, path  # only such were packed
    return face
