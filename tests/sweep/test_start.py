"""Reading train's command line, and what becomes of exceptions in a job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gansweep.errors import GansweepError, Missing, RunFailed, UserError
from gansweep.sweep import job
from gansweep.sweep.start import read_request


def test_flags_may_stand_anywhere() -> None:
    request = read_request(["a=1", "-m", "b=1,2", "--config-dir", "mine", "c=3"])
    assert (request.overrides, request.multirun, request.config_dir) == (["a=1", "b=1,2", "c=3"], True, "mine")
    assert request.to_hydra == []
    assert read_request(["--cfg", "job", "~a", "+b=1"]).to_hydra == ["--cfg", "job"]
    info = read_request(["--info", "model=vae"])
    assert (info.to_hydra, info.overrides) == (["--info", "all"], ["model=vae"])


@pytest.mark.parametrize("words", [["--cfgg", "job"], ["--cfg", "jobb"], ["-x"]])
def test_an_unknown_flag_is_refused(words: list[str]) -> None:
    with pytest.raises(UserError, match="gansweep train --help"):
        read_request(words)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("wrong"), 2, "gansweep: job 3: wrong\n"),
        (Missing("no device"), 3, "gansweep: job 3: no device\n"),
        (RunFailed("not finite"), 1, "gansweep: job 3: not finite\n"),
        (ValueError("boom\nmore"), 1, "gansweep: job 3: ValueError: boom; traceback in "),
    ],
)
def test_a_job_returns_how_it_ended_and_never_raises(
    error: Exception,
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr("gansweep.train.train", fail)
    monkeypatch.setattr("gansweep.config.compose.to_settings", lambda *_: None)
    result = job._run(None, tmp_path, [], "n", {"id": "s", "job": 3}, False)  # type: ignore[arg-type]
    assert (result.status, result.code) == ("FAILED", code)
    told = capsys.readouterr().err
    assert told.startswith(f"job 3: n\n{said}")
    assert told.count("\n") == 2
    log = tmp_path / "run.log"
    assert log.exists() == (not isinstance(error, GansweepError))
    if log.exists():
        assert "Traceback" in log.read_text() and "boom\nmore" in log.read_text()
