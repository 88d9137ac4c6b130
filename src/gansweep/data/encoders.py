"""Captions as vectors, by a named encoder: how `data.args` asks for it, and where the vectors are kept."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gansweep.data.columns import Column, Repeated
from gansweep.data.minilm import MINILM_LENGTH, minilm_stamp, open_minilm
from gansweep.data.progress import packing_bar
from gansweep.data.told import shown
from gansweep.data.words import DEFAULT_LENGTH, open_bag_of_words
from gansweep.errors import UserError, nearest

BAG_OF_WORDS, PRECOMPUTED, MINILM = ENCODERS = ("bag-of-words", "precomputed", "minilm")
ENCODER_ARGS = ("encoder", "embedding", "captions")
MEAN = "mean"
_MOST_LENGTH, _MOST_CAPTIONS = 16384, 1000
# Vectors that take longer to make than to read are kept beside the packed set: minilm's, and more than so many bytes.
_KEPT_BYTES = 64 * 2**20
_IN_MEMORY_BYTES = 256 * 2**20
_ROWS = 256

Encode = Callable[[Sequence[str]], NDArray[np.float32]]


@dataclass(frozen=True)
class Encoding:
    """Which encoder, how long its vectors are, and what is made of a picture's several captions.

    `captions` None: one vector a picture, the mean of its captions' (length,); 1: the first caption's alone (length,);
    K: the first K, each its own (K, length). `folder` is where vectors may be kept.
    """

    encoder: str = BAG_OF_WORDS
    length: int = DEFAULT_LENGTH
    captions: int | None = None
    folder: Path | None = None
    progress: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one picture's field `embedding`."""
        return (self.length,) if self.captions in (None, 1) else (self.captions or 1, self.length)

    def say(self) -> str:
        """Say in a few words what the field is, for the data card."""
        many = {None: "the mean of all captions", 1: "the first caption"}.get(self.captions, "each caption its own")
        return f"float32, {' x '.join(map(str, self.shape))}: {self.encoder}, {many}"

    def vectors(self, captions: Sequence[Sequence[str]], names: Sequence[str], source: str) -> NDArray[np.float32]:
        """Return the field for the captions of every row: float32 (N, length), or (N, K, length).

        UserError, naming the row, for one with fewer captions than are asked for, or (bag-of-words) without a word in
        one. Made once and kept in `folder`, under a name that says encoder and captions, when making takes long.
        """
        for row, texts in enumerate(captions):
            _check_count(len(texts), self.captions, names[row], source)
        place = None if self.folder is None else self._place(self.folder, captions)
        found = None if place is None else _read(place, (len(captions), *self.shape))
        if found is not None:
            return found
        encode = self._open(names, source)
        out = np.empty((len(captions), *self.shape), dtype=np.float32)
        with packing_bar(self.progress) as bar:
            for at in bar.track(range(0, len(captions), _ROWS), description=f"captions by {self.encoder}"):
                self._fill(out[at : at + _ROWS], captions[at : at + _ROWS], encode, at)
        if place is not None and (self.encoder != BAG_OF_WORDS or out.nbytes > _KEPT_BYTES):
            _keep(place, out)
        return out

    def selected(self, column: Column, source: str) -> Column:
        """Return what is asked for of a column with a vector for each caption, (N, n_cap, length), as a set brings it.

        A set that brings one vector a picture, (N, length), has it whatever is asked. UserError beyond n_cap.
        """
        if len(column.shape) == 2:
            if self.captions not in (None, 1):
                text = f"data.args.captions={self.captions}: {source} has one vector a picture"
                raise UserError(f"{text}; say data.args.captions=1")
            return column
        _check_count(column.shape[1], self.captions, "every picture", source)
        values = column.values if isinstance(column, Repeated) else column
        if self.captions is None:
            kept = np.empty((len(values), values.shape[2]), dtype=np.float32)
            for at in range(0, len(values), _ROWS):
                values[at : at + _ROWS].mean(axis=1, out=kept[at : at + _ROWS])
        else:
            kept = values[:, 0] if self.captions == 1 else values[:, : self.captions]
        return Repeated(kept, column.of) if isinstance(column, Repeated) else kept

    def _fill(self, out: NDArray[Any], captions: Sequence[Sequence[str]], encode: Any, at: int) -> None:
        taken = [texts if self.captions is None else texts[: self.captions] for texts in captions]
        found = encode(
            [text for texts in taken for text in texts], [at + n for n, own in enumerate(taken) for _ in own]
        )
        start = 0
        for row, texts in enumerate(taken):
            own = found[start : start + len(texts)]
            out[row] = own.mean(axis=0) if self.captions is None else own.reshape(self.shape)
            start += len(texts)

    def _open(self, names: Sequence[str], source: str) -> Callable[[Sequence[str], Sequence[int]], NDArray[Any]]:
        if self.encoder == MINILM:
            encode = open_minilm()
            return lambda texts, rows: encode(texts)
        return open_bag_of_words(self.length, names, source)

    def _place(self, folder: Path, captions: Sequence[Sequence[str]]) -> Path:
        version = minilm_stamp() if self.encoder == MINILM else "1"
        digest = hashlib.sha256(json.dumps([version, self.length, self.captions]).encode())
        for texts in captions:
            digest.update(json.dumps(list(texts)).encode())
        return folder / f"vectors-{self.encoder}-{digest.hexdigest()[:20]}.npy"


