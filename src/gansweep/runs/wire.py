"""How our lines are written in MLflow: its limits, the tags of a run, the names of picture files."""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from gansweep.runs.rundir import Run

if TYPE_CHECKING:
    from PIL.Image import Image

# MLflow's columns (mlflow/utils/validation.py of 3.17.2): more is cut or refused there.
DIGEST_CHARS, TAG_CHARS, PARAM_CHARS, KEY_CHARS, DATASET_NAME_CHARS = 36, 8000, 6000, 250, 500
_NOT_IN_KEY = re.compile(r"[^\w\-. :/]")
_NO_SUCH_RUN = re.compile(r"(?:\w+: )?Run (?:with id=|')\w+'? not found")
# Answers of 400 to 499 that say nothing against what was sent: who asks may be let in, or have more time, later.
_MAY_PASS = (401, 403, 408, 429)
_DOUBT_S = 20.0
_NOT_IN_IMAGE_KEY = re.compile(r"[^A-Za-z0-9_\-./ ]")


class Unreachable(Exception):
    """The tracker did not take what was sent, and may take it later."""


class Doubtful(Unreachable):
    """The tracker's database did not take it, perhaps only because another writer was faster: worth another try."""


class Refused(Exception):
    """The tracker will never take what was sent."""


class RunLost(Exception):
    """The tracker no longer knows the run: its store was made anew, or the run was deleted for good."""


def verdict(error: Exception, doubts: dict[str, float]) -> Unreachable | Refused | RunLost | None:
    """Return what an exception of MLflow or of its stores means for what was sent; None for an error of our own.

    A server answers 400 with BAD_REQUEST for whatever its database did not like, which may be another writer that was
    faster, or a connection that was lost: that is final when it has been said for `_DOUBT_S`. `doubts` holds since when
    (time.monotonic), by message; the caller empties it when all was taken.
    """
    said = first_line(error)
    code = getattr(error, "error_code", None)
    if code == "RESOURCE_DOES_NOT_EXIST" and _NO_SUCH_RUN.match(said):
        return RunLost(said)
    if isinstance(error, OSError):  # among them what `requests` raises where files are sent
        status = getattr(getattr(error, "response", None), "status_code", 503)
    elif hasattr(error, "get_http_status_code"):
        status = error.get_http_status_code()
    else:
        return None
    if not 400 <= status < 500 or status in _MAY_PASS:
        return Unreachable(said)
    if code == "BAD_REQUEST" and time.monotonic() - doubts.setdefault(said, time.monotonic()) < _DOUBT_S:
        return Doubtful(said)
    return Refused(said)


def local_folder(uri: str) -> Path | None:
    """Return the folder of this machine that an artifact URI names; None for a place behind a server."""
    path = unquote(uri.removeprefix("file://")) if uri.startswith("file://") else uri
    return Path(path) if path.startswith("/") else None


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


def picture(path: Path) -> Image:
    """Return the picture in a file, read; Refused when the file is gone or holds none."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as found:
            found.load()
    except (FileNotFoundError, UnidentifiedImageError) as error:
        raise Refused(str(error)) from error
    return found


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
