"""A packed set in use: its pixels, its fields, its relations, its split."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gansweep.data.columns import Column, Repeated
from gansweep.data.encoders import PRECOMPUTED, Encoding
from gansweep.data.relations import NOBODY, Drawn, Relation, Rows, uniform
from gansweep.data.shipped import hint
from gansweep.data.split import held_out
from gansweep.errors import UserError, nearest

Fields = dict[str, Any]

# A mirrored face looks, and is lit, from the other side.
_HANDED = frozenset(("pose", "light"))


@dataclass
class Dataset:
    """Pictures as uint8 (N, C, H, W) with what is known of each.

    `images` is a read-only memory map, or an array when small. `fields` holds only what the set has: "label" int64
    (N,), "box" int16 (N, 4) as left, top, right, bottom in px of the part that is picture, "caption" and "tags" (a list
    of texts per row), "group" and "id" (text per row), and further columns of numbers or pixels (see
    `gansweep.data.columns`); captions give a column "embedding" besides, made as `encoding` says when it is first
    asked for. `relations` name other rows; every set has pair, real and wrong besides. `fingerprint` is a SHA-256 of
    the content without paths. `wide`, where there is one, holds the pictures with a margin, of which `images` are the
    middle; `cuts` says how many of its px become one in each column that windows of it may stand for.
    """

    images: NDArray[np.uint8]
    fields: Fields
    label_names: list[str]
    fingerprint: str
    manifest: dict[str, Any]
    source: str
    val_fraction: float = 0.0
    relations: Mapping[str, Relation] = field(default_factory=dict)
    encoding: Encoding = field(default_factory=Encoding)
    wide: NDArray[np.uint8] | None = None
    cuts: Mapping[str, int] = field(default_factory=dict)
    _held_out: NDArray[np.bool_] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.relations = {**self._common(), **self.relations}
        self.has_given_split = self._held_out is not None
        self._vectors: Column | None = None

    @property
    def count(self) -> int:
        """Number of pictures."""
        return int(self.images.shape[0])

    @property
    def size_px(self) -> int:
        """Height and width of a picture in px."""
        return int(self.images.shape[2])

    @property
    def channels(self) -> int:
        """1 for grey, 3 for red, green and blue."""
        return int(self.images.shape[1])

    @property
    def held_out(self) -> NDArray[np.bool_]:
        """Say of every row whether it is held out."""
        if self._held_out is None:
            self._held_out = held_out(self.fields["group"], self.val_fraction)
        return self._held_out

    def split(self, name: Literal["train", "val"]) -> NDArray[np.int64]:
        """Return the row numbers of a part, ascending, int64; "val" is empty without held-out pictures."""
        if name not in ("train", "val"):
            raise UserError(f"a split is train or val, not {name}{nearest(name, ('train', 'val'))}")
        return np.flatnonzero(self.held_out if name == "val" else ~self.held_out).astype(np.int64)

    def require(self, names: Iterable[str]) -> None:
        """Raise UserError for a field that the set has not, naming those it has and the shipped sets that have it.

        `relation.field` asks for both; a relation may be one of another's, as pair_target is the target of the pair.
        """
        for name in names:
            relation, _, column = name.rpartition(".")
            if relation and self._steps(relation) is None:
                known = ", ".join(self.relations)
                asked = f"relation '{relation}', which '{name}' asks for"
                raise UserError(f"data: {self.source} has no {asked} (it has {known}){hint(relation.split('_')[-1])}")
            if column not in self.fields and column not in ("index", *self._image_names, *self._made_of_words):
                known = ", ".join(["image", *self.fields, *self._made_of_words])
                raise UserError(f"data: {self.source} has no field '{column}' (it has {known}){hint(column)}")

    def column(self, name: str) -> NDArray[Any]:
        """Return a field of numbers, one row per picture; raises UserError for a missing field or one of text."""
        stored = self.stored(name)
        return stored.take(np.arange(self.count)) if isinstance(stored, Repeated) else stored

    def stored(self, name: str) -> Column:
        """Return a column as it is kept, `image` (or image_64, if that is its size) among them; raises as `column`."""
        if name in self._image_names and name not in self.fields:
            return self.images
        self.require([name])
        if name not in self.fields:
            names = self.fields.get("id") or [f"picture {row}" for row in range(self.count)]
            self.fields[name] = self.encoding.vectors(self.fields["caption"], names, self.source)
        values = self.fields[name]
        if name == "embedding" and self.encoding.encoder == PRECOMPUTED:
            self._vectors = self.encoding.selected(values, self.source) if self._vectors is None else self._vectors
            return self._vectors
        if not isinstance(values, np.ndarray | Repeated):
            raise UserError(f"data: the field '{name}' of {self.source} is text, which no batch of tensors can hold")
        return values

    def related(self, relation: str, rows: Rows, seed: int, index: int) -> Rows:
        """Return the row that each of `rows` is related to in batch `index`; UserError when one finds nobody."""
        steps = self._steps(relation)
        if steps is None:
            self.require([f"{relation}.image"])
        for name in steps or ():
            found = self.relations[name].pick(
                rows, self.held_out, name, lambda purpose, of: uniform(seed, index, purpose, of)
            )
            lost = np.flatnonzero(found == NOBODY)
            if len(lost):
                who = self.fields["id"][rows[lost[0]]] if "id" in self.fields else f"picture {rows[lost[0]]}"
                side = "held-out" if self.held_out[rows[lost[0]]] else "training"
                among = f"among the {int((self.held_out == self.held_out[rows[lost[0]]]).sum()):,} {side} pictures"
                raise UserError(
                    f"data: {who} of {self.source} has no '{name}': {among} none is {self.relations[name].what}"
                )
            rows = found
        return rows

    def crosses(self, relations: Iterable[str]) -> bool:
        """Say whether one of the relations may lead from a training row to a held-out one or back."""
        steps = {step for name in relations for step in self._steps(name) or ()}
        return any(self.relations[step].crosses(self.held_out) for step in steps)

    def refuse_mirrored(self, names: Iterable[str]) -> None:
        """Raise UserError for fields whose meaning mirroring would change, so that data.flip would falsify them."""
        handed = [name for name in names if name.rpartition(".")[2] in _HANDED]
        if handed:
            raise UserError(f"data.flip=true would make the field '{handed[0]}' wrong: say data.flip=false")

    @property
    def _made_of_words(self) -> tuple[str, ...]:
        return ("embedding",) if "caption" in self.fields and "embedding" not in self.fields else ()

    @property
    def _image_names(self) -> tuple[str, str]:
        return "image", f"image_{self.size_px}"

    def _steps(self, relation: str) -> tuple[str, ...] | None:
        """Return the relations to follow one after the other: pair_target is pair, then target; None if unknown."""
        if relation in self.relations:
            return (relation,)
        for cut in [place for place, letter in enumerate(relation) if letter == "_"]:
            rest = self._steps(relation[cut + 1 :])
            if relation[:cut] in self.relations and rest:
                return (relation[:cut], *rest)
        return None

    def _common(self) -> dict[str, Relation]:
        """Return what needs nothing but rows, classes and groups."""
        rows = np.arange(self.count)
        classes, kind = self.fields.get("label"), "class"
        if not isinstance(classes, np.ndarray):
            classes, kind = np.unique(self.fields["group"], return_inverse=True)[1], "group"
        return {
            "pair": Drawn(differ=rows, what="another one", alone=True),
            "real": Drawn(what="a picture"),
            "wrong": Drawn(differ=classes, what=f"of another {kind}"),
        }
