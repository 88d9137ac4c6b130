"""The reading end of a run's spool: takes lines from the offset on, hands them to MLflow, moves the offset."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from gansweep.runs import rundir, spool
from gansweep.runs.rundir import Run
from gansweep.runs.wire import RunLost

if TYPE_CHECKING:
    from gansweep.runs.mlflow import MlflowRun

# MLflow takes at most 1000 metrics in a call; other lines are sent one by one, so fewer of them in a chunk.
_CHUNK_SCALARS = 1000
_CHUNK_OTHERS = 20
# Metrics are gathered this long before a call: its cost is per call, and it takes the trainer's cores.
_GATHER_S = 3.0


class Outbox:
    """What of one run's spool is not in MLflow yet. Only one process may hold one: see the sender's lock.

    `log` (default: stderr) gets the lines that were refused, and `told` is called when `refused` has grown, before the
    offset moves: who waits for the offset then knows of them.
    """

    def __init__(self, run_dir: Path, *, log: IO[str] | None = None, told: Callable[[], None] = lambda: None) -> None:
        self.run_dir = run_dir
        self._log = log
        self._told = told
        self.offset = spool.read_offset(run_dir)
        self.refused = 0
        self._read_to = self.offset
        self._pending: list[tuple[int, dict[str, Any] | None]] = []
        self._oldest_s = 0.0
        self._mlflow: MlflowRun | None = None
        self._replay = True  # what comes first may have been sent before: its offset was not noted

    def read(self) -> None:
        """Take in the whole lines that were appended since the last call."""
        if not self._pending:
            self._oldest_s = time.monotonic()
        path = self.run_dir / spool.SPOOL_FILE
        if path.exists() and path.stat().st_size > self._read_to:
            for end, entry in spool.lines(path, self._read_to):
                self._pending.append((end, entry))
                self._read_to = end

    @property
    def empty(self) -> bool:
        """True when everything read has been sent."""
        return not self._pending

    @property
    def due(self) -> bool:
        """True when what is pending should be sent now: enough of it, old enough, or the run's start or end."""
        if not self._pending:
            return False
        if len(self._pending) >= _CHUNK_SCALARS or time.monotonic() - self._oldest_s > _GATHER_S:
            return True
        return any(entry and entry["kind"] in ("start", "resume", "finish") for _, entry in self._pending)

    def send(self) -> None:
        """Send one chunk of what is pending and note the offset behind it.

        Unreachable (see mlflow.py) when the tracker does not take it; the offset then stays and sending again is
        harmless. Lines that the tracker refuses for good are logged, counted in `refused` and passed over. When the
        tracker no longer knows the run, nothing is sent: the next reading begins again, for a new run there.
        """
        chunk = self._chunk()
        try:
            refused = self._client().deliver([entry for _, entry in chunk if entry], replay=self._replay)
        except RunLost as error:
            self._note(f"{error}; sending all of the run again, into a new one")
            self.begin_again()
            return
        except Exception:
            self._replay = True
            raise
        self._replay = False
        for line in refused:
            self._note(f"refused: {line}")
        if refused:
            self.refused += len(refused)
            self._told()
        self.offset = chunk[-1][0]
        spool.write_offset(self.run_dir, self.offset)
        del self._pending[: len(chunk)]
        self._oldest_s = time.monotonic()

    def begin_again(self) -> None:
        """Forget the run in MLflow and what was sent to it: the whole spool is read and sent again."""
        rundir.update(self.run_dir, mlflow_run_id=None)
        spool.write_offset(self.run_dir, 0)
        self.offset = self._read_to = 0
        self._pending.clear()
        self._mlflow = None
        self._replay = True

    def _note(self, line: str) -> None:
        print(f"{rundir.timestamp()} {line}", file=self._log or sys.stderr, flush=True)

    def _chunk(self) -> list[tuple[int, dict[str, Any] | None]]:
        scalars = others = 0
        for count, (_, entry) in enumerate(self._pending):
            scalars += bool(entry and entry["kind"] == "scalar")
            others += bool(entry and entry["kind"] != "scalar")
            if scalars > _CHUNK_SCALARS or others > _CHUNK_OTHERS:
                return self._pending[:count]
        return list(self._pending)

    def _client(self) -> MlflowRun:
        """Return the connection, made at first use: it may fail, and is then tried again."""
        if self._mlflow is None:
            from gansweep.runs.mlflow import MlflowRun

            self._mlflow = MlflowRun(Run(self.run_dir, rundir.read(self.run_dir)))
        return self._mlflow
