"""`data=grid data.path=FOLDER`: films of people who talk, with their sound, as the GRID corpora have them."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gansweep.data.clips import Mismatched, Utterance, clip_name, few, first_frames, following, named, whole_numbers
from gansweep.data.folder import Folder
from gansweep.data.grid_arrays import FRAMES_FILE
from gansweep.data.grid_layout import Recording, is_film, is_recording, matters, recordings, speaker_rule
from gansweep.data.grid_video import STRIDE_S, Extent, require_pyav
from gansweep.data.kept import keeps_last
from gansweep.data.relations import Drawn, Relation
from gansweep.data.resize import Fit, fit_picture
from gansweep.data.source import BadPicture, Item, Listing, Picture
from gansweep.data.tags import select_tags
from gansweep.data.voice import SAMPLES
from gansweep.errors import UserError, nearest

if TYPE_CHECKING:
    from gansweep.config.settings import DataSettings

# To be raised with every change of how films are read: older sets are then packed anew.
READING = 1
_ARGS = {"frames": 5, "stride": None, "speaker": "prefix", "colour": "bgr", "crop": None, "most_seconds": 60}
_MOST_FRAMES, _MOST_SECONDS = 1440, 600
_COLOURS = ("bgr", "rgb")
_NUMBER = re.compile(r"(\d+)")


class Grid(Folder):
    """Clips of data.args.frames frames, one for each 666 samples of sound (24.02 a second), of recorded people.

    Two layouts, in folders as one likes: films (.mov, .mp4, .mpg, .avi, .mkv) whose sound is a .wav of the same stem,
    beside them or in a folder beside theirs, or else in the film; and clips' folders with video_frames.npy (F, H, W, 3)
    and audio.npy (16 000 Hz), of which filenames.txt above them, where there is one, lists those that count.

    `image` is the clip's middle frame. Columns: `frames` uint8 (T, C, S, S); `audio` float32 (T, 666), -1..1; `still`
    uint8 (C, S, S), five frames before the utterance's end; `loudness` float32 (T,), the root mean square of each
    frame's sound over that of the utterance's loudest; `identity` int64, the speakers in the order of their names.
    Relations `wrong`: a clip of anybody that is loud and quiet at other times; `pair`: another of that speaker; `next`.
    """

    pixel_keys = (
        "size", "channels", "resize", "resample", "pad_value", "min_side", "max_aspect", "max_megapixels",
        "include", "exclude", "limit", "max_av_gap_frames",
    )  # fmt: skip
    holds: ClassVar[str] = f"film (.mov, .mp4, .mpg, .avi, .mkv) and no folder with {FRAMES_FILE}"
    counted = "recordings"
    is_item = staticmethod(is_recording)
    wants = staticmethod(matters)

    def __init__(self, cfg: DataSettings) -> None:
        super().__init__(cfg)
        # Made here, not when first asked for: that is by several threads at once, each of which would have its own.
        self._extents: dict[str, Extent] = {}
        self._faults: dict[str, BadPicture] = {}
        self._lock = threading.Lock()

    @functools.cached_property
    def args(self) -> dict[str, Any]:
        """data.args, completed; UserError for one that is not known or out of range."""
        for key in self.cfg.args:
            if key not in _ARGS:
                raise UserError(f"data.args.{key} is unknown{nearest(key, _ARGS)}")
        args = {**_ARGS, **self.cfg.args}
        args["stride"] = args["frames"] if args["stride"] is None else args["stride"]
        most = {"frames": (1, _MOST_FRAMES), "stride": (1, _MOST_FRAMES), "most_seconds": (1, _MOST_SECONDS)}
        whole_numbers(args, most)
        if args["colour"] not in _COLOURS:
            raise UserError(f"data.args.colour={args['colour']} is unknown{nearest(str(args['colour']), _COLOURS)}")
        _check_crop(args["crop"])
        speaker_rule(str(args["speaker"]))
        return args

    def check(self) -> None:
        """Raise UserError unless data.path has recordings of somebody in it, and Missing for films without PyAV."""
        if not self.cfg.path:
            raise UserError("data=grid needs to be told where: data.path=FOLDER")
        self.args  # noqa: B018
        super().check()
        self.speakers  # noqa: B018
        if any(map(is_film, self.files)):
            require_pyav()

    def stamp(self) -> str:
        """Return what the files are, and how they are read."""
        return f"{super().stamp()} reading {READING} {' '.join(f'{key}={self.args[key]}' for key in _ARGS)}"

    def describe(self) -> str:
        """Name the folder, without the path to it."""
        return f"grid {self.root.name}"

    def items(self) -> Listing:
        """List the clips that tags and limit select, and the recordings that cannot be used, to be told of."""
        whole = [Item(one.name, one.speaker, tags=one.tags, file=one.name) for one in self.recordings.values()]
        whole = select_tags(whole, self.cfg.include or [], self.cfg.exclude or [])
        with ThreadPoolExecutor(self.cfg.workers) as pool:
            extents = list(pool.map(lambda item: self._measure(self.recordings[item.id]), whole))
        clips: list[Item] = []
        faulty: list[Item] = []
        for item, extent in zip(whole, extents, strict=True):
            if isinstance(extent, BadPicture):
                self._faults[item.id] = extent
                faulty.append(item)
                continue
            self._extents[item.id] = extent
            for first in first_frames(_count(extent), self.args["frames"], self.args["stride"]):
                clips.append(Item(clip_name(item.id, first), item.group, tags=item.tags, file=item.id))
        return Listing(sorted([*few(clips, self.cfg.limit), *faulty], key=lambda item: item.id))

    def picture(self, item: Item) -> Picture:
        """Cut one clip from its recording; raise BadPicture with the reason."""
        if item.id in self._faults:
            raise self._faults[item.id]
        name, first = named(item.id)
        with self._lock:  # clips share a recording: no two threads are to read the same one
            whole, loudness = self._utterance(name)
        identity = self.speakers.index(item.group)
        return whole.clip(first, self.args["frames"], loudness=loudness, identity=identity)

    def relations(self, fields: Mapping[str, Any]) -> Mapping[str, Relation]:
        """Return wrong, next, and pair as another clip of the same speaker."""
        identity = np.asarray(fields["identity"])
        pair = Drawn(same=identity, differ=np.arange(len(identity)), what="another clip of that speaker", alone=True)
        wrong = Mismatched(np.asarray(fields["loudness"]))
        return {"pair": pair, "wrong": wrong, "next": following(fields["id"], self.args["frames"])}

    @functools.cached_property
    def recordings(self) -> dict[str, Recording]:
        """Everything under data.path, whatever is selected of it, by path."""
        found = recordings(self.root, self.files, str(self.args["speaker"]), self.args["colour"] == "bgr")
        return {one.name: one for one in found}

    @functools.cached_property
    def speakers(self) -> list[str]:
        """Every speaker there is, s2 before s10."""
        return sorted({one.speaker for one in self.recordings.values() if one.speaker}, key=_by_number)

    def _measure(self, one: Recording) -> Extent | BadPicture:
        """Return how long a recording is, or why it cannot be used."""
        if one.fault is not None:
            return one.fault
        try:
            extent = one.reads.extent(Fit.of(self.cfg), self.args["most_seconds"])
        except BadPicture as fault:
            return fault
        gap, most = max(abs(extent.frames - extent.sound_frames), extent.late_frames), self.cfg.max_av_gap_frames
        if gap > most:
            detail = f"{extent.frames * STRIDE_S:.2f} s of picture, {extent.sound_frames * STRIDE_S:.2f} s of sound"
            detail += f" that begins {extent.late_frames:.1f} frames late" if extent.late_frames else ""
            detail = f"by {gap:.1f} frames, data.max_av_gap_frames={most:g}: {detail}"
            return BadPicture("sound and picture differ in length", detail)
        if _count(extent) < self.args["frames"]:
            return BadPicture("too short", f"{_count(extent)} frames, data.args.frames={self.args['frames']}")
        return extent

    def _utterance(self, name: str) -> tuple[Utterance, NDArray[np.float32]]:
        """Read a recording, unless its fault is known by now: further clips of it cost nothing."""
        if name in self._faults:
            raise self._faults[name]
        try:
            return self._read(name)
        except BadPicture as fault:
            self._faults[name] = fault
            raise

    @keeps_last(3)
    def _read(self, name: str) -> tuple[Utterance, NDArray[np.float32]]:
        reads, extent = self.recordings[name].reads, self._extents[name]
        count, fit = _count(extent), Fit.of(self.cfg)
        audio = reads.audio(extent, self.args["most_seconds"])[: count * SAMPLES].reshape(count, SAMPLES)
        images = islice(reads.frames(extent, self.cfg.channels), count)
        fitted = [fit_picture(_cropped(image, self.args["crop"]), fit) for image in images]
        if len(fitted) < count:
            raise BadPicture("truncated", f"{len(fitted)} of {count} frames can be decoded")
        loudness = np.sqrt((audio.astype(np.float64) ** 2).mean(axis=1))
        frames = np.stack([picture.pixels for picture in fitted])
        return Utterance(frames, audio, fitted[0].box), (loudness / max(loudness.max(), 1e-9)).astype(np.float32)


def _count(extent: Extent) -> int:
    """Return how many frames have both a picture and all of their sound."""
    return min(round(extent.frames), int(extent.sound_frames))


def _check_crop(crop: Any) -> None:
    if crop is None:
        return
    numbers = isinstance(crop, list | tuple) and len(crop) == 4 and all(isinstance(at, int | float) for at in crop)
    if not numbers or not (0 <= crop[0] < crop[2] <= 1 and 0 <= crop[1] < crop[3] <= 1):
        raise UserError(
            f"data.args.crop={crop} is no box: [left, top, right, bottom], in 0..1 of width and height, or null"
        )


def _cropped(image: Image.Image, crop: list[float] | None) -> Image.Image:
    """Cut the box out, to whole pixels, at least one."""
    if crop is None:
        return image
    left, top = int(crop[0] * image.width), int(crop[1] * image.height)
    right, bottom = round(crop[2] * image.width), round(crop[3] * image.height)
    return image.crop((left, top, max(right, left + 1), max(bottom, top + 1)))


def _by_number(name: str) -> list[Any]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in _NUMBER.split(name)]
