from __future__ import annotations

import numpy as np
import pytest
import torch

from gansweep.data.normalize import KINDS, invertible, normalize, to_uint8
from gansweep.errors import UserError

EVERY_BYTE = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["tanh", "unit"])
def test_every_byte_comes_back(kind: str, dtype: torch.dtype) -> None:
    floats = normalize(EVERY_BYTE, kind, dtype)
    assert floats.dtype == dtype
    assert torch.equal(to_uint8(floats, kind), EVERY_BYTE)
    assert invertible(kind)


@pytest.mark.parametrize(("kind", "least"), [("tanh", -1.0), ("unit", 0.0)])
def test_range_ends_are_those_of_the_kind(kind: str, least: float) -> None:
    floats = normalize(EVERY_BYTE, kind, torch.float64)
    assert floats.min().item() == pytest.approx(least, abs=1e-12)
    assert floats.max().item() == pytest.approx(1.0, abs=1e-12)


def test_bfloat16_batches_still_give_pictures_within_a_step() -> None:
    back = to_uint8(normalize(EVERY_BYTE, "tanh", torch.bfloat16), "tanh")
    assert (back.int() - EVERY_BYTE.int()).abs().max() <= 1


def test_zscore_is_per_image_over_pixels_and_channels() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 3, 8, 8), dtype=np.uint8)
    expected = images.astype(np.float64)
    expected -= expected.mean(axis=(1, 2, 3), keepdims=True)
    expected /= images.astype(np.float64).std(axis=(1, 2, 3), keepdims=True)
    got = normalize(torch.from_numpy(images), "zscore", torch.float64)
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-12)
    assert not invertible("zscore")


def test_zscore_of_a_constant_image_is_zero() -> None:
    assert torch.equal(normalize(torch.full((1, 1, 4, 4), 9, dtype=torch.uint8), "zscore"), torch.zeros(1, 1, 4, 4))


def test_zscore_is_shown_from_black_to_white() -> None:
    shown = to_uint8(torch.tensor([-2.0, 0.5, 3.0, 3.0]).reshape(1, 1, 2, 2), "zscore")
    assert shown.flatten().tolist() == [0, 128, 255, 255]


def test_out_of_range_is_clamped_and_nan_is_black() -> None:
    odd = torch.tensor([-7.0, 7.0, float("nan"), float("inf")]).reshape(1, 1, 2, 2)
    assert to_uint8(odd, "tanh").flatten().tolist() == [0, 255, 0, 255]


@pytest.mark.parametrize("kind", KINDS)
def test_memory_format_is_kept(kind: str) -> None:
    images = torch.zeros(2, 3, 4, 4, dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    assert normalize(images, kind).is_contiguous(memory_format=torch.channels_last)


def test_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'tanh'"):
        normalize(EVERY_BYTE, "tanhh")
