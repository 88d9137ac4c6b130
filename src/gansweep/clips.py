"""Clips that a system made, beside the real ones and the still: films with their sound, and strips of frames.

A film shows three panels with captions, real, still and made, utterance after utterance. Writing it needs PyAV (the
extra `video`); strips need nothing.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gansweep.data import to_uint8
from gansweep.errors import UserError
from gansweep.grids import PADDING_GREY_LEVEL

SOUND_HZ = 16_000
HOW_TO_WRITE = "an mp4 of the clips needs PyAV: pip install 'gansweep[video]'"
PANELS = ("real", "still", "made")
# A panel is enlarged by a whole factor to at least this; strips show so many frames of each utterance.
_PANEL_PX, _STRIP_FRAMES = 128, 10
_CAPTION_PX, _GAP_PX = 18, 4
_PICTURE_CODERS = {
    "libx264": "H.264",
    "libopenh264": "H.264",
    "mpeg4": "MPEG-4 part 2, which browsers do not play: this PyAV has no H.264",
}
# Near to lossless: what is to be seen are the networks' faults, not the coder's.
_OPTIONS = {"libx264": {"crf": "17", "preset": "veryfast"}, "mpeg4": {"qscale": "2"}}


class Clips(NamedTuple):
    """N clips of T frames: `real` and `made` uint8 (N, T, C, H, W), `still` (N, C, H, W), `sound` (N, T · samples).

    `runs`: how many of them follow one another in each utterance; they add up to N.
    """

    real: Tensor
    still: Tensor
    made: Tensor
    sound: Tensor
    runs: tuple[int, ...]


class Coders(NamedTuple):
    """What a film is written with: the names of PyAV's coders, and the picture's in words."""

    picture: str
    sound: str
    words: str


def coders() -> Coders | None:
    """Return the best coders that are here; None where no film can be written."""
    try:
        import av
    except ImportError:
        return None
    here = [name for name in (*_PICTURE_CODERS, "aac") if _can_encode(av, name)]
    if here[-1:] != ["aac"] or len(here) < 2:
        return None
    return Coders(here[0], "aac", _PICTURE_CODERS[here[0]])


def writing_notes() -> list[str]:
    """Return what is to be told once of how films are written: nothing where it is H.264."""
    found = coders()
    if found is None:
        return [f"{HOW_TO_WRITE}; until then they are grids of frames"]
    return [] if found.words == "H.264" else [f"films of clips are written as {found.words}"]


def gathered(parts: Sequence[Mapping[str, Tensor]], kind: str, runs: Sequence[int]) -> Clips:
    """Return what a system's `clips` gave, batch by batch, in the range of `kind`, as bytes where the tensors are."""
    whole = {name: torch.cat([part[name] for part in parts]) for name in (*PANELS, "sound")}
    real, still, made = (_bytes(whole[name], kind) for name in PANELS)
    return Clips(real, still, made, whole["sound"].float(), tuple(runs))


def strips(clips: Clips) -> tuple[NDArray[np.uint8], int]:
    """Return frames (M, C, H, W) and how many make a row: for each utterance a row real, one still and one made."""
    rows = []
    lengths = [min(_STRIP_FRAMES, count * clips.real.shape[1]) for count in clips.runs]
    for (start, count), length in zip(_places(clips.runs), lengths, strict=True):
        panels = _panels(clips, start, count)
        blank = np.full((max(lengths) - length, *panels[0].shape[1:]), PADDING_GREY_LEVEL, dtype=np.uint8)
        rows += [np.concatenate([panel[:length], blank]) for panel in panels]
    return np.concatenate(rows), max(lengths)


def write_film(clips: Clips, path: Path) -> Path:
    """Write the clips as one mp4, utterance after utterance, with their sound, and return its path.

    A frame lasts as long as its samples at 16 000 Hz, so that sound and picture end together: with 666, 24.02 frames a
    second. The file appears whole or not at all. UserError where the file system refuses; `coders` must not be None.
    """
    chosen = coders()
    assert chosen is not None, HOW_TO_WRITE
    written = io.BytesIO()
    _encode(clips, chosen, written)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(written.getbuffer())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error
    return path


