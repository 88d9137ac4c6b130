"""restore: checkpoints whose entries are of the wrong kind, or of another version, are told by the file's name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gansweep.cli import main
from gansweep.runs import checkpoint
from tiny_runs import tiny_payload, tiny_run, tiny_settings


@pytest.fixture
def spoil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return a function that writes a checkpoint with some entries replaced."""
    monkeypatch.chdir(tmp_path)

    def write(**entries: Any) -> Path:
        path = tmp_path / "spoilt.pt"
        checkpoint.save(path, tiny_payload(tiny_settings(), "a" * 32) | entries)
        return path

    return write


@pytest.mark.parametrize("verb", ["sample", "eval-is"])
@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("nets", 3),
        ("nets", {"enc": 3, "dec": 3, "dis": 3}),
        ("nets", {"enc": {"weight": 3}}),
        ("ema", [1]),
        ("ema", {"dec": None}),
        ("step", "seven"),
        ("step", None),
        ("config", "text"),
        ("config", None),
        ("run_id", 3),
    ],
)
def test_an_entry_of_the_wrong_kind_is_one_line(
    verb: str, entry: str, value: Any, spoil: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = spoil(**{entry: value})
    assert main([verb, str(path)]) == 2
    assert capsys.readouterr().err == (
        f"gansweep: {path}: damaged checkpoint: its {entry} cannot be what training wrote\n"
    )


@pytest.mark.parametrize("words", [["sample"], ["eval-is"], ["eval-is", "eval.n=50"]])
def test_a_config_of_another_version_is_named_and_no_key_is_offered(
    words: list[str], spoil: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny_settings().model_dump(mode="json")
    config["runtime"]["engin"] = "eager"
    path = spoil(config=config)
    assert main([words[0], str(path), *words[1:]]) == 2
    assert capsys.readouterr().err == (
        f"gansweep: {path}: this version of gansweep cannot read its config: runtime.engin: no such key\n"
    )


def test_a_refused_request_gets_no_advice_about_its_score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tiny_run(tmp_path / "one")
    assert main(["eval-is", str(run.dir), "judge=inception", "judge.weights=/nonexistent"]) in (2, 3)
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "biased low" not in told


def test_threads_of_a_request_are_bounded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tiny_run(tmp_path / "one")
    assert main(["eval-is", str(run.dir), "runtime.threads=100000"]) == 2
    assert capsys.readouterr().err.startswith("gansweep: runtime.threads=100000: must be at most ")
