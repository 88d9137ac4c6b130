"""Recordings kept as arrays: video_frames.npy (F, H, W, 3) and audio.npy (samples,), 16 000 Hz, in a folder of a clip.

An array's header is read, and held against the file's length, before anything of it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gansweep.data.grid_video import STRIDE_S, Extent
from gansweep.data.resize import Fit, check_extent
from gansweep.data.source import BadPicture
from gansweep.data.voice import SAMPLES

FRAMES_FILE, SOUND_FILE, LIST_FILE = "video_frames.npy", "audio.npy", "filenames.txt"
# Decoders of compressed speech overshoot a little; whole numbers of 16 bits are another matter.
_PEAK_MOST = 2.0


@dataclass(frozen=True)
class Arrays:
    """A clip's folder: `bgr` says that blue is the first of the colours. All raise BadPicture."""

    folder: Path
    bgr: bool

    def extent(self, fit: Fit, most_s: float) -> Extent:
        """Measure both by their headers."""
        frames, sound = self._frames(), self._sound()
        count, height, width, _ = frames.shape
        check_extent((width, height), fit)
        if count * STRIDE_S > most_s or len(sound) / SAMPLES * STRIDE_S > most_s:
            seconds = max(count, len(sound) / SAMPLES) * STRIDE_S
            raise BadPicture("too long", f"{seconds:.0f} s, data.args.most_seconds={most_s:g}")
        return Extent(count, len(sound) / SAMPLES)

    def audio(self, extent: Extent, most_s: float) -> NDArray[np.float32]:
        """Return the sound, -1..1."""
        sound = self._sound().astype(np.float32)
        if not np.isfinite(sound).all():
            raise BadPicture("damaged", f"{SOUND_FILE}: has values that are not finite")
        peak = float(np.abs(sound).max(initial=0))
        if peak > _PEAK_MOST:
            raise BadPicture("sound not in -1..1", f"{SOUND_FILE}: reaches {peak:g}")
        return np.clip(sound, -1, 1)

    def frames(self, extent: Extent, channels: int) -> Iterator[Image.Image]:
        """Yield every frame."""
        for frame in self._frames():
            image = Image.fromarray(np.ascontiguousarray(frame[..., ::-1] if self.bgr else frame))
            yield image.convert("L") if channels == 1 else image

    def _frames(self) -> NDArray[np.uint8]:
        frames = _mapped(self.folder / FRAMES_FILE)
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3:
            found = f"{frames.dtype} {tuple(frames.shape)}"
            raise BadPicture("not frames", f"{FRAMES_FILE}: is {found}, not uint8 (frames, height, width, 3)")
        if not len(frames):
            raise BadPicture("no frames", f"{FRAMES_FILE}: is {tuple(frames.shape)}")
        return frames

    def _sound(self) -> NDArray[Any]:
        sound = _mapped(self.folder / SOUND_FILE)
        if sound.ndim == 2 and 1 in sound.shape:
            sound = sound.reshape(-1)
        if sound.dtype.kind != "f" or sound.ndim != 1:
            found = f"{sound.dtype} {tuple(sound.shape)}"
            raise BadPicture("not sound", f"{SOUND_FILE}: is {found}, not floats (samples,)")
        if not len(sound):
            raise BadPicture("no sound", f"{SOUND_FILE}: is {tuple(sound.shape)}")
        return sound


def _mapped(path: Path) -> NDArray[Any]:
    """Return an array mapped from its file, read-only; never one of objects, nor one that the file is too short for."""
    try:
        with path.open("rb") as file:
            shape, dtype = _header(file)
            needed = file.tell() + math.prod(shape) * dtype.itemsize
            there = path.stat().st_size
        if dtype.hasobject:
            raise BadPicture("not numbers", f"{path.name}: is of objects, which are never read")
        if needed > there:
            raise BadPicture("truncated", f"{path.name}: {there:,} of {needed:,} bytes are there")
        if not math.prod(shape):
            return np.empty(shape, dtype)  # nothing can be mapped
        mapped: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        return mapped
    except FileNotFoundError:
        raise BadPicture("missing file", path.name) from None
    except PermissionError:
        raise BadPicture("not readable", f"{path.name}: permission denied") from None
    except (BadPicture, MemoryError):
        raise
    except Exception as error:  # Headers are read as Python text, and raise whatever that may.
        what = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadPicture("damaged", f"{path.name}: {what}") from error


def _header(file: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return what a .npy file says of itself: shape and type. ValueError for what is none."""
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"version {version} of the format, not 1.0 or 2.0")
    shape, _, dtype = readers[version](file)
    if min(shape, default=0) < 0:
        raise ValueError(f"its shape is {shape}")
    return shape, dtype
