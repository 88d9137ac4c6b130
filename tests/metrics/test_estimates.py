"""The estimates that go beyond the mean: interval, limit for endless samples, entropies."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gansweep.metrics.estimates import Score, log_scores
from gansweep.metrics.protocols import IMPROVED_GAN
from gansweep.metrics.score import InceptionScore


def score_of(logits: np.ndarray, splits: int = 1) -> Score:
    score = InceptionScore(len(logits), splits, IMPROVED_GAN)
    score.update(torch.from_numpy(logits))
    return score.compute()


def test_the_interval_covers_the_expected_score_19_times_of_20() -> None:
    # Within one split and over ten: the share of sets whose interval holds the mean score of all sets of that size.
    draw = np.random.RandomState(1)
    for splits in (1, 10):
        scores = [score_of(draw.standard_normal((2000, 8)) * 3.0, splits) for _ in range(150)]
        expected = float(np.mean([score.mean for score in scores]))
        covered = [score.ci95_low <= expected <= score.ci95_high for score in scores]
        assert 0.90 <= float(np.mean(covered)) <= 0.985


def test_the_interval_is_that_of_resampled_blocks() -> None:
    # Second implementation: draw the blocks' rows themselves and score each drawn table from scratch.
    logits = np.random.RandomState(2).standard_normal((600, 5)) * 2.0
    score = score_of(logits)
    draw, found = np.random.RandomState(3), []
    for _ in range(1500):
        rows = (draw.randint(0, 100, 100)[:, None] * 6 + np.arange(6)).ravel()
        p = np.exp(logits[rows] - np.log(np.exp(logits[rows]).sum(axis=1, keepdims=True)))
        found.append((p * (np.log(p) - np.log(p.mean(axis=0)))).sum(axis=1).mean())
    low, high = np.quantile(found - np.mean(found), [0.025, 0.975])
    assert math.log(score.ci95_low / score.mean) == pytest.approx(low, rel=0.12)
    assert math.log(score.ci95_high / score.mean) == pytest.approx(high, rel=0.12)


def test_images_that_come_in_runs_widen_the_interval() -> None:
    # 40 images in a row share their logits: the blocks see it, as the order is that of the images.
    logits = np.random.RandomState(4).standard_normal((50, 8)) * 3.0
    together = score_of(np.repeat(logits, 40, axis=0))
    spread = score_of(np.tile(logits, (40, 1)))
    assert together.mean == pytest.approx(spread.mean, abs=1e-12)
    assert together.ci95_high - together.ci95_low > 3 * (spread.ci95_high - spread.ci95_low)


def test_the_interval_is_the_same_each_time() -> None:
    logits = np.random.RandomState(5).standard_normal((300, 8))
    first, second = score_of(logits), score_of(logits)
    assert (first.ci95_low, first.ci95_high) == (second.ci95_low, second.ci95_high)


def test_one_image_has_no_interval_and_no_line() -> None:
    score = score_of(np.zeros((1, 3)))
    assert score.mean == 1.0 and math.isnan(score.ci95_low) and math.isnan(score.infinity_line)


def test_equal_images_leave_nothing_to_doubt() -> None:
    score = score_of(np.tile([0.0, 1.0, 2.0], (200, 1)))
    assert (score.ci95_low, score.ci95_high, score.infinity_line) == pytest.approx((1.0, 1.0, 1.0), abs=1e-12)


@pytest.mark.parametrize("classes", [10, 50])
def test_both_limits_reach_the_number_of_classes_of_certain_images(classes: int) -> None:
    # One-hot at random: IS_N is below K by the bias alone; log IS_N = log K - (K-1)/(2N) to first order.
    images = 5000
    logits = np.full((images, classes), -1e4)
    logits[np.arange(images), np.random.RandomState(6).randint(0, classes, images)] = 0.0
    score = score_of(logits)
    assert score.bias_slope == pytest.approx((classes - 1) / 2, rel=1e-3)
    gap = classes - score.single
    assert abs(score.infinity - classes) < 0.5 * gap and abs(score.infinity_line - classes) < 0.5 * gap
    assert score.line_slope == pytest.approx(-classes * (classes - 1) / 2, rel=0.15)


def test_the_line_is_worked_out_by_hand() -> None:
    # All blocks alike, so a set of any size scores the same: no slope.
    score = score_of(np.tile(np.log([[3.0, 1.0], [1.0, 3.0]]), (100, 1)))
    assert score.infinity_line == pytest.approx(3**0.75 / 2, abs=1e-12)
    assert score.line_slope == pytest.approx(0.0, abs=1e-9)


def test_entropies_tell_collapse_from_blur() -> None:
    rows = np.arange(400)
    clear = np.full((400, 10), -1e4)
    clear[rows, rows % 10] = 0.0
    collapsed = np.full((400, 10), -1e4)
    collapsed[rows, rows % 2] = 0.0
    blurred = np.zeros((400, 10))
    found = [
        (score.marginal_entropy, score.conditional_entropy) for score in map(score_of, (clear, collapsed, blurred))
    ]
    expected = [(math.log(10), 0.0), (math.log(2), 0.0), (math.log(10), math.log(10))]
    assert np.allclose(found, expected, atol=1e-12, rtol=0)


def test_weighted_blocks_are_blocks_taken_so_often() -> None:
    draw = np.random.RandomState(7)
    table = torch.from_numpy(draw.standard_normal((200, 6)))
    score = InceptionScore(200, 1, IMPROVED_GAN)
    score.update(table)
    weights = torch.zeros(1, 100, dtype=torch.float64)
    weights[0, 3], weights[0, 50] = 2.0, 1.0
    taken = score_of(table[[6, 7, 6, 7, 100, 101]].numpy())
    assert float(log_scores(score.sums(), weights)) == pytest.approx(math.log(taken.single), abs=1e-12)


def test_all_numbers_have_a_name() -> None:
    named = score_of(np.random.RandomState(8).standard_normal((100, 4)), 2).named("is_mine")
    assert list(named)[:2] == ["is_mine", "is_mine_std"] and len(named) == 11
    assert all(name.startswith("is_mine") for name in named)
