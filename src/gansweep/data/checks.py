"""Checks of the data settings that need no decoding: cheap enough for every job of a sweep, and nothing is created."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from gansweep.data.resize import RESAMPLING, WAYS
from gansweep.data.shipped import hint, never_has
from gansweep.data.source import Source
from gansweep.data.tags import ORIENTATIONS, check_tags
from gansweep.errors import UserError, nearest

if TYPE_CHECKING:
    from gansweep.config.settings import DataSettings

_CHOICES = {
    "normalize": ("tanh", "unit", "zscore"),
    "resize": WAYS,
    "resample": tuple(RESAMPLING),
    "orientation": ORIENTATIONS,
    "group_by": ("file", "folder"),
    "on_bad": ("fail", "skip"),
    "part": ("train", "test", "all"),
}
_SIZE_MIN_PX, _SIZE_MAX_PX = 4, 2048
_OURS = "gansweep.data."


def check_settings(cfg: DataSettings) -> None:
    """Raise UserError (or Missing) when a set cannot be opened with these settings; reads little and writes nothing."""
    for key, choices in _CHOICES.items():
        value = getattr(cfg, key)
        if value not in choices:
            raise UserError(f"data.{key}={value} is unknown{nearest(str(value), choices)}")
    _check_range("size", cfg.size, _SIZE_MIN_PX, _SIZE_MAX_PX)
    _check_range("val_fraction", cfg.val_fraction, 0.0, 1.0, open_end=True)
    _check_range("max_bad_fraction", cfg.max_bad_fraction, 0.0, 1.0)
    if cfg.limit is not None:
        _check_range("limit", cfg.limit, 1, None)
    if cfg.channels not in (1, 3):
        raise UserError(f"data.channels={cfg.channels} is out of range: 1 (grey) or 3 (red, green, blue)")
    _check_colour(cfg.pad_value)
    check_tags(cfg.include or [], cfg.exclude or [])
    reader = reader_class(cfg)
    if isinstance(reader, type) and issubclass(reader, Source):
        reader(cfg).check()


def refuse_missing(cfg: DataSettings, inputs: Mapping[str, Any]) -> None:
    """Raise UserError for a model's inputs (name to what has a `shape`) that a shipped set cannot give.

    Fields, relations, sizes of pictures, lengths of clips: as far as settings tell them, before anything is packed.
    A reader of the user's own may have what ours has not, though it be made of one of ours, and is not looked at.
    """
    reader = reader_class(cfg)
    ours = isinstance(reader, type) and issubclass(reader, Source) and reader.__module__.startswith(_OURS)
    if not ours:
        return
    own = reader.__module__.rpartition(".")[2]
    for name in inputs:
        relation, _, column = name.rpartition(".")
        step = relation.rpartition("_")[2]
        if step and never_has(own, step):
            raise UserError(f"data={own} has no relation '{relation}', which '{name}' asks for{hint(step)}")
        if never_has(own, column):
            raise UserError(f"data={own} has no field '{column}'{hint(column)}")
    _refuse_other_length(cfg, inputs)
    if hasattr(reader, "sizes"):
        _refuse_missing_sizes(cfg, inputs)


def _refuse_other_length(cfg: DataSettings, inputs: Mapping[str, Any]) -> None:
    given, wanted = cfg.args.get("frames"), getattr(inputs.get("frames"), "shape", ())
    if isinstance(given, int) and wanted and given != wanted[0]:
        raise UserError(
            f"data.args.frames={given}: the model takes clips of {wanted[0]} frames; "
            f"say data.args.frames={wanted[0]} or model.frames={given}"
        )


def _refuse_missing_sizes(cfg: DataSettings, inputs: Iterable[str]) -> None:
    names = (name.rpartition(".")[2].partition("_") for name in inputs)
    wanted = sorted({int(size) for column, _, size in names if column == "image" and size.isdecimal()})
    given = cfg.args.get("sizes") or []
    if set(wanted) <= {*given, cfg.size}:
        return
    say = f"'{'' if 'sizes' in cfg.args else '+'}data.args.sizes=[{','.join(map(str, wanted))}]'"
    takes = (
        f"the model (model.outputs) takes pictures of {' and '.join(map(str, wanted))} px beside data.size={cfg.size}"
    )
    raise UserError(f"data.args.sizes={list(given)}: {takes}; say {say}")


def reader_class(cfg: DataSettings) -> Any:
    """Import what `data._target_` names: a reader of ours, or anything of the user's that makes a map-style set."""
    dotted = cfg.target or ""
    module_name, _, name = dotted.rpartition(".")
    if not module_name:
        raise UserError(f"data._target_={dotted or 'null'} is not a dotted path such as mylab.Things")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        text = f"no module named {error.name}; install its package, or set PYTHONPATH to its folder"
        raise UserError(f"data._target_={dotted}: {text}") from None
    except Exception as error:
        raise UserError(
            f"data._target_={dotted}: importing {module_name} failed ({type(error).__name__}: {error})"
        ) from error
    if not hasattr(module, name):
        public = [found for found in vars(module) if not found.startswith("_")]
        raise UserError(f"data._target_={dotted}: {module_name} has no '{name}'{nearest(name, public)}")
    return getattr(module, name)


def _check_range(key: str, value: float, least: float, most: float | None, open_end: bool = False) -> None:
    beyond = most is not None and (value >= most if open_end else value > most)
    if value < least or beyond:
        limits = f"{least:g} or more" if most is None else f"{least:g} to {'below ' if open_end else ''}{most:g}"
        raise UserError(f"data.{key}={value:g} is out of range: {limits}")


def _check_colour(value: int | list[int] | str) -> None:
    parts = value if isinstance(value, list) else [] if value == "edge" else [value]
    good = all(isinstance(part, int) and 0 <= part <= 255 for part in parts)
    if not good or (isinstance(value, list) and len(value) != 3):
        raise UserError(f"data.pad_value={value} is no colour: a number 0 to 255, three of them, or edge")
