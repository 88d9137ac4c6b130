"""Scoring on CUDA: the CPU's score of the same samples, faster arithmetic within 0.01 or refused, equal bits twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from gansweep.engine.distributed import World
from gansweep.errors import UserError
from gansweep.metrics.inception import InceptionJudge
from gansweep.metrics.panel import Measures
from gansweep.metrics.precision import LARGEST_SHIFT, Precision
from gansweep.metrics.score import InceptionScore
from gansweep.scoring.judging import Pass, judge_samples, shift_of_precision
from metrics.seeded_inception import MEAN_FEATURE_FILE, pictures, seeded_state

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
DEVICE = "cuda"
COUNT = 96


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "seeded.pth"
    torch.save(seeded_state(np.load(MEAN_FEATURE_FILE)), path)
    return path


@pytest.fixture(scope="module")
def judge(weights: Path) -> InceptionJudge:
    return InceptionJudge(name="seeded", weights=str(weights), device=DEVICE)


@pytest.fixture(scope="module")
def on_cpu(weights: Path) -> Tensor:
    """Logits of the pictures, judged exactly on the CPU."""
    judge = InceptionJudge(name="seeded", weights=str(weights))
    return torch.cat([judge.logits(part) for part in pictures(COUNT).split(16)])


@pytest.fixture(autouse=True)
def _exact_again(judge: InceptionJudge) -> Iterator[None]:
    yield
    judge.precision = "exact"


def work(judge: InceptionJudge, images: Tensor, batch: int = 32) -> Pass:
    """A pass over pictures that lie on the device."""
    there = images.to(DEVICE)
    measures = Measures(len(images), splits=4)
    return Pass(
        lambda rows: {"image": there[list(rows)]},
        judge,
        measures,
        {"image": None},
        torch.device(DEVICE),
        World(),
        batch,
        batch,
        progress=False,
    )


def score(logits: Tensor, splits: int = 4) -> InceptionScore:
    found = InceptionScore(len(logits), splits, device=logits.device)
    for part in logits.split(32):
        found.update(part)
    return found


def test_the_exact_score_is_that_of_the_cpu(judge: InceptionJudge, on_cpu: Tensor) -> None:
    panel = judge_samples(work(judge, pictures(COUNT)))["image"]
    found, wanted = panel.score.compute(), score(on_cpu).compute()
    assert found.mean > 3
    assert found.mean == pytest.approx(wanted.mean, rel=1e-4)
    assert found.single == pytest.approx(wanted.single, rel=1e-4)


def test_sums_are_float64_on_the_device(judge: InceptionJudge, on_cpu: Tensor) -> None:
    there = score(on_cpu.to(DEVICE))
    for name, value in there.sums().items():
        assert value.device.type == DEVICE
        assert value.dtype == (torch.int64 if name == "first_bad" else torch.float64)
    # The same logits: the arithmetic of the sums alone.
    assert there.compute().mean == pytest.approx(score(on_cpu).compute().mean, rel=1e-12)


def test_the_same_bits_twice(judge: InceptionJudge) -> None:
    images = pictures(COUNT)
    first, second = (judge_samples(work(judge, images))["image"].score.sums() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_faster_arithmetic_keeps_the_score_or_is_refused(
    judge: InceptionJudge, on_cpu: Tensor, precision: Precision
) -> None:
    images = pictures(COUNT)
    judge.precision = precision
    logits = torch.cat([judge.logits(part) for part in images.to(DEVICE).split(32)])
    assert logits.dtype == torch.float32
    shift = score(logits, splits=1).compute().mean - score(on_cpu, splits=1).compute().mean
    try:
        told = shift_of_precision(work(judge, images), precision)["image"]
    except UserError as error:
        assert f"eval.precision={precision} is refused" in str(error)
        assert abs(shift) > LARGEST_SHIFT / 2
    else:
        # Against the device's own exact score, which is the CPU's but for rounding.
        assert abs(told) <= LARGEST_SHIFT
        assert abs(shift) <= LARGEST_SHIFT + 1e-3
    assert abs(shift) < 0.5, "far off is another network, not another arithmetic"


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_faster_arithmetic_keeps_the_score_of_dull_samples(judge: InceptionJudge, precision: Precision) -> None:
    """Pictures much alike, as an early generator's: nothing here is large enough to be refused."""
    images = (128 + (pictures(COUNT).float() - 128) / 16).round().to(torch.uint8)
    assert abs(shift_of_precision(work(judge, images), precision)["image"]) <= LARGEST_SHIFT


def test_no_batch_waits_for_the_device(judge: InceptionJudge) -> None:
    images = pictures(8).to(DEVICE)
    found = InceptionScore(24, splits=2, device=DEVICE)
    found.update(judge.logits(images))
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(2):
            found.update(judge.logits(images))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert found.compute().mean > 1
