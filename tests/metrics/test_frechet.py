"""Moments and Fréchet distance: closed forms, a matrix square root as second implementation, merging, the limit."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from gansweep.errors import UserError
from gansweep.metrics.frechet import FrechetCurve, frechet_distance, gaussian
from gansweep.metrics.moments import FeatureMoments
from gansweep.metrics.sums import NotFinite


def moments_of(features: Tensor, batch: int = 64) -> FeatureMoments:
    moments = FeatureMoments()
    for part in features.split(batch):
        moments.update(part)
    return moments


def fid(first: Tensor, second: Tensor) -> float:
    return frechet_distance(gaussian(moments_of(first)), gaussian(moments_of(second)))


def table(rows: int, dim: int, seed: int) -> Tensor:
    return torch.from_numpy(np.random.RandomState(seed).standard_normal((rows, dim)))


def standard(rows: int, dim: int, seed: int) -> Tensor:
    """Rows whose sample mean is 0 and whose sample covariance is the unit matrix, to rounding."""
    draw = table(rows, dim, seed)
    draw = draw - draw.mean(dim=0)
    return draw @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(draw.T).reshape(dim, dim), upper=True))


def test_moments_are_those_of_numpy() -> None:
    features = table(301, 12, 0) * 3.0 + 1.0
    moments = moments_of(features)
    assert np.allclose(moments.mean(), features.mean(dim=0), atol=1e-13, rtol=0)
    assert np.allclose(moments.covariance(), np.cov(features.numpy(), rowvar=False), atol=1e-12, rtol=0)


def test_features_far_from_zero_lose_no_digits() -> None:
    features = table(500, 6, 1)
    far = moments_of(features + 2.0**26)  # sums of squares would round at 2^52 * 500, and keep nothing
    expected = np.cov((features + 2.0**26 - 2.0**26).numpy(), rowvar=False)
    assert np.allclose(far.covariance(), expected, atol=1e-7, rtol=0)


@pytest.mark.parametrize("batch", [1, 13, 301])
def test_moments_do_not_depend_on_batches_and_parts(batch: int) -> None:
    features = table(301, 8, 2)
    whole, merged = moments_of(features), FeatureMoments()
    for part in (features[200:], features[:0], features[:200]):
        merged.merge(moments_of(part, batch))
    assert merged.count == 301
    assert np.allclose(merged.mean(), whole.mean(), atol=1e-14, rtol=0)
    assert np.allclose(merged.covariance(), whole.covariance(), atol=1e-13, rtol=0)


def test_moments_come_back_from_their_state() -> None:
    features = table(100, 5, 3)
    half = moments_of(features[:50])
    again = FeatureMoments.of_state(half.state())
    again.update(features[50:])
    half.update(features[50:])
    assert torch.equal(again.covariance(), half.covariance()) and torch.equal(again.mean(), half.mean())


def test_distance_of_axis_aligned_normals() -> None:
    # |m|^2 + sum (a - b)^2 for standard deviations a and b along the same axes.
    a, b = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64), torch.tensor([3.0, 2.0, 0.1], dtype=torch.float64)
    shift = torch.tensor([1.0, -2.0, 0.0], dtype=torch.float64)
    found = fid(standard(400, 3, 4) * a, standard(500, 3, 5) * b + shift)
    assert found == pytest.approx(5.0 + 4.0 + 0.0 + 0.16, abs=1e-11)


def test_distance_of_turned_normals_in_the_plane() -> None:
    # tr (S1 S2)^(1/2) = sqrt(tr S1 S2 + 2 sqrt(det S1 det S2)) for 2 x 2 matrices that do not commute.
    factors = [
        torch.tensor(rows, dtype=torch.float64) for rows in ([[2.0, 0.5], [0.0, 1.0]], [[1.0, 0.0], [-1.5, 0.3]])
    ]
    one, two = (factor.T @ factor for factor in factors)
    root = math.sqrt(float((one @ two).trace()) + 2 * math.sqrt(float(one.det() * two.det())))
    expected = float(one.trace() + two.trace()) - 2 * root
    assert fid(standard(300, 2, 6) @ factors[0], standard(300, 2, 7) @ factors[1]) == pytest.approx(expected, abs=1e-11)


def test_agrees_with_the_square_root_of_the_product() -> None:
    first, second = table(400, 20, 8) @ table(20, 20, 9), table(300, 20, 10) @ table(20, 20, 11) + 0.5
    one, two = (np.cov(features.numpy(), rowvar=False) for features in (first, second))
    root = np.trace(scipy.linalg.sqrtm(one @ two)).real
    between = float((first.mean(dim=0) - second.mean(dim=0)).square().sum())
    assert fid(first, second) == pytest.approx(between + np.trace(one) + np.trace(two) - 2 * root, rel=1e-9)


@pytest.mark.parametrize(("rows", "dim"), [(200, 10), (20, 64)])
def test_equal_sets_have_no_distance_in_any_order(rows: int, dim: int) -> None:
    # 20 images of 64 features: the covariance has rank 19, where square roots of rounding would show.
    features = table(rows, dim, 12)
    assert fid(features, features) == pytest.approx(0.0, abs=1e-11)
    assert fid(features, features.flip(0)) == pytest.approx(0.0, abs=1e-11)


def test_flat_sets_at_right_angles() -> None:
    # Variances 4 along x and 9 along y share nothing: the distance is their sum.
    line = standard(100, 1, 13)
    zero = torch.zeros_like(line)
    assert fid(torch.cat([2 * line, zero], 1), torch.cat([zero, 3 * line], 1)) == pytest.approx(13.0, abs=1e-12)
    point = torch.ones(50, 2, dtype=torch.float64)
    assert fid(point, point + 1.0) == pytest.approx(2.0, abs=1e-14), "two points, no variance at all"


def test_symmetric_and_unmoved_by_turning_both() -> None:
    first, second = table(200, 9, 14) * 2.0, table(150, 9, 15) + 1.0
    turn = torch.linalg.qr(table(9, 9, 16)).Q
    assert fid(first, second) == pytest.approx(fid(second, first), abs=1e-11)
    assert fid(first @ turn, second @ turn) == pytest.approx(fid(first, second), abs=1e-11)


def test_the_limit_is_nearer_than_the_distance_of_few() -> None:
    # Both sets are standard normals, so the distance of endless samples is 0.
    reference = gaussian(moments_of(standard(4000, 16, 17)))
    found = []
    for seed in range(10):
        curve = FrechetCurve(reference, 2000)
        for part in table(2000, 16, 100 + seed).split(333):
            curve.update(part)
        found.append(curve.compute())
    fids, limits = (np.mean([getattr(score, name) for score in found]) for name in ("fid", "infinity"))
    assert fids > 0.02 and abs(limits) < 0.25 * fids
    assert all(score.slope > 0 for score in found)


def test_points_are_distances_of_the_first_images() -> None:
    features, reference = table(500, 6, 18), gaussian(moments_of(table(300, 6, 19)))
    curve = FrechetCurve(reference, 500, points=4)
    for part in features.split(77):
        curve.update(part)
    score = curve.compute()
    assert [size for size, _ in score.points] == [50, 200, 350, 500]
    for size, distance in score.points:
        assert distance == pytest.approx(frechet_distance(gaussian(moments_of(features[:size])), reference), abs=1e-11)
    slope, intercept = np.polyfit([1 / size for size, _ in score.points], [point for _, point in score.points], 1)
    assert (score.fid, score.infinity, score.slope) == (score.points[-1][1], intercept, slope)


def test_sizes_start_at_5000_or_a_tenth() -> None:
    reference = gaussian(moments_of(table(10, 2, 20)))
    assert FrechetCurve(reference, 50_000).sizes[:2] == [5000, 8214]
    assert FrechetCurve(reference, 1000).sizes[0] == 100
    assert FrechetCurve(reference, 3).sizes == [2, 3]


def test_bad_and_missing_features_are_told() -> None:
    features = table(100, 4, 21)
    features[70, 2] = features[31, 0] = float("nan")
    with pytest.raises(NotFinite, match="sample 31 ") as caught:
        gaussian(moments_of(features, 16))
    assert caught.value.index == 31
    with pytest.raises(UserError, match="at least 2 images"):
        moments_of(features[:1]).covariance()
    curve = FrechetCurve(gaussian(moments_of(features[:30])), 40)
    curve.update(features[:20])
    with pytest.raises(ValueError, match="20 of 40"):
        curve.compute()
    with pytest.raises(ValueError, match="41 images"):
        curve.update(features[:21])
    with pytest.raises(ValueError, match="float features"):
        FeatureMoments().update(torch.zeros(3, 2, dtype=torch.int32))
    with pytest.raises(ValueError, match="have no distance"):
        frechet_distance(gaussian(moments_of(table(5, 2, 0))), gaussian(moments_of(table(5, 3, 0))))
