"""What a training run tells about itself: to its own directory always, and from there to MLflow when it is asked for.

The training process appends lines to a file and never opens a connection; see spool, sender and launch.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from gansweep.errors import RunFailed
from gansweep.runs import rundir
from gansweep.runs.launch import SENDER_LOG, read_state, start_sender
from gansweep.runs.location import resolve_uri
from gansweep.runs.prepare import prepare_store, was_told
from gansweep.runs.record import DatasetRecord, RunRecord, flatten
from gansweep.runs.reserve import is_full
from gansweep.runs.rundir import Run, say
from gansweep.runs.spool import Spool, last_step, unsent_bytes

if TYPE_CHECKING:
    from gansweep.config.settings import TrackerSettings

__all__ = [
    "DatasetRecord",
    "NullTracker",
    "RunRecord",
    "SpoolTracker",
    "Tracker",
    "annotate",
    "flatten",
    "note",
    "open_tracker",
    "prepare_store",
    "resolve_uri",
    "send",
]

Status = Literal["FINISHED", "FAILED", "KILLED"]
Report = Callable[[str], None]
_LOOK_EVERY_S = 2.0


class Tracker(Protocol):
    """What the training loop may say. Nothing here waits for a network, and only `finish` may wait at all."""

    def start(self, record: RunRecord) -> None:
        """Begin (or, on resume, go on with) the run that `record` describes."""

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Record metric values of one step (generator optimiser steps)."""

    def image(self, key: str, png_path: Path, step: int) -> None:
        """Record a picture that is already a file; pictures of one key get a step slider."""

    def file(self, path: Path, artifact_dir: str = "") -> None:
        """Record a file under `artifact_dir`; one of the same name there is replaced."""

    def forget(self, path: Path, artifact_dir: str = "") -> None:
        """Take a file that was recorded out of the tracker again (a checkpoint that is no longer kept)."""

    def tags(self, tags: Mapping[str, str]) -> None:
        """Set tags of the run."""

    def finish(self, status: Status, reason: str = "") -> None:
        """End the run; waits for what is unsent, at most `tracker.drain_s`."""


class NullTracker:
    """Records nothing, anywhere: for tests of what uses a tracker."""

    def start(self, record: RunRecord) -> None:
        """Do nothing."""

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Do nothing."""

    def image(self, key: str, png_path: Path, step: int) -> None:
        """Do nothing."""

    def file(self, path: Path, artifact_dir: str = "") -> None:
        """Do nothing."""

    def forget(self, path: Path, artifact_dir: str = "") -> None:
        """Do nothing."""

    def tags(self, tags: Mapping[str, str]) -> None:
        """Do nothing."""

    def finish(self, status: Status, reason: str = "") -> None:
        """Do nothing."""


class SpoolTracker:
    """Keeps run.json and the spool of one run, and starts the sender that feeds MLflow from it.

    With `kind: none` there is no sender; the run's own directory holds the same record.
    """

    def __init__(self, cfg: TrackerSettings, run_dir: Path, *, resume: bool = False, report: Report = say) -> None:
        self.run_dir = run_dir.absolute()
        self._resume = resume
        self._report = report
        self._drain_s = float(cfg.drain_s)
        uri = resolve_uri(cfg) if cfg.kind == "mlflow" else None
        self._tracking = {"kind": cfg.kind, "uri": uri, "experiment": cfg.experiment}
        self._spool: Spool | None = None
        self._sender: subprocess.Popen[bytes] | None = None
        self._told = uri is not None and was_told(uri)
        self._started_s = time.time()
        self._looked_s = time.monotonic()
        self._last_step: int | None = None

    def start(self, record: RunRecord) -> None:
        """Make run.json where `store.create` has not, note the start in the spool and start the sender.

        On resume the run keeps its id, parameters and tracking store; only the status and the process change.
        """
        if self._resume:
            run = rundir.reopen(self.run_dir)
            self._tracking = run.record.get("tracking") or self._tracking
            with rundir.locked(self.run_dir):
                self._spool = Spool(self.run_dir, resume=True)
            self._last_step = last_step(self.run_dir)
            self._spool.append("resume")
        else:
            if not rundir.is_run_dir(self.run_dir):
                rundir.create(self.run_dir, record)
            run = rundir.update(self.run_dir, tracking=self._tracking)
            self._spool = Spool(self.run_dir)
            plain = record.to_plain()
            plain["files"] = [self._stored(Path(path)) for path in plain["files"]]
            self._spool.append("start", record=plain)
        self._spool.sync()
        self._sender = start_sender(run)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Append `values` to the spool; now and then look whether the sender has something to say."""
        self._open_spool.scalars(values, step)
        self._last_step = step if self._last_step is None else max(step, self._last_step)
        if self._sender is not None and time.monotonic() - self._looked_s > _LOOK_EVERY_S:
            self._look()

    def image(self, key: str, png_path: Path, step: int) -> None:
        """Append the picture's path; it is sent from the file."""
        self._open_spool.append("image", key=key, path=self._stored(png_path), step=step)

    def file(self, path: Path, artifact_dir: str = "") -> None:
        """Append the file's path; what is sent is the file as it is then."""
        self._open_spool.append("file", path=self._stored(path), to=artifact_dir)

    def forget(self, path: Path, artifact_dir: str = "") -> None:
        """Append that the file is no longer wanted."""
        self._open_spool.append("forget", path=self._stored(path), to=artifact_dir)

    def tags(self, tags: Mapping[str, str]) -> None:
        """Append `tags`."""
        self._open_spool.append("tags", tags={key: str(value) for key, value in tags.items()})

    def finish(self, status: Status, reason: str = "") -> None:
        """Set the status in run.json and the spool, then wait for the sender, at most `tracker.drain_s`.

        Never raises for a disk that refuses: how the run ended must not hide why. What could be written is.
        """
        spool, self._spool = self._open_spool, None
        end = {"status": status, "reason": reason or None, "finished": rundir.timestamp(), "last_step": self._last_step}
        faults: list[Exception] = []
        # In this order: a sender that sees the run ended has its last line before it.
        for write in (
            lambda: spool.append("finish", status=status, reason=reason),
            spool.close,
            lambda: rundir.update(self.run_dir, **end),
        ):
            try:
                write()
            except (OSError, RunFailed) as error:
                faults.append(error)
        if faults:
            self._report(f"the end of this run ({status}) could not be recorded: {faults[-1]}")
        elif self._sender is not None and not is_full(self.run_dir):  # full, nobody's store takes anything
            wait_for_sender(self.run_dir, self._sender, self._drain_s, self._report)

    @property
    def _open_spool(self) -> Spool:
        if self._spool is None:
            raise RuntimeError("the tracker was not started, or has finished")
        return self._spool

    def _stored(self, path: Path) -> str:
        """Return `path` relative to the run directory where it lies in it, so that the directory may be moved."""
        absolute = Path(os.path.abspath(path))
        inside = absolute.is_relative_to(self.run_dir)
        return str(absolute.relative_to(self.run_dir)) if inside else str(absolute)

    def _look(self) -> None:
        """Report, once in a run, that the tracker cannot be reached or that the sender has ended by itself."""
        self._looked_s = time.monotonic()
        if self._told or self._sender is None:
            return
        if self._sender.poll() is not None:
            if is_full(self.run_dir):
                return  # the run itself is about to meet that, and says so
            self._report(f"the sender of this run ended, training goes on; why: {self.run_dir / SENDER_LOG}")
            self._told = True
            return
        state = read_state(self.run_dir)
        if state.get("state") == "unreachable" and float(state.get("tried", 0.0)) > self._started_s:
            uri = self._tracking["uri"]
            self._report(f"tracker {uri} cannot be reached ({state.get('error')}); training goes on, metrics are kept")
            self._told = True


