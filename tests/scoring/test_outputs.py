"""A system with several outputs: a score for each, the finest one's under the plain name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gansweep.data import open_data
from gansweep.evaluate import evaluate
from gansweep.runs import checkpoint
from gansweep.runs.rundir import Run
from gansweep.scoring.card import cards_of
from gansweep.systems.vaegan import VaeGan
from tiny_runs import tiny_payload, tiny_run, tiny_settings

METRICS = ["eval.metrics=[is,fid]", "judge._target_=tiny_judge.SeeingJudge"]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run whose system gives its pictures at 8 px too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    alone = VaeGan.sample

    def both(self: VaeGan, nets: object, batch: object, noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        (whole,) = alone(self, nets, batch, noise).values()  # type: ignore[arg-type]
        return {"8": F.avg_pool2d(whole, 2), "16": whole}

    monkeypatch.setattr(VaeGan, "sample", both)
    settings = tiny_settings("data=emoji", "data.limit=60")
    made = tiny_run(tmp_path / "outputs" / "one", settings)
    payload = tiny_payload(settings, made.id)
    payload["data"]["fingerprint"] = open_data(settings.data, progress=False).fingerprint
    checkpoint.save(made.checkpoint_dir / "last.pt", payload)
    return made


def test_each_output_has_its_own_card_and_the_finest_the_plain_name(run: Run) -> None:
    (done,) = evaluate(str(run.dir), METRICS)
    found = {card.key: card for card in done.cards}
    assert set(found) == {"is_tiny", "is_tiny_8", "fid_tiny", "fid_tiny_8"}
    sizes = {key: (card.measure["output"], card.measure["size_px"]) for key, card in found.items()}
    assert sizes["is_tiny"] == ("16", "16") and sizes["fid_tiny_8"] == ("8", "8")
    assert "at 8 px" in found["fid_tiny_8"].measure["reference"]
    assert found["is_tiny"].value != found["is_tiny_8"].value
    assert found["fid_tiny"].value != found["fid_tiny_8"].value


def test_the_finest_score_is_the_one_it_would_have_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    both = {card.key: card.value for card in evaluate(str(run.dir), METRICS)[0].cards}
    several = VaeGan.sample

    def finest(self: VaeGan, nets: object, batch: object, noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"16": several(self, nets, batch, noise)["16"]}  # type: ignore[arg-type]

    monkeypatch.setattr(VaeGan, "sample", finest)
    (run.dir / "scores.jsonl").unlink()
    alone = {card.key: card.value for card in evaluate(str(run.dir), METRICS)[0].cards}
    assert alone == {key: both[key] for key in ("is_tiny", "fid_tiny")} and len(cards_of(run.dir)) == 2


def test_a_sample_that_is_not_finite_in_any_output_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from gansweep.errors import RunFailed

    several = VaeGan.sample

    def spoilt(self: VaeGan, nets: object, batch: object, noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        drawn = several(self, nets, batch, noise)  # type: ignore[arg-type]
        drawn["8"] = torch.where(torch.arange(len(drawn["8"])).view(-1, 1, 1, 1) == 5, torch.nan, drawn["8"])
        return drawn

    monkeypatch.setattr(VaeGan, "sample", spoilt)
    with pytest.raises(RunFailed, match=r"last\.pt .*the first is sample 5 .*nothing was recorded"):
        evaluate(str(run.dir), ["judge._target_=tiny_judge.SeeingJudge"])
    assert not cards_of(run.dir)
