"""A search at work: asks for points as slots come free, gives up on bad ones, tells the study how jobs ended."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gansweep.errors import GansweepError, UserError
from gansweep.sweep import ledger
from gansweep.sweep.freeze import freeze_points
from gansweep.sweep.ledger import FINISHED, PRUNED, RUNNING, Row, Sweep
from gansweep.sweep.logged import Follower, latest
from gansweep.sweep.objective import objectives, refuse_unlogged
from gansweep.sweep.outcome import in_lines, outcome, save
from gansweep.sweep.search import Search, check
from gansweep.sweep.space import axes
from gansweep.sweep.study import refuse_storage

# A run's way is told to the study in so many parts at most: each entry takes milliseconds.
_REPORTS_MOST = 100
_IMPORTANCE_EVERY_S = 10.0

if TYPE_CHECKING:
    from gansweep.config.compose import Job, Session
    from gansweep.config.settings import Settings


# So many choices of a key are composed before a search begins.
_CHOICES_TRIED = 20
_STUDY_LOST = "its jobs' runs are whole); begin a new search"


class Seeker:
    """What stands between one sweep's study and its pool of jobs.

    `hydra` composes the points for as long as the seeker is used; `overrides` are the request's, `sweeper` the settings
    of hydra/sweeper=search.
    """

    def __init__(self, hydra: Session, overrides: Sequence[str], sweeper: Mapping[str, Any]):
        self.hydra, self.sweeper = hydra, dict(sweeper)
        parsed = hydra.parse([*_params(sweeper), *overrides])
        self.along = axes(parsed)
        self.fixed = [str(p.input_line) for p in parsed if not p.is_sweep_override()]
        self.search: Search | None = None
        self._followed: dict[Path, Follower] = {}
        self._reported: dict[Path, int] = {}
        self._steps = 1
        self._weighed_s = -math.inf

    @property
    def total(self) -> int:
        """How many points there are to be: n_trials, or all of a grid where that is fewer."""
        sizes = [axis.size() for axis in self.along]
        asked = int(self.sweeper["n_trials"])
        whole = self.sweeper["sampler"] == "grid" and all(size is not None for size in sizes)
        return min(asked, math.prod(size or 1 for size in sizes)) if whole else asked

    def first(self) -> Job:
        """Return the point at the ranges' lower ends, checked: what is wrong with all is told before any starts."""
        from gansweep.train import check as check_run

        low = {axis.key: axis.choices[0] if axis.choices else str(axis.low) for axis in self.along}
        job = self._job(0, low)
        wanted = objectives(job.settings.objective)
        check(self.sweeper, self.along, wanted)
        refuse_storage(self.sweeper.get("storage"))
        for axis in self.along:  # what is wrong with a later choice, or the upper end, is told now too
            for other in axis.choices[1:_CHOICES_TRIED] or ([] if axis.choices else [str(axis.high)]):
                self._job(0, low | {axis.key: other})
        refuse_unlogged(wanted, job.settings, check_run(job.settings))
        return job

    def open(self, directory: Path, sweep: Sweep, first: Settings) -> None:
        """Open the sweep's study, or make it, and recover what a kill left of it."""
        wanted = objectives(first.objective)
        self.directory, self._steps = directory, first.steps
        try:
            self.search = Search(directory, sweep.id, self.along, wanted, self.sweeper, first.steps)
            lost = {row.job for row in sweep.rows} - self.search.numbers()
        except (ValueError, KeyError, LookupError) as error:  # lines that are none
            raise UserError(f"{directory}: its study cannot be read ({type(error).__name__}: {_STUDY_LOST}") from None
        if lost:
            raise UserError(f"{directory}: its study has not the points of this sweep (job {min(lost)}; {_STUDY_LOST}")
        self.search.recover([row.job for row in sweep.rows])
        save(directory, wanted, self.along)

    def more(self, sweep: Sweep) -> bool:
        """Append one more point to the sweep; says whether there was one. One that cannot be run counts, and failed."""
        assert self.search is not None
        if len(sweep.rows) >= self.total:
            return False
        fixed = dict(line.partition("=")[::2] for line in self.fixed)
        number, chosen = self.search.ask(fixed)
        point = {"kind": "point", "job": number, "overrides": [f"{k}={v}" for k, v in chosen.items()]}
        try:
            job = self._job(number, chosen)
        except GansweepError as error:
            name = " ".join(point["overrides"])  # type: ignore[arg-type]
            ledger.append(self.directory, {**point, "name": name})
            ledger.state(self.directory, number, ledger.FAILED, reason=str(error), fault="refused")
            self.search.tell(number, None)
            return True
        freeze_points(self.directory, {job.number: job.settings})
        ledger.append(self.directory, {**point, "name": job.name})
        return True

    def given_up(self, sweep: Sweep) -> list[tuple[int, str]]:
        """Return (job, reason) of those that run and that the pruner gives up, by what they have logged."""
        assert self.search is not None
        if self.sweeper["pruner"] == "none":
            return []
        found = []
        for row in sweep.rows:
            reason = self._report(row) if row.state == RUNNING else None
            if reason:
                found.append((row.job, reason))
        return found

    def _report(self, row: Row) -> str | None:
        """Tell the study what a job has logged since the last time; returns why it should be given up, if it should.

        Of each hundredth of a run its first value counts: points that log alike are judged at the same steps, whenever
        somebody looked.
        """
        assert self.search is not None
        follower = self._followed.setdefault(row.dir, Follower(row.dir, self.search.wanted[0].name))
        for step, value in follower.read():
            part = step * _REPORTS_MOST // self._steps
            if part > self._reported.get(row.dir, -1):
                self._reported[row.dir] = part
                reason = self.search.report(row.job, step, value)
                if reason:
                    return reason
        return None

    def ended(self, row: Row) -> None:
        """Tell the study how a job ended; one that may yet be gone on with is left open."""
        assert self.search is not None
        told = self.search.told(row.job)
        if told and not (row.state == FINISHED and self.search.lacks(row.job)):
            return
        if row.state == FINISHED:
            if self.sweeper["pruner"] != "none" and not told:
                self._report(row)  # what it logged since the last look: others are held against it
            values = latest(row.dir, [one.name for one in self.search.wanted])
            whole = len(values) == len(self.search.wanted)
            self.search.tell(row.job, list(values.values()) if whole else None)
            if time.monotonic() - self._weighed_s > _IMPORTANCE_EVERY_S:
                self._weighed_s = time.monotonic()
                with contextlib.suppress(OSError):  # a full disk: the next one to write more than a hint tells of it
                    save(self.directory, self.search.wanted, self.along, self.search.importance())
        elif row.state in (ledger.FAILED, PRUNED):
            self.search.tell(row.job, None, pruned=row.state == PRUNED)

    def _job(self, number: int, chosen: Mapping[str, str]) -> Job:
        lines = [line for line in self.fixed if not line.lstrip("+").startswith("hydra")]
        normal = self.hydra.normal([*lines, *(f"{key}={value}" for key, value in chosen.items())])
        return self.hydra.job(number, normal, {key.lstrip("+") for key in chosen})


def _params(sweeper: Mapping[str, Any]) -> list[str]:
    params = sweeper.get("params") or {}
    if not isinstance(params, Mapping):
        raise UserError(f"hydra.sweeper.params={params}: keys with values, as in {{scales.l1: 'interval(10,1000)'}}")
    return [f"{key}={value}" for key, value in params.items()]


def found(search: Search, sweep: Sweep) -> list[str]:
    """Return lines that tell what a search found: the best points with their values, and how much each key mattered."""
    with contextlib.suppress(OSError):
        save(sweep.dir, search.wanted, search.along, search.importance())
    told = outcome(sweep)
    return [] if told is None else in_lines(told, sweep)
