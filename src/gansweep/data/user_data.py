"""`data._target_=mylab.Things`: a data set of the user's own, read once, then used like any packed one.

Anything with `__len__` and `__getitem__` will do whose items are dictionaries with an "image": uint8 (C, H, W) as
tensor or array, or floats in the range of data.normalize. Other entries become fields: numbers, vectors, further
pictures (uint8 with three axes or more), maps (floats with as many, or named mask). `relations` of the set, name to a
list with an item number for each item, name other items. Nothing is kept on disk between runs, because nothing tells
whether such a set has changed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from gansweep.data.bad import BadFile, judge
from gansweep.data.cache import cache_root
from gansweep.data.content import Content
from gansweep.data.dataset import Dataset
from gansweep.data.normalize import invertible, to_uint8
from gansweep.data.progress import packing_bar
from gansweep.data.relations import NOBODY, Listed
from gansweep.data.source import Item
from gansweep.data.split import limited
from gansweep.errors import UserError

if TYPE_CHECKING:
    from gansweep.config.settings import DataSettings

_LOWEST = {"tanh": -1.0, "unit": 0.0}
_ROUNDING = 1e-3
_SELECTORS = ("include", "exclude")


def open_user_data(maker: Any, cfg: DataSettings, *, progress: bool) -> Dataset:
    """Make the user's set with data.args and read it whole; raise UserError when an item does not fit the settings.

    Items that raise are unusable pictures, treated as data.on_bad says. Sets above data.ram_limit_mb are held in an
    unnamed file in data.cache_dir, which vanishes with the process.
    """
    things = _made(maker, cfg)
    first = _item(things, 0, cfg)
    _pixels(first["image"], cfg, 0)
    named = [Item(id=f"{number:09d}", group="") for number in range(len(things))]
    numbers = [int(item.id) for item in limited(named, cfg.limit)]
    images = _room(len(numbers), cfg)
    rows: list[Mapping[str, Any]] = []
    kept: list[int] = []
    bad: list[BadFile] = []
    with packing_bar(progress) as bar:
        for number in bar.track(numbers, description=f"reading {cfg.name}"):
            try:
                item = things[number]
            except Exception as error:  # The user's code; which item it was matters more than how it failed.
                bad.append(BadFile(f"item {number}", f"raised {type(error).__name__}", str(error)))
                continue
            _check_fields(item, first, number, cfg)
            images[len(rows)] = _pixels(item["image"], cfg, number)
            kept.append(number)
            rows.append({"group": f"{number:09d}", **{key: value for key, value in item.items() if key != "image"}})
    judge(bad, len(numbers), cfg.on_bad, cfg.max_bad_fraction, announce=True)
    relations = _relations(things, kept, cfg)
    return dataclasses.replace(_dataset(images[: len(rows)], rows, bad, things, cfg), relations=relations)


def _made(maker: Any, cfg: DataSettings) -> Any:
    for key in _SELECTORS:
        if getattr(cfg, key):
            raise UserError(
                f"data.{key} selects in gansweep's own sets; {cfg.target} must select by itself (data.args)"
            )
    if not callable(maker):
        raise UserError(f"data._target_={cfg.target} is no class or function that makes a data set")
    try:
        things = maker(**cfg.args)
    except Exception as error:
        given = ", ".join(cfg.args) or "nothing"
        text = f"{cfg.target} could not be made with data.args ({given}): {type(error).__name__}: {error}"
        raise UserError(text) from error
    if not hasattr(things, "__len__") or not hasattr(things, "__getitem__"):
        raise UserError(f"data._target_={cfg.target} gives {type(things).__name__}, which lacks __len__ or __getitem__")
    if len(things) == 0:
        raise UserError(f"data._target_={cfg.target} gives an empty set")
    return things


def _item(things: Any, number: int, cfg: DataSettings) -> Mapping[str, Any]:
    try:
        item = things[number]
    except Exception as error:
        raise UserError(f"{cfg.target}: item {number} raised {type(error).__name__}: {error}") from error
    if not isinstance(item, Mapping) or "image" not in item:
        has = ", ".join(map(str, item)) if isinstance(item, Mapping) else type(item).__name__
        raise UserError(f"{cfg.target}: item {number} must be a dictionary with an 'image'; it has {has}")
    return item


def _check_fields(item: Any, first: Mapping[str, Any], number: int, cfg: DataSettings) -> None:
    if not isinstance(item, Mapping) or item.keys() != first.keys():
        has = ", ".join(sorted(item)) if isinstance(item, Mapping) else type(item).__name__
        raise UserError(f"{cfg.target}: item {number} has {has}, where item 0 has {', '.join(sorted(first))}")


def _pixels(image: Any, cfg: DataSettings, number: int) -> NDArray[np.uint8]:
    """Return one image as uint8 (C, H, W) after checking shape, type and range against the settings."""
    values = torch.as_tensor(image).detach().cpu()
    wanted = (cfg.channels, cfg.size, cfg.size)
    if tuple(values.shape) != wanted:
        raise UserError(
            f"{cfg.target}: the image of item {number} is {tuple(values.shape)}, where data.channels={cfg.channels} "
            f"and data.size={cfg.size} ask for {wanted}"
        )
    if values.dtype == torch.uint8:
        return values.numpy()
    if not values.dtype.is_floating_point:
        text = f"the image of item {number} is {values.dtype}; give uint8, or floats as networks see them"
        raise UserError(f"{cfg.target}: {text}")
    if not invertible(cfg.normalize):
        raise UserError(f"{cfg.target}: floats cannot be brought back to pixels from {cfg.normalize}; give uint8")
    lowest, least, most = _LOWEST[cfg.normalize], float(values.min()), float(values.max())
    if not (least >= lowest - _ROUNDING and most <= 1 + _ROUNDING):
        raise UserError(
            f"{cfg.target}: the image of item {number} spans {least:g} to {most:g}, where "
            f"data.normalize={cfg.normalize} is {lowest:g} to 1"
        )
    return to_uint8(values[None], cfg.normalize)[0].numpy()


def _room(count: int, cfg: DataSettings) -> NDArray[np.uint8]:
    shape = (count, cfg.channels, cfg.size, cfg.size)
    if int(np.prod(shape)) <= cfg.ram_limit_mb * 2**20:
        return np.empty(shape, dtype=np.uint8)
    root = cache_root(cfg)
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=root) as file:
        return np.memmap(file, dtype=np.uint8, mode="w+", shape=shape)


def _dataset(
    images: NDArray[np.uint8], rows: list[Mapping[str, Any]], bad: list[BadFile], things: Any, cfg: DataSettings
) -> Dataset:
    fields = {name: _field([row[name] for row in rows], name, cfg) for name in rows[0]}
    fields["group"] = [str(group) for group in fields["group"]]
    label_names = [str(name) for name in getattr(things, "label_names", None) or getattr(things, "classes", None) or []]
    content = Content(cfg.channels)
    for picture in images:
        content.add(picture)
    others = sorted(name for name in fields if name != "group")
    content.finish(
        np.zeros((0, 4), dtype=np.int16),
        (([f"{name}={_told(fields[name][row])}" for name in others], (), None) for row in range(len(rows))),
    )
    images.setflags(write=False)
    source = f"{cfg.target} ({len(rows):,} items)"
    manifest = {
        "source": source,
        "settings": {"size": cfg.size, "channels": cfg.channels, "limit": cfg.limit, "args": dict(cfg.args)},
        "count": len(rows),
        "shape": list(images.shape),
        "labels": label_names,
        "skipped": [one.as_dict() for one in bad],
        **content.moments(),
        "fingerprint": content.fingerprint(),
    }
    return Dataset(images, fields, label_names, content.fingerprint(), manifest, source, cfg.val_fraction)


def _field(values: list[Any], name: str, cfg: DataSettings) -> Any:
    """Return a field as an array of numbers (whole ones as int64), as texts, or as a list of texts per row."""
    if isinstance(values[0], str):
        return [[value] for value in values] if name in ("caption", "tags") else values
    if isinstance(values[0], list | tuple) and all(isinstance(one, str) for one in values[0]):
        return [list(value) for value in values]
    try:
        column = np.stack([np.asarray(value) for value in values])
    except (ValueError, TypeError) as error:
        raise UserError(f"{cfg.target}: the field '{name}' is not of one shape in all items ({error})") from error
    if column.dtype.kind not in "biuf":
        raise UserError(f"{cfg.target}: the field '{name}' is {column.dtype}; give numbers or text")
    if column.dtype.kind not in "iu" or (column.dtype == np.uint8 and column.ndim >= 4):
        return column
    return column.astype(np.int64)


def _told(value: Any) -> Any:
    """Return what the fingerprint takes in of a field's value: arrays are printed with gaps."""
    return hashlib.sha256(value.tobytes()).hexdigest() if isinstance(value, np.ndarray) else value


def _relations(things: Any, kept: list[int], cfg: DataSettings) -> dict[str, Listed]:
    """Return the set's own relations, from item numbers to rows; items that were left out are nobody's partner."""
    given = getattr(things, "relations", None) or {}
    if not isinstance(given, Mapping):
        raise UserError(f"{cfg.target}: relations must map names to lists of item numbers, not {type(given).__name__}")
    places = np.full(len(things), NOBODY, dtype=np.int64)
    places[kept] = np.arange(len(kept))
    relations = {}
    for name, partners in given.items():
        numbers = np.asarray(partners)
        fits = numbers.shape == (len(things),) and numbers.dtype.kind in "iu"
        if not fits or not (numbers.min() >= 0 and numbers.max() < len(things)):
            raise UserError(
                f"{cfg.target}: the relation '{name}' must be {len(things)} item numbers from 0 to {len(things) - 1}"
            )
        relations[str(name)] = Listed(places[numbers[kept]])
    return relations
