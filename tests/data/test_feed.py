"""Feeds: whichever way a batch reaches the step, it is the same batch."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from gansweep.data.batches import Batches
from gansweep.data.dataset import Dataset
from gansweep.data.feed import Plain, Resident, open_feed
from gansweep.data.relations import Listed

from .sets import FIELDS, related


@pytest.fixture
def dataset() -> Dataset:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (23, 3, 6, 4), dtype=np.uint8)
    fields: dict[str, Any] = {"label": np.arange(23), "group": [str(n) for n in range(23)]}
    return Dataset(images, fields, [], "f", {}, "made", 0.0)


@pytest.mark.parametrize("kind", ["tanh", "unit", "zscore"])
@pytest.mark.parametrize("channels_last", [True, False])
def test_gathered_on_the_device_is_made_on_the_host(dataset: Dataset, kind: str, channels_last: bool) -> None:
    rows = np.array([n for n in range(23) if n % 5])
    batches = Batches(
        dataset, rows, 4, 7, flip=True, normalize=kind, fields=("image", "label"), channels_last=channels_last
    )
    resident, plain = Resident(batches), Plain(batches)
    for index in (0, 1, 5, 255, 256, 3, 1000):
        here, there = plain.finish(plain.raw(index)), resident.finish(resident.raw(index))
        assert list(here) == list(there)
        for name, value in here.items():
            assert torch.equal(value, there[name]), (name, index)
            assert value.stride() == there[name].stride()


@pytest.mark.parametrize("kind", ["tanh", "zscore"])
@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("flip", [True, False])
def test_columns_and_relations_are_gathered_as_on_the_host(kind: str, channels_last: bool, flip: bool) -> None:
    people = related()
    fields = tuple(name for name in FIELDS if not (flip and name.endswith("pose")))
    options: dict[str, Any] = {"normalize": kind, "flip": flip, "fields": fields, "channels_last": channels_last}
    batches = Batches(people, people.split("train"), 4, 7, **options)
    resident, plain = Resident(batches), Plain(batches)
    for index in (0, 255, 256, 3):
        here, there = plain.finish(plain.raw(index)), resident.finish(resident.raw(index))
        assert list(here) == list(there) == ["index", *fields]
        for name, value in here.items():
            assert torch.equal(value, there[name]) and value.dtype == there[name].dtype, (name, index)
            assert value.stride() == there[name].stride(), name


def test_only_the_side_that_is_learnt_from_goes_to_the_device() -> None:
    people = related()
    train = people.split("train")
    assert Batches(people, train, 4, 0, fields=("image", "pair_target.image")).reach().tolist() == train.tolist()
    leaky = dataclasses.replace(people, relations={"target": Listed(np.zeros(36, dtype=np.int64))})
    assert len(Batches(leaky, train, 4, 0, fields=("target.image",)).reach()) == 36


def test_what_comes_from_outside_the_step_is_small(dataset: Dataset) -> None:
    raw = Resident(Batches(dataset, np.arange(23), 4, 0, flip=True)).raw(2)
    assert {name: tuple(value.shape) for name, value in raw.items()} == {"place": (4,), "mirrored": (4,)}


def test_shards_are_the_parts_of_the_whole_batch(dataset: Dataset) -> None:
    rows = np.arange(23)
    whole = Batches(dataset, rows, 6, 3, flip=True, fields=("image", "label"))
    shards = [Batches(dataset, rows, 6, 3, flip=True, fields=("image", "label"), shard=(k, 3)) for k in range(3)]
    for index in (0, 2, 9):
        parts = [shard.batch(index) for shard in shards]
        for name, value in whole.batch(index).items():
            assert torch.equal(value, torch.cat([part[name] for part in parts]))


def test_the_cpu_takes_batches_as_they_are(dataset: Dataset) -> None:
    assert isinstance(open_feed(Batches(dataset, np.arange(23), 4, 0)), Plain)
