"""Captions as vectors without a trained encoder: a bag of words, each word a fixed random direction."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gansweep.errors import UserError

# As long as the char-CNN-RNN vectors (Reed et al. 2016) that text-to-image systems were made for.
DEFAULT_LENGTH = 1024
_MOST = 16384
_WORD = re.compile(r"[^\W_]+")


def length_asked(args: Mapping[str, Any]) -> int:
    """Return data.args.embedding, the vectors' length; UserError when it is no number from 1 to 16384."""
    length = args.get("embedding", DEFAULT_LENGTH)
    if not isinstance(length, int) or isinstance(length, bool) or not 1 <= length <= _MOST:
        raise UserError(f"data.args.embedding={length} is out of range: 1 to {_MOST}")
    return length


def bag_of_words(captions: Sequence[Sequence[str]], length: int, names: Sequence[str], source: str) -> NDArray[Any]:
    """Return a vector for each row's captions, float32 (N, length): the mean over its captions of their vectors.

    A caption's is the sum of its different words' vectors over the root of their number: entries have mean 0 and
    variance 1 over words, and captions are the more alike the more words they share, whatever their order (a random
    projection of the bag of words: Johnson and Lindenstrauss 1984). A word's vector depends on its letters alone.
    UserError, naming the row, for one without a caption or without a word in it.
    """
    found = np.empty((len(captions), length), dtype=np.float32)
    vector = functools.cache(functools.partial(_vector, length=length))
    for row, texts in enumerate(captions):
        bags = [sorted(set(_WORD.findall(text.lower()))) for text in texts]
        if not bags or not all(bags):
            said = f"the caption {texts[[bool(bag) for bag in bags].index(False)]!r}" if bags else "no caption"
            raise UserError(f"data: {names[row]} of {source} has {said}, where the field 'embedding' needs words")
        found[row] = np.mean([np.sum([vector(word) for word in bag], axis=0) / len(bag) ** 0.5 for bag in bags], axis=0)
    return found


def _vector(word: str, length: int) -> NDArray[np.float32]:
    key = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=16).digest(), "little")
    return np.random.Generator(np.random.PCG64(key)).standard_normal(length, dtype=np.float32)
