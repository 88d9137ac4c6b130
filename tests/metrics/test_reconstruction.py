"""PSNR, SSIM and MS-SSIM: closed forms, second implementations in NumPy, any batches, what is refused."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Tensor

from gansweep.errors import UserError
from gansweep.metrics.reconstruction import SCALE_WEIGHTS, Reconstruction, ReconstructionQuality, scales_of


def pair(count: int, size_px: int, channels: int = 3, noise: float = 25.0) -> tuple[Tensor, Tensor]:
    """Smooth pictures with grain, and the same once more with other grain on them."""
    draw = np.random.RandomState(size_px)
    y, x = np.mgrid[0:size_px, 0:size_px] / size_px
    wave = np.sin(2 * np.pi * (draw.uniform(1, 5, (count, channels, 1, 1)) * x + draw.uniform(1, 5) * y))
    original = np.clip(128 + 90 * wave + draw.normal(0, 8, (count, channels, size_px, size_px)), 0, 255)
    rebuilt = np.clip(original + draw.normal(0, noise, original.shape), 0, 255)
    return torch.from_numpy(original.astype(np.uint8)), torch.from_numpy(rebuilt.astype(np.uint8))


def quality(originals: Tensor, rebuilt: Tensor, batch: int = 64) -> Reconstruction:
    found = ReconstructionQuality(originals.shape[-1], originals.shape[1])
    for a, b in zip(originals.split(batch), rebuilt.split(batch), strict=True):
        found.update(a, b)
    return found.compute()


@pytest.mark.parametrize("offset", [1, 7, 100])
def test_a_constant_offset_has_its_closed_form(offset: int) -> None:
    original = torch.full((3, 1, 32, 32), 60, dtype=torch.uint8)
    found = quality(original, original + offset)
    assert found.psnr == pytest.approx(20 * math.log10(255 / offset), rel=1e-7)  # its logarithm is float32
    # Flat pictures differ in luminance alone: (2 a b + c1) / (a^2 + b^2 + c1).
    a, b, c1 = 60.0, 60.0 + offset, (0.01 * 255) ** 2
    assert found.ssim == pytest.approx((2 * a * b + c1) / (a * a + b * b + c1), abs=1e-12)


def test_identical_pictures() -> None:
    original, rebuilt = pair(2, 64)
    perfect = quality(original, original)
    assert perfect.psnr == math.inf
    assert perfect.ssim == pytest.approx(1.0, abs=1e-12) and perfect.ms_ssim == pytest.approx(1.0, abs=1e-9)
    # One perfect picture among two: the error is halved, 3.01 dB, and nothing is infinite.
    half = quality(original, torch.stack([original[0], rebuilt[1]]))
    alone = quality(original[1:], rebuilt[1:])
    assert half.psnr == pytest.approx(alone.psnr + 10 * math.log10(2), rel=1e-7)


def windows(picture: np.ndarray, mirrored: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return every 11 x 11 window of a channel (H, W), (rows, columns, 11, 11), and a Gaussian of sigma 1.5."""
    at = np.arange(-5, 6)
    bell = np.exp(-(at**2) / (2 * 1.5**2))
    weight = np.outer(bell, bell) / bell.sum() ** 2
    padded = np.pad(picture, 5, mode="reflect") if mirrored else picture
    cut = np.lib.stride_tricks.sliding_window_view(padded, (11, 11))
    return cut, weight


def moments(a: np.ndarray, b: np.ndarray, mirrored: bool) -> tuple[np.ndarray, ...]:
    (x, weight), (y, _) = windows(a, mirrored), windows(b, mirrored)

    def mean(values: np.ndarray) -> np.ndarray:
        return (values * weight).sum((-1, -2))

    mean_x, mean_y = mean(x), mean(y)
    dx, dy = x - mean_x[..., None, None], y - mean_y[..., None, None]
    return mean_x, mean_y, mean(dx * dx), mean(dy * dy), mean(dx * dy)


