"""Captions as vectors without a trained encoder: a bag of words, each word a fixed random direction."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from gansweep.data.told import shown
from gansweep.errors import UserError

# As long as the char-CNN-RNN vectors (Reed et al. 2016) that text-to-image systems were made for.
DEFAULT_LENGTH = 1024
_WORD = re.compile(r"[^\W_]+")


def open_bag_of_words(
    length: int, names: Sequence[str], source: str
) -> Callable[[Sequence[str], Sequence[int]], NDArray[np.float32]]:
    """Return an encoder: texts, and the rows of `names` they are of, to vectors float32 (M, length).

    A caption's is the sum of its different words' vectors over the root of their number: entries have mean 0 and
    variance 1 over words, and captions are the more alike the more words they share, whatever their order (a random
    projection of the bag of words: Johnson and Lindenstrauss 1984). A word's vector depends on its letters alone.
    The encoder raises UserError, naming the row, for a text without a word in it.
    """
    vector = functools.cache(functools.partial(_vector, length=length))

    def encode(texts: Sequence[str], rows: Sequence[int]) -> NDArray[np.float32]:
        found = np.empty((len(texts), length), dtype=np.float32)
        for place, text in enumerate(texts):
            bag = sorted(set(_WORD.findall(text.lower())))
            if not bag:
                said = f"the caption {text!r}, where the field 'embedding' needs words"
                raise UserError(f"data: {shown(names[rows[place]])} of {source} has {said}")
            found[place] = np.sum([vector(word) for word in bag], axis=0) / len(bag) ** 0.5
        return found

    return encode


def _vector(word: str, length: int) -> NDArray[np.float32]:
    key = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=16).digest(), "little")
    return np.random.Generator(np.random.PCG64(key)).standard_normal(length, dtype=np.float32)
