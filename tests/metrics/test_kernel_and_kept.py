"""KID against closed forms, loops and torchmetrics; the features that are kept for it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from gansweep.errors import UserError
from gansweep.metrics.kept import KeptFeatures
from gansweep.metrics.kernel import kernel_distance, polynomial_mmd
from gansweep.metrics.sums import NotFinite


def table(rows: int, dim: int, seed: int) -> Tensor:
    return torch.from_numpy(np.random.RandomState(seed).standard_normal((rows, dim)))


def by_loops(first: np.ndarray, second: np.ndarray) -> float:
    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / len(x) + 1.0) ** 3)

    def within(rows: np.ndarray) -> float:
        pairs = [kernel(x, y) for i, x in enumerate(rows) for j, y in enumerate(rows) if i != j]
        return float(np.mean(pairs))

    return within(first) + within(second) - 2 * float(np.mean([kernel(x, y) for x in first for y in second]))


def test_is_the_mean_over_pairs() -> None:
    first, second = table(11, 4, 0), table(7, 4, 1) + 0.3
    assert float(polynomial_mmd(first, second)) == pytest.approx(by_loops(first.numpy(), second.numpy()), abs=1e-12)


def test_points_worked_out_by_hand() -> None:
    # All of one set at 0 and all of the other at 1, one feature: k = 1, 8 and 1 across, so 1 + 8 - 2.
    zeros, ones = torch.zeros(5, 1, dtype=torch.float64), torch.ones(5, 1, dtype=torch.float64)
    score = kernel_distance(zeros, ones, subsets=3, subset_size=4)
    assert (score.mean, score.std) == (7.0, 0.0)


def test_agrees_with_torchmetrics() -> None:
    from torchmetrics.image.kid import poly_mmd

    first, second = table(60, 16, 2), table(60, 16, 3) * 1.5
    assert float(polynomial_mmd(first, second)) == pytest.approx(float(poly_mmd(first, second)), abs=1e-11)


def test_subsets_are_chosen_as_torch_fidelity_does() -> None:
    fake, real = table(50, 3, 4), table(40, 3, 5) + 0.5
    draw, found = np.random.RandomState(2020), []
    for _ in range(4):
        first = fake.numpy()[draw.choice(50, 20, replace=False)]
        second = real.numpy()[draw.choice(40, 20, replace=False)]
        found.append(by_loops(first, second))
    score = kernel_distance(fake, real, subsets=4, subset_size=20)
    assert (score.mean, score.std) == pytest.approx((np.mean(found), np.std(found)), abs=1e-12)
    assert kernel_distance(fake, real, 4, 20) == score, "the same seed, the same bits"
    assert kernel_distance(fake, real, 4, 20, seed=1) != score


def test_unbiased_however_few_the_images() -> None:
    # Equal distributions: the mean over many sets of 5 is 0 within its error, and single ones fall below 0.
    found = [float(polynomial_mmd(table(5, 4, 2 * i), table(5, 4, 2 * i + 1))) for i in range(4000)]
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(len(found)) and min(found) < 0


def test_single_precision_features_are_compared_in_float64() -> None:
    fake, real = table(30, 8, 6).float(), table(30, 8, 7).float()
    assert kernel_distance(fake, real, 5, 20) == kernel_distance(fake.double(), real.double(), 5, 20)


def test_too_few_images_are_refused() -> None:
    with pytest.raises(UserError, match="subsets of 1000 images, but there are 50 samples and 2000 real"):
        kernel_distance(torch.zeros(50, 3), torch.zeros(2000, 3))
    with pytest.raises(UserError, match="at least one subset of 2"):
        kernel_distance(torch.zeros(50, 3), torch.zeros(50, 3), subset_size=1)
    bad = torch.zeros(50, 3)
    bad[17, 1] = float("inf")
    with pytest.raises(NotFinite, match="real images are not finite at sample 17 "):
        kernel_distance(torch.zeros(50, 3), bad, subset_size=10)


def kept_of(features: Tensor, rows: Tensor, keep: int = 30, batch: int = 7) -> KeptFeatures:
    kept = KeptFeatures(len(features), keep)
    for part in rows.split(batch):
        kept.update(features[part], rows=part)
    return kept


def test_a_seeded_choice_is_kept() -> None:
    features = table(100, 3, 8).float()
    chosen = np.sort(np.random.RandomState(2020).permutation(100)[:30])
    kept = KeptFeatures(100, 30)
    for part in features.split(9):
        kept.update(part)
    assert torch.equal(kept.features(), features[chosen])
    assert torch.equal(kept_of(features, torch.randperm(100)).features(), features[chosen])
    assert torch.equal(kept_of(features, torch.arange(100), keep=200).features(), features), "all of them, in order"


@pytest.mark.parametrize("cut", [0, 1, 40, 100])
def test_parts_join_to_the_same_bits(cut: int) -> None:
    features = table(100, 3, 9)
    merged = KeptFeatures(100, 30)
    merged.merge(kept_of(features, torch.arange(cut, 100)))
    merged.merge(kept_of(features, torch.arange(cut)))
    assert torch.equal(merged.features(), kept_of(features, torch.arange(100)).features())


def test_missing_surplus_and_bad_features_are_told() -> None:
    features = table(100, 3, 10)
    features[12, 0] = float("nan")
    with pytest.raises(ValueError, match=r"\d+ of the 30 features"):
        kept_of(features, torch.arange(20, 60)).features()
    with pytest.raises(NotFinite, match="sample 12 "):
        kept_of(features, torch.arange(100)).features()
    kept = KeptFeatures(100, 30)
    with pytest.raises(ValueError, match="101 images"):
        kept.update(table(101, 3, 11))
    with pytest.raises(ValueError, match="different numbers"):
        kept.merge(KeptFeatures(100, 29))
