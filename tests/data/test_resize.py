from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gansweep.data.resize import Fit, extent_of, fit_picture, read_picture
from gansweep.data.source import BadPicture

from .conftest import Draw


def reason_of(path: Path, fit: Fit) -> str:
    with pytest.raises(BadPicture) as caught:
        read_picture(path, fit)
    return caught.value.reason


def test_sixteen_bit_grey_is_scaled_not_clipped(pictures: Path) -> None:
    ramp = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    Image.fromarray(ramp).save(pictures / "deep.png")
    pixels = read_picture(pictures / "deep.png", Fit(16, 1)).pixels
    assert pixels.reshape(-1).tolist() == list(range(256))


def test_transparency_shows_the_pad_colour_not_what_it_hides(pictures: Path) -> None:
    rgba = np.zeros((8, 8, 4), dtype=np.uint8)
    rgba[..., 0] = 255  # red, hidden on the left half
    rgba[:, 4:, 3] = 255
    Image.fromarray(rgba).save(pictures / "clear.png")
    pixels = read_picture(pictures / "clear.png", Fit(8, resample="nearest", pad_value=[0, 0, 200])).pixels
    assert pixels[:, 0, 0].tolist() == [0, 0, 200]
    assert pixels[:, 0, 7].tolist() == [255, 0, 0]


def test_half_transparency_is_mixed(pictures: Path) -> None:
    Image.new("RGBA", (8, 8), (0, 0, 0, 128)).save(pictures / "half.png")
    assert read_picture(pictures / "half.png", Fit(8, pad_value=255)).pixels.flatten()[0] == 127


def test_palette_transparency_shows_the_pad_colour(pictures: Path) -> None:
    image = Image.new("P", (8, 8), 0)
    image.putpalette([255, 0, 0, 0, 255, 0] + [0] * 756)
    image.paste(1, (4, 0, 8, 8))
    image.save(pictures / "palette.png", transparency=0)
    pixels = read_picture(pictures / "palette.png", Fit(8, resample="nearest", pad_value=9)).pixels
    assert pixels[:, 0, 0].tolist() == [9, 9, 9]
    assert pixels[:, 0, 7].tolist() == [0, 255, 0]


def test_exif_rotation_is_applied_before_fitting(pictures: Path) -> None:
    image = Image.new("RGB", (40, 20))
    image.paste((255, 255, 255), (0, 0, 20, 20))  # white left half, as stored
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise: the left half comes to the top
    image.save(pictures / "turned.jpg", exif=exif, quality=95)
    picture = read_picture(pictures / "turned.jpg", Fit(16, 1, "pad", pad_value=0))
    assert picture.box == (4, 0, 12, 16)
    assert picture.pixels[0, 2, 8] > 240 and picture.pixels[0, 13, 8] < 15
    assert extent_of(pictures / "turned.jpg") == (20, 40)


