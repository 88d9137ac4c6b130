"""What sets of pictures with sentences as StackGAN and HDGAN keep them have in common: two parts, pickles, windows."""

from __future__ import annotations

import functools
import hashlib
import os
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gansweep.data.crops import divided, reduced, sizes_asked
from gansweep.data.encoders import ENCODER_ARGS, PRECOMPUTED, Encoding, encoding_of
from gansweep.data.pickled_array import Held
from gansweep.data.source import BadPicture, Item, Source
from gansweep.data.told import shown
from gansweep.data.unpickle import read_pickle
from gansweep.errors import UserError, nearest

EMBEDDINGS, FILE_NAMES = "char-CNN-RNN-embeddings.pickle", "filenames.pickle"
# A picture is kept this much larger than data.size: 304 px for windows of 256, 76 for 64.
_MARGIN = 3 / 16
_MOST_NAME = 1024


class Row(NamedTuple):
    """Where a picture stands: its part, and its number in that part's pickles."""

    part: str
    number: int


class TextSet(Source):
    """Pictures in two parts, of which the second is held out, with vectors and sentences for each.

    `own_args` are data.args with what they are unless said otherwise; `folders` the parts' folders in data.path.
    """

    own_args: ClassVar[Mapping[str, Any]] = {}
    folders: ClassVar[Mapping[str, str]] = {}
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    @functools.cached_property
    def args(self) -> dict[str, Any]:
        """data.args, completed; UserError for one that is not known or cannot be."""
        known = {"sizes": [], "max_pickle_gb": 16, **dict.fromkeys(ENCODER_ARGS), **self.own_args}
        for key in self.cfg.args:
            if key not in known:
                raise UserError(f"data.args.{key} is unknown{nearest(key, known)}")
        args = {**known, **self.cfg.args}
        for key, choices in self.choices.items():
            if args[key] not in choices:
                raise UserError(f"data.args.{key}={args[key]} is unknown{nearest(str(args[key]), choices)}")
        most = args["max_pickle_gb"]
        if isinstance(most, bool) or not isinstance(most, int | float) or not most > 0:
            raise UserError(f"data.args.max_pickle_gb={most} is out of range: more than 0")
        return args

    @functools.cached_property
    def encoding(self) -> Encoding:
        """How sentences become vectors: those that come with the set, unless data.args.encoder says otherwise."""
        return encoding_of(self.args, brings=True)

    @property
    def root(self) -> Path:
        """The folder, absolute; data.path is taken from the working directory."""
        return Path(self.cfg.path or "").expanduser().absolute()

    @property
    def parts(self) -> list[str]:
        """The parts that data.part asks for."""
        return list(self.folders) if self.cfg.part == "all" else [self.cfg.part]

    @functools.cached_property
    def sizes(self) -> list[int]:
        """Further sizes in px, ascending: data.args.sizes, less data.size itself."""
        return sizes_asked(self.args, self.cfg.size)

    @functools.cached_property
    def cuts(self) -> Mapping[str, int]:
        """The columns of further sizes: the mean of so many by so many px of data.size."""
        return divided(self.sizes, self.cfg.size)

    @property
    def wide_px(self) -> int:
        """The side that pictures are brought to before a window of data.size is cut from them."""
        return self.cfg.size + (0 if self.args["crop"] == "none" else round(self.cfg.size * _MARGIN))

    @property
    def margin_px(self) -> int:
        """What pictures are packed with, where windows are cut anew in every batch."""
        return self.wide_px - self.cfg.size if self.args["crop"] == "random" else 0

    def check(self) -> None:
        """Raise UserError for arguments that cannot be, and unless the parts' folders are there with their pickles."""
        name = self.cfg.name
        if not self.cfg.path:
            raise UserError(f"data={name} needs to be told where: data.path=FOLDER")
        self.cuts, self.encoding  # noqa: B018
        if not self.root.is_dir():
            raise UserError(f"data.path={self.cfg.path} is no folder")
        if self.cfg.part == "all" and self.cfg.val_fraction == 0:
            held = list(self.folders)[1]
            raise UserError(
                f"data.val_fraction=0 would train on the {held} part, which is held out; say data.part=train"
            )
        for path in (path for part in self.parts for path in self.needed(part)):
            if not path.exists():
                raise UserError(f"data.path={self.cfg.path} has no {path.relative_to(self.root)}, as data={name} needs")

    def stamp(self) -> str:
        """Return size and time of every file, and the arguments that are packed; UserError for one it cannot see."""
        digest = hashlib.sha256()
        try:
            for path in sorted({path for part in self.parts for path in [*self.needed(part), *self.further(part)]}):
                for entry in sorted(os.scandir(path), key=lambda one: one.name) if path.is_dir() else [path]:
                    stat = entry.stat() if entry.is_file() else None
                    if stat is not None:
                        told = f"{entry.name}\0{stat.st_size}\0{stat.st_mtime_ns}\n"
                        digest.update(told.encode("utf-8", "replace"))
        except OSError as error:
            raise UserError(f"data.path: {shown(error.filename)} cannot be read ({error.strerror})") from None
        brings = self.encoding.encoder == PRECOMPUTED
        return f"{digest.hexdigest()} crop={self.args['crop']} sizes={self.sizes} precomputed={brings}"

    def held_out(self, fields: Mapping[str, Any]) -> NDArray[np.bool_] | None:
        """Hold out the second part where both are asked for: the set's own split."""
        if self.cfg.part != "all":
            return None
        held = f"{list(self.folders)[1]}/"
        return np.array([name.startswith(held) for name in fields["id"]], dtype=np.bool_)

    @abstractmethod
    def needed(self, part: str) -> list[Path]:
        """Return the files and folders that a part cannot do without."""

    def further(self, part: str) -> list[Path]:
        """Return files and folders of a part that may be missing."""
        return []

    def place(self, part: str, name: str) -> Path:
        """Return a file of a part."""
        return self.root / self.folders[part] / name

    def pickle(self, path: Path) -> Any:
        """Return what a pickle holds."""
        return read_pickle(path, self.args["max_pickle_gb"])

    @functools.cached_property
    def names(self) -> dict[str, list[str]]:
        """Every part's names, in the order of its pickles; UserError for one that leads out of the folder or is twice.

        Names of bytes, as Python 2 wrote them, are UTF-8 where they can be, else latin1.
        """
        found = {}
        for part in self.parts:
            path = self.place(part, FILE_NAMES)
            given = self.pickle(path)
            if not isinstance(given, list) or not given:
                raise UserError(f"data.path: {path} is no list of names, or an empty one")
            names = [text_of(name, f"{path} row {row}") for row, name in enumerate(given)]
            rows: dict[str, int] = {}
            for row, name in enumerate(names):
                if not names_a_file(name):
                    raise UserError(f"data.path: {path} row {row} is {name[:80]!r}, which names no file in the folder")
                if name in rows:
                    raise UserError(f"data.path: {path} rows {rows[name]} and {row} are both {shown(name)}")
                rows[name] = row
            found[part] = names
        return found

    @functools.cached_property
    def rows(self) -> dict[str, Row]:
        """Every item's place, by its id."""
        return {
            f"{part}/{name}": Row(part, row) for part, names in self.names.items() for row, name in enumerate(names)
        }

    @functools.cached_property
    def vectors(self) -> dict[str, list[Held]]:
        """Every part's vectors, an array (n_cap, length) for each picture; {} when they are not asked for.

        UserError, with the file and the row, for fewer or more than names, and for one of another shape.
        """
        if self.encoding.encoder != PRECOMPUTED:
            return {}
        found, shape = {}, None
        for part in self.parts:
            path = self.place(part, EMBEDDINGS)
            given = self.pickle(path)
            rows = self.matched(split_rows(given, path), part, path)
            for row, one in enumerate(rows):
                shape = getattr(one, "shape", None) if shape is None else shape
                if not isinstance(one, Held) or one.dtype.kind != "f" or len(one.shape) not in (1, 2) or 0 in one.shape:
                    raise UserError(f"data.path: {path} row {row} is no array (captions, length) of floats")
                if one.shape != shape:
                    raise UserError(f"data.path: {path} row {row} is {one.shape}, where the first row has {shape}")
            found[part] = rows
        return found

    def matched(self, values: Any, part: str, path: Path) -> list[Any]:
        """Return a part's list as it is; UserError, naming the first row without, unless it has as many as names."""
        names = self.names[part]
        if not isinstance(values, list):
            raise UserError(f"data.path: {path} is no list")
        if len(values) != len(names):
            row = f"row {len(names)} has no name"
            if len(values) < len(names):
                row = f"row {len(values)} ({shown(names[len(values)])}) has none"
            text = f"{path} has {len(values):,} rows, where {FILE_NAMES} has {len(names):,}"
            raise UserError(f"data.path: {text}: {row}, counted from 0")
        return values

    def columns(self, item: Item, window: NDArray[np.uint8]) -> dict[str, Any]:
        """Return an item's vectors, and its further sizes made of the window (C, size, size) that is not drawn."""
        columns: dict[str, Any] = {name: reduced(window, factor) for name, factor in self.cuts.items()}
        if self.vectors:
            part, row = self.rows[item.id]
            try:
                columns["embedding"] = self.vectors[part][row].array().astype(np.float32)
            except ValueError as error:
                raise BadPicture("vectors damaged", str(error)) from error
            if not np.isfinite(columns["embedding"]).all():
                raise BadPicture("vectors damaged", f"row {row} of {EMBEDDINGS} is not finite")
        return columns


def split_rows(values: Any, path: Path) -> Any:
    """Return a list of arrays of what may be one array for all rows; anything else as it is.

    UserError, naming the file, for an array that has other bytes than its shape asks for.
    """
    if not isinstance(values, Held) or not values.shape:
        return values
    try:
        whole = values.array()
    except ValueError as error:
        raise UserError(f"data.path: {path} is damaged: {error}") from None
    return [Held.of(one) for one in whole]


def names_a_file(name: str) -> bool:
    """Say whether a text can be the path of a file within a folder."""
    inside = PurePosixPath(name)
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    out = inside.is_absolute() or ".." in inside.parts
    return bool(name) and len(name) <= _MOST_NAME and "\0" not in name and not out


def text_of(value: Any, where: str) -> str:
    """Return a text of a pickle; UserError for anything else."""
    if isinstance(value, str):
        return value
    if not isinstance(value, bytes):
        raise UserError(f"data.path: {where} is {type(value).__name__}, no text")
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin1")
