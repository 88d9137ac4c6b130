"""Faster arithmetic of a judge: recorded, held against the exact one, refused where it moves the score too far."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import tiny_judge
from gansweep.errors import UserError
from gansweep.evaluate import evaluate
from gansweep.metrics.precision import Precision, at_precision, in_words
from gansweep.runs import spool
from gansweep.runs.rundir import Run
from gansweep.scoring.card import cards_of
from tiny_runs import tiny_run


class TwoSpeeds(tiny_judge.TinyJudge):
    """A judge whose bf16 makes its logits smaller by a share, as a coarse arithmetic might."""

    lost = 0.0

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.precision: Precision = "exact"

    def identity(self) -> dict[str, str]:
        return {**super().identity(), "precision": in_words(self.precision)}

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        logits = super().logits(images)
        return logits * (1 - self.lost) if self.precision == "bf16" else logits


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tiny_judge, "TinyJudge", TwoSpeeds)
    return tiny_run(tmp_path / "outputs" / "one")


def test_a_mode_that_moves_little_is_taken_and_recorded_with_its_shift(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TwoSpeeds, "lost", 1e-3)
    (exact,) = evaluate(str(run.dir))[0].cards
    (fast,) = evaluate(str(run.dir), ["eval.precision=bf16"])[0].cards
    assert (exact.measure["precision"], fast.measure["precision"]) == ("fp32, TF32 off", "bf16")
    assert exact.compared() != fast.compared(), "never ranked with each other"
    assert 0 < abs(fast.values["precision_shift"]) < 0.01 and "precision_shift" not in exact.values


def test_a_mode_that_moves_the_score_by_more_than_a_hundredth_is_refused(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TwoSpeeds, "lost", 0.5)
    with pytest.raises(UserError, match=r"eval\.precision=bf16 is refused: .* first 40 samples by -.*choices: exact"):
        evaluate(str(run.dir), ["eval.precision=bf16"])
    assert not cards_of(run.dir) and not list(spool.points(run.dir))


@pytest.mark.parametrize("precision", ["exact", "tf32", "bf16"])
def test_the_context_sets_and_gives_back_every_switch(precision: Precision) -> None:
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark
    with at_precision(precision, torch.device("cpu")):
        assert matmul.allow_tf32 == cudnn.allow_tf32 == (precision == "tf32")
        assert cudnn.deterministic and not cudnn.benchmark
        product = torch.ones(2, 2) @ torch.ones(2, 2)
        assert product.dtype == (torch.bfloat16 if precision == "bf16" else torch.float32)
        assert torch.is_inference_mode_enabled()
    assert (matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark) == before
