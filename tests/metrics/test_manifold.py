"""Precision, recall, density and coverage: worked examples, closed forms, and loops over all pairs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from gansweep.errors import UserError
from gansweep.metrics.manifold import Manifold, manifold
from gansweep.metrics.sums import NotFinite


def table(rows: int, dim: int, seed: int) -> Tensor:
    return torch.from_numpy(np.random.RandomState(seed).standard_normal((rows, dim)))


def on_a_line(*places: float) -> Tensor:
    return torch.tensor(places, dtype=torch.float64).unsqueeze(1)


def by_loops(fake: np.ndarray, real: np.ndarray, nearest: int) -> tuple[float, float, float, float]:
    def distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.linalg.norm(first[:, None] - second[None], axis=2)

    def reaches(rows: np.ndarray) -> np.ndarray:
        return np.sort(distances(rows, rows), axis=1)[:, nearest]  # place 0 is the row itself

    apart = distances(fake, real)
    in_real, in_fake = apart < reaches(real)[None], apart < reaches(fake)[:, None]
    return (
        float(in_real.any(axis=1).mean()),
        float(in_fake.any(axis=0).mean()),
        float(in_real.sum(axis=1).mean() / nearest),
        float(in_real.any(axis=0).mean()),
    )


def numbers(found: Manifold) -> tuple[float, float, float, float]:
    return found.precision, found.recall, found.density, found.coverage


@pytest.mark.parametrize("nearest", [1, 3, 5])
@pytest.mark.parametrize("scale", [0.3, 1.0, 2.0])
def test_agrees_with_loops_over_all_pairs(nearest: int, scale: float) -> None:
    fake, real = table(90, 4, 0) * scale + 0.4, table(70, 4, 1)
    expected = by_loops(fake.numpy(), real.numpy(), nearest)
    assert numbers(manifold(fake, real, nearest)) == pytest.approx(expected, abs=1e-15)


def test_an_example_worked_out_on_a_line() -> None:
    # Real balls (k = 1): 0 and 1 reach 1, 3 reaches 2, 10 reaches 7. Fakes at 0.5 and 30, each reaching 29.5:
    # 0.5 lies in the balls about 0 and 1; 30 in none. 0.5 reaches all reals, 30 reaches 1, 3 and 10.
    found = manifold(on_a_line(0.5, 30.0), on_a_line(0.0, 1.0, 3.0, 10.0), nearest=1)
    assert numbers(found) == (0.5, 1.0, 1.0, 0.5)


def test_the_border_lies_outside() -> None:
    # The balls about 0 and 1 reach exactly to each other, and to the fakes at 2 and -1.
    found = manifold(on_a_line(2.0, -1.0), on_a_line(0.0, 1.0), nearest=1)
    assert found.precision == found.density == found.coverage == 0.0


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("nearest", [1, 5])
def test_equal_sets_score_one_to_the_last_bit(nearest: int, offset: float) -> None:
    # Every ball holds its middle and the k - 1 nearer ones; the k-th lies on the border, which a blur would not see.
    features = table(150, 32, 2) + offset
    assert numbers(manifold(features, features.flip(0), nearest)) == (1.0, 1.0, 1.0, 1.0)


def test_sets_far_apart_score_nothing() -> None:
    assert numbers(manifold(table(40, 3, 3) + 100.0, table(50, 3, 4))) == (0.0, 0.0, 0.0, 0.0)


def test_copies_of_one_real_image_are_precise_and_cover_little() -> None:
    real = table(200, 3, 5)
    found = manifold(real[:1].expand(50, 3) + table(50, 3, 6) * 1e-6, real)
    assert found.precision == 1.0 and found.recall <= 1 / 200 and found.coverage < 0.1


def test_density_and_coverage_of_equal_distributions() -> None:
    # E[density] = 1 and E[coverage] = 1 - (M-1)...(M-k)/((2M-1)...(2M-k)) for N = M (Naeem et al. 2020).
    rows, nearest = 1000, 5
    found = [manifold(table(rows, 4, 20 + i), table(rows, 4, 40 + i), nearest) for i in range(5)]
    missed = np.prod([(rows - i) / (2 * rows - i) for i in range(1, nearest + 1)])
    assert np.mean([score.density for score in found]) == pytest.approx(1.0, abs=0.03)
    assert np.mean([score.coverage for score in found]) == pytest.approx(1 - missed, abs=0.01)


@pytest.mark.parametrize("chunk_bytes", [1, 20_000, 10**9])
def test_strips_and_order_change_nothing(chunk_bytes: int) -> None:
    fake, real = table(80, 6, 7), torch.cat([table(60, 6, 8), table(80, 6, 7)[:20]])
    whole = manifold(fake, real, 3)
    assert manifold(fake[torch.randperm(80)], real[torch.randperm(80)], 3, chunk_bytes) == whole


def test_images_that_are_all_the_same_have_balls_of_no_size() -> None:
    same = torch.ones(30, 5)
    assert numbers(manifold(same, same)) == (0.0, 0.0, 0.0, 0.0)


def test_too_few_and_bad_features_are_refused() -> None:
    with pytest.raises(UserError, match="more than 5 images in both sets; there are 5 samples and 9 real"):
        manifold(torch.zeros(5, 2), torch.zeros(9, 2))
    bad = torch.zeros(9, 2)
    bad[3, 0] = float("nan")
    with pytest.raises(NotFinite, match="samples are not finite at sample 3 "):
        manifold(bad, torch.zeros(9, 2))
