"""The journals' entries as presets: what conf/experiment/<journal>/*.yaml say of themselves at their heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from gansweep.config import conf_dir
from gansweep.errors import UserError, nearest

# A preset's head: "# <journal> journal, <when>[, <which>]: <the entry in our words>", then "Observed:", "Found:", ...
_REMARKS = ("Observed:", "Expect here", "Found:")


@dataclass(frozen=True)
class Entry:
    """One preset: its name for `experiment=`, the entry's place in its journal, its line, and its whole head."""

    name: str
    journal: str
    when: str
    line: str
    head: str


def entries(folders: Sequence[Path] = ()) -> list[Entry]:
    """Return the entries of all journals, shipped ones first, then those of `folders` (other conf/ folders)."""
    found: dict[str, Entry] = {}
    for folder in [conf_dir(), *folders]:
        for path in sorted((folder / "experiment").glob("*/*.yaml")):
            entry = _read(path)
            found.setdefault(entry.name, entry)
    return list(found.values())


def _read(path: Path) -> Entry:
    head: list[str] = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if not text.startswith("#"):
            break
        if not text.startswith("# @package"):
            head.append(text.removeprefix("#").removeprefix(" "))
    first: list[str] = []
    for text in head:  # the entry's line may go on below
        if first and (text.startswith((*_REMARKS, " ")) or (text.partition(":")[2] and text[:1].isupper())):
            break
        first.append(text.strip())
    place, colon, line = " ".join(first).partition(": ")
    journal, _, when = place.partition(", ")
    name = f"{path.parent.name}/{path.stem}"
    return Entry(
        name, journal.removesuffix(" journal"), when if colon else "", line if colon else place, "\n".join(head)
    )


def listed(which: str | None = None, folders: Sequence[Path] = (), as_json: bool = False) -> str:
    """Return the entries as text: all, one journal's (`vae`), or one entry's whole head (`vae/2022-04-01a`).

    UserError, with the nearest, for a journal or entry that is not there.
    """
    import json

    known = entries(folders)
    if which is None:
        chosen = known
    elif "/" in which:
        chosen = [entry for entry in known if entry.name == which]
    else:
        chosen = [entry for entry in known if entry.name.startswith(f"{which}/")]
    if not chosen:
        journals = {entry.name.partition("/")[0] for entry in known}
        near = nearest(which or "", {entry.name for entry in known} if "/" in (which or "") else journals)
        raise UserError(f"journals {which}: no such journal or entry{near}")
    if as_json:
        return json.dumps([asdict(entry) for entry in chosen], indent=1, ensure_ascii=False)
    if which is not None and "/" in which:
        return f"{chosen[0].head}\n\ngansweep train experiment={which}"
    return _table(chosen)


def _table(chosen: Sequence[Entry]) -> str:
    """Return a line an entry: name, when, what; cut to a terminal's width by whoever reads it, not here."""
    names = max(len(entry.name) for entry in chosen)
    whens = max(len(entry.when) for entry in chosen)
    lines = [f"{entry.name:<{names}}  {entry.when:<{whens}}  {entry.line}".rstrip() for entry in chosen]
    counts: dict[str, int] = {}
    for entry in chosen:
        folder = entry.name.partition("/")[0]
        counts[folder] = counts.get(folder, 0) + 1
    told = ", ".join(f"{count} of {folder}" for folder, count in counts.items())
    return "\n".join([*lines, "", f"{len(chosen)} entries ({told}); gansweep train experiment=NAME runs one"])
