"""The FID Inception: its layout by counts and an unfolded oracle, its resize by loops, torch-fidelity's numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from seeded_inception import GOLDEN, MEAN_FEATURE_FILE, pictures, seeded_state
from torch import Tensor

from gansweep.metrics import fid_network
from gansweep.metrics.fid_network import FidInception, resize_tf1, wanted_entries
from gansweep.metrics.score import InceptionScore

torch.set_num_threads(1)
EXPECTED = json.loads((GOLDEN / "expected.json").read_text())


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return seeded_state(np.load(MEAN_FEATURE_FILE))


@pytest.fixture(scope="module")
def network(state: dict[str, Tensor]) -> FidInception:
    network = FidInception()
    network.load(state)
    return network


def test_entries_are_those_of_the_public_port(state: dict[str, Tensor]) -> None:
    wanted = wanted_entries()
    assert len(state) == 566 and len(wanted) == 566 - 94
    assert sum(value.numel() for name, value in state.items() if name in wanted) == 23_885_392
    assert wanted["Conv2d_1a_3x3.conv.weight"] == (32, 3, 3, 3)
    assert wanted["Mixed_5c.branch_pool.conv.weight"] == (64, 256, 1, 1)
    assert wanted["Mixed_6c.branch7x7dbl_5.conv.weight"] == (192, 160, 1, 7)
    assert wanted["Mixed_7c.branch3x3dbl_3b.bn.running_var"] == (384,)
    assert wanted["fc.bias"] == (1008,)


def unfolded_logits(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """The network once more, block by block in NCHW, with its batch norms as they are, in float64."""
    weights = {name: value.double() for name, value in state.items()}

    def conv(name: str, x: Tensor, padding: tuple[int, int] = (0, 0), stride: int = 1) -> Tensor:
        x = F.conv2d(x, weights[f"{name}.conv.weight"], None, stride, padding)
        mean, variance, gain, bias = (
            weights[f"{name}.bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return F.relu(F.batch_norm(x, mean, variance, gain, bias, training=False, eps=0.001))

    def average(x: Tensor) -> Tensor:
        inside = F.avg_pool2d(torch.ones_like(x[:1, :1]), 3, 1, 1)
        return F.avg_pool2d(x, 3, 1, 1) / inside

    def a(n: str, x: Tensor) -> Tensor:
        five = conv(f"{n}.branch5x5_2", conv(f"{n}.branch5x5_1", x), (2, 2))
        double = conv(f"{n}.branch3x3dbl_2", conv(f"{n}.branch3x3dbl_1", x), (1, 1))
        double = conv(f"{n}.branch3x3dbl_3", double, (1, 1))
        return torch.cat([conv(f"{n}.branch1x1", x), five, double, conv(f"{n}.branch_pool", average(x))], 1)

    def b(n: str, x: Tensor) -> Tensor:
        double = conv(f"{n}.branch3x3dbl_2", conv(f"{n}.branch3x3dbl_1", x), (1, 1))
        double = conv(f"{n}.branch3x3dbl_3", double, stride=2)
        return torch.cat([conv(f"{n}.branch3x3", x, stride=2), double, F.max_pool2d(x, 3, 2)], 1)

    def c(n: str, x: Tensor) -> Tensor:
        wide, tall = (0, 3), (3, 0)
        seven = conv(f"{n}.branch7x7_3", conv(f"{n}.branch7x7_2", conv(f"{n}.branch7x7_1", x), wide), tall)
        double = conv(f"{n}.branch7x7dbl_2", conv(f"{n}.branch7x7dbl_1", x), tall)
        double = conv(f"{n}.branch7x7dbl_4", conv(f"{n}.branch7x7dbl_3", double, wide), tall)
        double = conv(f"{n}.branch7x7dbl_5", double, wide)
        return torch.cat([conv(f"{n}.branch1x1", x), seven, double, conv(f"{n}.branch_pool", average(x))], 1)

    def d(n: str, x: Tensor) -> Tensor:
        three = conv(f"{n}.branch3x3_2", conv(f"{n}.branch3x3_1", x), stride=2)
        seven = conv(f"{n}.branch7x7x3_2", conv(f"{n}.branch7x7x3_1", x), (0, 3))
        seven = conv(f"{n}.branch7x7x3_4", conv(f"{n}.branch7x7x3_3", seven, (3, 0)), stride=2)
        return torch.cat([three, seven, F.max_pool2d(x, 3, 2)], 1)

    def e(n: str, x: Tensor, pooled: Tensor) -> Tensor:
        three = conv(f"{n}.branch3x3_1", x)
        double = conv(f"{n}.branch3x3dbl_2", conv(f"{n}.branch3x3dbl_1", x), (1, 1))
        parts = [conv(f"{n}.branch1x1", x)]
        for stem, y in (("branch3x3_2", three), ("branch3x3dbl_3", double)):
            parts += [conv(f"{n}.{stem}a", y, (0, 1)), conv(f"{n}.{stem}b", y, (1, 0))]
        return torch.cat([*parts, conv(f"{n}.branch_pool", pooled)], 1)

    x = conv("Conv2d_2a_3x3", conv("Conv2d_1a_3x3", x, stride=2))
    x = F.max_pool2d(conv("Conv2d_2b_3x3", x, (1, 1)), 3, 2)
    x = F.max_pool2d(conv("Conv2d_4a_3x3", conv("Conv2d_3b_1x1", x)), 3, 2)
    x = b("Mixed_6a", a("Mixed_5d", a("Mixed_5c", a("Mixed_5b", x))))
    x = d("Mixed_7a", c("Mixed_6e", c("Mixed_6d", c("Mixed_6c", c("Mixed_6b", x)))))
    x = e("Mixed_7b", x, average(x))
    x = e("Mixed_7c", x, F.max_pool2d(x, 3, 1, 1))
    return x.mean((2, 3)) @ weights["fc.weight"].T


def test_folded_network_gives_the_unfolded_logits(network: FidInception, state: dict[str, Tensor]) -> None:
    images = pictures(2, 299)
    with torch.inference_mode():
        ours = network(images.float())
        wanted = unfolded_logits(state, (images.double() - 128) / 128)
    assert ours.shape == (2, 1008) and ours.dtype == torch.float32
    assert float((ours - wanted).abs().max() / wanted.abs().max()) < 1e-5


@pytest.mark.parametrize("few", [1, 2, 99])
def test_pictures_at_a_time_in_the_stem_change_nothing(
    network: FidInception, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    images = pictures(3, 32).float()
    with torch.inference_mode():
        wanted = network(images)
        monkeypatch.setattr(fid_network, "STEM_PICTURES", few)
        found = network(images)
        assert network(images[:0]).shape == (0, 1008)
    assert float((found - wanted).abs().max() / wanted.abs().max()) < 1e-6


def test_in_bf16_pooling_and_head_stay_in_float32(network: FidInception) -> None:
    images = pictures(1).float()
    with torch.inference_mode():
        exact = network(images)
        with torch.autocast("cpu", torch.bfloat16):
            features = network.features(images)
            logits = network.head(features)
        assert features.dtype == logits.dtype == torch.float32
        assert torch.equal(logits, network.head(features))
    assert 0 < float((logits - exact).abs().max() / exact.abs().max()) < 0.1


@pytest.mark.parametrize("name", ["64px", "320px"])
def test_agrees_with_torch_fidelity_on_the_seeded_network(network: FidInception, name: str) -> None:
    expected = EXPECTED[name]
    images = pictures(expected["images"], expected["size_px"])
    with torch.inference_mode():
        logits = torch.cat([network(chunk.float()) for chunk in images.split(8)])
    wanted = torch.tensor(expected["logits"])
    assert float((logits[: len(wanted), : wanted.shape[1]] - wanted).abs().max() / wanted.abs().max()) < 1e-4
    score = InceptionScore(len(images), splits=4 if len(images) >= 24 else 2)
    score.update(logits)
    found = score.compute()
    assert found.mean == pytest.approx(expected["mean"], rel=1e-5)
    assert found.std == pytest.approx(expected["std"], rel=1e-3)


def resize_by_loops(image: np.ndarray, size_px: int) -> np.ndarray:
    """TF1 bilinear of one channel (H, W), pixel by pixel, positions in float32 as TensorFlow has them."""
    out = np.empty((size_px, size_px))
    height, width = image.shape
    for i in range(size_px):
        y = np.float32(i) * np.float32(height / size_px)
        top, low = int(y), min(int(y) + 1, height - 1)
        for j in range(size_px):
            x = np.float32(j) * np.float32(width / size_px)
            left, right = int(x), min(int(x) + 1, width - 1)
            upper = image[top, left] + (image[top, right] - image[top, left]) * float(x - left)
            lower = image[low, left] + (image[low, right] - image[low, left]) * float(x - left)
            out[i, j] = upper + (lower - upper) * float(y - top)
    return out


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 48), (350, 301)])
def test_resize_is_that_of_tensorflow_1(height: int, width: int) -> None:
    image = np.random.RandomState(height).randint(0, 256, (height, width)).astype(np.float64)
    found = resize_tf1(torch.from_numpy(image).float()[None, None], 299)[0, 0]
    assert np.abs(found.numpy() - resize_by_loops(image, 299)).max() < 1e-4, "grey levels"


def test_resize_does_not_shift_by_half_a_pixel() -> None:
    ramp = torch.arange(4.0).view(1, 1, 1, 4).expand(1, 1, 4, 4)
    assert resize_tf1(ramp, 8)[0, 0, 0].tolist() == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.0]
    assert torch.equal(resize_tf1(ramp, 4), ramp)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_logits_on_the_device_are_those_of_the_cpu(network: FidInception) -> None:
    from gansweep.metrics.precision import full_fp32

    images = pictures(4).float()
    with full_fp32():
        wanted = network(images)
        try:
            found = network.cuda()(images.cuda()).cpu()
        finally:
            network.cpu()
    assert float((found - wanted).abs().max() / wanted.abs().max()) < 1e-4
