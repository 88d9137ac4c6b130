"""doctor: a line for each thing, and exit status 3 only when no run could start."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gansweep import doctor


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_every_line_says_ok_or_missing_and_how(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.report() == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(" ok " in line or " missing " in line for line in lines)
    found = next(line for line in lines if line.startswith("judge inception"))
    assert "missing" in found and str(tmp_path / "cache") in found
    assert list(tmp_path.iterdir()) == []


def test_json_has_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.report(as_json=True) == 0
    found = {item["name"]: item for item in json.loads(capsys.readouterr().out)}
    assert found["python"]["ok"] and found["gansweep"]["core"]
    assert {"cpu", "cuda", "tracker", "judge lite0", "data emoji", "data cache", "disk"} <= set(found)


def test_a_missing_core_package_is_exit_3(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "CORE", (*doctor.CORE, "no-such-package-at-all"))
    assert doctor.report() == 3
    assert "lacks no-such-package-at-all; pip install no-such-package-at-all" in capsys.readouterr().out


def test_an_unreachable_server_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert doctor.report() == 0
    assert "missing  http://127.0.0.1:9; the server does not answer" in capsys.readouterr().out