@pytest.mark.parametrize(
    ("name", "mode", "save"),
    [
        ("a.jpg", "CMYK", {}),
        ("a.png", "LA", {}),
        ("a.png", "1", {}),
        ("a.gif", "P", {}),
        ("a.webp", "RGB", {"lossless": True}),
        ("a.bmp", "RGB", {}),
        ("a.tif", "RGB", {}),
        ("a.jpg", "L", {}),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_usual_modes_come_out_square(
    draw: Draw, name: str, mode: str, save: dict[str, bool], channels: int
) -> None:
    path = draw(name, (20, 30), mode, **save)
    pixels = read_picture(path, Fit(8, channels)).pixels
    assert pixels.shape == (channels, 8, 8)
    assert pixels.flags["C_CONTIGUOUS"]
    assert pixels.std() > 5


def halves(width: int, height: int) -> Image.Image:
    """White on the left, black on the right."""
    image = Image.new("L", (width, height), 0)
    image.paste(255, (0, 0, width // 2, height))
    return image


def test_pad_keeps_shape_and_says_where_the_picture_is() -> None:
    picture = fit_picture(halves(40, 20), Fit(16, 1, "pad", "nearest", pad_value=77))
    assert picture.box == (0, 4, 16, 12)
    assert (picture.pixels[0, :4] == 77).all() and (picture.pixels[0, 12:] == 77).all()
    assert (picture.pixels[0, 4:12, :8] == 255).all() and (picture.pixels[0, 4:12, 8:] == 0).all()


def test_stretch_fills_and_crop_keeps_the_middle() -> None:
    stretched = fit_picture(halves(40, 20), Fit(16, 1, "stretch", "nearest"))
    assert stretched.box == (0, 0, 16, 16)
    assert (stretched.pixels[0, :, :8] == 255).all() and (stretched.pixels[0, :, 8:] == 0).all()
    edge = Image.new("L", (40, 20), 0)
    edge.paste(255, (0, 0, 10, 20))  # exactly what cropping leaves out
    cropped = fit_picture(edge, Fit(20, 1, "crop", "nearest"))
    assert (cropped.pixels == 0).all()


def test_edge_pads_with_the_mean_of_the_rim() -> None:
    image = Image.new("RGB", (40, 20), (10, 20, 30))
    image.paste((255, 255, 255), (10, 5, 30, 15))
    picture = fit_picture(image, Fit(20, 3, "pad", "nearest", pad_value="edge"))
    assert picture.pixels[:, 0, 0].tolist() == [10, 20, 30]


def test_a_coloured_pad_becomes_grey_for_one_channel() -> None:
    picture = fit_picture(Image.new("L", (20, 10), 0), Fit(20, 1, "pad", pad_value=[255, 255, 255]))
    assert picture.pixels[0, 0, 0] == 255


def test_a_lean_picture_keeps_a_pixel() -> None:
    assert fit_picture(Image.new("L", (1000, 1), 0), Fit(8, 1, "pad", pad_value=255)).box == (0, 3, 8, 4)


def test_draft_decoding_is_close_to_full_decoding(pictures: Path) -> None:
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).resize(
        (600, 480), Image.Resampling.BICUBIC
    )
    smooth.save(pictures / "big.jpg", quality=95)
    for way in ("pad", "stretch", "crop"):
        drafted = read_picture(pictures / "big.jpg", Fit(32, resize=way)).pixels
        with Image.open(pictures / "big.jpg") as image:
            full = fit_picture(image.convert("RGB"), Fit(32, resize=way)).pixels
        assert np.abs(drafted.astype(int) - full.astype(int)).mean() < 1.5


def test_truncated_jpeg_and_png(draw: Draw) -> None:
    for name in ("cut.jpg", "cut.png"):
        path = draw(name, (200, 200))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        assert reason_of(path, Fit(16)) == "truncated"


def test_what_is_no_picture(pictures: Path, draw: Draw) -> None:
    (pictures / "page.jpg").write_text("<!DOCTYPE html><html><body>404</body></html>")
    (pictures / "none.png").write_bytes(b"")
    assert reason_of(pictures / "page.jpg", Fit(16)) == "not a picture"
    assert reason_of(pictures / "none.png", Fit(16)) == "empty file"
    assert reason_of(pictures / "absent.png", Fit(16)) == "missing file"


def test_a_png_with_damaged_data_is_refused(draw: Draw) -> None:
    path = draw("noise.png", (64, 64))
    raw = bytearray(path.read_bytes())
    start = raw.index(b"IDAT") + 4
    raw[start : start + 20] = b"\xff" * 20
    path.write_bytes(bytes(raw))
    assert reason_of(path, Fit(16)) in ("damaged", "truncated")


def test_size_and_shape_limits(draw: Draw) -> None:
    fit = Fit(8, min_side=8, max_aspect=4, max_megapixels=0.01)
    assert reason_of(draw("small.png", (7, 9)), fit) == "too small"
    assert reason_of(draw("lean.png", (50, 10)), fit) == "too elongated"
    assert reason_of(draw("large.png", (101, 100)), fit) == "too large"
    assert read_picture(draw("good.png", (40, 10)), fit).pixels.shape == (3, 8, 8)


def test_floating_point_pixels_have_no_known_range(pictures: Path) -> None:
    Image.fromarray(np.ones((16, 16), dtype=np.float32)).save(pictures / "float.tif")
    assert reason_of(pictures / "float.tif", Fit(8)) == "unknown value range"
