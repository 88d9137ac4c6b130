"""`data=folder data.path=PICTURES`: any folder of pictures, with what its names and its metadata say of them."""

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from gansweep.data.crops import sizes_asked
from gansweep.data.encoders import ENCODER_ARGS, PRECOMPUTED, Encoding, encoding_of
from gansweep.data.given_vectors import VECTORS_FILE, GivenVectors
from gansweep.data.metadata import FILE_NAMES, Entry, read_metadata, read_sidecar
from gansweep.data.resize import Fit, extent_of, read_picture
from gansweep.data.source import BadPicture, Item, Listing, Picture, Source
from gansweep.data.split import limited
from gansweep.data.tags import is_oriented, select_tags
from gansweep.data.told import shown
from gansweep.errors import UserError, nearest

_USUAL = ".jpg .jpeg .jpe .jfif .png .webp .bmp .gif .tif .tiff .avif"
_RARE = ".ppm .pgm .pbm .pnm .jp2 .j2k .tga .ico"
SUFFIXES = frozenset(f"{_USUAL} {_RARE}".split())
_ARGS = ("sizes", *ENCODER_ARGS)
_SIZE_IN_NAME = re.compile(r"_\d+v\d+$")
_SAMPLED_FILES, _SAMPLED_BYTES = 16, 65536


