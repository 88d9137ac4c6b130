"""Captions as vectors: a random projection of the bag of words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from gansweep.data import Batches, open_data
from gansweep.data.encoders import Encoding, encoding_of
from gansweep.errors import UserError

from .conftest import Settings
from .sets import related


def vectors(*captions: str, length: int = 512) -> np.ndarray:
    names = [str(n) for n in range(len(captions))]
    return Encoding(length=length).vectors([[caption] for caption in captions], names, "made")


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_words_alone_count_and_shared_ones_draw_together() -> None:
    apple, other, pear, flag = vectors("a red apple", "Apple, red: a!", "a red pear", "flag of France", length=4096)
    np.testing.assert_array_equal(apple, other)
    assert abs(cosine(apple, pear) - 2 / 3) < 0.06 and abs(cosine(apple, flag)) < 0.06


def test_entries_have_mean_0_and_variance_1_however_long_the_caption() -> None:
    long = " ".join(f"word{number}" for number in range(40))
    for vector in vectors("one", long, length=8192):
        assert abs(vector.mean()) < 0.05 and abs(vector.var() - 1) < 0.05 and vector.dtype == np.float32


def test_a_word_is_the_same_in_every_set_and_captions_are_averaged() -> None:
    both = Encoding(length=64).vectors([["red apple", "green pear"]], ["0"], "made")[0]
    np.testing.assert_allclose(both, vectors("red apple", "green pear", length=64).mean(axis=0), rtol=1e-6)


def test_captions_of_a_set_become_a_field_and_that_of_another_sample() -> None:
    people = related()
    del people.fields["embedding"]
    people.fields["caption"] = [[f"person number {row}"] for row in range(people.count)]
    batch = Batches(people, people.split("train"), 4, 0, fields=("image", "embedding", "wrong.embedding")).batch(0)
    assert batch["embedding"].shape == batch["wrong.embedding"].shape == (4, 1024)
    expected = vectors(*(f"person number {row}" for row in batch["index"].tolist()), length=1024)
    np.testing.assert_array_equal(batch["embedding"].numpy(), expected)


@pytest.mark.parametrize(
    ("captions", "said"),
    [([["a"], []], "1 of made has no caption"), ([["a"], ["b", "!?"]], r"1 of made has the caption '!\?'")],
)
def test_rows_without_words_are_named(captions: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        Encoding(length=8).vectors(captions, ["0", "1"], "made")


@pytest.mark.parametrize("length", [0, 1.5, "long", True, 10**6])
def test_a_length_that_cannot_be_is_told(length: Any) -> None:
    with pytest.raises(UserError, match=r"data.args.embedding=.* is out of range: 1 to 16384"):
        encoding_of({"embedding": length}, brings=False)


def test_emoji_are_drawn_at_every_size_and_captioned(settings: Settings) -> None:
    args = {"sizes": [16, 32, 64], "embedding": 50}
    dataset = open_data(settings("emoji", size=64, limit=30, args=args), progress=False)
    names = ("image_16", "image_32", "image_64", "wrong.image_16", "wrong.index", "embedding")
    batches = Batches(dataset, dataset.split("train"), 8, 0, fields=("image", *names))
    batch = batches.batch(0)
    assert [tuple(batch[name].shape[1:]) for name in names[:3]] == [(3, size, size) for size in (16, 32, 64)]
    assert torch.equal(batch["image_64"], batch["image"]) and batch["embedding"].shape == (8, 50)
    for name, factor in (("image_16", 4), ("image_32", 2)):  # a drawing, not an enlargement: about the means of pixels
        means = torch.nn.functional.avg_pool2d(batch["image"], factor)
        assert (batch[name] - means).abs().mean() < 0.05
    exact = open_data(settings("emoji", size=16, limit=30), progress=False)
    np.testing.assert_array_equal(exact.images, dataset.column("image_16"))
    groups = np.array(dataset.fields["group"])
    assert (groups[batch["wrong.index"]] != groups[batch["index"]]).all()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"sizes": 64}, r"data.args.sizes=64 must be a list of whole numbers from 4 to 2048: \[64, 128\]"),
        ({"sizes": [2]}, r"data.args.sizes=\[2\] must be a list"),
        ({"size": [64]}, "data.args.size is unknown; did you mean 'sizes'"),
    ],
)
def test_arguments_that_are_wrong_are_told(settings: Settings, args: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        open_data(settings("emoji", args=args))


def test_arguments_at_rest_leave_the_packed_set_where_it_was(settings: Settings) -> None:
    plain = open_data(settings("emoji", size=16, limit=5), progress=False)
    assert open_data(settings("emoji", size=16, limit=5, args={"sizes": []}), progress=False).manifest == plain.manifest
