"""Films and their sound through PyAV: frames one stride of sound apart, sound at 16 kHz, both from one moment on.

What a file's header says is looked at before anything is decoded. Only the containers named here are opened, and none
of them may lead to another file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gansweep.data.resize import Fit, check_extent
from gansweep.data.source import BadPicture
from gansweep.data.voice import RATE_HZ, SAMPLES
from gansweep.errors import Missing

SUFFIXES = frozenset((".mov", ".mp4", ".mpg", ".mpeg", ".avi", ".mkv"))
STRIDE_S = SAMPLES / RATE_HZ
"""Seconds from one frame to the next: those of 666 samples, so that sound and picture never drift apart."""

_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,mpeg,mpegvideo,avi,matroska,webm,wav,w64"
# What a header promises may end so much later than what is there: containers round, and pad the last block of sound.
_SLACK_S = 0.25


class Extent(NamedTuple):
    """How long picture and sound are, in strides; how much later the sound begins; when the picture begins, in s."""

    frames: float
    sound_frames: float
    late_frames: float = 0.0
    starts_s: float = 0.0


@dataclass(frozen=True)
class Film:
    """A film with its sound: `sound` is a file of its own, or the film itself. All raise BadPicture."""

    picture: Path
    sound: Path

    def extent(self, fit: Fit, most_s: float) -> Extent:
        """Measure both, the picture by its packets alone."""
        with _opened(self.picture) as film:
            starts_s, length_s = _measured(film, fit, most_s)
        sound, late = self._heard(starts_s, most_s)
        return Extent(length_s / STRIDE_S, len(sound) / SAMPLES, late / SAMPLES, starts_s)

    def audio(self, extent: Extent, most_s: float) -> NDArray[np.float32]:
        """Return the sound from the first frame on, 16 000 Hz, mono, -1..1."""
        return self._heard(extent.starts_s, most_s)[0]

    def frames(self, extent: Extent, channels: int) -> Iterator[Image.Image]:
        """Yield a frame for each stride, the one nearest in time, as long as there are any."""
        place = 0
        for frame, until_s in _shown(self.picture, extent.starts_s):
            image = None
            while place * STRIDE_S < until_s:
                image = image or _upright(frame, channels)
                yield image
                place += 1

    def _heard(self, picture_starts_s: float, most_s: float) -> tuple[NDArray[np.float32], int]:
        """Return the sound from the picture's first moment on, silent until it begins, and how many samples that is.

        A file of its own begins with the picture.
        """
        with _opened(self.sound) as box:
            sound, starts_s = _decoded(box, most_s)
        late = 0 if self.sound != self.picture else round((starts_s - picture_starts_s) * RATE_HZ)
        if late <= 0:
            if len(sound) <= -late:
                raise BadPicture("no sound", "its sound ends before the picture begins")
            return sound[-late:], 0
        if late > most_s * RATE_HZ:
            raise BadPicture("damaged", f"its sound begins {late / RATE_HZ:.0f} s after the picture")
        return np.concatenate([np.zeros(late, dtype=np.float32), sound]), late


def require_pyav() -> None:
    """Raise Missing (exit 3) unless PyAV can be imported."""
    try:
        import av  # noqa: F401
    except ImportError:
        raise Missing("data=grid reads films with PyAV, which is not here: pip install 'gansweep[video]'") from None


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a file for reading; whatever a decoder raises within becomes BadPicture."""
    import av

    try:
        if path.stat().st_size == 0:
            raise BadPicture("empty file", path.name)
        if not os.access(path, os.R_OK):
            raise BadPicture("not readable", f"{path.name}: permission denied")
        options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
        with av.open(str(path), options=options, metadata_errors="replace") as box:
            yield box
    except BadPicture:
        raise
    except FileNotFoundError:
        raise BadPicture("missing file", path.name) from None
    except Exception as error:  # Decoders raise a dozen kinds of their own on damaged files.
        if isinstance(error, MemoryError) and not isinstance(error, av.error.FFmpegError):
            raise  # this machine's; the library's own is what a damaged header asks for
        what = (str(error).splitlines() or ["no message"])[0]
        raise BadPicture("damaged", f"{path.name}: {type(error).__name__}: {what}") from error


def _picture_of(film: Any) -> Any:
    """Return the stream of the picture (not of a title picture)."""
    streams = [one for one in film.streams.video if "attached_pic" not in str(one.disposition).lower()]
    if not streams:
        raise BadPicture("no picture in it")
    return streams[0]


