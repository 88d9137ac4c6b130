"""Feeds: whichever way a batch reaches the step, it is the same batch."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gansweep.data.batches import Batches
from gansweep.data.dataset import Dataset
from gansweep.data.feed import Plain, Resident, open_feed
from gansweep.data.relations import Listed

from .sets import FIELDS, WINDOWS, related, windowed


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


class NoHostRead(TorchDispatchMode):
    """Refuses what would make the host wait for the device, or give a shape that depends on values."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        assert name not in ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero"), name
        assert name != "index" or all(one is None or one.dtype == torch.int64 for one in args[1])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("channels_last", [True, False])
def test_windows_are_cut_on_the_device_as_on_the_host(channels_last: bool) -> None:
    given: dict[str, Any] = {"fields": WINDOWS, "channels_last": channels_last, "flip": True, "crop": True}
    batches = Batches(windowed(), np.arange(20), 6, 7, **given)
    resident = Resident(batches)
    for index in (0, 1, 2, 300):
        host, raw = batches.batch(index), resident.raw(index)
        assert raw["corners"].shape == (6, 2)
        with NoHostRead():
            made = resident.finish(raw)
        for name, value in host.items():
            assert torch.equal(value, made[name]) and value.stride() == made[name].stride(), name
    still = Resident(Batches(windowed(), np.arange(20), 6, 7, fields=WINDOWS))
    assert "corners" not in still.raw(0)
