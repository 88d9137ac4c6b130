"""The score's state: bits, merging, bad samples, interruption, and two processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from seeded_inception import logits_table

from gansweep.metrics.protocols import PROTOCOLS, STACKGAN, Protocol
from gansweep.metrics.score import InceptionScore, NotFinite

TABLE = torch.from_numpy(logits_table())
TWO = Path(__file__).with_name("two_processes.py")


def fed(rows: torch.Tensor, batch: int = 64, protocol: Protocol = PROTOCOLS["torch-fidelity"]) -> InceptionScore:
    score = InceptionScore(len(TABLE), 10, protocol)
    for chunk in rows.split(batch):
        score.update(TABLE[chunk].float(), rows=chunk)
    return score


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
@pytest.mark.parametrize("batch", [1, 7, 100])
def test_the_bits_do_not_depend_on_the_batches(batch: int, protocol: Protocol) -> None:
    everything = torch.arange(len(TABLE))
    assert fed(everything, batch, protocol).compute() == fed(everything, 237, protocol).compute()


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
@pytest.mark.parametrize("world", [2, 3])
def test_parts_of_whole_blocks_merge_to_the_bits_of_the_whole(world: int, protocol: Protocol) -> None:
    whole = InceptionScore(len(TABLE), 10, protocol)
    for rank in reversed(range(world)):
        whole.merge(fed(whole.layout.share(rank, world), 5 + rank, protocol))
    assert whole.compute() == fed(torch.arange(len(TABLE)), 64, protocol).compute()


def test_torn_blocks_merge_to_1e12() -> None:
    merged = fed(torch.arange(0, len(TABLE), 2))
    merged.merge(fed(torch.arange(1, len(TABLE), 2)))
    found, expected = asdict(merged.compute()), asdict(fed(torch.arange(len(TABLE))).compute())
    assert found.pop("protocol") == expected.pop("protocol")
    assert list(found.values()) == pytest.approx(list(expected.values()), rel=1e-12, abs=1e-12)


def test_an_interrupted_pass_goes_on_from_its_sums() -> None:
    first = fed(torch.arange(100))
    kept = {name: value.clone() for name, value in first.sums().items()}
    second = InceptionScore(len(TABLE), 10)
    second.load(kept, first.seen)
    second.update(TABLE[100:].float())
    assert second.compute() == fed(torch.arange(len(TABLE))).compute()
    assert int(kept["count"].sum()) == 100, "the state that was loaded stays as it was"


def test_merging_parts_of_another_set_is_refused() -> None:
    with pytest.raises(ValueError, match="different numbers"):
        fed(torch.arange(10)).merge(InceptionScore(238, 10))
    with pytest.raises(ValueError, match="different numbers"):
        fed(torch.arange(10)).merge(InceptionScore(237, 10, order_seed=1))
    with pytest.raises(ValueError, match="different numbers"):
        fed(torch.arange(10)).load({"p": torch.zeros(3, 4)}, 3)


def test_rows_given_twice_are_found() -> None:
    score = fed(torch.arange(100))
    with pytest.raises(ValueError, match=r"237 of 237 .*block \d+ has"):
        score.merge(fed(torch.arange(137)))
        score.compute()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_the_first_bad_sample_is_named(value: float, protocol: Protocol) -> None:
    table = TABLE.clone()
    table[230, 3] = table[41, 5] = table[200, 1] = value
    score = InceptionScore(len(table), 10, protocol)
    for chunk in torch.arange(len(table)).flip(0).split(16):  # the last comes first
        score.update(table[chunk], rows=chunk)
    with pytest.raises(NotFinite, match="sample 41 ") as caught:
        score.compute()
    assert caught.value.index == 41 and caught.value.exit_code == 1


def test_a_bad_sample_is_named_from_either_part() -> None:
    bad = InceptionScore(len(TABLE), 10)
    bad.update(torch.full((100, 40), float("nan")))
    good = fed(torch.arange(100, 237))
    for first, second in ((bad, good), (good, bad)):
        merged = InceptionScore(len(TABLE), 10)
        merged.merge(first)
        merged.merge(second)
        with pytest.raises(NotFinite, match="sample 0 "):
            merged.compute()


def test_a_background_that_is_not_finite_does_not_count() -> None:
    table = TABLE.clone()
    table[:, 0] = float("nan")
    score = InceptionScore(len(table), 10, STACKGAN)
    score.update(table)
    assert score.compute().mean > 1.0


def test_memory_does_not_grow_with_the_images() -> None:
    sizes = []
    for images in (500, 50_000):
        score = InceptionScore(images)
        score.update(TABLE)
        sizes.append(sum(value.nbytes for value in score.sums().values()))
    assert sizes[0] == sizes[1]


def test_torchmetrics_is_imported_by_its_own_module_alone() -> None:
    rooms = "estimates, frechet, kept, kernel, manifold, moments, protocols, score, sums"
    code = f"import sys\nfrom gansweep.metrics import {rooms}\nassert 'torchmetrics' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_two_processes_give_the_bits_of_one(tmp_path: Path) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(TWO)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    out = subprocess.run([*launch, str(tmp_path)], env=environment, text=True, capture_output=True, timeout=300)
    assert out.returncode == 0, out.stderr
    whole = fed(torch.arange(len(TABLE))).compute()
    for rank in range(2):
        told = json.loads((tmp_path / f"{rank}.json").read_text())
        assert told["shares"] == whole.named("score"), "whole blocks: the same bits on both ranks"
        assert told["halves"]["score"] == pytest.approx(whole.mean, abs=1e-12)
        assert told["halves"]["score_ci95_low"] == pytest.approx(whole.ci95_low, abs=1e-12)
        assert "sample 200 " in told["bad"], "only rank 1 saw it, both tell it"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("classes", [40, 1008])
def test_on_a_device_equal_batches_give_equal_bits(classes: int) -> None:
    logits = torch.randn(2000, classes, generator=torch.Generator().manual_seed(1)).cuda() * 3
    scores = []
    for batch in (64, 64, 1, 500, 2000):
        score = InceptionScore(2000, device="cuda")
        for rows in torch.arange(2000).split(batch):
            score.update(logits[rows.cuda()], rows=rows)
        scores.append(score.compute())
    assert scores[0] == scores[1]
    assert [score.mean for score in scores] == pytest.approx([scores[0].mean] * 5, rel=1e-12)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_nothing_is_read_back_while_images_pass() -> None:
    logits = TABLE.cuda()
    score = InceptionScore(len(TABLE), 10, STACKGAN, device="cuda")
    score.update(logits[:37])
    torch.cuda.set_sync_debug_mode("error")
    try:
        score.update(logits[37:])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert score.compute().mean > 1.0
