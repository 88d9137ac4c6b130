"""Errors that a user causes or meets: one line each, with the exit code that the command line gives them.

Imports nothing of ours and nothing heavy, so that every part of the house may raise them.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable


class GansweepError(Exception):
    """A failure that is told in one line, without a traceback; `exit_code` is the process's exit status."""

    exit_code = 1


class UserError(GansweepError):
    """The request was wrong (exit 2): the message says what, where and the nearest valid choice."""

    exit_code = 2


class NoRoom(UserError):
    """A disk has not the room that was asked for (exit 2)."""


class Missing(UserError):
    """Something needed is not there (exit 3): weights, a device, a server, an extra; says how to get it."""

    exit_code = 3


class RunFailed(GansweepError):
    """A run began and failed (exit 1); what it had kept stays."""

    exit_code = 1


def was_disk_full(error: BaseException | None) -> bool:
    """Say whether a full disk or quota is behind `error`: libraries hide a write's own error behind theirs."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False


def refused_by_system(error: OSError) -> str:
    """Return which file the file system refused, and why, without the error's number."""
    place = f"{error.filename}: " if error.filename is not None else ""
    return f"{place}{error.strerror or next(iter(str(error).splitlines()), type(error).__name__)}"


# So long may a list of choices be; with the words around it, it stays within 120 letters.
_LETTERS = 90


def nearest(name: str, choices: Iterable[str], most: int = 8) -> str:
    """Return the end of an error line: the nearest of `choices` to `name`, or all of them when none is near."""
    names = sorted(set(choices))
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean '{close[0]}'?"
    if not names:
        return ""
    shown = names[:most]
    while len(shown) > 1 and len(", ".join(shown)) > _LETTERS:
        shown.pop()
    return f"; choices: {', '.join(shown)}" + (f", … ({len(names)} in all)" if len(names) > len(shown) else "")
