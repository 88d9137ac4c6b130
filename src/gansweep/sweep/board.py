"""What a sweep's leader shows: one live table on a terminal, a line for each job that begins or ends elsewhere."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from gansweep.errors import UserError
from gansweep.runs.spool import last_step
from gansweep.sweep import ledger
from gansweep.sweep.freeze import frozen_point
from gansweep.sweep.ledger import FINISHED, KILLED, OPEN, RUNNING, WAITING, Row, Sweep
from gansweep.sweep.logged import latest
from gansweep.sweep.outcome import objective_names

_ROWS_MOST = 24


class Board:
    """Shows a sweep's jobs on stderr: state, step, losses, speed and time left, fed from the runs' spools."""

    def __init__(self, sweep: Sweep) -> None:
        self.terminal = sys.stderr.isatty()
        self.told: dict[int, tuple[str, int]] = {row.job: (WAITING, 1) for row in sweep.rows if row.state in OPEN}
        self.ended = {row.job for row in sweep.rows if row.state not in OPEN}
        self.steps: dict[int, int] = {}
        self.seen: dict[int, tuple[float, int]] = {}
        self._latest: dict[tuple[int, int, str], dict[str, float]] = {}
        self._live: Any = None

    def __enter__(self) -> Board:
        if self.terminal:
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), refresh_per_second=2, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, sweep: Sweep) -> None:
        """Show the sweep as it is now."""
        if self._live is not None:
            self._live.update(self._table(sweep))
            return
        for row in sweep.rows:
            now = (row.state, row.attempt)
            if row.job not in self.told and row.job in self.ended:
                continue
            if row.state == KILLED and ledger.runs(row):
                continue  # a search may have given it up: that is entered when its process has gone
            if self.told.setdefault(row.job, (WAITING, 1)) != now:
                self.told[row.job] = now
                print(_line(row), file=sys.stderr, flush=True)

    def _table(self, sweep: Sweep) -> Any:
        from rich.table import Table
        from rich.text import Text

        from gansweep.tables import status, values

        counts = Counter(row.state for row in sweep.rows)
        title = f"sweep {sweep.id}: " + ", ".join(f"{n} {state.lower()}" for state, n in counts.most_common())
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        names = objective_names(sweep.dir)
        constant = set.intersection(*(set(row.overrides) for row in sweep.rows)) if len(sweep.rows) > 1 else set()
        for name in ("job", "state", "step", "left", *names, "overrides", "last losses", "steps/s"):
            gives_way = name in ("overrides", "last losses", "steps/s")  # where the window is narrow
            least = None if gives_way else max(len(name), 9 if name in ("state", "left") else 0)
            table.add_column(Text(name), no_wrap=True, overflow="ellipsis", header_style="bold", min_width=least)
        shown = sorted(sweep.rows, key=lambda row: {WAITING: 1, FINISHED: 2}.get(row.state, 0))[:_ROWS_MOST]
        for row in sorted(shown, key=lambda row: row.job):
            step, speed, left = self._progress(row)
            losses = values(_losses(row), 3)
            looked_for = [Text(text) for text in self._objectives(row, names)]
            own = " ".join(line for line in row.overrides if line not in constant)
            table.add_row(str(row.job), status(row.state), step, left, *looked_for, Text(own), Text(losses), speed)
        return table

    def _objectives(self, row: Row, names: Sequence[str]) -> list[str]:
        """Return the latest value of what a search looks for; of jobs that ended it is read once."""
        key = (row.job, row.attempt, row.state)
        if not names or row.state == WAITING:
            return ["" for _ in names]
        if row.state == RUNNING or key not in self._latest:
            self._latest[key] = latest(row.dir, names)
        return [f"{self._latest[key][name]:.4g}" if name in self._latest[key] else "–" for name in names]

    def _progress(self, row: Row) -> tuple[str, str, str]:
        """Return step of steps, steps a second since the job was first seen running, and the time left, as text."""
        if row.state == WAITING:
            return "", "", ""
        if row.job not in self.steps:
            try:
                self.steps[row.job] = frozen_point(row.sweep_dir, row.job).steps
            except UserError:  # a point of a search that was refused
                return "", "", ""
        step, steps, now = last_step(row.dir) or 0, self.steps[row.job], time.monotonic()
        begun, first = self.seen.setdefault(row.job, (now, step))
        if row.state != RUNNING or now - begun < 1 or step <= first:
            return f"{step}/{steps}", "", ""
        speed = (step - first) / (now - begun)
        return f"{step}/{steps}", f"{speed:.3g}", _duration((steps - step) / speed)


def _losses(row: Row) -> dict[str, float]:
    from gansweep.look import losses_of
    from gansweep.runs.rundir import is_run_dir

    return losses_of(row.dir) if row.state == RUNNING and is_run_dir(row.dir) else row.losses


def _line(row: Row) -> str:
    if row.state == RUNNING:
        return f"job {row.job}: {row.name}"
    if row.state == WAITING:
        return f"job {row.job}: waits again" + (f", attempt {row.attempt}" if row.attempt > 1 else "")
    return f"job {row.job}: {row.state}" + (f": {row.reason}" if row.reason else "")


def _duration(seconds: float) -> str:
    whole = int(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    return f"{hours}:{minutes:02d} h" if hours else f"{minutes}:{whole % 60:02d} min"
