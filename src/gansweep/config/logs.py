"""Log lines on the terminal: what gansweep says, and warnings of the libraries, without tearing a progress bar."""

from __future__ import annotations

import logging
import sys


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
        try:
            sys.stderr.write(record.getMessage() + "\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            self.handleError(record)


def to_terminal() -> None:
    """Send log lines to the terminal, for verbs that train or score without Hydra's own set-up."""
    root = logging.getLogger()
    if not any(isinstance(handler, Terminal) for handler in root.handlers):
        root.addHandler(Terminal())
    root.setLevel(logging.INFO)