def encoding_of(args: Mapping[str, Any], *, brings: bool) -> Encoding:
    """Return what data.args (encoder, embedding, captions) ask for; `brings`: whether the set may bring its own.

    UserError for what cannot be, Missing for an encoder that is not installed.
    """
    encoder = args.get("encoder") or BAG_OF_WORDS
    if encoder not in ENCODERS:
        raise UserError(f"data.args.encoder={encoder} is unknown{nearest(str(encoder), ENCODERS)}")
    if encoder == PRECOMPUTED and not brings:
        other = f"{BAG_OF_WORDS} or {MINILM}"
        raise UserError(f"data.args.encoder={PRECOMPUTED}: this set comes with captions alone; say {other}")
    captions = args.get("captions")
    many = None if captions in (None, MEAN) else captions
    if many is not None and not (type(many) is int and 1 <= many <= _MOST_CAPTIONS):
        raise UserError(f"data.args.captions={captions} is out of range: 1 to {_MOST_CAPTIONS}, or {MEAN}")
    if encoder == MINILM:
        minilm_stamp()
    return Encoding(encoder, _length(args, encoder), many)


def _length(args: Mapping[str, Any], encoder: str) -> int:
    own = MINILM_LENGTH if encoder == MINILM else DEFAULT_LENGTH
    length = args.get("embedding")
    length = own if length is None else length
    if type(length) is not int or not 1 <= length <= _MOST_LENGTH:
        raise UserError(f"data.args.embedding={length} is out of range: 1 to {_MOST_LENGTH}")
    if encoder == MINILM and length != own:
        raise UserError(f"data.args.embedding={length}: {MINILM}'s vectors have {own} numbers: say {own}")
    return length


def _check_count(there: int, asked: int | None, name: str, source: str) -> None:
    if there < (asked or 1):
        has = "no caption" if not there else f"{there} caption{'s' * (there > 1)}"
        wants = "where the field 'embedding' needs words" if not there else f"fewer than data.args.captions={asked}"
        raise UserError(f"data: {shown(name)} of {source} has {has}, {wants}")


def _read(place: Path, shape: tuple[int, ...]) -> NDArray[np.float32] | None:
    """Return kept vectors, or None when there are none of that shape: they are made anew then."""
    try:
        found = np.load(place, mmap_mode="r", allow_pickle=False)
    except Exception:  # Whatever a damaged header, or another format, raises.
        return None
    if not isinstance(found, np.ndarray) or found.shape != shape or found.dtype != np.float32:
        return None
    return np.array(found) if found.nbytes <= _IN_MEMORY_BYTES else found


def _keep(place: Path, vectors: NDArray[np.float32]) -> None:
    """Write vectors whole or not at all; a cache that cannot be written is no reason to stop, they are made anew."""
    draft = None
    try:
        handle, draft = tempfile.mkstemp(prefix=f".{place.name}.", dir=place.parent)
        with os.fdopen(handle, "wb") as out:
            np.save(out, vectors, allow_pickle=False)
            out.flush()
            os.fsync(out.fileno())
        Path(draft).chmod(0o644)
        Path(draft).replace(place)
    except OSError:
        if draft is not None:
            with contextlib.suppress(OSError):
                Path(draft).unlink()
