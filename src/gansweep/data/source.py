"""What a data set's reader gives the packer: a list of items, and the pixels of each.

A reader is reached by `data._target_`. It lists what it has (`items`), decodes one item (`picture`) and says by a cheap
`stamp` whether anything changed since it was packed. It knows nothing of caches, batches or systems.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gansweep.data.encoders import Encoding, encoding_of
from gansweep.data.relations import Relation

if TYPE_CHECKING:
    from gansweep.config.settings import DataSettings

Pixels = NDArray[np.uint8]
Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Item:
    """One picture before it is decoded.

    `id` is unique in the set and stays the same when others are added (a relative path, a code point sequence);
    pictures of one `group` never fall on both sides of the split. `file` names what it is cut from, where several items
    share a file: when that cannot be used, it is told and counted once.
    """

    id: str
    group: str
    captions: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    label: str | None = None
    file: str | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """Pixels, uint8 (C, H, W), and which part is picture, not padding: left, top, right, bottom in px of data.size.

    `columns` are further fields of it: whole numbers, floats and vectors of them, or pixels (uint8 or weights as
    floats, three axes or more). All pictures of a set have the same ones, of one shape and type.
    """

    pixels: Pixels
    box: Box
    columns: Mapping[str, Any] = field(default_factory=dict)


class BadPicture(Exception):
    """A picture that cannot be used: `reason` is a short class of fault, `detail` what the decoder said."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Listing:
    """Everything a reader has after tags and limit: the items in id order, and the names behind the class numbers."""

    items: list[Item]
    label_names: list[str] = field(default_factory=list)


class Source(ABC):
    """A reader of one kind of data set; see the module's first lines."""

    pixel_keys: ClassVar[tuple[str, ...]] = ()
    """Settings that change what is packed: with the stamp they make the cache's key."""

    licence: ClassVar[str] = ""
    """Under which terms the pictures may be used; "" when only their owner knows."""

    counted: ClassVar[str] = "pictures"
    """What one is told of when some cannot be used: the files behind the items, or the items themselves."""

    procedural: ClassVar[bool] = False
    """Whether the pictures are made by a program and show nothing that exists."""

    def __init__(self, cfg: DataSettings) -> None:
        self.cfg = cfg

    @property
    def margin_px(self) -> int:
        """By how many px packed pictures are larger than data.size, so that windows can be cut from them."""
        return 0

    @functools.cached_property
    def cuts(self) -> Mapping[str, int]:
        """Columns besides `image` that a window of the packed picture may stand for: name to px that become one."""
        return {}

    @functools.cached_property
    def encoding(self) -> Encoding:
        """How captions become vectors; raises UserError, or Missing, for what data.args cannot have."""
        return encoding_of(self.cfg.args, brings=False)

    @abstractmethod
    def check(self) -> None:
        """Raise UserError or Missing when the set cannot be there; reads little and writes nothing."""

    @abstractmethod
    def stamp(self) -> str:
        """Return text that changes whenever the set's files or the packages behind it change."""

    @abstractmethod
    def items(self) -> Listing:
        """List the items that the settings select, in the order of their ids."""

    @abstractmethod
    def picture(self, item: Item) -> Picture:
        """Decode one item to (channels, size, size); raise BadPicture when that fails. Called from several threads."""

    @abstractmethod
    def describe(self) -> str:
        """Say in one line what the set is, with version and licence where they are known."""

    def relations(self, fields: Mapping[str, Any]) -> Mapping[str, Relation]:
        """Return relations beyond those of every set (or in their place), made of the packed fields; not packed."""
        return {}

    def held_out(self, fields: Mapping[str, Any]) -> NDArray[np.bool_] | None:
        """Return which rows a set's own parts hold out; None, as usual, to split by data.val_fraction."""
        return None
