"""Where a run's log lines go: the terminal, and the run's own file."""

from __future__ import annotations

import errno
import logging
from pathlib import Path
from typing import Any

import pytest

from gansweep.config.logs import LogFile, Terminal


@pytest.mark.parametrize(
    ("logger", "level", "told"),
    [
        ("gansweep", logging.INFO, True),
        ("gansweep.data", logging.WARNING, True),
        ("gansweep", logging.ERROR, False),
        ("alembic", logging.INFO, False),
        ("alembic", logging.WARNING, True),
    ],
)
def test_ours_and_warnings_pass(logger: str, level: int, told: bool, capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().handle(logging.LogRecord(logger, level, "", 0, "step %d", (3,), None))
    assert capsys.readouterr().err == ("step 3\n" if told else "")


class _Refusing:
    """A stream on a full disk."""

    def write(self, text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    flush = close = lambda self: self.write("")


def test_a_terminal_that_takes_nothing_is_no_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    from gansweep.runs.rundir import say
    from gansweep.sweep.job import _say

    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", _Refusing())
        Terminal().handle(logging.LogRecord("gansweep", logging.INFO, "", 0, "a line", (), None))
        say("a line")
        _say("a line")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("when", ["opening", "writing"])
def test_a_log_file_that_cannot_be_written_is_silent(
    when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_file(handler: LogFile) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(LogFile, "_open", no_file if when == "opening" else lambda handler: _Refusing())
    handler = LogFile(tmp_path / "run.log")
    handler.handle(logging.LogRecord("gansweep", logging.INFO, "", 0, "a line", (), None))
    handler.close()
    assert capsys.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_a_log_file_keeps_what_is_for_it_alone(tmp_path: Path) -> None:
    handler = LogFile(tmp_path / "run.log")
    handler.handle(logging.LogRecord("gansweep", logging.DEBUG, "", 0, "step %d", (3,), None))
    handler.close()
    assert (tmp_path / "run.log").read_text().endswith(" DEBUG step 3\n")
