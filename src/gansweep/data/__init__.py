"""Data sets: readers, the packed cache, batches. Knows names and shapes, not systems."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gansweep.data.batches import Batches
from gansweep.data.cache import open_cached
from gansweep.data.checks import check_settings, reader_class, refuse_missing
from gansweep.data.dataset import Dataset
from gansweep.data.feed import Feed, open_feed
from gansweep.data.normalize import invertible, normalize, to_uint8
from gansweep.data.source import Source

if TYPE_CHECKING:
    from gansweep.config.settings import DataSettings

__all__ = [
    "Batches",
    "Dataset",
    "Feed",
    "check_settings",
    "invertible",
    "normalize",
    "open_data",
    "open_feed",
    "refuse_missing",
    "to_uint8",
]


def open_data(cfg: DataSettings, *, progress: bool = True) -> Dataset:
    """Open the data set that the settings name, packing it into the cache on first use.

    Concurrent processes pack once. With `progress`, a bar on stderr while packing, when that is a terminal. Raises
    UserError for settings that cannot be met and for unusable pictures, Missing for what must be installed first.
    """
    check_settings(cfg)
    reader = reader_class(cfg)
    if isinstance(reader, type) and issubclass(reader, Source):
        return open_cached(reader(cfg), progress=progress)
    from gansweep.data.user_data import open_user_data

    return open_user_data(reader, cfg, progress=progress)
