"""How our lines are written in MLflow: its limits, the tags of a run, the names of picture files."""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import shutil
from pathlib import Path
from typing import Any

from gansweep.runs.rundir import Run

# MLflow's columns (mlflow/utils/validation.py of 3.17.2): more is cut or refused there.
DIGEST_CHARS, TAG_CHARS, PARAM_CHARS, KEY_CHARS, DATASET_NAME_CHARS = 36, 8000, 6000, 250, 500
_NOT_IN_KEY = re.compile(r"[^\w\-. :/]")
_NOT_IN_IMAGE_KEY = re.compile(r"[^A-Za-z0-9_\-./ ]")


class Unreachable(Exception):
    """The tracker did not take what was sent, and may take it later."""


class Refused(Exception):
    """The tracker will never take what was sent."""


class RunLost(Exception):
    """The tracker no longer knows the run: its store was made anew, or the run was deleted for good."""


def run_tags(run: Run, record: dict[str, Any]) -> dict[str, str]:
    """Return the tags that the MLflow run is made with."""
    tags = {
        "gansweep.run_id": run.id,
        "gansweep.run_dir": str(run.dir),
        "gansweep.host": str(run.record.get("host")),
        "mlflow.source.name": "gansweep",
        "mlflow.source.type": "LOCAL",
    }
    with contextlib.suppress(OSError, KeyError):
        tags["mlflow.user"] = getpass.getuser()
    if record.get("commit"):
        tags["mlflow.source.git.commit"] = record["commit"]
        tags["gansweep.dirty"] = "true" if record.get("dirty") else "false"
    if record.get("overrides"):
        tags["gansweep.overrides"] = " ".join(record["overrides"])
    if record.get("sweep"):
        tags["gansweep.sweep"] = str(record["sweep"]["id"])
        if record["sweep"].get("job") is not None:
            tags["gansweep.job"] = str(record["sweep"]["job"])
    if record.get("parent"):
        tags["gansweep.parent"] = f"{record['parent']['run_id']} step {record['parent']['step']}"
    if record.get("note"):
        tags["mlflow.note.content"] = record["note"]
    tags.update(record.get("tags", {}))
    return {metric_name(key): cut(value, TAG_CHARS) for key, value in tags.items()}


def link_or_copy(source: Path, target: Path) -> None:
    """Put `source` at `target` by rename: as a hard link where that works, since our checkpoints are never changed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
        os.replace(temporary, target)
    except FileNotFoundError:
        return  # the trainer has just replaced it
    finally:
        temporary.unlink(missing_ok=True)


def image_name(key: str) -> str:
    """Return `key` as a name that MLflow accepts for pictures."""
    return _NOT_IN_IMAGE_KEY.sub("_", key)


def image_stem(entry: dict[str, Any]) -> str:
    """Return how the file of a picture's spool line is called in MLflow, up to the random part of its name."""
    key = image_name(entry["key"]).replace("/", "~")
    return f"images/{key}+step+{entry['step']}+timestamp+{entry['t']}"


def metric_name(name: str) -> str:
    """Return `name` as one that MLflow accepts for metrics, parameters and tags."""
    return _NOT_IN_KEY.sub("_", str(name))[:KEY_CHARS]


def cut(value: object, most: int) -> str:
    """Return `value` as text of at most `most` characters, its end marked when it was cut."""
    text = str(value)
    return text if len(text) <= most else text[: most - 1] + "…"


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message (300 characters), or its type."""
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__
