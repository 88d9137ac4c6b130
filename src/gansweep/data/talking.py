"""`data=talking`: drawn people who speak syllables, as short clips: frames, and the sound of each frame."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gansweep.data.clips import Mismatched, Utterance, clip_name, few, first_frames, following, whole_numbers
from gansweep.data.kept import keeps_last
from gansweep.data.relations import Drawn, Relation
from gansweep.data.source import Item, Listing, Picture, Source
from gansweep.data.tags import select_tags
from gansweep.data.talking_drawing import FlatFace, draw, looks
from gansweep.data.talking_espeak import EnglishVoice, Espeak, espeak, speak_english
from gansweep.data.voice import FRAME_HZ, Voice, speak
from gansweep.errors import Missing, UserError, nearest

if TYPE_CHECKING:
    from gansweep.config.settings import DataSettings

# To be raised with every change of what is drawn or said: older sets are then made anew.
DRAWING = 1
_ARGS = {"speakers": 24, "utterances": 8, "seconds": 3, "frames": 5, "stride": None, "seed": 0, "voice": "auto"}
_VOICES = ("auto", "syllables", "espeak")
_RANGES = {"speakers": (1, 999), "utterances": (1, 999), "seconds": (1, 60), "seed": (0, 2**63 - 1)}
_LEAST_PX = 16
_NAME = re.compile(r"s(\d{3})_u(\d{3})_f(\d{4})")
_LUMA = (0.299, 0.587, 0.114)


class Clip(NamedTuple):
    """What an item's name says: whose clip, of which utterance (both from 0), and its first frame."""

    speaker: int
    utterance: int
    first: int

    @staticmethod
    def named(name: str) -> Clip:
        """Read a name as `name` writes it."""
        found = _NAME.fullmatch(name)
        assert found is not None, name  # only such are listed
        return Clip(int(found[1]) - 1, int(found[2]) - 1, int(found[3]))

    @property
    def name(self) -> str:
        """s001_u001_f0000 for the first frames of the first."""
        return clip_name(f"{self.group}_u{self.utterance + 1:03d}", self.first)

    @property
    def group(self) -> str:
        """The speaker."""
        return f"s{self.speaker + 1:03d}"


class _Said(NamedTuple):
    seen: Utterance
    lips: NDArray[np.float32]


