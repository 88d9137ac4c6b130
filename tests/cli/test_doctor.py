"""doctor: a line for each thing, and exit status 3 only when no run could start."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from gansweep import doctor
from gansweep.cli import main


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
    assert "gansweep weights get" in found and "gansweep weights add FILE" in found
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


def judges() -> dict[str, doctor.Finding]:
    return {finding.name.removeprefix("judge "): finding for finding in doctor.judges()}


def test_inceptions_weights_are_told_with_their_digest(
    weights_cache: Path, small_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["weights", "add", str(small_file)]) == 0
    found = judges()["inception"]
    assert found.ok and hashlib.sha256(small_file.read_bytes()).hexdigest() in found.found
    (weights_cache / "pt_inception-2015-12-05-6726825d.pth").write_bytes(b"damaged")
    found = judges()["inception"]
    assert not found.ok and hashlib.sha256(b"damaged").hexdigest() in found.found


def test_a_users_own_judges_are_told_and_no_code_of_theirs_is_run(tmp_path: Path, weights_cache: Path) -> None:
    folder = tmp_path / "conf" / "judge"
    folder.mkdir(parents=True)
    weights = weights_cache.parent / "judges"
    weights.mkdir(parents=True)
    fitted = "_target_: gansweep.metrics.fitted.FittedJudge\nweights: null\nsha256: {}\n"
    sha256 = hashlib.sha256(b"weights").hexdigest()
    (weights / f"here-{sha256[:12]}.pt").write_bytes(b"weights")
    (folder / "here.yaml").write_text(fitted.format(sha256) + "name: here\n")
    (folder / "gone.yaml").write_text(fitted.format("0" * 64) + "name: gone\n")
    (folder / "odd.yaml").write_text(fitted.format("[1, 2]"))
    (folder / "mine.yaml").write_text("_target_: mylab.Judge\nweights: null\n")
    (folder / "lacking.yaml").write_text("_target_: mylab.Judge\nweights: nowhere.pt\n")
    (folder / "empty.yaml").touch()
    (folder / "torn.yaml").write_text("a: [1\n")
    (folder / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    (folder / "lite0.yaml").write_text("a: [1\n")  # never read: the shipped one is
    (tmp_path / "mylab.py").write_text("raise SystemExit('was run')\n")
    found = judges()
    assert {name for name, finding in found.items() if finding.ok} - {"lite0"} == {"here", "mine"}
    assert sha256 in found["here"].found
    assert "gansweep judge fit" in found["gone"].found and "nowhere.pt" in found["lacking"].found
    assert set(found) == {
        "inception", "lite0", "here", "gone", "odd", "mine", "lacking", "empty", "torn", "binary",
    }  # fmt: skip
    assert all("\n" not in finding.found + finding.how for finding in found.values())
