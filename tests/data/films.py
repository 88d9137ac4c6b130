"""Tiny recordings in the exact layouts of GRID, for tests: a bar's brightness is how loud it is."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

RATE_HZ, SAMPLES = 16_000, 666
WIDTH, HEIGHT, BARS = 48, 32, 8


def loudness(seed: int = 0) -> Any:
    """How loud it is at a time in seconds: a smooth curve between 0 and 1 that does not repeat."""
    phase = np.random.default_rng(seed).uniform(0, 6, 3)
    return lambda s: np.clip(0.5 + 0.3 * np.sin(5 * s + phase[0]) + 0.2 * np.sin(11 * s + phase[1]), 0, 1)


def pictures(times_s: NDArray[Any], loud: Any) -> NDArray[np.uint8]:
    """Grey frames (F, H, W, 3): the upper half has the frame's number in eight bars, the lower how loud it is."""
    frames = np.zeros((len(times_s), HEIGHT, WIDTH, 3), np.uint8)
    bits = np.arange(len(times_s))[:, None] >> np.arange(BARS) & 1
    frames[:, : HEIGHT // 2] = (30 + 200 * bits).repeat(WIDTH // BARS, axis=1)[:, None, :, None]
    frames[:, HEIGHT // 2 :] = (20 + 200 * loud(times_s))[:, None, None, None]
    return frames


def numbers(frames: NDArray[Any]) -> NDArray[np.int64]:
    """Read the numbers of frames (F, H, W) again, whatever their size."""
    bars = frames[:, 1 : frames.shape[1] // 2 - 1].reshape(len(frames), -1, BARS, frames.shape[2] // BARS)
    return (bars.mean(axis=(1, 3)) > 128) @ (1 << np.arange(BARS))


def sound(seconds: float, loud: Any, rate_hz: int = RATE_HZ) -> NDArray[np.float32]:
    """A tone of 800 Hz, as loud as the curve says, at most 0.8."""
    times_s = np.arange(round(seconds * rate_hz)) / rate_hz
    return (0.8 * loud(times_s) * np.sin(2 * np.pi * 800 * times_s)).astype(np.float32)


CODERS = {
    ".mov": ("libx264", "aac"),
    ".mp4": ("libx264", "aac"),
    ".mpg": ("mpeg1video", "mp2"),
    ".avi": ("mpeg4", "pcm_s16le"),
    ".mkv": ("libx264", "aac"),
}


def film(
    path: Path, frames: NDArray[np.uint8], fps: Fraction | int, heard: NDArray[np.float32] | None, rate_hz: int = 44_100
) -> Path:
    """Write a film, with sound where `heard` (of that rate) is given."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    picture_coder, sound_coder = CODERS[path.suffix.lower()]
    with av.open(str(path), "w") as box:
        picture = box.add_stream(picture_coder, rate=fps)
        picture.width, picture.height, picture.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        picture.bit_rate = 2_000_000
        tone = box.add_stream(sound_coder, rate=rate_hz, layout="mono") if heard is not None else None
        for number, pixels in enumerate(frames):
            shown = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            shown.pts = number
            box.mux(picture.encode(shown))
        box.mux(picture.encode())
        if tone is not None and heard is not None:
            samples = av.AudioFrame.from_ndarray(heard[None], format="fltp", layout="mono")
            samples.sample_rate, samples.pts = rate_hz, 0
            box.mux(tone.encode(samples))
            box.mux(tone.encode())
    return path


def wav(path: Path, heard: NDArray[np.float32], rate_hz: int = RATE_HZ, channels: int = 1) -> Path:
    """Write 16-bit sound, the same in each channel."""
    import wave

    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(2)
        out.setframerate(rate_hz)
        out.writeframes(np.repeat(np.rint(heard * 32767).astype("<i2"), channels).tobytes())
    return path


def arrays(folder: Path, frames: NDArray[Any], heard: NDArray[Any]) -> Path:
    """Write a clip as the journal's tool did: BGR frames and sound."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "video_frames.npy", frames[..., ::-1])
    np.save(folder / "audio.npy", heard)
    return folder