def film_frames(clips: Clips) -> Iterator[NDArray[np.uint8]]:
    """Yield a film's frames, (height, width, 3), of even height and width: the captions above the three panels."""
    heading: NDArray[np.uint8] | None = None
    for start, count in _places(clips.runs):
        for frames in zip(*_panels(clips, start, count), strict=True):
            row = _beside([_enlarged(frame) for frame in frames])
            if heading is None:
                heading = _captions(row.shape[1], frames[0].shape[-1] * _factor(frames[0]))
            yield _even(np.concatenate([heading, row]))


def _encode(clips: Clips, chosen: Coders, out: io.BytesIO) -> None:
    import av

    sound = np.clip(clips.sound.cpu().numpy(), -1, 1).reshape(1, -1)
    rate = Fraction(SOUND_HZ, clips.sound.shape[1] // clips.real.shape[1])
    with av.open(out, "w", format="mp4") as film:
        picture: Any = None
        tone: Any = film.add_stream(chosen.sound, rate=SOUND_HZ, layout="mono")
        for number, pixels in enumerate(film_frames(clips)):
            if picture is None:
                picture = film.add_stream(chosen.picture, rate=rate, options=_OPTIONS.get(chosen.picture, {}))
                picture.height, picture.width, picture.pix_fmt = *pixels.shape[:2], "yuv420p"
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, 1 / rate
            film.mux(picture.encode(frame))
        film.mux(picture.encode())
        heard = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound), format="fltp", layout="mono")
        heard.sample_rate, heard.pts = SOUND_HZ, 0
        film.mux(tone.encode(heard))
        film.mux(tone.encode())


def _can_encode(av: Any, name: str) -> bool:
    try:
        av.Codec(name, "w")
    except Exception:  # a kind of its own in each version
        return False
    return True


def _bytes(frames: Tensor, kind: str) -> Tensor:
    if frames.ndim == 4:
        return to_uint8(frames.float(), kind)
    return to_uint8(frames.flatten(0, 1).float(), kind).unflatten(0, frames.shape[:2])


def _places(runs: Sequence[int]) -> Iterator[tuple[int, int]]:
    start = 0
    for count in runs:
        yield start, count
        start += count


def _panels(clips: Clips, start: int, count: int) -> list[NDArray[np.uint8]]:
    """Return an utterance's frames (F, C, H, W) for each panel; the still is its first clip's, again and again."""
    cut = slice(start, start + count)
    real, made = (clips.real[cut].flatten(0, 1).cpu().numpy(), clips.made[cut].flatten(0, 1).cpu().numpy())
    still = np.broadcast_to(clips.still[start].cpu().numpy(), real.shape)
    return [real, still, made]


def _factor(frame: NDArray[np.uint8]) -> int:
    return max(1, -(-_PANEL_PX // frame.shape[-1]))


def _enlarged(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a frame (C, H, W) as (height, width, 3), its pixels enlarged."""
    coloured = np.broadcast_to(frame, (3, *frame.shape[1:])).transpose(1, 2, 0)
    factor = _factor(frame)
    return coloured.repeat(factor, axis=0).repeat(factor, axis=1)


def _beside(panels: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    gap = np.full((panels[0].shape[0], _GAP_PX, 3), PADDING_GREY_LEVEL, dtype=np.uint8)
    return np.concatenate([panels[0], gap, panels[1], gap, panels[2]], axis=1)


def _captions(width_px: int, panel_px: int) -> NDArray[np.uint8]:
    """Return the strip (height, width, 3) with each panel's name above its middle."""
    from PIL import Image, ImageDraw, ImageFont

    strip = Image.new("RGB", (width_px, _CAPTION_PX), (PADDING_GREY_LEVEL,) * 3)
    pen, font = ImageDraw.Draw(strip), ImageFont.load_default()
    for place, name in enumerate(PANELS):
        left, top, right, bottom = pen.textbbox((0, 0), name, font=font)
        middle = place * (panel_px + _GAP_PX) + panel_px / 2
        pen.text((middle - (left + right) / 2, (_CAPTION_PX - top - bottom) / 2), name, fill=(0, 0, 0), font=font)
    return np.asarray(strip)


def _even(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture with a white row and column more where its sides are odd: the coder halves colours."""
    height, width = pixels.shape[:2]
    return np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), constant_values=PADDING_GREY_LEVEL)
