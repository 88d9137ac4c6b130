"""The named protocols against their programs' own arithmetic, and their keys, orders and cuts."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from seeded_inception import logits_table

from gansweep.errors import UserError
from gansweep.metrics.protocols import (
    IMPROVED_GAN,
    PROTOCOLS,
    STACKGAN,
    TORCH_FIDELITY,
    TORCHMETRICS,
    Protocol,
    check_sizes,
    lay_out,
    metric_key,
    protocol_named,
    split_of_rows,
)
from gansweep.metrics.score import InceptionScore, Score


def score_of(logits: np.ndarray, splits: int, protocol: Protocol, seed: int = 2020) -> Score:
    score = InceptionScore(len(logits), splits, protocol, seed)
    for chunk in torch.from_numpy(logits).split(50):
        score.update(chunk)
    return score.compute()


def over_parts(parts: list[np.ndarray], ddof: int) -> tuple[float, float]:
    scores = []
    for logits in parts:
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        scores.append(math.exp((p * (np.log(p) - np.log(p.mean(axis=0, keepdims=True)))).sum(axis=1).mean()))
    return float(np.mean(scores)), float(np.std(scores, ddof=ddof))


def test_improved_gan_takes_the_images_as_they_come() -> None:
    logits = logits_table()
    parts = [logits[i * 237 // 10 : (i + 1) * 237 // 10] for i in range(10)]
    score = score_of(logits, 10, IMPROVED_GAN)
    assert (score.mean, score.std) == pytest.approx(over_parts(parts, 0), abs=1e-12)


def test_stackgan_shuffles_leaves_the_last_batch_out_and_drops_the_background() -> None:
    logits = logits_table()
    kept = logits[np.random.RandomState(7).permutation(237)[: 3 * 64], 1:]
    score = score_of(logits, 10, STACKGAN, seed=7)
    parts = [kept[i * 192 // 10 : (i + 1) * 192 // 10] for i in range(10)]
    assert (score.mean, score.std) == pytest.approx(over_parts(parts, 0), abs=1e-12)
    assert score.images == 192 and score.classes == logits.shape[1] - 1 and score.protocol == "stackgan"


def test_the_background_changes_nothing_but_the_logits_left_do() -> None:
    logits = logits_table()
    louder = logits.copy()
    louder[:, 0] += 1e3
    assert score_of(louder, 3, STACKGAN) == score_of(logits, 3, STACKGAN)


@pytest.mark.parametrize(
    ("images", "asked", "made"), [(237, 10, 10), (11, 10, 6), (15, 10, 8), (25, 10, 9), (30, 3, 3)]
)
def test_torchmetrics_cuts_as_torch_chunk_does(images: int, asked: int, made: int) -> None:
    logits = logits_table()[:images]
    order = torch.randperm(images, generator=torch.Generator().manual_seed(5))
    parts = [part.numpy() for part in torch.from_numpy(logits)[order].chunk(asked)]
    score = score_of(logits, asked, TORCHMETRICS, seed=5)
    assert score.splits == made == len(parts)
    assert (score.mean, score.std) == pytest.approx(over_parts(parts, 1), abs=1e-12)


def test_agrees_with_torchmetrics_itself() -> None:
    from torchmetrics.image.inception import InceptionScore as Theirs

    logits = torch.from_numpy(logits_table())
    with pytest.warns(UserWarning, match="buffer"):
        theirs = Theirs(feature=torch.nn.Identity(), splits=10)
    theirs.update(logits)
    state = torch.get_rng_state()
    try:
        torch.manual_seed(11)
        mean, std = (float(value) for value in theirs.compute())
    finally:
        torch.set_rng_state(state)
    score = score_of(logits.numpy(), 10, TORCHMETRICS, seed=11)
    assert (score.mean, score.std) == pytest.approx((mean, std), abs=1e-12)


def test_one_split_has_no_std_with_ddof_1() -> None:
    assert math.isnan(score_of(logits_table(), 1, TORCHMETRICS).std)
    assert score_of(logits_table(), 1, TORCH_FIDELITY).std == 0.0


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_all_protocols_agree_on_one_split_of_everything(protocol: Protocol) -> None:
    plain = replace(protocol, whole_batches_of=1, drops_background=False)
    expected = score_of(logits_table(), 1, TORCH_FIDELITY)
    assert score_of(logits_table(), 1, plain).mean == pytest.approx(expected.mean, abs=1e-12)


def test_only_torch_fidelity_on_inception_is_the_inception_score() -> None:
    keys = [metric_key(judge, protocol) for judge in ("inception_score", "is_lite0") for protocol in PROTOCOLS.values()]
    assert keys == [
        "inception_score",
        "inception_score_improved_gan",
        "inception_score_stackgan",
        "inception_score_torchmetrics",
        "is_lite0",
        "is_lite0_improved_gan",
        "is_lite0_stackgan",
        "is_lite0_torchmetrics",
    ]
    # A protocol that was changed is another one, whatever it is called.
    assert metric_key("inception_score", replace(TORCH_FIDELITY, ddof=1)) != "inception_score"


def test_an_unknown_protocol_is_refused_with_the_nearest() -> None:
    assert protocol_named("stackgan") is STACKGAN
    with pytest.raises(UserError, match=r"'stackgn'.*stackgan"):
        protocol_named("stackgn")


@pytest.mark.parametrize(("images", "splits"), [(10, 10), (237, 10), (23, 4), (7, 7), (5, 1), (50_000, 10)])
@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_blocks_cover_every_scored_image_once_and_cut_no_split(images: int, splits: int, protocol: Protocol) -> None:
    if images < protocol.whole_batches_of:
        with pytest.raises(UserError, match="0 in whole batches of 64"):
            lay_out(images, splits, protocol)
        return
    layout = lay_out(images, splits, protocol)
    kept = layout.block_of_row[layout.block_of_row >= 0]
    assert layout.scored == len(kept) == images - images % protocol.whole_batches_of
    assert torch.equal(torch.bincount(kept, minlength=layout.blocks), layout.size_of_block)
    assert bool((layout.size_of_block > 0).all()) and layout.blocks <= 110
    assert torch.equal(layout.split_of_block, layout.split_of_block.sort().values)
    assert set(split_of_rows(images, splits, protocol).tolist()) <= {-1, *range(layout.splits)}


def test_shares_are_whole_blocks() -> None:
    layout = lay_out(237, 10)
    shares = [layout.share(rank, 3) for rank in range(3)]
    assert sorted(torch.cat(shares).tolist()) == list(range(237))
    blocks = [set(layout.block_of_row[rows].tolist()) for rows in shares]
    assert all(not a & b for a, b in [(blocks[0], blocks[1]), (blocks[1], blocks[2]), (blocks[0], blocks[2])])


def test_sizes_are_checked_after_the_last_batch_is_left_out() -> None:
    with pytest.raises(UserError, match=r"eval\.n=100 \(64 in whole batches of 64\) .*eval\.splits=65"):
        check_sizes(100, 65, STACKGAN)
    assert check_sizes(100, 65) is not None


def test_a_head_of_one_logit_and_background_has_no_classes() -> None:
    with pytest.raises(UserError, match="2 logits leaves 1 classes to stackgan"):
        InceptionScore(64, 1, STACKGAN).update(torch.zeros(64, 2))
