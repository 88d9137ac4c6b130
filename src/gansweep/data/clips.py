"""Clips of people who talk, filmed or drawn: cut from utterances, limited by utterances, related by their speech."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gansweep.data.relations import NOBODY, Draw, Listed, Rows
from gansweep.data.source import Box, Item, Picture
from gansweep.data.split import share_of
from gansweep.errors import UserError

if TYPE_CHECKING:
    from gansweep.data.dataset import Dataset

# The still is this far from the end of the utterance, as published: silence, lips closed.
_STILL_FROM_END = 5
# Speech is another's where what is measured of it (0 to 1) differs by this much on average.
_UNLIKE, _TRIES = 0.15, 8
_NAME = re.compile(r"(.+)_f(\d{4,})", re.DOTALL)


class Utterance(NamedTuple):
    """What one person said once: `frames` uint8 (F, C, S, S), `audio` float32 (F, samples), each frame's sound.

    `box`: which part of a frame is picture, not padding; None: all of it.
    """

    frames: NDArray[np.uint8]
    audio: NDArray[np.float32]
    box: Box | None = None

    def clip(self, first: int, count: int, **columns: Any) -> Picture:
        """Return `count` frames from `first` on: the middle one as the picture; columns frames, audio, still, others.

        Those of `columns` that have a value for each of the utterance's frames are cut alike.
        """
        cut, size = slice(first, first + count), self.frames.shape[-1]
        still = self.frames[max(0, len(self.frames) - _STILL_FROM_END)]
        own = {"frames": self.frames[cut], "audio": self.audio[cut], "still": still}
        others = {name: value[cut] if np.ndim(value) else value for name, value in columns.items()}
        return Picture(self.frames[first + count // 2], self.box or (0, 0, size, size), {**own, **others})


def clip_name(utterance: str, first: int) -> str:
    """Return the id of the clip of an utterance that begins with its frame `first`."""
    return f"{utterance}_f{first:04d}"


def named(name: str) -> tuple[str, int]:
    """Return the utterance and the first frame of a clip, by its id."""
    found = _NAME.fullmatch(name)
    assert found is not None, name  # only such are listed
    return found[1], int(found[2])


def first_frames(frames: int, count: int, stride: int) -> range:
    """Return where the clips of `count` frames begin in an utterance of so many, one every `stride`."""
    return range(0, frames - count + 1, stride)


def whole_numbers(args: Mapping[str, Any], ranges: Mapping[str, tuple[int, int]]) -> None:
    """Raise UserError for one of data.args that is not a whole number in its range."""
    for key, (least, greatest) in ranges.items():
        value = args[key]
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= greatest:
            raise UserError(f"data.args.{key}={value} is out of range: a whole number, {least} to {greatest}")


def following(names: Sequence[str], frames: int) -> Listed:
    """Return the relation `next`: the clip that begins where this one, of so many frames, ends; NOBODY after the last.

    It lets a whole utterance be shown.
    """
    row_of = {named(name): row for row, name in enumerate(names)}
    places = (named(name) for name in names)
    rows = [row_of.get((utterance, first + frames), NOBODY) for utterance, first in places]
    return Listed(np.array(rows, dtype=np.int64), what="the clip that follows in its utterance")


def utterances(dataset: Dataset, rows: Rows, most: int) -> list[Rows]:
    """Return up to `most` runs of clips among `rows`, each of one utterance in its order; of other people first.

    A clip is a run of its own in a set without the relation `next`.
    """
    relation = dataset.relations.get("next")
    after = np.full(len(rows), NOBODY, dtype=np.int64)
    if relation is not None:
        after = relation.pick(rows, dataset.held_out, "next", lambda name, of: np.zeros(len(of)))
    follows = dict(zip(rows.tolist(), after.tolist(), strict=True))
    later = set(follows.values())
    first_of: dict[str, int] = {}
    for row in rows.tolist():
        if row not in later:
            found = _NAME.fullmatch(dataset.fields["id"][row]) if "id" in dataset.fields else None
            first_of.setdefault(found[1] if found else str(row), row)
    turns: dict[str, int] = defaultdict(int)
    ranked = []
    for row in first_of.values():
        group = dataset.fields["group"][row]
        ranked.append((turns[group], row))
        turns[group] += 1
    runs = []
    for _, row in sorted(ranked)[:most]:
        run = [row]
        while follows.get(run[-1], NOBODY) in follows:
            run.append(follows[run[-1]])
        runs.append(np.array(run, dtype=np.int64))
    return runs


@dataclass(frozen=True)
class Mismatched:
    """Of eight rows of the same side the first whose speech, `measured` (N, T), is unlike the row's; else the least so.

    What is measured, frame by frame in 0..1, is how far the lips open or how loud it is. Silence is not the wrong
    speech for a clip of closed lips: chance alone would give it that.
    """

    measured: NDArray[np.float32]
    what: str = "another clip whose speech does not fit"

    def pick(self, rows: Rows, held_out: NDArray[np.bool_], name: str, draw: Draw) -> Rows:
        """Return one row for each, never itself; NOBODY where it is alone on its side."""
        found = np.full(len(rows), NOBODY, dtype=np.int64)
        for side in (False, True):
            mine, among = np.flatnonzero(held_out[rows] == side), np.flatnonzero(held_out == side)
            if len(mine) and len(among) > 1:
                found[mine] = self._unlike(rows[mine], among, name, draw)
        return found

    def crosses(self, held_out: NDArray[np.bool_]) -> bool:
        """Never."""
        return False

    def _unlike(self, rows: Rows, among: Rows, name: str, draw: Draw) -> Rows:
        own = np.searchsorted(among, rows)
        drawn = np.stack([draw(f"{name}/{number}", rows) for number in range(_TRIES)])
        place = (drawn * (len(among) - 1)).astype(np.int64)
        candidates = among[place + (place >= own)]
        distance = np.abs(self.measured[candidates] - self.measured[rows]).mean(axis=-1)
        order = np.arange(_TRIES, 0, -1)[:, None]
        best = np.where(distance >= _UNLIKE, order, distance).argmax(axis=0)
        return np.take_along_axis(candidates, best[None], axis=0)[0]


def few(items: list[Item], limit: int | None) -> list[Item]:
    """Keep `limit` clips, whole utterances first: about as many speakers as utterances of each; order stays.

    A smaller limit's choice is part of a larger one's.
    """
    if limit is None or limit >= len(items):
        return items
    spoken: dict[str, dict[str, list[Item]]] = defaultdict(lambda: defaultdict(list))
    for item in items:
        spoken[item.group][named(item.id)[0]].append(item)
    ranked = []
    for person, group in enumerate(_shuffled(spoken)):
        for place, utterance in enumerate(_shuffled(spoken[group])):
            # Square shells around the first utterance of the first speaker.
            ranked.append((max(person, place), place, person, spoken[group][utterance]))
    ranked.sort(key=lambda one: one[:3])
    kept = {item.id for item in [item for *_, clips in ranked for item in clips][:limit]}
    return [item for item in items if item.id in kept]


def _shuffled(names: Mapping[str, Any]) -> list[str]:
    return sorted(names, key=lambda name: (share_of(name, "limit"), name))
