"""Names that come out of files, as messages of one line show them."""

from __future__ import annotations


def shown(name: object, most: int | None = None) -> str:
    """Return a name (or path) as it is, its odd letters escaped where it has any; of a longer one `most` letters."""
    text = str(name)
    text = text if most is None or len(text) <= most else f"{text[:most]}…"
    return text if text.isprintable() else repr(text)