def luminance_and_contrast(a: np.ndarray, b: np.ndarray, mirrored: bool) -> tuple[np.ndarray, np.ndarray]:
    mean_a, mean_b, var_a, var_b, cov = moments(a, b, mirrored)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return luminance, (2 * cov + c2) / (var_a + var_b + c2)


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Mean over channels and windows, centred on every pixel, of a picture (C, H, W)."""
    parts = [luminance_and_contrast(x, y, mirrored=True) for x, y in zip(a, b, strict=True)]
    return float(np.mean([luminance * contrast for luminance, contrast in parts]))


def ms_ssim(a: np.ndarray, b: np.ndarray, scales: int) -> float:
    """Contrasts of windows inside the picture at each scale but the last, whose whole SSIM counts."""
    weights = np.array(SCALE_WEIGHTS[:scales]) / sum(SCALE_WEIGHTS[:scales])
    product = 1.0
    for scale, weight in enumerate(weights):
        if scale == scales - 1:
            return product * max(ssim(a, b), 0.0) ** weight
        inside = [luminance_and_contrast(x, y, mirrored=False)[1] for x, y in zip(a, b, strict=True)]
        product *= max(float(np.mean(inside)), 0.0) ** weight
        a, b = (
            p.reshape(len(p), p.shape[1] // 2, 2, p.shape[2] // 2, 2).mean((2, 4)) for p in (a, b)
        )  # sides are even here
    raise AssertionError


@pytest.mark.parametrize(("size_px", "channels"), [(16, 1), (32, 3), (45, 3)])
def test_ssim_is_that_of_a_second_implementation(size_px: int, channels: int) -> None:
    original, rebuilt = pair(3, size_px, channels)
    wanted = np.mean([ssim(a, b) for a, b in zip(original.double().numpy(), rebuilt.double().numpy(), strict=True)])
    found = quality(original, rebuilt)
    assert 0.1 < found.ssim < 0.95
    assert found.ssim == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize(("size_px", "scales"), [(32, 2), (64, 3), (128, 4), (176, 5)])
def test_ms_ssim_is_that_of_a_second_implementation(size_px: int, scales: int) -> None:
    original, rebuilt = pair(2, size_px)
    pictures = zip(original.double().numpy(), rebuilt.double().numpy(), strict=True)
    wanted = np.mean([ms_ssim(a, b, scales) for a, b in pictures])
    found = quality(original, rebuilt)
    assert found.scales == scales
    assert 0.2 < wanted < 0.99
    assert found.ms_ssim == pytest.approx(wanted, abs=1e-6)  # torchmetrics keeps the scales' weights in float32


def test_scales_that_fit() -> None:
    fitting = {10: 0, 11: 1, 21: 1, 22: 2, 43: 2, 44: 3, 98: 3, 99: 4, 175: 4, 176: 5, 1024: 5}
    assert {size: scales_of(size) for size in fitting} == fitting
    for size_px in (22, 44, 99, 176):
        original, rebuilt = pair(1, size_px)
        assert math.isfinite(quality(original, rebuilt).named()["rec_ms_ssim"])


def test_small_pictures_have_no_scales() -> None:
    found = quality(*pair(2, 16))
    assert found.ms_ssim is None and found.scales == 0
    assert list(found.named()) == ["rec_psnr", "rec_ssim"]
    with pytest.raises(UserError, match="windows of 11 px; pictures of 8 px"):
        ReconstructionQuality(8, 3)


def test_a_negative_is_no_nan() -> None:
    original, _ = pair(2, 64)
    found = quality(original, 255 - original)
    assert found.ssim < 0 and found.ms_ssim == 0.0


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_batches_change_nothing(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    original, rebuilt = pair(11, 48)
    whole = quality(original, rebuilt)
    monkeypatch.setattr("gansweep.metrics.reconstruction.CHUNK_BYTES", 2 * 10 * 8 * 3 * 48 * 48)
    found = quality(original, rebuilt, batch)
    assert found.images == 11
    assert list(found.named().values()) == pytest.approx(list(whole.named().values()), rel=1e-12)


def test_wrong_pictures_are_refused() -> None:
    original, rebuilt = pair(4, 32)
    found = ReconstructionQuality(32, 3)
    with pytest.raises(ValueError, match="4 originals have 3 reconstructions"):
        found.update(original, rebuilt[:3])
    with pytest.raises(
        ValueError, match=r"reconstructions are uint8 \(B, 3, 32, 32\), got torch.uint8 \(4, 3, 32, 16\)"
    ):
        found.update(original, rebuilt[..., :16])
    with pytest.raises(ValueError, match="originals are uint8"):
        found.update(original.float(), rebuilt)
    with pytest.raises(ValueError, match="no picture was given"):
        found.compute()


def test_importing_it_does_not_import_torchmetrics() -> None:
    code = "import sys, gansweep.metrics.reconstruction; print('torchmetrics' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "False"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_device_agrees_with_the_cpu() -> None:
    original, rebuilt = pair(5, 64)
    on_device = ReconstructionQuality(64, 3, "cuda")
    on_device.update(original.cuda(), rebuilt.cuda())
    found, wanted = on_device.compute().named(), quality(original, rebuilt).named()
    assert list(found.values()) == pytest.approx(list(wanted.values()), rel=1e-9)
