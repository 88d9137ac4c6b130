"""eval-is: the score of a checkpoint's samples, where it is written, and what wrong requests are told."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_judge
from gansweep.errors import Missing, RunFailed, UserError
from gansweep.evaluate import evaluate
from gansweep.metrics.score import InceptionScore
from gansweep.restore import changes, recorded, restore
from gansweep.runs import checkpoint, spool
from gansweep.runs.rundir import Run
from tiny_runs import tiny_payload, tiny_run, tiny_settings


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return tiny_run(tmp_path / "outputs" / "day" / "one", ema=True)


def scores(run: Run) -> dict[str, tuple[float, int]]:
    return {point.key: (point.value, point.step) for point in spool.points(run.dir)}


def tags(run: Run) -> dict[str, str]:
    found: dict[str, str] = {}
    for _, entry in spool.lines(run.dir / spool.SPOOL_FILE):
        if entry and entry["kind"] == "tags":
            found |= entry["tags"]
    return found


def last(run: Run) -> Path:
    return run.checkpoint_dir / "last.pt"


def test_the_score_is_that_of_the_samples_and_goes_to_the_run_at_the_checkpoints_step(run: Run) -> None:
    (card,) = evaluate(str(run.dir))[0].cards
    restored = restore(last(run), run, recorded)
    judge = tiny_judge.TinyJudge("tiny", None, torch.device("cpu"))
    by_hand = InceptionScore(40, 4)
    for images in restored.draw(40, 40, 0):
        by_hand.update(judge.logits(images))
    expected = by_hand.compute()
    assert expected.mean > 1.01, "samples that do not differ would prove nothing"
    assert card.value == pytest.approx(expected.mean, rel=1e-4)
    assert card.values["infinity"] == pytest.approx(expected.infinity, rel=1e-4)
    found = scores(run)
    assert found["is_tiny"] == (card.value, 7) and found["is_tiny_std"] == (card.values["std"], 7)
    assert {"is_tiny_ci95_low", "is_tiny_ci95_high", "is_tiny_infinity", "is_tiny_marginal_entropy"} <= set(found)


def test_the_protocol_is_recorded_as_tags(run: Run) -> None:
    evaluate(str(run.dir), ["eval.seed=3"])
    found = tags(run)
    wanted = {"judge": "tiny", "n": "40", "splits": "4", "seed": "3", "ema": "true", "mode": "eval", "device": "cpu"}
    wanted |= {"weights_sha256": "0" * 64, "sampling_precision": "fp32", "checkpoint": "last.pt", "step": "7"}
    assert wanted.items() <= {key.removeprefix("gansweep.is_tiny."): text for key, text in found.items()}.items()


def test_it_says_what_it_did_in_full(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    (card,) = evaluate(str(run.dir))[0].cards
    out = capsys.readouterr().out
    assert out.startswith(f"is_tiny {card.value:.4f} ± {card.values['std']:.4f} [95 %: {card.values['ci95_low']:.4f}")
    for part in ("judge tiny (weights 00000000)", "N 40", "4 splits", "seed 0", "eval mode", "EMA weights", run.id[:8]):
        assert part in out


def test_few_samples_a_split_are_warned_of_once(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(str(run.dir))
    assert capsys.readouterr().err.count("10 a split") == 1
    evaluate(str(run.dir), ["eval.splits=1", "eval.n=50"])
    assert "a split" not in capsys.readouterr().err


def test_ema_weights_are_scored_unless_declined(run: Run) -> None:
    mean, live = evaluate(str(run.dir))[0].cards[0], evaluate(str(run.dir), ["eval.ema=false"])[0].cards[0]
    assert (mean.measure["ema"], live.measure["ema"]) == ("true", "false")
    assert abs(mean.value - live.value) > 1e-3


def test_without_ema_the_weights_as_trained_are_scored_and_said_to_be(tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "plain")
    assert evaluate(str(run.dir))[0].cards[0].measure["ema"] == "false"


def test_evaluation_mode_and_noise_make_batch_size_immaterial(run: Run) -> None:
    # In training mode batch norm would mix the samples of a batch, and the two would differ in the first digits.
    restored = restore(last(run), run, recorded)
    whole, parts = torch.cat(list(restored.draw(12, 12, 0))), torch.cat(list(restored.draw(12, 5, 0)))
    assert (whole.int() - parts.int()).abs().max() <= 1
    assert not any(net.training for net in restored.system.nets.values())
    assert whole.dtype == torch.uint8 and whole.shape == (12, 3, 16, 16)


def test_sample_i_depends_on_the_seed_alone(run: Run) -> None:
    restored = restore(last(run), run, recorded)
    few, many = torch.cat(list(restored.draw(3, 8, 0))), torch.cat(list(restored.draw(8, 8, 0)))
    other = torch.cat(list(restored.draw(8, 8, 1)))
    assert (few.int() - many[:3].int()).abs().max() <= 1
    assert (other.int() - many.int()).abs().max() > 1


def test_restoring_leaves_the_global_random_state_alone(run: Run) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    list(restore(last(run), run, recorded).draw(2, 2, 0))
    assert torch.equal(torch.rand(1), expected)


def test_a_double_precision_run_is_sampled_in_double_precision(tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "fine", tiny_settings("runtime.precision=fp64"))
    assert evaluate(str(run.dir))[0].cards[0].measure["sampling_precision"] == "fp64"


@pytest.mark.parametrize("form", ["directory", "file", "id", "prefix", "name"])
def test_forms_of_target(run: Run, form: str) -> None:
    targets = {"directory": str(run.dir), "file": str(last(run)), "id": run.id, "prefix": run.id[:6], "name": run.name}
    (done,) = evaluate(targets[form])
    assert done.run is not None and done.run.id == run.id and "is_tiny" in scores(run)


def test_a_sweep_directory_means_all_its_runs_and_one_judge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = tmp_path / "multirun" / "day"
    runs = [tiny_run(sweep / str(job), checkpoints=job != 1, sweep={"id": "s", "job": job}) for job in range(3)]
    (sweep / "sweep.jsonl").write_text("{}")
    tiny_judge.TinyJudge.opened = 0
    done = evaluate(str(sweep))
    assert [item.run.id for item in done if item.run and item.cards] == [runs[0].id, runs[2].id]
    assert tiny_judge.TinyJudge.opened == 1
    assert "is_tiny" in scores(runs[0]) and "is_tiny" in scores(runs[2]) and not scores(runs[1])
    told = capsys.readouterr()
    assert all(run.id[:8] in told.out for run in runs) and "no checkpoint" in told.out
    assert told.err.count("a split") == 1


def test_a_directory_that_is_neither_a_runs_nor_a_sweeps_is_refused_whatever_lies_below(
    run: Run, tmp_path: Path
) -> None:
    before = (run.dir / spool.SPOOL_FILE).read_bytes()
    for target in (".", "outputs", "outputs/day", str(tmp_path)):
        with pytest.raises(UserError, match=r"neither a run's directory .* nor a sweep's") as caught:
            evaluate(target)
        assert caught.value.exit_code == 2
    assert (run.dir / spool.SPOOL_FILE).read_bytes() == before


def test_a_broken_checkpoint_in_a_sweep_does_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [tiny_run(tmp_path / "sweep" / str(job)) for job in range(2)]
    (tmp_path / "sweep" / "sweep.jsonl").write_text("{}")
    last(runs[0]).write_bytes(b"not a checkpoint")
    with pytest.raises(RunFailed, match="1 of 2 checkpoints could not be scored"):
        evaluate(str(tmp_path / "sweep"))
    assert "is_tiny" in scores(runs[1])
    assert "not a checkpoint" in capsys.readouterr().out


def test_a_copied_checkpoint_is_scored_and_written_nowhere(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    payload = checkpoint.load(last(run))
    tiny = payload["config"]["judge"]["_target_"]
    # A copy's config may name no code of one's own; the command line may.
    payload["config"]["judge"]["_target_"] = "gansweep.metrics.inception.InceptionJudge"
    checkpoint.save(elsewhere / "copy.pt", payload)
    monkeypatch.chdir(elsewhere)
    (done,) = evaluate("copy.pt", [f"judge._target_={tiny}"])
    assert done.run is None and "written nowhere" in capsys.readouterr().out
    assert sorted(path.name for path in elsewhere.iterdir()) == ["copy.pt"] and not scores(run)


def test_a_copied_checkpoint_finds_its_run_by_id(run: Run, tmp_path: Path) -> None:
    other = tiny_run(tmp_path / "outputs" / "day" / "two")
    shutil.copy(last(run), other.checkpoint_dir / "borrowed.pt")
    evaluate(str(other.checkpoint_dir / "borrowed.pt"))
    assert "is_tiny" in scores(run) and not scores(other)


def _edit(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        payload = checkpoint.load(path)
        change(payload)
        checkpoint.save(path, payload)

    return apply


def _rename_net(payload: dict[str, Any]) -> None:
    payload["nets"]["gen"] = payload["nets"].pop("dec")


def _other_latent(payload: dict[str, Any]) -> None:
    payload["config"]["model"]["latent"] = 5


def _no_config(payload: dict[str, Any]) -> None:
    del payload["config"]


def _not_finite(payload: dict[str, Any]) -> None:
    for tensor in payload["nets"]["dec"].values():
        if tensor.is_floating_point():
            tensor.fill_(float("nan"))


def _text(path: Path) -> None:
    path.write_text("no checkpoint")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_text, "not a checkpoint"),
        (_cut, "truncated"),
        (_edit(_rename_net), r"belongs to a different model: it holds .*gen.* has enc, dec, dis"),
        (_edit(_other_latent), r"belongs to a different model: network 'enc': .* here and .* there"),
        (_edit(_no_config), "it has no config"),
    ],
    ids=["text", "truncated", "networks", "shapes", "config"],
)
def test_a_wrong_checkpoint_is_told_in_one_line_and_nothing_is_written(
    tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    run = tiny_run(tmp_path / "outputs" / "day" / "one")
    before = (run.dir / spool.SPOOL_FILE).read_bytes()
    spoil(last(run))
    with pytest.raises(UserError, match=message) as caught:
        evaluate(str(run.dir))
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value) and str(last(run)) in str(caught.value)
    assert (run.dir / spool.SPOOL_FILE).read_bytes() == before


def test_samples_that_are_not_finite_fail_instead_of_scoring_black(tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "one")
    _edit(_not_finite)(last(run))
    with pytest.raises(RunFailed, match="not finite"):
        evaluate(str(run.dir))
    assert not scores(run)


@pytest.mark.parametrize("target", ["nothing", "deadbeef", "outputs/no/such"])
def test_an_unknown_run_is_told(run: Run, target: str) -> None:
    with pytest.raises(UserError, match=target):
        evaluate(target)


def test_a_sweep_without_a_single_checkpoint_is_told(tmp_path: Path) -> None:
    tiny_run(tmp_path / "sweep" / "0", checkpoints=False)
    (tmp_path / "sweep" / "sweep.jsonl").write_text("{}")
    with pytest.raises(UserError, match="none of its 1 runs has a checkpoint"):
        evaluate(str(tmp_path / "sweep"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("eval.m=5", r"eval\.m: no such key"),
        ("evil.n=5", "did you mean 'eval'"),
        ("eval.n=0", r"eval\.n=0: must be at least 1"),
        ("eval.n=many", r"eval\.n=many"),
        ("eval.n=3", r"must be at least splits \(4\)"),
        ("eval.n=10,20", "one value"),
        ("judge=lite1", r"judge=lite1: no such choice.*lite0"),
        ("judge.sise=3", r"judge\.sise: no such key"),
        ("+judge.sise=3", "cannot be built"),
        ("model=vae", "the checkpoint decides its model"),
        ("scales.l1=3", "the checkpoint decides its scales"),
    ],
)
def test_a_wrong_override_is_told_in_one_line(run: Run, override: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        evaluate(str(run.dir), [override])
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value) and not scores(run)


def test_absent_inception_weights_end_with_exit_3_and_write_nothing(run: Run) -> None:
    with pytest.raises(Missing, match=r"gansweep weights get .*gansweep weights add FILE") as caught:
        evaluate(str(run.dir), ["judge=inception"])
    assert caught.value.exit_code == 3 and not scores(run)


def test_a_group_choice_replaces_the_recorded_judge_and_keeps_the_rest(run: Run) -> None:
    config = tiny_settings().model_dump(mode="json")
    settings = changes(["judge=lite0", "eval.n=80"], "eval-is")(config)
    assert settings.judge.name == "lite0" and settings.eval.n == 80 and settings.eval.splits == 4
    assert settings.model.model_dump() == tiny_settings().model.model_dump()


def test_the_machine_that_trained_does_not_bind_the_one_that_scores(tmp_path: Path) -> None:
    settings = tiny_settings()
    far = settings.model_copy(update={"runtime": settings.runtime.model_copy(update={"device": "cuda:99"})})
    run = tiny_run(tmp_path / "far", far)
    assert evaluate(str(run.dir), ["eval.device=cpu"])[0].cards[0].context["device"] == "cpu"
    assert recorded(far.model_dump(mode="json")).runtime.device == "auto"
    with pytest.raises(Missing, match=r"eval\.device=cuda:99: not on this machine"):
        evaluate(str(run.dir), ["eval.device=cuda:99"])


def test_a_later_score_of_the_same_step_is_a_second_point(run: Run) -> None:
    first, second = evaluate(str(run.dir))[0].cards[0], evaluate(str(run.dir), ["eval.seed=1"])[0].cards[0]
    points = [point for point in spool.points(run.dir) if point.key == "is_tiny"]
    assert [point.value for point in points] == [first.value, second.value]


def test_a_step_file_is_scored_at_its_own_step(tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "one")
    checkpoint.save(run.checkpoint_dir / "step-00000003.pt", tiny_payload(tiny_settings(), run.id, step=3))
    evaluate(str(run.checkpoint_dir / "step-00000003.pt"))
    assert scores(run)["is_tiny"][1] == 3