def open_tracker(cfg: TrackerSettings, run_dir: Path, resume: bool = False, *, report: Report = say) -> SpoolTracker:
    """Return the tracker of the run in `run_dir`. `report` takes the few lines meant for a person (default: stderr)."""
    return SpoolTracker(cfg, run_dir, resume=resume, report=report)


def wait_for_sender(run_dir: Path, sender: subprocess.Popen[bytes], drain_s: float, report: Report = say) -> bool:
    """Wait until all of the spool is sent, at most `drain_s` seconds; otherwise say in one line how to send the rest.

    What the tracker refused is said in one line too.

    Does not wait on when the tracker was tried after this call and could not be reached.
    """
    begun = time.time()
    deadline = time.monotonic() + drain_s
    try:
        while unsent_bytes(run_dir):
            state = read_state(run_dir)
            gave_up = state.get("state") == "unreachable" and float(state.get("tried", 0.0)) > begun
            if gave_up or sender.poll() is not None or time.monotonic() > deadline:
                break
            time.sleep(0.05)
    except KeyboardInterrupt:
        pass
    if unsent_bytes(run_dir):
        report(f"not all of this run is in the tracker yet; send the rest with: gansweep sync {run_dir}")
        return False
    if refused := read_state(run_dir).get("refused"):
        report(f"the tracker refused {refused} entries of this run; which and why: {run_dir / SENDER_LOG}")
        return False
    return True


def annotate(
    run: Run,
    values: Mapping[str, float],
    step: int,
    *,
    tags: Mapping[str, str] | None = None,
    files: Sequence[Path] = (),
    artifact_dir: str = "",
    drain_s: float = 20.0,
    report: Report = say,
) -> bool:
    """Add `values` (a score) at `step` to a run, whether it has ended or not, and send them; says whether all arrived.

    A value given again later is a second point of the metric: the newer one counts.
    """
    note(run, values, step, tags=tags, files=files, artifact_dir=artifact_dir)
    return send(run, drain_s, report)


def note(
    run: Run,
    values: Mapping[str, float],
    step: int,
    *,
    tags: Mapping[str, str] | None = None,
    files: Sequence[Path] = (),
    artifact_dir: str = "",
) -> None:
    """Add to a run's record what `send` will send: from here on it cannot be lost."""
    with rundir.locked(run.dir):  # a score and its protocol stand together, whoever else scores this run now
        spool = Spool(run.dir, repair=run.reload().status != "RUNNING")
        if values:
            spool.scalars(values, step)
        for path in files:
            absolute = path.absolute()
            inside = absolute.is_relative_to(run.dir)
            spool.append("file", path=str(absolute.relative_to(run.dir) if inside else absolute), to=artifact_dir)
        if tags:
            spool.append("tags", tags=dict(tags))
        spool.close()


def send(run: Run, drain_s: float = 20.0, report: Report = say) -> bool:
    """Send what a run's record holds beyond what its tracker has; says whether all arrived within `drain_s`."""
    sender = start_sender(run)
    return sender is None or wait_for_sender(run.dir, sender, drain_s, report)
