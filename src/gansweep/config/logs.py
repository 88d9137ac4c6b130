"""Log lines on the terminal: what gansweep says, and warnings of the libraries, without tearing a progress bar."""

from __future__ import annotations

import logging
import sys

_OURS = ("gansweep", "hydra", "hydra_plugins")


class Terminal(logging.Handler):
    """Writes to whatever `sys.stderr` is at the time: a live progress bar puts itself there and prints lines above it.

    Lines below WARNING pass only when they are ours or Hydra's word about the jobs of a sweep. Tracebacks stay in the
    log file.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record's message."""
        if record.levelno < logging.WARNING and record.name.partition(".")[0] not in _OURS:
            return
        try:
            sys.stderr.write(record.getMessage() + "\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            self.handleError(record)
