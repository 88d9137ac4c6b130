"""Where a search keeps its study: a journal beside the sweep's record, or a database, asked before anything begins."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from gansweep.errors import Missing, UserError

STUDY_FILE = "study.journal"


def storage_of(url: str | None, directory: Path) -> Any:
    """Return where the study is kept: a journal beside the sweep's record (no race, no server), or a database."""
    if url:
        return url
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(str(directory / STUDY_FILE)))


def _refuse_file(database: Path, told: str) -> None:
    """Raise UserError where SQLite could not keep a study in this file."""
    if not database.parent.is_dir():
        raise UserError(f"hydra.sweeper.storage={told}: there is no folder {database.parent}")
    if not os.access(database.parent, os.W_OK) or database.is_dir():
        raise UserError(f"hydra.sweeper.storage={told}: no file can be there; name one in a folder that you may write")
    if database.is_file():
        with database.open("rb") as file:
            head = file.read(16)
        if head and head != b"SQLite format 3\0":
            raise UserError(f"hydra.sweeper.storage={told}: {database} is there and is no SQLite database")


def refuse_storage(url: str | None) -> None:
    """Raise UserError for a URL of no database, Missing for one that cannot be reached; a SQLite file is not made."""
    if not url:
        return
    import sqlalchemy
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    told = re.sub(r"://[^/@\s]+@", "://…@", str(url))
    try:
        parts = sqlalchemy.make_url(url)
        if parts.get_backend_name() == "sqlite":
            _refuse_file(Path(parts.database or "."), told)
            return
        sqlalchemy.create_engine(parts).connect().close()
    except ArgumentError:
        form = "sqlite:///FILE, postgresql+psycopg2://USER:PASSWORD@HOST/NAME and the like"
        raise UserError(f"hydra.sweeper.storage={told}: not the URL of a database; {form}") from None
    except ImportError as error:
        raise Missing(f"hydra.sweeper.storage={told}: pip install {error.name}, or name another driver") from None
    except SQLAlchemyError as error:
        why = str(error).splitlines()[0]
        raise Missing(f"hydra.sweeper.storage={told}: cannot be reached ({why})") from None
