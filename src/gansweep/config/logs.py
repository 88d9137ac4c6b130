"""Where log lines go: the terminal, without tearing a progress bar, and a run's own file."""

from __future__ import annotations

import contextlib
import logging
import sys
from pathlib import Path


class Terminal(logging.Handler):
    """Writes to whatever `sys.stderr` is at the time: a live progress bar puts itself there and prints lines above it.

    Libraries pass from WARNING up. Of ours, DEBUG does not (it is for the log file alone) and errors do not: a failed
    run is told once, in one line, by the command that ran it, and its traceback belongs in the run's log file.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record's message."""
        stem = record.name.partition(".")[0]
        if (stem != "gansweep" and record.levelno < logging.WARNING) or (
            stem == "gansweep" and not logging.DEBUG < record.levelno < logging.ERROR
        ):
            return
        with contextlib.suppress(OSError, ValueError):  # a terminal that has gone, a full disk behind 2>
            sys.stderr.write(record.getMessage() + "\n")
            sys.stderr.flush()


class LogFile(logging.FileHandler):
    """Appends what is said during a run, DEBUG and tracebacks included, to its log file.

    What the disk refuses is dropped in silence: a full one stops the run, which is told once, and not by its log.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, delay=True, encoding="utf-8")
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        with contextlib.suppress(OSError):  # of opening the file
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Pass over a record that could not be written."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        """Close the file, also one whose last lines cannot be written."""
        with contextlib.suppress(OSError):
            super().close()


def to_terminal() -> None:
    """Send log lines to the terminal, for verbs that train or score without Hydra's own set-up."""
    root = logging.getLogger()
    if not any(isinstance(handler, Terminal) for handler in root.handlers):
        root.addHandler(Terminal())
    root.setLevel(logging.INFO)