class Folder(Source):
    """Pictures anywhere under a folder, hidden files and folders aside.

    Class: the first sub-folder, when every picture is in one and there are several; or `label` in the metadata.
    Tags: sub-folders, the metadata's tags, and the words of the name with data.name_tags. Captions: the metadata's,
    or the lines of a .txt of the same name. data.args: sizes, further ones that pictures are brought to; encoder,
    embedding and captions (see `gansweep.data.encoders`), where vectors of their own are in embeddings.npy. A reader
    made of this one that has `args` of its own has none of these.
    """

    pixel_keys: ClassVar[tuple[str, ...]] = (
        "size", "channels", "resize", "resample", "pad_value", "min_side", "max_aspect", "max_megapixels",
        "include", "exclude", "orientation", "limit", "name_tags", "group_by",
    )  # fmt: skip

    holds: ClassVar[str] = "picture (.jpg, .png, .webp and the like)"

    @staticmethod
    def is_item(name: str) -> bool:
        """Say whether a file, by its path, is one of those that the set consists of."""
        return is_picture(name)

    @classmethod
    def wants(cls, name: str) -> bool:
        """Say whether a file matters: pictures, captions and metadata."""
        return cls.is_item(name) or name.endswith(".txt") or name in FILE_NAMES

    @functools.cached_property
    def root(self) -> Path:
        """The folder, absolute; data.path is taken from the working directory."""
        if not self.cfg.path:
            raise UserError("data=folder needs to be told where: data.path=FOLDER")
        return Path(self.cfg.path).expanduser().absolute()

    @functools.cached_property
    def files(self) -> dict[str, os.stat_result]:
        """What is wanted under the root, by relative path in sorted order."""
        return dict(sorted(_walk(self.root, self.wants)))

    @functools.cached_property
    def sizes(self) -> list[int]:
        """Further sizes in px, ascending: data.args.sizes, less data.size itself."""
        return sizes_asked(self.cfg.args, self.cfg.size)

    @functools.cached_property
    def encoding(self) -> Encoding:
        """How captions become vectors."""
        return encoding_of(self.cfg.args, brings=True)

    def check(self) -> None:
        """Raise UserError unless data.path is a folder with a picture in it, and data.args can be."""
        if not hasattr(self, "args"):
            for key in self.cfg.args:
                if key not in _ARGS:
                    raise UserError(f"data.args.{key} is unknown{nearest(key, _ARGS)}")
            self.sizes, self.encoding  # noqa: B018
        if not self.root.exists():
            near = nearest(self.root.name, _names_in(self.root.parent), most=3)
            raise UserError(f"data.path={self.cfg.path} does not exist{near}")
        if not self.root.is_dir():
            raise UserError(f"data.path={self.cfg.path} is a file; give the folder that holds the pictures")
        found = any(self.is_item(name) for name, _ in _walk(self.root, self.wants))
        if not found:
            raise UserError(f"data.path={self.cfg.path} holds no {self.holds}")

    def stamp(self) -> str:
        """Hash relative path, size and time of every file, and how a few begin as a guard against coincidence."""
        digest = hashlib.sha256()
        for name, stat in self.files.items():
            digest.update(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
        for name in list(self.files)[:: max(1, len(self.files) // _SAMPLED_FILES)]:
            try:
                with (self.root / name).open("rb") as file:
                    digest.update(file.read(_SAMPLED_BYTES))
            except OSError:
                continue  # An unreadable file is told of when it is decoded.
        more = [f" sizes={self.sizes}"] if self.sizes else []
        if self.encoding.encoder == PRECOMPUTED:
            more.append(f" vectors={self._given.stamp()}")
        return digest.hexdigest() + "".join(more)

    def describe(self) -> str:
        """Name the folder, without the path to it."""
        return f"folder {self.root.name}"

    def items(self) -> Listing:
        """List the pictures that tags, orientation and limit select, also those that only the metadata knows."""
        metadata = read_metadata(self.root)
        names = sorted({name for name in self.files if is_picture(name)} | metadata.keys())
        labels = _labels(names, metadata, self.root)
        items = [self._item(name, metadata.get(name, Entry()), labels.get(name)) for name in names]
        items = select_tags(items, self.cfg.include or [], self.cfg.exclude or [])
        items = limited(self._oriented(items), self.cfg.limit)
        if self.encoding.encoder == PRECOMPUTED:
            self._given.open(list(metadata) or names, [item.id for item in items])
        return Listing(items, sorted(set(labels.values())))

    def picture(self, item: Item) -> Picture:
        """Decode and fit one file, to every size; raise BadPicture with the reason."""
        path, fit = self.root / item.id, Fit.of(self.cfg)
        found = read_picture(path, fit)
        columns: dict[str, Any] = {f"image_{px}": read_picture(path, replace(fit, size=px)).pixels for px in self.sizes}
        if self.encoding.encoder == PRECOMPUTED:
            columns["embedding"] = self._given.of(item.id)
        return Picture(found.pixels, found.box, columns) if columns else found

    @functools.cached_property
    def _given(self) -> GivenVectors:
        return GivenVectors(self.root / VECTORS_FILE)

    def _item(self, name: str, entry: Entry, label: str | None) -> Item:
        path = PurePosixPath(name)
        words: tuple[str, ...] = ()
        if self.cfg.name_tags:
            words = tuple(word for word in _SIZE_IN_NAME.sub("", path.stem).split("-") if word)
        beside = str(path.with_suffix(".txt"))
        captions = entry.captions
        if not captions and beside in self.files:
            captions = read_sidecar(self.root / beside)
        folder = str(path.parent)
        group = folder if self.cfg.group_by == "folder" and folder != "." else name
        tags = tuple(dict.fromkeys((*path.parent.parts, *entry.tags, *words)))
        return Item(id=name, group=entry.group or group, captions=captions, tags=tags, label=label)

    def _oriented(self, items: list[Item]) -> list[Item]:
        """Keep the pictures of the wanted orientation, and those whose header cannot be read, to be told of later."""
        wanted = self.cfg.orientation
        if wanted == "any":
            return items

        def fits(item: Item) -> bool:
            try:
                return is_oriented(*extent_of(self.root / item.id), wanted)
            except BadPicture:
                return True

        with ThreadPoolExecutor(self.cfg.workers) as pool:
            kept = [item for item, fit in zip(items, pool.map(fits, items), strict=True) if fit]
        if not kept:
            raise UserError(f"data.orientation={wanted}: none of the {len(items):,} pictures in {self.cfg.path} is")
        return kept


def _labels(names: list[str], metadata: dict[str, Entry], root: Path) -> dict[str, str]:
    """Return the class of every picture, or nothing when the set has no classes."""
    labelled = {name: entry.label for name, entry in metadata.items() if entry.label}
    if labelled:
        without = [name for name in names if name not in labelled]
        if without:
            raise UserError(
                f"data.path: the metadata of {root} labels {len(labelled):,} pictures and not {len(without):,} others, "
                f"such as {shown(without[0])}; label all or none"
            )
        return labelled
    folders = {name: PurePosixPath(name).parts[0] for name in names if "/" in name}
    return folders if len(folders) == len(names) and len(set(folders.values())) > 1 else {}


def is_picture(name: str) -> bool:
    """Say whether a name ends as pictures' do."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def _walk(root: Path, wants: Callable[[str], bool]) -> Iterator[tuple[str, os.stat_result]]:
    """Yield relative path and stat of the files that are wanted; links to folders are followed, each folder once.

    Raises UserError for a folder that cannot be read: pictures must not be missing unseen.
    """
    waiting, seen = [""], set()
    while waiting:
        inner = waiting.pop()
        try:
            stat = (root / inner).stat()
            if (stat.st_dev, stat.st_ino) in seen:
                continue
            seen.add((stat.st_dev, stat.st_ino))
            with os.scandir(root / inner) as listed:
                entries = [entry for entry in listed if not entry.name.startswith(".")]
        except OSError as error:
            raise UserError(f"data.path: {shown(root / inner)} cannot be read ({error.strerror})") from None
        for entry in entries:
            name = f"{inner}{entry.name}"
            if entry.is_dir():
                waiting.append(f"{name}/")
            elif wants(name):
                yield name, _stat(entry)


def _stat(entry: os.DirEntry[str]) -> os.stat_result:
    """Return a file's stat, or that of the link itself where it leads nowhere."""
    try:
        return entry.stat()
    except OSError:
        return entry.stat(follow_symlinks=False)


def _names_in(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    except OSError:
        return []
