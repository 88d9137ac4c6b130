"""Completion of verbs, groups, keys and run ids, and of a real bash through its function."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gansweep.completion import query
from gansweep.runs import rundir
from gansweep.runs.record import RunRecord
from gansweep.scoring.card import Card, append, cards_of, retract


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("gansweep tr", ["train"]),
        ("gansweep train model=va", ["model=vae", "model=vaegan"]),
        ("gansweep train scales.kl", ["scales.kld="]),
        ("gansweep train model=vae scales.adv", []),
        ("gansweep -m optimizer.dis.l", ["optimizer.dis.lr="]),
        ("gansweep train +scale_down=", ["+scale_down=cpu"]),
        ("gansweep train --cf", ["--cfg"]),
        ("gansweep eval-is somewhere judge=l", ["judge=lite0"]),
        ("gansweep data ", ["build", "inspect", "check", "card"]),
        ("gansweep data check data=em", ["data=emoji"]),
        ("gansweep completion z", ["zsh"]),
        ("gansweep eval-is somewhere eval.proto", ["eval.protocol="]),
        ("gansweep eval-is --ag", ["--again"]),
        ("gansweep judge ", ["fit", "list"]),
        ("gansweep judge fit ba", ["base=small", "base=lite0", "base=inception", "background=true", "batch_size="]),
        ("gansweep judge fit name=a base=lite0 data=em", ["data=emoji"]),
        ("gansweep judge fit data=emoji data.siz", ["data.size="]),
        ("gansweep judge list m", []),
        ("gansweep scores re", ["retract"]),
        ("gansweep scores --k", ["--key"]),
        ("gansweep weights ", ["add", "get"]),
        ("gansweep weights add some", []),
        ("gansweep train model=vaegam scales.", []),
        (
            "gansweep train experiment=vaegan/test",
            [f"experiment=vaegan/test{n}" for n in ("1", "1_sums", "2", "3", "4", "5")],
        ),
    ],
)
def test_what_may_stand_there(line: str, found: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert query(line) == found


def test_a_users_groups_and_runs_are_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "mine.yaml").write_text("")
    assert query("gansweep train model=m") == ["model=mine"]
    run_dir = tmp_path / "outputs" / "d" / "t"
    rundir.create(run_dir, RunRecord("ab" * 16, "n", run_dir))
    assert query("gansweep show ab") == ["abababab"]
    assert query("gansweep show cd") == []
    assert query("gansweep scores ab") == ["abababab"]


def test_cards_that_can_be_retracted_are_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_dir = tmp_path / "outputs" / "d" / "t"
    rundir.create(run_dir, RunRecord("ab" * 16, "n", run_dir))
    for number in ("1", "2"):
        subject = {"run": "ab" * 16, "step": "1", "checkpoint": "last.pt"}
        append(run_dir, Card(number * 12, "is_x", 2.0, {}, {}, subject))
    retract(run_dir, cards_of(run_dir)[0], "in train mode")
    assert query("gansweep scores retract ") == ["2" * 12]
    assert query("gansweep scores retract 1") == query(f"gansweep scores retract {'2' * 12} x") == []


def test_bash_completes_with_the_script(tmp_path: Path) -> None:
    (tmp_path / "gansweep").write_text(f'#!/bin/sh\nexec {sys.executable} -m gansweep "$@"\n')
    (tmp_path / "gansweep").chmod(0o755)
    script = (
        f"PATH={tmp_path}:$PATH; source <(gansweep completion bash)\n"
        't() { COMP_LINE="$1"; COMP_POINT=${#1}; COMPREPLY=(); _gansweep; echo "${COMPREPLY[*]}"; }\n'
        't "gansweep resu"; t "gansweep train model=va"; t "gansweep train scales.l1_"\n'
    )
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    # Bash breaks words at =, so what it gets for model=va is what comes behind it.
    assert done.stdout.splitlines() == ["resume", "vae vaegan", "scales.l1_dec="], done.stderr


def test_zsh_gets_a_function_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    from gansweep.cli import main

    assert main(["completion", "zsh"]) == 0
    assert "compdef _gansweep gansweep" in capsys.readouterr().out
