"""eval-is of a run and of a sweep: which checkpoints, what is not scored twice, which is the best, what is drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_judge
from gansweep.errors import RunFailed, UserError
from gansweep.evaluate import Evaluation, evaluate
from gansweep.metrics.judges import Reading
from gansweep.runs import checkpoint, spool
from gansweep.runs.rundir import Run
from gansweep.scoring.card import append, cards_of, retract
from tiny_judge import SeeingJudge
from tiny_runs import tiny_payload, tiny_run, tiny_settings


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def several(run_dir: Path, steps: tuple[int, ...] = (3, 5), **fields: Any) -> Run:
    """A run whose step files are of different weights, and whose last.pt is the last of them."""
    run = tiny_run(run_dir, **fields)
    last = run.checkpoint_dir / "last.pt"
    last.unlink()
    for step in steps:
        path = run.checkpoint_dir / f"step-{step:08d}.pt"
        checkpoint.save(path, tiny_payload(tiny_settings(), run.id, step=step, seed=step))
    last.hardlink_to(path)
    return run


def tags(run: Run) -> dict[str, str]:
    found: dict[str, str] = {}
    for _, entry in spool.lines(run.dir / spool.SPOOL_FILE):
        if entry and entry["kind"] == "tags":
            found |= entry["tags"]
    return found


def names(done: list[Evaluation]) -> list[str]:
    return [one.path.name for one in done]


def test_a_run_means_each_of_its_checkpoints_once_whatever_their_names(tmp_path: Path) -> None:
    run = several(tmp_path / "outputs" / "one")
    payload = checkpoint.load(run.checkpoint_dir / "step-00000003.pt")
    checkpoint.save(run.checkpoint_dir / "best.pt", payload)  # a copy: another file, the same weights
    tiny_judge.TinyJudge.opened = 0
    done = evaluate(str(run.dir))
    assert names(done) == ["step-00000003.pt", "step-00000005.pt", "best.pt"]
    assert [len(one.fresh) for one in done] == [1, 1, 0] and done[2].cards == done[0].cards
    assert tiny_judge.TinyJudge.opened == 1
    points = [(point.step, point.value) for point in spool.points(run.dir) if point.key == "is_tiny"]
    assert points == [(one.step, one.cards[0].value) for one in done[:2]]


def test_what_was_scored_before_is_not_scored_again_unless_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = several(tmp_path / "outputs" / "one")
    first = evaluate(str(run.checkpoint_dir / "step-00000003.pt"))[0].cards[0]
    looked: list[int] = []
    judge = tiny_judge.TinyJudge.logits

    def counted(self: tiny_judge.TinyJudge, images: torch.Tensor) -> torch.Tensor:
        looked.append(len(images))
        return judge(self, images)

    monkeypatch.setattr(tiny_judge.TinyJudge, "logits", counted)
    assert evaluate(str(run.checkpoint_dir / "step-00000003.pt"))[0].cards == (first,) and not looked
    assert "scored before" in capsys.readouterr().out
    done = evaluate(str(run.dir))
    assert [len(one.fresh) for one in done] == [0, 1] and sum(looked) == 48  # 40 in whole batches of 16
    again = evaluate(str(run.checkpoint_dir / "step-00000003.pt"), again=True)[0].cards[0]
    assert again.id != first.id and again.value == first.value and len(cards_of(run.dir)) == 3


def test_which_checkpoints_of_a_sweep(tmp_path: Path) -> None:
    sweep = tmp_path / "multirun" / "day"
    runs = [several(sweep / str(job), sweep={"id": "s", "job": job}) for job in range(2)]
    (sweep / "sweep.jsonl").write_text("{}")
    (runs[0].checkpoint_dir / "best.pt").hardlink_to(runs[0].checkpoint_dir / "step-00000003.pt")
    assert [one.step for one in evaluate(str(sweep))] == [5, 5]
    best = evaluate(str(sweep), ["eval.checkpoints=best"])
    assert [(one.step, one.fault) for one in best] == [(3, ""), (0, "no best.pt: it had no checkpoint.best_by")]
    assert [one.step for one in evaluate(str(sweep), ["eval.checkpoints=all"])] == [3, 5, 3, 5]


def test_the_best_is_tagged_and_the_curve_is_drawn_and_both_reach_the_run(tmp_path: Path) -> None:
    run = several(tmp_path / "outputs" / "one", steps=(3, 5, 9))
    done = evaluate(str(run.dir))
    best = max(done, key=lambda one: one.cards[0].value)
    told = tags(run)["gansweep.best.is_tiny"]
    assert told.startswith(f"{best.path.name}, step {best.step}: ") and best.cards[0].id in told
    plot = run.dir / "scores" / "is_tiny.png"
    assert plot.read_bytes().startswith(b"\x89PNG")
    files = [entry for _, entry in spool.lines(run.dir / spool.SPOOL_FILE) if entry and entry["kind"] == "file"]
    assert any(entry["path"] == "scores/is_tiny.png" for entry in files)


def test_a_retracted_card_is_never_the_best_and_not_taken_again_by_itself(tmp_path: Path) -> None:
    run = several(tmp_path / "outputs" / "one")
    done = evaluate(str(run.dir))
    best = max((one.cards[0] for one in done), key=lambda card: card.value)
    retract(run.dir, best, "training mode")
    (card,) = evaluate(str(run.checkpoint_dir / best.subject["checkpoint"]))[0].cards
    assert card.id == best.id and card.retracted == "training mode"
    evaluate(str(run.dir), ["eval.seed=1"])
    assert best.id not in tags(run)["gansweep.best.is_tiny"]


def test_one_broken_checkpoint_of_a_run_is_told_and_the_others_are_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = several(tmp_path / "outputs" / "one")
    (run.checkpoint_dir / "step-00000003.pt").write_bytes(b"rubbish")
    with pytest.raises(RunFailed, match="1 of 2 checkpoints could not be scored"):
        evaluate(str(run.dir))
    assert "not a checkpoint" in capsys.readouterr().out
    assert [card.step for card in cards_of(run.dir)] == [5]


class NanJudge(tiny_judge.TinyJudge):
    """Says nan of the eighth picture it sees."""

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        logits = super().logits(images)
        logits[7, 0] = float("nan")
        return logits


def test_logits_that_are_not_finite_name_checkpoint_and_sample_and_leave_no_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = several(tmp_path / "outputs" / "one")
    monkeypatch.setattr(tiny_judge, "TinyJudge", NanJudge)
    with pytest.raises(RunFailed, match=r"step-00000003\.pt .*not finite at sample 7 .*nothing was recorded") as caught:
        evaluate(str(run.checkpoint_dir / "step-00000003.pt"))
    assert caught.value.exit_code == 1 and not cards_of(run.dir)
    assert not [point for point in spool.points(run.dir) if point.key.startswith("is_")]


@pytest.fixture
def seeing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny_judge, "TinyJudge", SeeingJudge)


def on_data(run_dir: Path) -> Run:
    """A run that knows the data it was trained on."""
    from gansweep.data import open_data

    settings = tiny_settings("data=emoji", "data.limit=60", "data.val_fraction=0.2")
    run = tiny_run(run_dir, settings)
    payload = tiny_payload(settings, run.id)
    payload["data"]["fingerprint"] = open_data(settings.data, progress=False).fingerprint
    checkpoint.save(run.checkpoint_dir / "last.pt", payload)
    return run


ALL = ["eval.metrics=[is,fid,kid,prdc,rec]", "eval.kid_subset_size=20", "eval.kid_subsets=5", "eval.prdc_nearest=3"]


@pytest.mark.usefixtures("seeing")
def test_companions_come_from_one_pass_and_the_real_pictures_are_judged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = on_data(tmp_path / "outputs" / "one")
    judged: list[int] = []
    read = SeeingJudge.read

    def counted(self: SeeingJudge, images: torch.Tensor) -> Reading:
        judged.append(len(images))
        return read(self, images)

    monkeypatch.setattr(SeeingJudge, "read", counted)
    (done,) = evaluate(str(run.checkpoint_dir / "last.pt"), ALL)
    found = {card.key: card for card in done.cards}
    wanted = ["is_tiny", "fid_tiny", "kid_tiny", "precision_tiny", "recall_tiny", "density_tiny", "coverage_tiny"]
    assert set(wanted) <= set(found) and {"rec_psnr", "rec_ssim"} <= set(found)
    real = int(found["fid_tiny"].measure["reference"].split()[1])
    assert sum(judged) == 48 + real and "infinity" in found["fid_tiny"].values
    assert "reference" not in found["is_tiny"].measure and "splits" not in found["fid_tiny"].measure
    judged.clear()
    evaluate(str(run.checkpoint_dir / "last.pt"), [*ALL, "eval.seed=1"])
    assert sum(judged) == 48, "the features of the real pictures were kept"


@pytest.mark.usefixtures("seeing")
def test_only_what_is_missing_is_measured(tmp_path: Path) -> None:
    run = on_data(tmp_path / "outputs" / "one")
    first = evaluate(str(run.checkpoint_dir / "last.pt"))[0]
    both = evaluate(str(run.checkpoint_dir / "last.pt"), ["eval.metrics=[is,fid]"])[0]
    assert first.fresh == first.cards == both.cards[:1] and [card.key for card in both.fresh] == ["fid_tiny"]


@pytest.mark.usefixtures("seeing")
def test_other_data_than_the_runs_own_are_refused_as_reference(tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "outputs" / "one", tiny_settings("data=emoji", "data.limit=60"))
    with pytest.raises(UserError, match=r"fid need the data it was trained on, fingerprint 000000000000; data now"):
        evaluate(str(run.checkpoint_dir / "last.pt"), ["eval.metrics=[is,fid]"])
    assert not cards_of(run.dir)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["eval.metrics=[is,fid]"], r"fid need a judge's features, and 'tiny' gives logits only"),
        (["eval.protocol=stackgan", "eval.n=64"], r"drops logit 0, a background class, which the judge 'tiny' has not"),
        (["eval.precision=tf32"], r"needs a CUDA device, this is a cpu; choices here: exact, bf16"),
        (["eval.precision=bf16"], r"the judge 'tiny' has one arithmetic; choices: exact"),
        (["eval.precision=half"], r"eval\.precision=half"),
        (["eval.metrics=[is,fidd]"], r"eval\.metrics.*fid"),
        (["eval.metrics=[]"], r"eval\.metrics"),
        (["eval.metrics=[is,is]"], r"must not name one twice"),
        (["eval.protocol=stylegan"], r"eval\.protocol=stylegan"),
        (["eval.n=3", "eval.splits=4"], r"must be at least splits"),
        (["judge=nobody"], r"judge=nobody: no such choice.*inception, lite0"),
        (["eval.checkpoints=first"], r"eval\.checkpoints=first"),
    ],
)
def test_what_cannot_be_measured_is_told_in_one_line(tmp_path: Path, overrides: list[str], message: str) -> None:
    run = tiny_run(tmp_path / "outputs" / "one")
    with pytest.raises(UserError, match=message) as caught:
        evaluate(str(run.checkpoint_dir / "last.pt"), overrides)
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value) and not cards_of(run.dir)


@pytest.mark.usefixtures("seeing")
def test_protocols_add_their_name_and_tell_their_order(tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "outputs" / "one")
    told = {}
    for protocol in ("torch-fidelity", "improved-gan", "torchmetrics", "stackgan"):
        (card,) = evaluate(str(run.dir), [f"eval.protocol={protocol}", "eval.n=64"])[0].cards
        told[card.key] = card.measure["order"]
    assert list(told) == ["is_tiny", "is_tiny_improved_gan", "is_tiny_torchmetrics", "is_tiny_stackgan"]
    assert told["is_tiny_improved_gan"] == "as given" and told["is_tiny_torchmetrics"] == "randperm(2020)"


def test_training_mode_has_another_name_and_is_never_ranked_with_evaluation_mode(tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "outputs" / "one")
    (plain,) = evaluate(str(run.dir))[0].cards
    (other,) = evaluate(str(run.dir), ["eval.mode=train"])[0].cards
    assert other.key == "is_tiny_train_mode" and other.measure["mode"] == "train"
    assert abs(other.value - plain.value) > 1e-3, "batch statistics of an untrained decoder say something else"
    (same,) = evaluate(str(run.dir), ["eval.mode=train"], again=True)[0].cards
    assert same.value == other.value


def test_a_card_tells_everything_and_can_be_read_by_anyone(tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "outputs" / "one", ema=True)
    evaluate(str(run.dir))
    (line,) = (run.dir / "scores.jsonl").read_text().splitlines()
    told = json.loads(line)
    parts = {"judge", "weights_sha256", "protocol", "n", "splits", "seed", "output", "mode", "ema", "precision"}
    assert parts <= set(told["measure"])
    assert {"run", "checkpoint", "step", "weights_sha256"} <= set(told["subject"])
    assert {"device", "data", "gansweep", "torch", "scored"} <= set(told["context"])
    assert tags(run)["gansweep.is_tiny.card"] == told["id"]
    append(run.dir, cards_of(run.dir)[0])
    assert len(cards_of(run.dir)) == 1, "the same card twice is one card"


@pytest.mark.usefixtures("seeing")
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["eval.metrics=[is,kid]"],
            r"kid_subset_size=1000: there are 40 samples .* at most 40 here",
        ),
        (["eval.metrics=[prdc]", "eval.prdc_nearest=100"], r"prdc_nearest=100: .*at most 39 here"),
        (["judge.name=lite0"], r"judge\.name=lite0 is the name of a built-in judge"),
        (["eval.n=99999999999999"], r"eval\.n"),
    ],
)
def test_what_too_few_cannot_give_is_refused_before_anything_is_drawn(
    tmp_path: Path, overrides: list[str], message: str
) -> None:
    run = on_data(tmp_path / "outputs" / "one")
    with pytest.raises(UserError, match=message):
        evaluate(str(run.checkpoint_dir / "last.pt"), overrides)
    assert not cards_of(run.dir)


def test_reconstructions_without_held_out_pictures_are_no_score(tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "outputs" / "one", tiny_settings("data=emoji", "data.limit=60", "data.val_fraction=0"))
    payload = checkpoint.load(run.checkpoint_dir / "last.pt")
    payload["data"] = {}
    checkpoint.save(run.checkpoint_dir / "last.pt", payload)
    with pytest.raises(UserError, match=r"rec needs held-out pictures"):
        evaluate(str(run.checkpoint_dir / "last.pt"), ["eval.metrics=[rec]"])


def test_a_judge_of_ones_own_is_known_by_its_class_and_its_files_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_judge.TinyJudge, "identity", lambda self: {"judge": self.name})
    run = tiny_run(tmp_path / "outputs" / "one")
    digests = []
    for text in ("one", "two"):
        (tmp_path / f"{text}.pt").write_text(text)
        (card,) = evaluate(str(run.dir), [f"judge.weights={tmp_path / text}.pt"])[0].fresh
        assert card.measure["target"] == "tiny_judge.TinyJudge"
        digests.append(card.measure["weights_sha256"])
    assert len(set(digests)) == 2
