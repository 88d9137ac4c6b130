"""Making the tracking store ready once, in the parent, before any job: several processes at once would break it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gansweep.errors import Missing, UserError
from gansweep.runs.location import answers, artifact_root, resolve_uri, sqlite_path, sqlite_uri
from gansweep.runs.rundir import say

if TYPE_CHECKING:
    from gansweep.config.settings import TrackerSettings

# A tag of the experiment that names the MLflow that made or migrated the database: readable without importing MLflow.
READY_TAG = "gansweep.mlflow_version"
# Which unreachable tracker a person has been told of; in the environment, so that the jobs of a sweep know it too.
_TOLD = "GANSWEEP_UNREACHABLE_TOLD"
_LOCK_WAIT_S = 300.0


def prepare_store(cfg: TrackerSettings, cwd: Path | None = None, report: Callable[[str], None] = say) -> None:
    """Create or migrate a sqlite store and its experiment under a file lock; a few milliseconds when that was done.

    Nothing for `kind: none`. A server that does not answer is reported once and training goes on. UserError for a file
    that is no MLflow database, a folder that cannot be written, or a deleted experiment; Missing when MLflow is not
    installed.
    """
    if cfg.kind != "mlflow":
        return
    uri = resolve_uri(cfg, cwd)
    database = sqlite_path(uri)
    if database is None:
        if uri.startswith(("http:", "https:")) and not was_told(uri) and not answers(uri):
            report(f"tracker {uri} cannot be reached; training goes on, metrics are kept in each run's directory")
            os.environ[_TOLD] = uri
        return
    if is_ready(database, cfg.experiment):
        return
    _refuse_deleted(database, cfg.experiment)
    import filelock

    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(database.with_name(f".{database.name}.lock"), timeout=_LOCK_WAIT_S):
            if not is_ready(database, cfg.experiment):
                _prepare(database, cfg.experiment, uri, report)
    except filelock.Timeout:
        raise UserError(f"tracker.uri={uri}: another process has been preparing it for {_LOCK_WAIT_S:.0f} s") from None
    except OSError as error:
        raise UserError(f"tracker.uri={uri}: {error.strerror or error}") from error


def _prepare(database: Path, experiment: str, uri: str, report: Callable[[str], None]) -> None:
    root = artifact_root(uri)
    assert root is not None  # it is a sqlite store
    if not database.exists():
        report(f"making the MLflow store {database} (once, some seconds)")
        _make(database, experiment, root)
        return
    if not is_ready(database, None):
        _migrate(database)
    _child(["gansweep.runs.mlflow", uri, experiment, str(root)], database)


def is_ready(database: Path, experiment: str | None) -> bool:
    """Say whether the installed MLflow has prepared `database` for `experiment` (None: for any); opens it read-only."""
    query = (
        "select 1 from experiments e join experiment_tags t on t.experiment_id = e.experiment_id "
        "where (e.name = :name or :name is null) and e.lifecycle_stage = 'active' "
        "and t.key = :key and t.value = :version"
    )
    values = {"name": experiment, "key": READY_TAG, "version": mlflow_version()}
    return _first_row(database, query, values) is not None


def _refuse_deleted(database: Path, experiment: str) -> None:
    """Raise UserError for an experiment that was deleted in MLflow's UI: MLflow would take no run for it."""
    query = "select experiment_id from experiments where name = :name and lifecycle_stage = 'deleted'"
    row = _first_row(database, query, {"name": experiment})
    if row is not None:
        raise UserError(
            f"tracker.experiment={experiment}: '{experiment}' was deleted; restore it: mlflow experiments restore "
            f"-x {row[0]} with MLFLOW_TRACKING_URI={sqlite_uri(database)}, or name another"
        )


def lacks_run(uri: str, run_id: str) -> bool:
    """Say whether the sqlite store at `uri` is a prepared one and has no run `run_id`; False for another kind."""
    database = sqlite_path(uri)
    if database is None or not is_ready(database, None):
        return False
    found = _first_row(database, "select count(*) from runs where run_uuid = :id", {"id": run_id})
    return found is not None and found[0] == 0


def _first_row(database: Path, query: str, values: dict[str, str | None]) -> tuple[Any, ...] | None:
    """Return the first row of `query`, read without MLflow; None when there is none, or no such table or file."""
    if not database.is_file():
        return None
    try:
        with contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=5.0)) as connection:
            row: tuple[Any, ...] | None = connection.execute(query, values).fetchone()
            return row
    except sqlite3.Error:
        return None


def mlflow_version() -> str:
    """Return the installed MLflow's version; Missing when there is none."""
    try:
        return importlib.metadata.version("mlflow")
    except importlib.metadata.PackageNotFoundError:
        raise Missing("tracker=mlflow needs MLflow: pip install mlflow, or use tracker=none") from None


def was_told(uri: str) -> bool:
    """Say whether this process or its parent has reported already that `uri` cannot be reached."""
    return os.environ.get(_TOLD) == uri


def _make(database: Path, experiment: str, root: Path) -> None:
    """Make a new store beside its place and rename it: a kill in between leaves nothing that looks like a store."""
    fresh = database.with_name(f".{database.name}.{os.getpid()}.tmp")
    try:
        _child(["gansweep.runs.mlflow", sqlite_uri(fresh), experiment, str(root)], database)
        os.replace(fresh, database)
    finally:
        fresh.unlink(missing_ok=True)


def _migrate(database: Path) -> None:
    """Bring an older MLflow's store to the installed one's tables; the old file stays as NAME.before-VERSION.

    UserError for a file that is no MLflow store, or one of a newer MLflow.
    """
    before = _revision(database)
    if before is None:
        raise UserError(f"tracker.uri: {database} is not an MLflow database")
    kept = database.with_name(f"{database.name}.before-{mlflow_version()}")
    with contextlib.closing(sqlite3.connect(database)) as source, contextlib.closing(sqlite3.connect(kept)) as copy:
        source.backup(copy)
    try:
        _child(["mlflow", "db", "upgrade", sqlite_uri(database)], database)
    except UserError as error:
        raise UserError(f"{error}; MLflow {mlflow_version()} cannot migrate it, a copy as it was is {kept}") from error
    if _revision(database) == before:  # it was current already
        kept.unlink()


def _revision(database: Path) -> str | None:
    row = _first_row(database, "select version_num from alembic_version", {})
    return str(row[0]) if row else None


def _child(module_and_arguments: list[str], database: Path) -> None:
    """Run a module in a process of its own, so that a command that trains never carries MLflow in its memory."""
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment.pop("PYTEST_CURRENT_TEST", None)
    done = subprocess.run(
        [sys.executable, "-P", "-m", *module_and_arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=database.parent,
        env=environment,
    )
    if done.returncode:
        lines = [line for line in done.stderr.strip().splitlines() if line.strip()] or ["no reason given"]
        raise UserError(f"tracker.uri: {database}: {lines[-1].strip()[:300]}")
