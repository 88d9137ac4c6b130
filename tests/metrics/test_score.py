"""The score against closed forms, a NumPy oracle over the whole table, and torch-fidelity's numbers."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from seeded_inception import GOLDEN, logits_table

from gansweep.errors import RunFailed, UserError
from gansweep.metrics.protocols import IMPROVED_GAN, TORCH_FIDELITY, Protocol
from gansweep.metrics.score import InceptionScore, Score, check_sizes, split_of_rows


def score_of(
    logits: np.ndarray | torch.Tensor, splits: int = 10, batch: int = 64, protocol: Protocol = TORCH_FIDELITY
) -> Score:
    table = torch.as_tensor(logits)
    score = InceptionScore(len(table), splits, protocol)
    for chunk in table.split(batch):
        score.update(chunk)
    return score.compute()


def oracle(logits: np.ndarray, splits: int, order: int | None = 2020) -> tuple[float, float]:
    """The definition, written down directly: float64, the whole table at once."""
    rows = len(logits)
    table = logits.astype(np.float64)
    if order is not None:
        table = table[np.random.RandomState(order).permutation(rows)]
    shifted = table - table.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    p = np.exp(log_p)
    scores = []
    for i in range(splits):
        part, log_part = (
            p[i * rows // splits : (i + 1) * rows // splits],
            log_p[i * rows // splits : (i + 1) * rows // splits],
        )
        q = part.mean(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(part > 0, part * (log_part - np.log(q)), 0.0)
        scores.append(math.exp(terms.sum(axis=1).mean()))
    return float(np.mean(scores)), float(np.std(scores))


@pytest.mark.parametrize("classes", [2, 10, 1008])
def test_equal_rows_score_one(classes: int) -> None:
    row = np.random.RandomState(classes).standard_normal(classes)
    score = score_of(np.tile(row, (40, 1)))
    assert score.mean == pytest.approx(1.0, abs=1e-14) and score.std == pytest.approx(0.0, abs=1e-14)
    assert score.single == pytest.approx(1.0, abs=1e-14) and score.bias_slope == pytest.approx(0.0, abs=1e-12)


def test_uniform_rows_score_one_to_the_last_bits() -> None:
    assert score_of(np.zeros((64, 8)), splits=4).mean == pytest.approx(1.0, abs=2e-15)


@pytest.mark.parametrize("classes", [4, 50])
def test_certain_rows_over_all_classes_score_the_number_of_classes(classes: int) -> None:
    logits = np.full((classes * 6, classes), -1e4)
    logits[np.arange(classes * 6), np.arange(classes * 6) % classes] = 0.0
    score = score_of(logits, splits=6, protocol=IMPROVED_GAN)
    assert score.mean == pytest.approx(classes, abs=1e-12) and score.std == pytest.approx(0.0, abs=1e-12)
    assert score.marginal_entropy == pytest.approx(math.log(classes), abs=1e-12) and score.conditional_entropy == 0.0


def test_a_table_worked_out_by_hand() -> None:
    # p rows (3/4, 1/4) and (1/4, 3/4): q = (1/2, 1/2), KL = 3/4 ln(3/2) + 1/4 ln(1/2) = ln(3^(3/4) / 2).
    logits = np.log(np.array([[3.0, 1.0], [1.0, 3.0]]))
    score = score_of(logits, splits=1)
    assert score.mean == pytest.approx(3**0.75 / 2, abs=1e-14)
    # Var(p_k) with ddof 1 is 1/8, the mean 1/2: c = 1/2 * (1/4 + 1/4) = 1/4.
    assert score.bias_slope == pytest.approx(0.25, abs=1e-14)
    assert score.infinity == pytest.approx(3**0.75 / 2 * math.exp(0.125), abs=1e-14)


@pytest.mark.parametrize("splits", [1, 2, 3, 7, 10])
def test_agrees_with_the_definition_over_the_whole_table(splits: int) -> None:
    mean, std = oracle(logits_table(), splits)
    score = score_of(logits_table(), splits)
    assert score.mean == pytest.approx(mean, abs=1e-12) and score.std == pytest.approx(std, abs=1e-12)
    assert score.single == pytest.approx(oracle(logits_table(), 1)[0], abs=1e-12)
    assert math.log(score.single) == pytest.approx(score.marginal_entropy - score.conditional_entropy, abs=1e-12)


def test_agrees_with_torch_fidelity() -> None:
    expected = json.loads((GOLDEN / "expected.json").read_text())["formula"]
    score = score_of(logits_table())
    assert score.mean == pytest.approx(expected["mean"], abs=1e-12)
    assert score.std == pytest.approx(expected["std"], abs=1e-12)


def test_does_not_depend_on_the_batch_size() -> None:
    whole = score_of(logits_table(), batch=237)
    for batch in (1, 10, 100):
        part = score_of(logits_table(), batch=batch)
        assert (part.mean, part.std, part.infinity) == pytest.approx((whole.mean, whole.std, whole.infinity), abs=1e-12)


def test_rows_may_come_in_any_order_when_they_are_numbered() -> None:
    table = torch.from_numpy(logits_table())
    rows = torch.randperm(len(table), generator=torch.Generator().manual_seed(3))
    score = InceptionScore(len(table))
    for chunk in rows.split(50):
        score.update(table[chunk], rows=chunk)
    assert score.compute().mean == pytest.approx(score_of(table).mean, abs=1e-12)


def test_parts_merge_into_the_whole() -> None:
    table = torch.from_numpy(logits_table())
    parts = [InceptionScore(len(table)) for _ in range(2)]
    parts[0].update(table[:100])
    parts[1].update(table[100:], rows=torch.arange(100, len(table)))
    empty = InceptionScore(len(table))
    for part in parts:
        empty.merge(part)
    assert empty.compute().mean == pytest.approx(score_of(table).mean, abs=1e-12)


def test_very_confident_logits_give_no_nan() -> None:
    # A float32 softmax underflows here, and p log p becomes nan; in log space the value is that of the definition.
    logits = np.random.RandomState(0).standard_normal((200, 20)) * 600.0
    logits[:, 7] = -1e5
    score = score_of(logits.astype(np.float32), splits=2)
    mean, std = oracle(logits.astype(np.float32), 2)
    assert math.isfinite(score.mean) and 10 < score.mean < 20
    assert score.mean == pytest.approx(mean, abs=1e-12) and score.std == pytest.approx(std, abs=1e-12)


def test_half_precision_logits_are_scored_in_float64() -> None:
    logits = torch.from_numpy(logits_table()).bfloat16()
    assert score_of(logits).mean == pytest.approx(oracle(logits.double().numpy(), 10)[0], abs=1e-12)


def test_sorted_images_are_spread_over_the_splits() -> None:
    logits = np.repeat(np.eye(10) * 1e4, 100, axis=0)
    assert score_of(logits).mean > 9.0
    assert score_of(logits, protocol=IMPROVED_GAN).mean == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(("images", "splits"), [(10, 10), (237, 10), (23, 4), (7, 7), (5, 1)])
def test_every_split_gets_its_share_of_the_permutation(images: int, splits: int) -> None:
    permutation = np.random.RandomState(2020).permutation(images)
    found = split_of_rows(images, splits).numpy()
    for i in range(splits):
        expected = sorted(permutation[i * images // splits : (i + 1) * images // splits])
        assert np.flatnonzero(found == i).tolist() == expected


def test_bias_slope_predicts_what_more_images_would_score() -> None:
    draw = np.random.RandomState(5)
    logits = draw.standard_normal((20_000, 30)) * 4.0
    large = score_of(logits, splits=1)
    small = [score_of(part, splits=1) for part in np.split(logits, 50)]
    gap = large.infinity - float(np.mean([score.single for score in small]))
    assert gap > 0.1, "400 images score clearly lower than 20,000"
    assert abs(large.infinity - float(np.mean([score.infinity for score in small]))) < 0.1 * gap


def test_fewer_images_than_splits_is_refused_in_the_keys_of_the_user() -> None:
    with pytest.raises(UserError, match=r"eval\.n=5 .*eval\.splits=10"):
        InceptionScore(5, 10)


def test_few_images_a_split_are_warned_of() -> None:
    warning = check_sizes(490, 10)
    assert warning is not None and "49 a split" in warning
    assert check_sizes(500, 10) is None


def test_logits_that_are_not_finite_fail() -> None:
    logits = torch.zeros(20, 3)
    logits[4, 1] = float("nan")
    with pytest.raises(RunFailed, match="not finite"):
        score_of(logits)


def test_too_many_and_too_few_images_are_caught() -> None:
    score = InceptionScore(20)
    score.update(torch.zeros(15, 3))
    with pytest.raises(ValueError, match="15 of 20"):
        score.compute()
    with pytest.raises(ValueError, match="21 images"):
        score.update(torch.zeros(6, 3))
    with pytest.raises(ValueError, match="float logits"):
        score.update(torch.zeros(5, 3, dtype=torch.int64))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_sums_on_the_device_give_the_same_score() -> None:
    table = torch.from_numpy(logits_table())
    score = InceptionScore(len(table), device="cuda")
    for chunk in table.cuda().split(64):
        score.update(chunk)
    assert score.compute().mean == pytest.approx(score_of(table).mean, abs=1e-12)
