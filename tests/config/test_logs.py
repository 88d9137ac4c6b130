"""What reaches the terminal of a run's log lines."""

from __future__ import annotations

import logging

import pytest

from gansweep.config.logs import Terminal


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
