from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from gansweep.data import fashion_mnist, open_data
from gansweep.data.fashion_mnist import LABELS, FashionMnist, read_idx
from gansweep.errors import Missing, UserError

from .conftest import Settings

COUNTS = {"train": 20, "t10k": 10}


def idx(values: np.ndarray) -> bytes:
    return bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The four files: pictures of one grey each, the training part gzipped."""
    folder = tmp_path / "fashion"
    folder.mkdir()
    for prefix, count in COUNTS.items():
        images = np.repeat(np.arange(count, dtype=np.uint8) * 10, 28 * 28).reshape(count, 28, 28)
        labels = np.arange(count, dtype=np.uint8) % 10
        for kind, raw in (("images-idx3-ubyte", idx(images)), ("labels-idx1-ubyte", idx(labels))):
            if prefix == "train":
                (folder / f"{prefix}-{kind}.gz").write_bytes(gzip.compress(raw))
            else:
                (folder / f"{prefix}-{kind}").write_bytes(raw)
    return folder


def test_pictures_labels_and_captions(settings: Settings, files: Path) -> None:
    dataset = open_data(settings("fashion_mnist", path=str(files)))
    assert dataset.images.shape == (20, 1, 32, 32)
    assert dataset.images[:, 0, 5, 5].tolist() == [10 * number for number in range(20)]
    assert dataset.fields["label"].tolist() == [number % 10 for number in range(20)]
    assert dataset.label_names == LABELS and dataset.fields["caption"][9] == ["ankle boot"]


@pytest.mark.parametrize(("part", "count"), [("train", 20), ("test", 10), ("all", 30)])
def test_parts(settings: Settings, files: Path, part: str, count: int) -> None:
    assert open_data(settings("fashion_mnist", path=str(files), part=part, size=28)).count == count


def test_three_channels_repeat_the_grey_and_classes_select(settings: Settings, files: Path) -> None:
    dataset = open_data(settings("fashion_mnist", path=str(files), channels=3, include=["sneaker"]))
    assert dataset.images[:, :, 0, 0].tolist() == [[70] * 3, [170] * 3]
    assert dataset.fields["label"].tolist() == [7, 7]


def test_absent_files_say_how_to_get_them(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fashion_mnist, "DEBIAN_PLACE", tmp_path / "nowhere")
    with pytest.raises(Missing, match="apt-get install dataset-fashion-mnist") as caught:
        open_data(settings("fashion_mnist"))
    assert caught.value.exit_code == 3
    with pytest.raises(UserError, match="no train-images-idx3-ubyte") as given:
        open_data(settings("fashion_mnist", path=str(tmp_path)))
    assert given.value.exit_code == 2
    with pytest.raises(UserError, match="is not a folder"):
        open_data(settings("fashion_mnist", path=str(tmp_path / "nowhere")))
    assert not (tmp_path / "cache").exists()


def test_truncated_and_foreign_files_are_named(settings: Settings, files: Path) -> None:
    images = files / "t10k-images-idx3-ubyte"
    whole = images.read_bytes()
    images.write_bytes(whole[:-1])
    with pytest.raises(UserError, match=r"t10k-images-idx3-ubyte is truncated: 7,839 bytes of 7,840"):
        open_data(settings("fashion_mnist", path=str(files), part="test"))
    images.write_bytes(b"\x89PNG" + whole)
    with pytest.raises(UserError, match="is not an idx file"):
        read_idx(images, 3)
    packed = files / "train-images-idx3-ubyte.gz"
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(UserError, match="truncated or cannot be read"):
        read_idx(packed, 3)


def test_labels_must_match_the_pictures(settings: Settings, files: Path) -> None:
    labels = files / "t10k-labels-idx1-ubyte"
    labels.write_bytes(idx(np.zeros(9, dtype=np.uint8)))
    cfg = settings("fashion_mnist", path=str(files), part="test")
    with pytest.raises(UserError, match="9 labels for 10 pictures"):
        FashionMnist(cfg).items()
    labels.write_bytes(idx(np.full(10, 11, dtype=np.uint8)))
    with pytest.raises(UserError, match="has the label 11, where 0 to 9 are known"):
        FashionMnist(cfg).items()


@pytest.mark.skipif(not fashion_mnist.DEBIAN_PLACE.is_dir(), reason="needs the package dataset-fashion-mnist")
def test_the_debian_package_is_found_and_read(settings: Settings) -> None:
    dataset = open_data(settings("fashion_mnist", part="test", limit=50, size=28))
    assert dataset.count == 50 and 0.2 < dataset.manifest["mean"][0] < 0.4
    reader = FashionMnist(settings("fashion_mnist", part="train"))
    assert np.bincount([LABELS.index(item.label or "") for item in reader.items().items]).tolist() == [6000] * 10
