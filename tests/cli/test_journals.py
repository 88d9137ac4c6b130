"""gansweep journals: every entry of the journals, a journal's, one in full; wrong names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gansweep.cli import main
from gansweep.journals import entries


def test_every_preset_of_a_journal_says_when_and_what() -> None:
    found = entries()
    assert {entry.name.partition("/")[0] for entry in found} >= {"vae", "vaegan"}
    for entry in found:
        assert entry.journal and entry.when and entry.line, entry.name


def test_one_journal_and_one_entry(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["journals", "vaegan"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("vaegan/") and "entries" in lines[-1] and all("vae/" not in line for line in lines)
    assert main(["journals", "vae/2022-04-11_he_normal"]) == 0
    out = capsys.readouterr().out
    assert "gansweep train experiment=vae/2022-04-11_he_normal" in out and "Observed" in out


def test_all_as_json_and_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "conf" / "experiment" / "mine" / "monday.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("# @package _global_\n# My journal, Monday: twice the rate.\n# Observed: noise.\nsteps: 3\n")
    assert main(["journals", "--json"]) == 0
    told = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert told["mine/monday"]["journal"] == "My" and told["mine/monday"]["when"] == "Monday"
    assert told["mine/monday"]["line"] == "twice the rate." and len(told) == len(entries()) + 1


@pytest.mark.parametrize(("name", "hint"), [("vea", "vae"), ("vae/2022-04-01", "vae/2022-04-01a")])
def test_a_wrong_name_has_the_nearest(name: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["journals", name]) == 2
    assert f"did you mean '{hint}'" in capsys.readouterr().err
