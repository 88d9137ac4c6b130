"""What people write about their pictures: metadata.jsonl, .csv or .json in the folder, or a .txt beside one."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from gansweep.data.tags import parse_tags
from gansweep.data.told import shown
from gansweep.errors import UserError

FILE_NAMES = ("metadata.jsonl", "metadata.csv", "metadata.json")
_NAME_KEYS = ("file_name", "filename")
_TEXT_KEYS = ("text", "caption", "captions")


@dataclass(frozen=True, slots=True)
class Entry:
    """What one picture's metadata says."""

    captions: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    label: str | None = None
    group: str | None = None


def read_metadata(root: Path) -> dict[str, Entry]:
    """Return what the folder's metadata file says, by relative path; {} without one, the first of several.

    A row has the path under file_name or filename, captions under text, caption or captions (text or a list), tags
    (a list, or text with separators), and may have label and group. Rows of one picture are joined. Raises UserError
    with file and line for what cannot be read.
    """
    path = next((root / name for name in FILE_NAMES if (root / name).is_file()), None)
    if path is None:
        return {}
    entries: dict[str, Entry] = {}
    for where, row in _rows(path):
        name = _file_name(row, where)
        entry = Entry(_captions(row), parse_tags(row.get("tags")), _text(row, "label"), _text(row, "group"))
        entries[name] = _joined(entries[name], entry) if name in entries else entry
    return entries


def read_sidecar(path: Path) -> tuple[str, ...]:
    """Return the captions in a text file: its lines that are not blank."""
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each row with the words that name its place in a message."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"data.path: {path} is not UTF-8 text (byte {error.start})") from None
    if path.suffix == ".csv":
        yield from _csv_rows(path, text)
    elif path.suffix == ".jsonl":
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                where = f"{path} line {number}"
                yield where, _object(_parsed(line, where), where)
    else:
        rows = _parsed(text, str(path))
        if not isinstance(rows, list):
            raise UserError(f"data.path: {path} must be a JSON list of objects, one per picture")
        for number, row in enumerate(rows, start=1):
            where = f"{path} item {number}"
            yield where, _object(row, where)


def _csv_rows(path: Path, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    table = csv.DictReader(text.splitlines(keepends=True))
    columns = table.fieldnames or []
    if not any(key in columns for key in _NAME_KEYS):
        raise UserError(f"data.path: {path} has no column file_name; its columns: {', '.join(columns) or 'none'}")
    try:
        for row in table:
            yield f"{path} line {table.line_num}", row
    except csv.Error as error:
        raise UserError(f"data.path: {path} line {table.line_num} is not CSV ({error})") from None


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise UserError(f"data.path: {where} is not JSON ({error})") from None


def _object(row: Any, where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise UserError(f"data.path: {where} is not an object with file_name")
    return row


def _file_name(row: dict[str, Any], where: str) -> str:
    """Return the picture's path within the folder, with slashes; anything that leads out of the folder is refused."""
    name = next((row[key] for key in _NAME_KEYS if row.get(key)), None)
    if not isinstance(name, str):
        raise UserError(f"data.path: {where} has no file_name")
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise UserError(f"data.path: {where} names {shown(name)}, which is not inside the folder")
    return str(path)


def _captions(row: dict[str, Any]) -> tuple[str, ...]:
    value = next((row[key] for key in _TEXT_KEYS if row.get(key)), ())
    values = value if isinstance(value, list | tuple) else [value]
    return tuple(text for one in values if (text := str(one).strip()))


def _text(row: dict[str, Any], key: str) -> str | None:
    value = row.get(key)
    return None if value is None or str(value).strip() == "" else str(value).strip()


def _joined(first: Entry, second: Entry) -> Entry:
    return Entry(
        tuple(dict.fromkeys(first.captions + second.captions)),
        tuple(dict.fromkeys(first.tags + second.tags)),
        second.label or first.label,
        second.group or first.group,
    )