def _measured(film: Any, fit: Fit, most_s: float) -> tuple[float, float]:
    """Return when the picture begins and how long it is, in seconds."""
    stream = _picture_of(film)
    check_extent((stream.codec_context.width, stream.codec_context.height), fit)
    promised_s = (film.duration or 0) / 1e6
    _refuse_long(promised_s, most_s)
    times: list[float] = []
    found, begins_s, ends_s = 0, float("inf"), 0.0
    for packet in film.demux():
        if not packet.size:
            continue
        time = packet.pts if packet.pts is not None else packet.dts
        time_s = float((time or 0) * packet.time_base)
        begins_s = min(begins_s, time_s)
        ends_s = max(ends_s, time_s + float((packet.duration or 0) * packet.time_base))
        if packet.stream.index == stream.index:
            found += 1
            times += [] if packet.is_discard else [time_s]
    if not times:
        raise BadPicture("no frames")
    if stream.frames > found:
        raise BadPicture("truncated", f"{found} of {stream.frames} frames are there")
    if promised_s > ends_s - min(begins_s, 0) + _SLACK_S:
        raise BadPicture("truncated", f"ends after {ends_s:.2f} of {promised_s:.2f} s")
    times.sort()
    length_s = times[-1] - times[0] + _step_s(times, stream)
    _refuse_long(length_s, most_s)
    return times[0], length_s


def _refuse_long(length_s: float, most_s: float) -> None:
    if length_s > most_s:
        raise BadPicture("too long", f"{length_s:.0f} s, data.args.most_seconds={most_s:g}")


def _step_s(times_s: list[float], stream: Any) -> float:
    """Return how long a frame is shown: the median, or, of a single one, what the header says."""
    if len(times_s) > 1:
        return median(later - sooner for sooner, later in pairwise(times_s))
    return float(1 / stream.average_rate) if stream.average_rate else STRIDE_S


def _shown(path: Path, starts_s: float) -> Iterator[tuple[Any, float]]:
    """Yield each frame and until when it is the nearest, in seconds after `starts_s`: half way to the next one.

    The last one is as long as the one before it.
    """
    with _opened(path) as film:
        stream = _picture_of(film)
        stream.thread_type = "AUTO"
        rate = float(stream.average_rate or 1 / STRIDE_S)
        earlier, earlier_s, step_s = None, 0.0, 1 / rate
        for number, frame in enumerate(film.decode(stream)):
            time_s = number / rate if frame.time is None else frame.time - starts_s
            if earlier is not None:
                yield earlier, (earlier_s + time_s) / 2
                step_s = time_s - earlier_s
            earlier, earlier_s = frame, time_s
        if earlier is not None:
            yield earlier, earlier_s + step_s


def _upright(frame: Any, channels: int) -> Image.Image:
    """Return a frame as a picture of mode L or RGB, turned as its file says it is to be shown."""
    image = Image.fromarray(frame.to_ndarray(format="gray" if channels == 1 else "rgb24"))
    return image.rotate(frame.rotation, expand=True) if frame.rotation else image


def _decoded(box: Any, most_s: float) -> tuple[NDArray[np.float32], float]:
    """Return all of the sound, 16 000 Hz, mono, -1..1, and when it begins, in seconds."""
    import av

    if not box.streams.audio:
        raise BadPicture("no sound")
    stream = box.streams.audio[0]
    promised_s = float(stream.duration * stream.time_base) if stream.duration else 0.0
    _refuse_long(promised_s, most_s)
    # Several channels are averaged below: mixed by the library, two would be louder than one, and cut off.
    resampler = av.AudioResampler(format="fltp", rate=RATE_HZ)
    parts: list[NDArray[np.float32]] = []
    starts_s, count = 0.0, 0
    for frame in box.decode(stream):
        if not parts and frame.time is not None:
            starts_s = frame.time
        parts += [made.to_ndarray().mean(axis=0) for made in resampler.resample(frame)]
        count += frame.samples
        _refuse_long(count / frame.sample_rate, most_s)
    if not count:
        raise BadPicture("no sound")
    parts += [made.to_ndarray().mean(axis=0) for made in resampler.resample(None)]
    sound = np.concatenate(parts)
    if promised_s > len(sound) / RATE_HZ + _SLACK_S:
        raise BadPicture("truncated", f"{len(sound) / RATE_HZ:.2f} of {promised_s:.2f} s of sound are there")
    if promised_s:  # without what fills up a coder's last block
        sound = sound[: round(promised_s * RATE_HZ)]
    if not len(sound):
        raise BadPicture("no sound")
    return np.clip(np.nan_to_num(sound), -1, 1), starts_s
