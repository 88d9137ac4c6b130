"""From an image file to square uint8 pixels: upright, without transparency, in 8 bits, padded, stretched or cropped.

Never `verify()`, which passes truncated JPEGs, and never LOAD_TRUNCATED_IMAGES, which fills them with grey: every
picture is decoded to its end.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from gansweep.data.source import BadPicture, Box, Picture

if TYPE_CHECKING:
    from gansweep.config.settings import DataSettings

WAYS = ("pad", "stretch", "crop")
RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_ALPHA_MODES = ("RGBA", "LA", "PA", "La", "RGBa")
_DEEP_GREY_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I")
_WHITE = 255


@dataclass(frozen=True)
class Fit:
    """How a picture becomes (channels, size, size), and which ones are refused; field by field as in `conf/data`."""

    size: int
    channels: int = 3
    resize: str = "pad"
    resample: str = "bicubic"
    pad_value: int | list[int] | str = _WHITE
    min_side: int = 1
    max_aspect: float = float("inf")
    max_megapixels: float = float("inf")

    @classmethod
    def of(cls, cfg: DataSettings) -> Fit:
        """Take the geometry out of the settings of a data set."""
        return cls(**{name: getattr(cfg, name) for name in cls.__dataclass_fields__})


def read_picture(path: str | os.PathLike[str], fit: Fit) -> Picture:
    """Decode a file to its end and fit it; raise BadPicture with a short reason for whatever cannot be used."""
    try:
        if os.path.getsize(path) == 0:
            raise BadPicture("empty file")
        with Image.open(path) as image:
            check_extent(image.size, fit)
            _ask_for_less(image, fit)
            return fit_picture(_flatten(_upright(image), fit), fit)
    except BadPicture:
        raise
    except MemoryError:
        raise
    except Exception as error:  # Decoders raise a dozen kinds of their own on damaged files.
        raise _named(error) from error


def extent_of(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return width and height in px, seen upright, from the file's header alone; raise BadPicture without one."""
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(0x0112, 1) >= 5
            return (image.height, image.width) if turned else image.size
    except Exception as error:
        raise _named(error) from error


def fit_picture(image: Image.Image, fit: Fit) -> Picture:
    """Bring an image of mode L or RGB to the square, and say which part of the square is picture."""
    size, (width, height) = fit.size, image.size
    resample = RESAMPLING[fit.resample]
    if fit.resize == "pad":
        return _pad(image, fit)
    if fit.resize == "crop":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        image = image.resize((size, size), resample, box=(left, top, left + side, top + side))
    else:
        image = image.resize((size, size), resample)
    return Picture(_planes(image), (0, 0, size, size))


def _pad(image: Image.Image, fit: Fit) -> Picture:
    size = fit.size
    scale = size / max(image.size)
    width, height = (min(size, max(1, round(side * scale))) for side in image.size)
    small = image.resize((width, height), RESAMPLING[fit.resample])
    left, top = (size - width) // 2, (size - height) // 2
    planes = _planes(small)
    colour = _border_mean(planes) if fit.pad_value == "edge" else _colour(fit)
    square = np.empty((fit.channels, size, size), dtype=np.uint8)
    square[:] = np.asarray(colour, dtype=np.uint8)[:, None, None]
    square[:, top : top + height, left : left + width] = planes
    box: Box = (left, top, left + width, top + height)
    return Picture(square, box)


def _planes(image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _border_mean(planes: np.ndarray) -> list[int]:
    rim = np.concatenate([planes[:, 0], planes[:, -1], planes[:, :, 0], planes[:, :, -1]], axis=1)
    return [round(float(mean)) for mean in rim.mean(axis=1)]


def _colour(fit: Fit) -> list[int]:
    """Return the colour of bars and behind transparency, a number per channel; white where it follows the edge."""
    if isinstance(fit.pad_value, str):
        return [_WHITE] * fit.channels
    if isinstance(fit.pad_value, int):
        return [fit.pad_value] * fit.channels
    if fit.channels == 1:
        return [Image.new("RGB", (1, 1), tuple(fit.pad_value)).convert("L").tobytes()[0]]
    return list(fit.pad_value)


def check_extent(extent: tuple[int, int], fit: Fit) -> None:
    """Raise BadPicture for a picture whose width and height (px) the settings refuse."""
    width, height = extent
    text = f"{width} by {height} px"
    if width * height > fit.max_megapixels * 1e6:
        raise BadPicture("too large", f"{text}, data.max_megapixels={fit.max_megapixels:g}")
    if min(extent) < fit.min_side:
        raise BadPicture("too small", f"{text}, data.min_side={fit.min_side}")
    if max(extent) > fit.max_aspect * min(extent):
        raise BadPicture("too elongated", f"{text}, data.max_aspect={fit.max_aspect:g}")


def _ask_for_less(image: Image.Image, fit: Fit) -> None:
    """Let the JPEG decoder leave out detail that resizing would; twice the target stays (three times as fast)."""
    if image.format != "JPEG" or fit.resample == "nearest":
        return
    width, height = image.size
    sides = {"pad": max(width, height), "crop": min(width, height)}
    if fit.resize == "stretch":
        wanted = (2 * fit.size, 2 * fit.size)
    else:
        scale = 2 * fit.size / sides[fit.resize]
        wanted = (ceil(width * scale), ceil(height * scale))
    image.draft(None, wanted)  # None keeps the file's own mode


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # A picture with unreadable EXIF is still a picture; nobody's viewer turns it either.
        return image


def _flatten(image: Image.Image, fit: Fit) -> Image.Image:
    """Return the image in mode L or RGB: 16 bits scaled to 8, transparency replaced by the pad colour."""
    mode = "L" if fit.channels == 1 else "RGB"
    if image.mode in _DEEP_GREY_MODES:
        return _to_8_bits(image).convert(mode)
    if image.mode == "F":
        raise BadPicture("unknown value range", "floating-point pixels")
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        below = Image.new("RGBA", image.size, (*_rgb(fit), _WHITE))
        image = Image.alpha_composite(below, image.convert("RGBA"))
    return image if image.mode == mode else image.convert(mode)


def _rgb(fit: Fit) -> tuple[int, int, int]:
    if isinstance(fit.pad_value, list):
        red, green, blue = fit.pad_value
        return red, green, blue
    value = _WHITE if isinstance(fit.pad_value, str) else fit.pad_value
    return value, value, value


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Scale 0..65535 to 0..255; Pillow's own conversion would clip almost everything to white."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise BadPicture("unknown value range", f"{values.min()} to {values.max()}")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _named(error: Exception) -> BadPicture:
    """Turn what a decoder raised into a short reason."""
    text = str(error)
    if isinstance(error, UnidentifiedImageError):
        return BadPicture("not a picture", "no known image format")
    if isinstance(error, FileNotFoundError):
        return BadPicture("missing file")
    if isinstance(error, PermissionError):
        return BadPicture("not readable", "permission denied")
    if isinstance(error, Image.DecompressionBombError):
        return BadPicture("too large", text)
    if isinstance(error, OSError) and any(sign in text for sign in ("truncated", "broken data stream", "Truncated")):
        return BadPicture("truncated", text)
    return BadPicture("damaged", f"{type(error).__name__}: {text}")
