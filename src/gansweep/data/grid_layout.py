"""What lies where in a folder of recorded people: films, whose sound is whose, clips' folders, and who speaks."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from gansweep.data.grid_arrays import FRAMES_FILE, LIST_FILE, SOUND_FILE, Arrays
from gansweep.data.grid_video import SUFFIXES, Film
from gansweep.data.source import BadPicture
from gansweep.data.told import shown
from gansweep.errors import UserError, nearest

SpeakerOf = Callable[[PurePosixPath], str]


@dataclass(frozen=True)
class Recording:
    """One utterance as it lies there: its path (a film's, or a clip's folder), who speaks, and how it is read.

    `fault` is why it cannot be used, where names alone say so.
    """

    name: str
    speaker: str
    reads: Film | Arrays
    fault: BadPicture | None = None

    @property
    def tags(self) -> tuple[str, ...]:
        """Its folders, its own name, and its speaker."""
        path = PurePosixPath(self.name)
        return tuple(dict.fromkeys((*path.parent.parts, path.stem, *([self.speaker] if self.speaker else []))))


def is_film(name: str) -> bool:
    """Say whether a name ends as films' do."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def is_recording(name: str) -> bool:
    """Say whether a file is a film or a clip's frames."""
    return is_film(name) or PurePosixPath(name).name == FRAMES_FILE


def matters(name: str) -> bool:
    """Say whether a file is a recording, its sound, or a list of clips."""
    path = PurePosixPath(name)
    return is_recording(name) or path.suffix.lower() == ".wav" or path.name in (SOUND_FILE, LIST_FILE)


def recordings(root: Path, names: Iterable[str], speaker: str, bgr: bool) -> list[Recording]:
    """Return every recording among the files under `root`, by path; UserError when the rule finds no speaker at all."""
    names = sorted(names)
    who = speaker_rule(speaker)
    films = [name for name in names if is_film(name)]
    sounds = _sounds_of(films, names)
    found = [_film(root, name, sounds[name], who) for name in films]
    found += [Recording(name, who(PurePosixPath(name)), Arrays(root / name, bgr)) for name in _clips(root, names)]
    if found and not any(one.speaker for one in found):
        raise UserError(
            f"data.args.speaker={speaker} names the speaker of no recording, such as {shown(found[0].name)}; choices: "
            "prefix (s1 of s1_bbaf2n.mov), folder (the first below data.path), or a regular expression such as s[0-9]+"
        )
    nobody = BadPicture("no speaker in its name", f"by data.args.speaker={speaker}")
    found = [one if one.speaker else Recording(one.name, "", one.reads, one.fault or nobody) for one in found]
    return sorted(found, key=lambda one: one.name)


def speaker_rule(rule: str) -> SpeakerOf:
    """Return who speaks in a recording, by its path, "" where that is not said; UserError for what is no rule.

    prefix: its name up to the first _. folder: the first folder below data.path. Else a regular expression, matched
    from the beginning of its name: its first group, or all of it.
    """
    if rule == "folder":
        return lambda path: path.parts[0] if len(path.parts) > 1 else ""
    if rule == "prefix":
        return lambda path: path.stem.partition("_")[0] if "_" in path.stem else ""
    if rule.isalpha():
        raise UserError(f"data.args.speaker={rule} is unknown{nearest(rule, ('prefix', 'folder'))}")
    try:
        pattern = re.compile(rule)
    except re.error as error:
        raise UserError(f"data.args.speaker={rule} is no regular expression ({error})") from None

    def matched(path: PurePosixPath) -> str:
        found = pattern.match(path.stem)
        return (found[1 if pattern.groups else 0] or "") if found else ""

    return matched


def _film(root: Path, name: str, sounds: list[str], who: SpeakerOf) -> Recording:
    several = BadPicture("several sounds", f"{', '.join(sounds[:3])}: which is its own?") if len(sounds) > 1 else None
    reads = Film(root / name, root / (sounds[0] if sounds else name))
    return Recording(name, who(PurePosixPath(name)), reads, several)


def _sounds_of(films: list[str], names: Iterable[str]) -> dict[str, list[str]]:
    """Return for each film the .wav files that may be its sound: of its stem, beside it, or else in a folder beside.

    One that lies beside another film of that stem is that film's.
    """
    sounds: dict[str, list[PurePosixPath]] = defaultdict(list)
    for name in names:
        if PurePosixPath(name).suffix.lower() == ".wav":
            sounds[PurePosixPath(name).stem].append(PurePosixPath(name))
    taken = {(path.parent, path.stem) for path in map(PurePosixPath, films)}
    found: dict[str, list[str]] = {}
    for name in films:
        film = PurePosixPath(name)
        own = [sound for sound in sounds[film.stem] if sound.parent == film.parent]
        near = [
            sound
            for sound in sounds[film.stem]
            if sound.parent.parent == film.parent.parent and (sound.parent, sound.stem) not in taken
        ]
        found[name] = [str(sound) for sound in own or near]
    return found


def _clips(root: Path, names: Iterable[str]) -> list[str]:
    """Return the clips' folders: all of them, but below a filenames.txt those it lists, be they there or not."""
    names = list(names)
    folders = {PurePosixPath(name).parent for name in names if PurePosixPath(name).name == FRAMES_FILE}
    for name in names:
        if PurePosixPath(name).name != LIST_FILE:
            continue
        above = PurePosixPath(name).parent
        below = {folder for folder in folders if above in folder.parents}
        by_tail: dict[tuple[str, ...], set[PurePosixPath]] = defaultdict(set)
        for folder in below:
            parts = folder.relative_to(above).parts
            for at in range(len(parts)):
                by_tail[parts[at:]].add(folder)
        folders -= below
        for line in _lines(root / name):
            folders |= _listed(line, by_tail) or {above / line[-1]}
    return sorted(map(str, folders))


def _lines(path: Path) -> Iterator[tuple[str, ...]]:
    """Yield the parts of each path that a list names; it may name the arrays instead of their folder."""
    for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines():
        parts = [part for part in line.strip().replace("\\", "/").split("/") if part not in ("", ".", "..")]
        if parts and parts[-1] in (FRAMES_FILE, SOUND_FILE):
            parts.pop()
        if parts:
            yield tuple(parts)


def _listed(line: tuple[str, ...], by_tail: dict[tuple[str, ...], set[PurePosixPath]]) -> set[PurePosixPath]:
    """Return the folders that end as a listed path does, as far as possible: its beginning is another machine's."""
    for at in range(len(line)):
        if line[at:] in by_tail:
            return by_tail[line[at:]]
    return set()
