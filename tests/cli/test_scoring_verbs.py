"""eval-is, scores and judge: which words lead to which request, and what becomes of wrong ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cli.weights_files import BOTH_WAYS
from gansweep import evaluate, judge_fit, manual, together
from gansweep.cli import main
from gansweep.scoring import retract, table
from gansweep.scoring.card import Card, append, cards_of
from tiny_runs import tiny_run, tiny_settings

Calls = list[tuple[Any, ...]]


@pytest.fixture(autouse=True)
def here(weights_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLUMNS", "300")  # tables fold to the terminal's width
    return tmp_path


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """What the verbs ask of the rooms behind them, which do nothing."""
    asked: Calls = []

    def note(name: str, answer: Any) -> Any:
        def noted(*words: Any, **options: Any) -> Any:
            asked.append((name, *words, *options.values()))
            return answer

        return noted

    monkeypatch.setattr(evaluate, "evaluate", note("evaluate", []))
    monkeypatch.setattr(table, "print_scores", note("scores", 0))
    monkeypatch.setattr(retract, "retract_card", note("retract", "retracted"))
    monkeypatch.setattr(judge_fit, "fit", note("fit", "fitted"))
    monkeypatch.setattr(judge_fit, "listed", note("listed", "all judges"))
    monkeypatch.setattr(together, "follow", note("follow", 0))
    return asked


@pytest.mark.parametrize(
    ("words", "call"),
    [
        (["eval-is", "3fa9"], ("evaluate", "3fa9", [], None, False)),
        (["eval-is", "--again", "3fa9", "eval.n=9", "a=b"], ("evaluate", "3fa9", ["eval.n=9", "a=b"], None, True)),
        (["eval-is", "3fa9", "eval.metrics=[is,fid]", "-cd", "d"],
         ("evaluate", "3fa9", ["eval.metrics=[is,fid]"], "d", False)),
        (["scores"], ("scores", None, None, None, False)),
        (["scores", "3fa9", "--key", "fid", "--json"], ("scores", "3fa9", None, "fid", True)),
        (["scores", "--sweep", "multirun/a/b"], ("scores", None, "multirun/a/b", None, False)),
        (["scores", "retract", "ab12", "--why", "in train mode"], ("retract", "ab12", "in train mode")),
        (["scores", "retract", "--why=x", "ab12"], ("retract", "ab12", "x")),
        (["judge", "fit", "data=emoji", "name=mine"], ("fit", ["data=emoji", "name=mine"], None)),
        (["judge", "fit", "name=mine", "--config-dir", "d"], ("fit", ["name=mine"], "d")),
        (["judge", "list"], ("listed", None)),
    ],
)  # fmt: skip
def test_what_is_asked_for(words: list[str], call: tuple[Any, ...], calls: Calls) -> None:
    assert main(words) == 0
    assert calls == [call]


@pytest.mark.parametrize(
    "words", [["judge", "list"], ["judge", "fit", "name=a"], ["scores", "retract", "c", "--why", "w"]]
)
def test_what_they_answer_is_printed(words: list[str], calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    assert capsys.readouterr().out in ("all judges\n", "fitted\n", "retracted\n")


@pytest.mark.parametrize("rank", ["0", "1", "3"])
def test_every_process_of_torchrun_evaluates(rank: str, calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", rank)
    assert main(["eval-is", "3fa9", "eval.n=9"]) == 0
    assert calls == [("evaluate", "3fa9", ["eval.n=9"], None, False)]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["eval-is"], "required: TARGET"),
        (["eval-is", "3fa9", "--agian"], "--agian"),
        (["scores", "a", "b"], "unrecognized arguments: b"),
        (["scores", "nowhere"], "nowhere"),
        (["scores", "--sweep", "nowhere"], "nowhere"),
        (["scores", "retract"], "required: --why"),
        (["scores", "retract", "ab12"], "required: --why"),
        (["scores", "retract", "--why", "x"], "required: CARD"),
        (["scores", "retract", "ab12", "--why", "x"], "there are no score cards"),
        (["judge"], "required: fit|list"),
        (["judge", "fti"], "did you mean 'fit'?"),
        (["judge", "list", "birds"], "judge list: birds: it takes no words"),
        (["judge", "list", "--config-dir", "nowhere"], "--config-dir nowhere"),
        (["judge", "fit"], "name=NAME is missing"),
        (["judge", "fit", "name=a", "--nosuch"], "--nosuch"),
        (["weights", "ad"], "did you mean 'add'?"),
        (["weights", "add"], "required: FILE"),
        (["weights", "add", "a", "b"], "unrecognized arguments: b"),
        (["weights", "get", "https://x.example"], "unrecognized arguments: https://x.example"),
        (["weights", "get", "--from"], "--from"),
    ],
)
def test_a_wrong_request_is_one_line_exit_2_and_no_trace(
    words: list[str], told: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("gansweep: ") and said.err.count("\n") == 1, said
    assert told in said.err
    assert list(here.iterdir()) == []


def test_a_score_is_taken_back_and_shown_so(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tiny_run(here / "outputs" / "day" / "one", checkpoints=False)
    measure = {"judge": "tiny", "n": "40"}
    for number, value in (("1", 2.5), ("2", 2.0)):
        subject = {"run": run.id, "checkpoint": "last.pt", "step": number, "weights_sha256": number * 64}
        append(run.dir, Card(f"{number}bcdef012345", "is_tiny", value, {}, measure, subject))
    assert main(["scores", "retract", "1bcd", "--why", "in train mode"]) == 0
    assert "1bcdef012345" in capsys.readouterr().out
    assert [card.retracted for card in cards_of(run.dir)] == ["in train mode", None]
    assert main(["scores"]) == 0
    ranked, _, retracted = capsys.readouterr().out.partition("retracted")
    assert "2bcdef012345" in ranked and "1bcdef012345" not in ranked
    assert "1bcdef012345" in retracted and "in train mode" in retracted
    assert main(["scores", "retract", "1bcd", "--why", "again"]) == 2


def test_without_the_weights_both_ways_to_them_are_told(here: Path) -> None:
    """What a user without the weights file sees, as a process of its own."""
    settings = tiny_settings("judge._target_=gansweep.metrics.inception.InceptionJudge", "judge.name=inception")
    run = tiny_run(here / "outputs" / "day" / "one", settings)
    command = [sys.executable, "-m", "gansweep", "eval-is", str(run.dir)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.count("\n") == 1 and all(way in done.stderr for way in BOTH_WAYS), done.stderr
    assert not (run.dir / "scores.jsonl").exists()


@pytest.mark.parametrize(("verb", "words"), [
    ("eval-is", ["--again", "eval.checkpoints=last|best|all", "eval.metrics=[is,fid,kid,prdc,rec]",
                 "eval.protocol=torch-fidelity|improved-gan|stackgan|torchmetrics", "eval.precision=exact|tf32|bf16",
                 "eval.mode=eval|train", "judge=inception|lite0|NAME", "a run (all its\ncheckpoints)"]),
    ("scores", ["--sweep", "--key", "--json", "retract", "--why"]),
    ("judge", ["fit", "list", "data=", "name=", "base=small|lite0|inception", "background=true", "steps", "seed"]),
    ("weights", ["add FILE", "get [--from URL]", "cache"]),
])  # fmt: skip
def test_the_manual_tells_of_everything(verb: str, words: list[str]) -> None:
    assert [word for word in words if word not in manual.PAGES[verb]] == []
    assert max(len(line) for line in manual.PAGES[verb].splitlines()) <= 120
