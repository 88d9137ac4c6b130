"""What is said, and written, about pictures that cannot be used."""

from __future__ import annotations

import csv
import os
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from gansweep.data.source import BadPicture, Item
from gansweep.errors import UserError

SHOWN_PATHS = 10
LIST_NAME = "bad_files.csv"


@dataclass(frozen=True, slots=True)
class BadFile:
    """One unusable picture: its path within the set, a short reason, and what the decoder said."""

    path: str
    reason: str
    detail: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return the three fields, as the manifest keeps them."""
        return asdict(self)


def write_list(bad: list[BadFile], folder: Path) -> Path:
    """Write `bad_files.csv` (path, reason, detail) into `folder` whole or not at all, and return its path."""
    target = folder / LIST_NAME
    draft = folder / f".{LIST_NAME}.{os.getpid()}"
    with draft.open("w", newline="", encoding="utf-8", errors="backslashreplace") as out:
        rows = csv.writer(out)
        rows.writerow(["path", "reason", "detail"])
        rows.writerows((one.path, one.reason, one.detail) for one in bad)
    draft.replace(target)
    return target


class BadFiles:
    """Adds up what cannot be used while items are decoded: a file that several are cut from once, with its first fault.

    `total` counts likewise, usable ones included.
    """

    def __init__(self, items: Iterable[Item]) -> None:
        self.total = len({item.file or item.id for item in items})
        self._found: dict[str, BadFile] = {}

    def add(self, item: Item, fault: BadPicture) -> None:
        """Take in that an item cannot be used."""
        path = item.file or item.id
        self._found.setdefault(path, BadFile(path, fault.reason, fault.detail))

    @property
    def listed(self) -> list[BadFile]:
        """Those that cannot be used, in the order in which they were met."""
        return list(self._found.values())


def summary(bad: list[BadFile], total: int, what: str = "pictures") -> str:
    """Return one line: how many of how many, and how many for each reason, most frequent first."""
    counts = Counter(one.reason for one in bad).most_common()
    reasons = ", ".join(f"{number:,} {reason}" for reason, number in counts)
    return f"{len(bad):,} of {total:,} {what} cannot be used: {reasons}"


def report(bad: list[BadFile], total: int, listed_in: Path | None, advice: str, what: str = "pictures") -> str:
    """Return at most twelve lines: the summary, the first ten paths, and where the whole list is with what to do."""
    lines = [summary(bad, total, what)]
    lines += [f"  {_printable(one.path)}: {one.reason}" for one in bad[:SHOWN_PATHS]]
    where = f"all of them are listed in {listed_in}; " if listed_in else ""
    return "\n".join([*lines, f"{where}{advice}"])


def judge(
    bad: list[BadFile], total: int, on_bad: str, max_bad_fraction: float, *, announce: bool, what: str = "pictures"
) -> None:
    """Stop with UserError when unusable pictures are not allowed, or are too many; else tell of them once on stderr.

    Writes `bad_files.csv` into the working directory whenever it speaks. `announce` is false when an earlier
    run has told of the same pictures already. `what` they are called.
    """
    if not bad:
        return
    share = len(bad) / total
    if on_bad == "skip" and share <= max_bad_fraction and len(bad) < total:
        if announce:
            listed = _list_or_nothing(bad)
            told = summary(bad, total, what)
            print(f"gansweep: {told}; left out{f', listed in {listed}' if listed else ''}", file=sys.stderr)
        return
    if len(bad) == total:
        advice = "none is left"
    elif on_bad == "skip":
        advice = f"{share:.1%} is more than data.max_bad_fraction={max_bad_fraction:g}"
    else:
        advice = "mend or remove them, or leave them out with data.on_bad=skip"
        if share > max_bad_fraction:
            advice += f" data.max_bad_fraction={_round_up(share):g}"
    raise UserError(report(bad, total, _list_or_nothing(bad), advice, what))


def _list_or_nothing(bad: list[BadFile]) -> Path | None:
    try:
        return write_list(bad, Path.cwd())
    except OSError:  # A working directory that cannot be written must not hide the message itself.
        return None


def _round_up(share: float) -> float:
    return min(1.0, (int(share * 100) + 1) / 100)


def _printable(path: str) -> str:
    """Keep one path on one line, whatever bytes its name has."""
    return path.encode("utf-8", "backslashreplace").decode().replace("\n", "\\n").replace("\r", "\\r")
