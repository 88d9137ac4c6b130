"""The meter: means in one copy, no host read, exact resume."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gansweep.runs.meter import Meter


def scalar(value: float, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.tensor(value, dtype=dtype)


def test_means_are_over_the_steps_since_the_last_reading() -> None:
    meter = Meter()
    for step, value in enumerate([1.0, 2.0, 6.0]):
        meter.add({"enc/l1": scalar(value)}, step)
    assert meter.read() == {"enc/l1": 3.0}
    meter.add({"enc/l1": scalar(10.0)}, 3)
    assert meter.read() == {"enc/l1": 10.0}
    assert meter.read() == {}


def test_a_metric_that_appears_every_k_steps_is_averaged_over_its_own_steps() -> None:
    meter = Meter()
    for step in range(6):
        values = {"gen": scalar(float(step))}
        if step % 3 == 0:
            values["dis"] = scalar(100.0 + step)
        meter.add(values, step)
    assert meter.read() == {"gen": 2.5, "dis": 101.5}


def test_shapes_and_types_may_differ() -> None:
    meter = Meter()
    meter.add({"a": scalar(1.5), "b": torch.tensor([2.5]), "c": scalar(0.1, torch.float64)}, 0)
    assert meter.read() == {"a": 1.5, "b": 2.5, "c": 0.1}


def test_sums_are_float64() -> None:
    meter = Meter()
    meter.add({"a": scalar(2.0**24)}, 0)
    for step in range(1, 5):
        meter.add({"a": scalar(1.0)}, step)  # 2**24 + 1 is no float32
    assert meter.read()["a"] == (2.0**24 + 4) / 5


class _NoHostRead(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        assert "_local_scalar_dense" not in str(func), "a host read"
        return func(*args, **(kwargs or {}))


def test_adding_reads_nothing_on_the_host() -> None:
    meter = Meter()
    with _NoHostRead():
        for step in range(3):
            meter.add({"a": scalar(1.0), "b": torch.tensor([1.0])}, step)
    assert meter.read() == {"a": 1.0, "b": 1.0}


def test_adding_keeps_no_graph() -> None:
    meter = Meter()
    weight = torch.ones(3, requires_grad=True)
    meter.add({"a": (weight * 2).sum()}, 0)
    assert not any(value.requires_grad for group in meter.state_dict()["groups"] for value in [group["sums"]])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_the_first_value_that_is_not_finite_is_named(bad: float) -> None:
    meter = Meter()
    for step in range(10, 16):
        meter.add({"a": scalar(bad if step >= 14 else 1.0), "b": scalar(bad if step >= 12 else 1.0)}, step)
    assert meter.first_nonfinite() == ("b", 12)
    meter.read()
    assert meter.first_nonfinite() == ("b", 12)


def test_of_two_in_one_step_the_first_added_is_named() -> None:
    meter = Meter()
    meter.add({"z": scalar(math.nan), "a": scalar(math.nan)}, 3)
    assert meter.first_nonfinite() == ("z", 3)


def test_across_phases_the_earlier_step_is_named() -> None:
    meter = Meter()
    meter.add({"gen": scalar(1.0)}, 0)
    meter.add({"gen": scalar(1.0), "dis": scalar(math.inf)}, 1)
    meter.add({"gen": scalar(math.nan)}, 2)
    assert meter.first_nonfinite() == ("dis", 1)


def test_finite_means_nothing_is_named() -> None:
    meter = Meter()
    meter.add({"a": scalar(3e38), "b": scalar(0.0)}, 0)
    assert meter.first_nonfinite() is None


def test_a_restored_meter_reads_the_same_to_the_last_bit() -> None:
    torch.manual_seed(0)
    values = [scalar(v) for v in torch.rand(20).tolist()]
    whole, first = Meter(), Meter()
    for step, value in enumerate(values):
        extra = {"dis": value * 3} if step % 4 == 0 else {}
        whole.add({"a": value, **extra}, step)
        if step < 9:
            first.add({"a": value, **extra}, step)
    second = Meter()
    second.load_state_dict(first.state_dict())
    first.add({"a": scalar(1e9)}, 9)  # the saved state must not follow the meter it came from
    for step, value in enumerate(values[9:], start=9):
        second.add({"a": value, **({"dis": value * 3} if step % 4 == 0 else {})}, step)
    assert second.read() == whole.read()


def test_the_first_bad_value_survives_a_restore() -> None:
    first, second = Meter(), Meter()
    first.add({"a": scalar(math.nan)}, 5)
    second.load_state_dict(first.state_dict())
    assert second.first_nonfinite() == ("a", 5)
