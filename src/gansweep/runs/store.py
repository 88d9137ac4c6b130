"""Looking runs up: by directory, by a file inside it, by our run id or MLflow's, by name; and all under a directory."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from gansweep.errors import UserError, nearest
from gansweep.runs.liveness import reconcile
from gansweep.runs.rundir import (
    RECORD_FILE,
    SWEEP_FILE,
    TRAINING,
    Run,
    create,
    is_run_dir,
    new_run_id,
    read,
    reopen,
    update,
)

__all__ = [
    "Run",
    "all_runs",
    "create",
    "find",
    "find_many",
    "names_sweep",
    "new_run_id",
    "open_run",
    "read",
    "reconcile",
    "reopen",
    "resolve_checkpoint",
    "runs_below",
    "update",
]

# Where Hydra puts single runs and sweeps: outputs/DATE/TIME, multirun/DATE/TIME/JOB, and one level to spare.
ROOTS = ("outputs", "multirun")
_DEPTH = 4
_LEAST_PREFIX = 4
_ID = re.compile(r"[0-9a-f]+")


def open_run(run_dir: Path) -> Run:
    """Return the run in `run_dir`; UserError when there is none."""
    return Run(run_dir.absolute(), read(run_dir))


def runs_below(directory: Path, depth: int = _DEPTH) -> list[Run]:
    """Return the runs in `directory` and at most `depth` levels below, oldest first.

    Left out: records that cannot be read, the summary runs of sweeps, attempts that another one took the place of.
    """
    runs = []
    for found in _run_dirs(directory.absolute(), depth):
        try:
            run = open_run(found)
        except UserError:
            continue
        if run.record.get("kind", TRAINING) == TRAINING and not run.record.get("superseded"):
            runs.append(run)
    return sorted(runs, key=lambda run: (str(run.record.get("created")), str(run.dir)))


def all_runs(cwd: Path | None = None) -> list[Run]:
    """Return the runs in outputs/ and multirun/ of `cwd` (default: the working directory), oldest first."""
    base = cwd or Path.cwd()
    runs = [run for root in ROOTS for run in runs_below(base / root)]
    return sorted(runs, key=lambda run: (str(run.record.get("created")), str(run.dir)))


def find(target: str, cwd: Path | None = None) -> Run:
    """Return the run that `target` names: a directory, a file in it, a run id (ours or MLflow's) or its start, a name.

    UserError when nothing or more than one run matches, naming the nearest or the matches.
    """
    base = cwd or Path.cwd()
    path = _path(target, base)
    if _exists(path):
        return _at_path(path, target)
    runs = all_runs(base)
    named = [run for run in runs if run.name == target]
    if _ID.fullmatch(target):
        return _by_id(target, base, runs, named)
    if len(named) == 1:
        return named[0]
    if named:
        raise UserError(f"{target}: {len(named)} runs are called so: {_listed(named)}; give an id")
    raise UserError(f"{target}: no such file, run directory, run id or name{_offers(target, runs, base)}")


def names_sweep(target: str, cwd: Path | None = None) -> bool:
    """Say whether `target` is the directory of a sweep, which stands for all of the sweep's runs."""
    return _is_sweep_dir(_path(target, cwd))


def find_many(target: str, cwd: Path | None = None) -> list[Run]:
    """Return the runs that `target` names: those of a sweep's directory by job number, or the one of `find`.

    UserError for any other directory, whatever lies below it: that may be other people's.
    """
    if not names_sweep(target, cwd):
        return [find(target, cwd)]
    runs = runs_below(_path(target, cwd), 3)
    if not runs:
        raise UserError(f"{target}: a sweep without a run")
    return sorted(runs, key=_job)


def resolve_checkpoint(target: str, cwd: Path | None = None) -> tuple[Run | None, Path]:
    """Return the run and the checkpoint file that `target` names; of a run, its last.pt.

    A checkpoint file that lies in no run directory gives (None, file). The file's content is not looked at.
    """
    path = _path(target, cwd)
    if _exists(path) and path.is_file():
        owner = _owner(path)
        return (open_run(owner) if owner else None), path.absolute()
    run = find(target, cwd)
    last = run.checkpoint_dir / "last.pt"
    if last.is_file():
        return run, last
    others = run.checkpoints()
    if others:
        return run, others[-1]
    raise UserError(f"{target}: run {run.id[:8]} ({run.status}) has no checkpoint yet")


def _path(target: str, cwd: Path | None) -> Path:
    if not target.strip():
        raise UserError("an empty TARGET: name a run directory, a file in it, or a run id")
    try:
        return (cwd or Path.cwd()) / Path(target).expanduser()
    except RuntimeError as error:  # ~somebody who is nobody
        raise UserError(f"{target}: {error}") from error


def _exists(path: Path) -> bool:
    """Say whether there is such a path; False where that may not be looked at, or the name cannot be one."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _is_sweep_dir(path: Path) -> bool:
    return _exists(path / SWEEP_FILE) and not is_run_dir(path)


def _at_path(path: Path, target: str) -> Run:
    if path.is_dir():
        if is_run_dir(path):
            return open_run(path)
        if _is_sweep_dir(path):
            runs = runs_below(path, 3)
            names = ", ".join(os.path.relpath(run.dir, path) for run in runs[:8])
            raise UserError(f"{target}: holds {len(runs)} runs, one is needed; in it: {names}")
        raise UserError(f"{target}: neither a run's directory (no {RECORD_FILE} in it) nor a sweep's (no {SWEEP_FILE})")
    owner = _owner(path)
    if owner is None:
        raise UserError(f"{target}: a file that lies in no run directory")
    return open_run(owner)


def _owner(path: Path) -> Path | None:
    """Return the run directory that holds the file `path`, at most three levels up."""
    return next((parent for parent in list(path.absolute().parents)[:3] if is_run_dir(parent)), None)


def _by_id(prefix: str, base: Path, runs: list[Run], named: list[Run]) -> Run:
    """Return the run of an id or its beginning among `runs`; `named` are called so, and count beside them."""
    matches = [run for run in runs if run.id.startswith(prefix) or (run.mlflow_run_id or "").startswith(prefix)]
    if len(prefix) < _LEAST_PREFIX:
        matches = []
    exact = [run for run in matches if prefix in (run.id, run.mlflow_run_id)]
    matches += [run for run in named if run not in matches]
    if not matches and len(prefix) < _LEAST_PREFIX:
        raise UserError(f"{prefix}: a run id needs at least {_LEAST_PREFIX} characters{_offers(prefix, runs, base)}")
    if not matches:
        matches = _from_database(prefix, base)
    if len(exact) == 1 or len(matches) == 1:
        return (exact or matches)[0]
    if matches:
        how = "are called or begin so" if named else "begin so"
        raise UserError(f"{prefix}: {len(matches)} runs {how}: {_listed(matches)}; give more characters")
    raise UserError(
        f"{prefix}: no run with this id in {' or '.join(f'{root}/' for root in ROOTS)}{_offers(prefix, runs, base)}"
    )


def _listed(runs: list[Run]) -> str:
    return ", ".join(f"{run.id[:12]} ({run.name})" for run in runs[:8])


def _from_database(prefix: str, base: Path) -> list[Run]:
    """Return runs that the directory's mlflow.db knows by id although they lie elsewhere (another hydra.run.dir).

    Read with sqlite3: importing MLflow takes seconds.
    """
    database = base / "mlflow.db"
    if not database.is_file():
        return []
    query = (
        "select distinct d.value from tags d left join tags i on i.run_uuid = d.run_uuid and i.key = 'gansweep.run_id' "
        "where d.key = 'gansweep.run_dir' and (d.run_uuid like :p or i.value like :p)"
    )
    try:
        connection = sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True, timeout=1.0)
        try:
            rows = connection.execute(query, {"p": prefix + "%"}).fetchall()
        finally:
            connection.close()
    except sqlite3.Error:
        return []
    return [open_run(Path(row[0])) for row in rows if is_run_dir(Path(row[0]))]


def _run_dirs(directory: Path, depth: int) -> Iterator[Path]:
    if is_run_dir(directory):
        yield directory
    elif depth > 0:
        try:
            entries = [e.path for e in os.scandir(directory) if e.is_dir(follow_symlinks=False) and e.name[0] != "."]
        except OSError:
            return
        for entry in entries:
            yield from _run_dirs(Path(entry), depth - 1)


def _job(run: Run) -> tuple[int, str]:
    sweep = run.record.get("sweep") or {}
    job = str(sweep.get("job", run.dir.name))
    return (int(job) if job.isdigit() else 2**31, job)


def _offers(target: str, runs: list[Run], base: Path) -> str:
    if not runs:
        return " (no runs in outputs/ or multirun/ of this directory)"
    names = {run.id[:8] for run in runs} | {os.path.relpath(run.dir, base) for run in runs} | {r.name for r in runs}
    if _ID.fullmatch(target):
        names = {run.id[: max(8, len(target))] for run in runs}
    return nearest(target, names)
