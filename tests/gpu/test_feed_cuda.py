"""The feeds of CUDA: what Resident gathers there and Streamed brings there is what Plain makes, batch by batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from data.sets import FIELDS, WINDOWS, related, windowed
from gansweep.data.batches import Batches
from gansweep.data.dataset import Dataset
from gansweep.data.feed import Plain, Resident, Streamed, open_feed

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
ORDER = (0, 1, 2, 3, 7, 255, 256, 257, 3, 1000)


def _batches(device: str, kind: str = "tanh", channels_last: bool = True) -> Batches:
    images = np.random.default_rng(0).integers(0, 256, (23, 3, 6, 4), dtype=np.uint8)
    fields: dict[str, Any] = {"label": np.arange(23), "group": [str(n) for n in range(23)]}
    rows = np.array([n for n in range(23) if n % 5])
    given: dict[str, Any] = {"normalize": kind, "channels_last": channels_last, "device": device}
    return Batches(
        Dataset(images, fields, [], "f", {}, "made", 0.0), rows, 4, 7, flip=True, fields=("image", "label"), **given
    )


@pytest.mark.parametrize("feed", [Resident, Streamed])
@pytest.mark.parametrize("kind", ["tanh", "unit", "zscore"])
@pytest.mark.parametrize("channels_last", [True, False])
def test_batches_are_those_made_on_the_host(feed: Any, kind: str, channels_last: bool) -> None:
    batches = _batches("cuda", kind, channels_last)
    plain, ours = Plain(batches), feed(batches)
    on_host = Plain(_batches("cpu", kind, channels_last))
    for index in ORDER:
        here, there = plain.finish(plain.raw(index)), ours.finish(ours.raw(index))
        assert here.keys() == there.keys()
        for name, value in here.items():
            assert there[name].is_cuda and torch.equal(value, there[name]), (name, index)
            assert value.stride() == there[name].stride()
        # The CPU's division may round its last bit differently.
        torch.testing.assert_close(there["image"].cpu(), on_host.raw(index)["image"], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("feed", [Resident, Streamed])
@pytest.mark.parametrize("channels_last", [True, False])
def test_columns_and_relations_are_those_made_on_the_host(feed: Any, channels_last: bool) -> None:
    people = related()
    given: dict[str, Any] = {"fields": FIELDS, "channels_last": channels_last}
    batches = Batches(people, people.split("train"), 4, 7, device="cuda", **given)
    on_host = Batches(people, people.split("train"), 4, 7, **given)
    plain, ours = Plain(batches), feed(batches)
    for index in ORDER:
        here, there = plain.finish(plain.raw(index)), ours.finish(ours.raw(index))
        assert here.keys() == there.keys()
        for name, value in here.items():
            assert there[name].is_cuda and torch.equal(value, there[name]), (name, index)
            assert value.stride() == there[name].stride(), name
            torch.testing.assert_close(there[name].cpu(), on_host.batch(index)[name], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("feed", [Resident, Streamed])
@pytest.mark.parametrize("channels_last", [True, False])
def test_windows_are_those_cut_on_the_host(feed: Any, channels_last: bool) -> None:
    given: dict[str, Any] = {"fields": WINDOWS, "channels_last": channels_last, "flip": True, "crop": True}
    batches = Batches(windowed(), np.arange(20), 6, 7, device="cuda", **given)
    plain, ours = Plain(batches), feed(batches)
    for index in ORDER:
        here, there = plain.finish(plain.raw(index)), ours.finish(ours.raw(index))
        for name, value in here.items():
            assert there[name].is_cuda and torch.equal(value, there[name]), (name, index)
            assert value.stride() == there[name].stride(), name


def _windows() -> Batches:
    return Batches(windowed(), np.arange(20), 6, 7, device="cuda", fields=WINDOWS, flip=True, crop=True)


@pytest.mark.parametrize("feed", [Resident, Streamed])
@pytest.mark.parametrize("batches", [lambda: _batches("cuda"), _windows])
def test_a_batch_is_made_without_waiting(feed: Any, batches: Any) -> None:
    ours = feed(batches())
    ours.finish(ours.raw(0))
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        made = [ours.finish(ours.raw(index)) for index in range(1, 21)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(bool(torch.isfinite(batch["image"]).all()) for batch in made)


def test_a_set_that_fits_is_kept_on_the_device() -> None:
    assert isinstance(open_feed(_batches("cuda")), Resident)