class Talking(Source):
    """Clips of data.args.frames frames, 24 a second, of flat faces whose lips follow what is said.

    The voice is espeak-ng's, in English and with its own timing of phonemes, where that library is installed, and one
    of built-in syllables otherwise: `describe` says which (data.args.voice: auto | syllables | espeak).

    `image` is the clip's middle frame. Columns: `frames` uint8 (T, C, S, S); `audio` float32 (T, 666), 16 000 Hz, in
    -1..1; `still` uint8 (C, S, S), the speaker five frames before the end of the utterance; `lips` float32 (T, 2), how
    open (0 to 1) and how wide (1 at rest) the mouth is; `identity` int64. Relation `wrong`: a clip of anybody, at
    another time or in another utterance, whose speech asks for other lips. Heads keep still, eyes blink and brows rise
    by chance. Clips of a speaker stay together.
    """

    pixel_keys = ("size", "channels", "include", "exclude", "limit")
    licence = "made by gansweep (MIT)"
    procedural = True

    def __init__(self, cfg: DataSettings) -> None:
        super().__init__(cfg)
        self._lock = threading.Lock()  # here, where one thread alone can make it

    @functools.cached_property
    def args(self) -> dict[str, Any]:
        """data.args, completed; UserError for one that is not known or out of range."""
        for key in self.cfg.args:
            if key not in _ARGS:
                raise UserError(f"data.args.{key} is unknown{nearest(key, _ARGS)}")
        args = {**_ARGS, **self.cfg.args}
        whole_numbers(args, _RANGES)
        most = int(args["seconds"]) * FRAME_HZ
        if args["stride"] is None:
            args["stride"] = args["frames"]
        whole_numbers(args, {"frames": (1, most), "stride": (1, most)})
        if args["voice"] not in _VOICES:
            raise UserError(f"data.args.voice={args['voice']} is unknown{nearest(str(args['voice']), _VOICES)}")
        return args

    @functools.cached_property
    def espeak(self) -> Espeak | None:
        """The library that speaks; None for the built-in syllables. Missing where it is asked for and not there."""
        if self.args["voice"] == "syllables":
            return None
        library = espeak()
        if library is None and self.args["voice"] == "espeak":
            raise Missing("data.args.voice=espeak: no library espeak-ng; install it (apt install libespeak-ng1)")
        return library

    def check(self) -> None:
        """Raise UserError for arguments that are out of range, or a size too small for a mouth."""
        self.espeak  # noqa: B018
        if self.cfg.size < _LEAST_PX:
            raise UserError(f"data.size={self.cfg.size} is too small for a face: {_LEAST_PX} or more")

    def stamp(self) -> str:
        """Return what the clips are made from."""
        words = [f"{key}={self.args[key]}" for key in _ARGS if key != "voice"]
        return f"drawing {DRAWING} {' '.join(words)} {self._voice_name()}"

    def describe(self) -> str:
        """Say that nobody is shown or heard, and whose voice it is."""
        seed = self.args["seed"]
        return f"talking (drawn faces, voice: {self._voice_name()}, seed {seed}: procedural, not real people)"

    def _voice_name(self) -> str:
        return f"espeak-ng {self.espeak.version}" if self.espeak else "built-in syllables"

    def items(self) -> Listing:
        """List the clips that tags and limit select."""
        args = self.args
        starts = first_frames(args["seconds"] * FRAME_HZ, args["frames"], args["stride"])
        clips = [
            Clip(speaker, utterance, first)
            for speaker in range(args["speakers"])
            for utterance in range(args["utterances"])
            for first in starts
        ]
        items = [
            Item(id=clip.name, group=clip.group, tags=(f"speaker{clip.speaker + 1:03d}", clip.name[5:9]))
            for clip in clips
        ]
        return Listing(few(select_tags(items, self.cfg.include or [], self.cfg.exclude or []), self.cfg.limit))

    def picture(self, item: Item) -> Picture:
        """Cut one clip from its utterance."""
        clip = Clip.named(item.id)
        with self._lock:  # clips share an utterance: no two threads are to make the same one
            whole = self._utterance(clip.speaker, clip.utterance)
        return whole.seen.clip(clip.first, self.args["frames"], lips=whole.lips, identity=clip.speaker)

    def relations(self, fields: Mapping[str, Any]) -> Mapping[str, Relation]:
        """Return wrong, next, and pair as another clip of the same speaker."""
        identity = np.asarray(fields["identity"])
        rows = np.arange(len(identity))
        pair = Drawn(same=identity, differ=rows, what="another clip of that speaker", alone=True)
        wrong = Mismatched(np.asarray(fields["lips"])[..., 0])
        return {"pair": pair, "wrong": wrong, "next": following(fields["id"], self.args["frames"])}

    @keeps_last(64)
    def _speaker(self, number: int) -> tuple[Voice | EnglishVoice, FlatFace]:
        random = np.random.Generator(np.random.PCG64([self.args["seed"], number]))
        face = FlatFace.of(random)
        return EnglishVoice.of(random) if self.espeak else Voice.of(random), face

    @keeps_last(3)
    def _utterance(self, speaker: int, number: int) -> _Said:
        voice, face = self._speaker(speaker)
        random = np.random.Generator(np.random.PCG64([self.args["seed"], speaker, 1 + number]))
        count = self.args["seconds"] * FRAME_HZ
        if self.espeak and isinstance(voice, EnglishVoice):
            said = speak_english(self.espeak, voice, count, random)
        else:
            assert isinstance(voice, Voice)
            said = speak(voice, count, random)
        frames = draw(face, looks(said.lips, random), self.cfg.size)
        if self.cfg.channels == 1:
            grey = np.einsum("fchw,c->fhw", frames, np.array(_LUMA, dtype=np.float32))
            frames = np.rint(grey)[:, None].astype(np.uint8)
        return _Said(Utterance(frames, said.audio), said.lips)
