from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from gansweep.data.batches import Batches
from gansweep.data.dataset import Dataset
from gansweep.data.normalize import to_uint8
from gansweep.errors import UserError

COUNT = 22


@pytest.fixture
def dataset() -> Dataset:
    """Each picture is its number on the left half and 200 on the right."""
    images = np.full((COUNT, 3, 4, 6), 200, dtype=np.uint8)
    images[..., :3] = np.arange(COUNT, dtype=np.uint8)[:, None, None, None]
    fields: dict[str, Any] = {
        "label": np.arange(COUNT, dtype=np.int64) % 5,
        "group": [str(number) for number in range(COUNT)],
        "caption": [["a caption"]] * COUNT,
    }
    return Dataset(images, fields, list("abcde"), "f" * 64, {}, "numbers", 0.0)


def make(dataset: Dataset, batch_size: int = 4, seed: int = 3, **options: Any) -> Batches:
    return Batches(dataset, np.arange(COUNT), batch_size, seed, **options)


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def test_a_batch_is_a_function_of_seed_and_index_alone(dataset: Dataset) -> None:
    straight, jumping = make(dataset, flip=True), make(dataset, flip=True)
    expected = {index: straight.batch(index) for index in range(20)}
    for index in (17, 3, 0, 19, 3, 8):
        assert_same(jumping.batch(index), expected[index])


def test_resuming_at_an_index_goes_on_as_if_uninterrupted(dataset: Dataset) -> None:
    whole = [make(dataset, flip=True).batch(index) for index in range(12)]
    resumed = make(dataset, flip=True)
    for index in range(7, 12):
        assert_same(resumed.batch(index), whole[index])


def test_an_epoch_shows_no_picture_twice_and_the_next_another_order(dataset: Dataset) -> None:
    batches = make(dataset)
    assert batches.steps_per_epoch == 5
    epochs = [np.concatenate([batches.rows_of(epoch * 5 + step) for step in range(5)]) for epoch in range(3)]
    for rows in epochs:
        assert len(set(rows.tolist())) == 20  # the last two of 22 are dropped
    assert epochs[0].tolist() != epochs[1].tolist() != epochs[2].tolist()


def test_seeds_differ_and_repeat(dataset: Dataset) -> None:
    assert make(dataset, seed=1).rows_of(0).tolist() == make(dataset, seed=1).rows_of(0).tolist()
    assert make(dataset, seed=1).rows_of(0).tolist() != make(dataset, seed=2).rows_of(0).tolist()
    assert make(dataset, seed=2**63 - 1).batch(0)["image"].shape == (4, 3, 4, 6)


def test_pixels_and_labels_belong_to_the_rows(dataset: Dataset) -> None:
    batch = make(dataset, fields=("image", "label")).batch(2)
    rows = batch["index"].numpy()
    np.testing.assert_array_equal(to_uint8(batch["image"], "tanh").numpy(), dataset.images[rows])
    np.testing.assert_array_equal(batch["label"].numpy(), rows % 5)
    assert batch["index"].dtype == batch["label"].dtype == torch.int64


def test_flips_mirror_about_half_of_the_pictures_anew_each_time(dataset: Dataset) -> None:
    plain, flipped = make(dataset), make(dataset, flip=True)
    patterns = set()
    mirrored = 0
    for index in range(100):
        a, b = plain.batch(index)["image"], flipped.batch(index)["image"]
        turned = [not torch.equal(x, y) for x, y in zip(a, b, strict=True)]
        for x, y, turn in zip(a, b, turned, strict=True):
            assert torch.equal(y, x.flip(2) if turn else x)
        mirrored += sum(turned)
        patterns.add(tuple(turned))
    assert 150 < mirrored < 250
    assert len(patterns) == 16


@pytest.mark.parametrize("kind", ["tanh", "unit", "zscore"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_channels_last_changes_the_layout_only(dataset: Dataset, kind: str, dtype: torch.dtype) -> None:
    options: dict[str, Any] = {"normalize": kind, "dtype": dtype, "flip": True}
    plain = make(dataset, **options).batch(1)["image"]
    laid_out = make(dataset, channels_last=True, **options).batch(1)["image"]
    assert laid_out.dtype == dtype
    assert plain.is_contiguous() and laid_out.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(plain, laid_out, rtol=1e-6, atol=1e-6)
    if kind != "zscore":
        assert torch.equal(plain, laid_out)


def test_without_shuffling_rows_come_in_their_order(dataset: Dataset) -> None:
    batches = Batches(dataset, np.array([9, 4, 7, 1, 2]), 2, 0, shuffle=False)
    assert [batches.rows_of(index).tolist() for index in range(3)] == [[9, 4], [7, 1], [9, 4]]


def test_the_set_itself_is_never_changed(dataset: Dataset) -> None:
    before = dataset.images.copy()
    batch = make(dataset, flip=True).batch(0)
    batch["image"].zero_()
    batch["index"].zero_()
    np.testing.assert_array_equal(dataset.images, before)
    assert_same(make(dataset, flip=True).batch(0), make(dataset, flip=True).batch(0))


def test_a_batch_larger_than_its_rows_is_refused(dataset: Dataset) -> None:
    with pytest.raises(UserError, match="batch_size=23 is more than the 22 pictures of numbers"):
        make(dataset, batch_size=23)


def test_a_field_that_is_not_there_or_is_text_is_named(dataset: Dataset) -> None:
    with pytest.raises(
        UserError, match=r"numbers has no field 'box' \(it has image, label, group, caption, embedding\)"
    ):
        make(dataset, fields=("image", "box"))
    with pytest.raises(UserError, match="'caption' of numbers is text"):
        make(dataset, fields=("caption",)).batch(0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_on_the_device_are_those_of_the_cpu(dataset: Dataset) -> None:
    here, there = make(dataset, flip=True), make(dataset, flip=True, device="cuda", channels_last=True)
    for index in range(5):
        batch = there.batch(index)
        assert batch["image"].is_cuda and batch["image"].is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(batch["image"].cpu().contiguous(), here.batch(index)["image"], rtol=0, atol=1e-6)
