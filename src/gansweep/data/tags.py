"""Tags: how they are written, and which pictures they select."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gansweep.data.source import Item
from gansweep.errors import UserError, nearest

ORIENTATIONS = ("any", "portrait", "landscape")


def parse_tags(value: object) -> tuple[str, ...]:
    """Read tags from a list, or from text with commas, semicolons or bars between, or blanks where it has none."""
    if value is None:
        return ()
    if isinstance(value, str):
        parts: Sequence[object] = re.split(r"[,;|]", value) if re.search(r"[,;|]", value) else value.split()
    elif isinstance(value, list | tuple):
        parts = value
    else:
        parts = [value]
    return tuple(dict.fromkeys(text for part in parts if (text := str(part).strip())))


def check_tags(include: Sequence[str], exclude: Sequence[str]) -> None:
    """Raise UserError when a tag is both asked for and refused."""
    both = sorted(set(include) & set(exclude))
    if both:
        raise UserError(
            f"data.include and data.exclude both name {', '.join(map(repr, both))}: take it out of one of them"
        )


def select_tags(items: list[Item], include: Sequence[str], exclude: Sequence[str]) -> list[Item]:
    """Keep the items that bear any tag of `include` (all when it is empty) and none of `exclude`.

    Raises UserError for a tag that no item bears, with the nearest one: a misspelt mask would pass unseen otherwise.
    """
    check_tags(include, exclude)
    if not include and not exclude:
        return items
    known = {tag for item in items for tag in item.tags}
    for key, tags in (("include", include), ("exclude", exclude)):
        for tag in tags:
            if tag not in known:
                hint = nearest(tag, known) or "; no picture of this set has tags"
                raise UserError(f"data.{key}: no picture has the tag '{tag}'{hint}")
    wanted, refused = set(include), set(exclude)
    kept = [
        item for item in items if (not wanted or wanted.intersection(item.tags)) and not refused.intersection(item.tags)
    ]
    if not kept:
        raise UserError(
            f"data.include={list(include)} with data.exclude={list(exclude)} leaves none of {len(items):,} pictures"
        )
    return kept


def is_oriented(width: int, height: int, orientation: str) -> bool:
    """Say whether a picture of this size is wanted; a square is neither portrait nor landscape."""
    if orientation == "portrait":
        return height > width
    return width > height if orientation == "landscape" else True
