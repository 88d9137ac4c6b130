"""Which tracking store a run goes to, found out without MLflow: importing it takes seconds."""

from __future__ import annotations

import os
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from gansweep.errors import UserError

if TYPE_CHECKING:
    from gansweep.config.settings import TrackerSettings

_SQLITE = "sqlite:///"
_SCHEMES = ("sqlite", "http", "https", "postgresql", "mysql", "mssql", "databricks")


def resolve_uri(cfg: TrackerSettings, cwd: Path | None = None) -> str:
    """Return the absolute tracking URI: `tracker.uri`, else MLFLOW_TRACKING_URI, else mlflow.db in `cwd`.

    A relative sqlite path is taken from `cwd` (default: the working directory). UserError for a kind of store that
    MLflow no longer writes (a folder) or does not know, and for a sqlite file with options (?…).
    """
    base = (cwd or Path.cwd()).absolute()
    uri = cfg.uri or os.environ.get("MLFLOW_TRACKING_URI") or sqlite_uri(base / "mlflow.db")
    scheme = uri.split(":", 1)[0].split("+", 1)[0] if ":" in uri else ""
    if scheme not in _SCHEMES:
        raise UserError(f"tracker.uri={uri}: not a store MLflow writes to; use sqlite:///PATH.db or http://HOST:PORT")
    if scheme != "sqlite":
        return uri
    path = uri.removeprefix(_SQLITE)
    if not uri.startswith(_SQLITE) or not path or path.startswith(":memory:"):
        raise UserError(f"tracker.uri={uri}: no database file named; use sqlite:///PATH.db")
    if "?" in path:
        raise UserError(
            f"tracker.uri={uri}: options behind ? are not supported; name the file alone: sqlite:///PATH.db"
        )
    return sqlite_uri(base / unquote(path))


def sqlite_uri(database: Path) -> str:
    """Return the URI of an absolute `database` file.

    UserError for a path with % or ? (MLflow decodes it in some places and not in others, and leaves stray folders) or
    with both kinds of quotes (it writes the path into SQL as it is).
    """
    text = str(database)
    bad = next((f"a {character}" for character in "%?" if character in text), None)
    if bad or ("'" in text and '"' in text):
        raise UserError(
            f"{text}: MLflow cannot keep a store in a path with {bad or 'both kinds of quotes'} in it; name another "
            "with tracker.uri=sqlite:///PATH.db, or use tracker=none"
        )
    return f"{_SQLITE}{text}"


def sqlite_path(uri: str) -> Path | None:
    """Return the database file of an absolute sqlite URI, or None for another kind of store."""
    return Path(unquote(uri.removeprefix(_SQLITE))) if uri.startswith(_SQLITE) else None


def artifact_root(uri: str) -> Path | None:
    """Return where a sqlite store's artifacts go: mlruns/ beside the database; None where a server decides."""
    database = sqlite_path(uri)
    return database.parent / "mlruns" if database else None


def artifact_uri(folder: Path) -> str:
    """Return how MLflow is told of an artifact folder: the bare path, or a file URI where it would misread that."""
    text = str(folder)
    return f"file://{quote(text)}" if any(character in text for character in "%?#") else text


def answers(uri: str, timeout_s: float = 3.0) -> bool:
    """Say whether the server at an http(s) `uri` answers its health address in time."""
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=timeout_s) as reply:
            return bool(reply.status == 200)
    except (OSError, ValueError):
        return False
