"""COCO as StackGAN keeps it: JPEG pictures stretched, names of bytes, captions by name, no classes."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gansweep.data import Batches, open_data
from gansweep.errors import UserError

from .conftest import Settings
from .text_sets import coco, dump, sentence, vectors

NAMES, CAPTIONS, VECTORS = "filenames.pickle", "captions.pickle", "char-CNN-RNN-embeddings.pickle"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    coco(tmp_path / "coco")
    return tmp_path / "coco"


def opened(settings: Settings, root: Path, args: dict[str, Any] | None = None, **changes: Any) -> Any:
    given = {"captions": 5, "encoder": "precomputed", **(args or {})}
    return open_data(settings("coco", path=str(root), args=given, **{"size": 16, **changes}), progress=False)


def refused(settings: Settings, root: Path, args: dict[str, Any] | None = None, **changes: Any) -> str:
    with pytest.raises(UserError) as caught:
        opened(settings, root, args, **changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("python", "protocol"), [(2, 0), (2, 1), (2, 2), (3, 2), (3, 4)])
def test_a_set_in_the_very_layout_is_read(settings: Settings, tmp_path: Path, python: int, protocol: int) -> None:
    names = coco(tmp_path / "coco", python=python, protocol=protocol)
    dataset = opened(settings, tmp_path / "coco", {"sizes": [8]})
    assert dataset.fields["id"] == [*(f"test/{n}" for n in names["val"]), *(f"train/{n}" for n in names["train"])]
    assert dataset.split("val").tolist() == [0, 1, 2, 3] and "label" not in dataset.fields
    fields = ("image", "image_8", "embedding", "wrong.index")
    batch = Batches(dataset, dataset.split("train"), 6, 0, fields=fields, shuffle=False).batch(0)
    assert batch["image"].shape == (6, 3, 16, 16) and batch["embedding"].shape == (6, 5, 1024)
    for number, row in enumerate(dataset.split("train")):
        np.testing.assert_array_equal(batch["embedding"][number].numpy(), vectors(number, 5))
        name = names["train"][number]
        assert dataset.fields["caption"][row] == [sentence(name, n) for n in range(5)]
        left, right = dataset.images[row][:, :, 2], dataset.images[row][:, :, 13]  # 24 by 16 px, stretched
        assert abs(left[0].mean() - 40 * number) < 6 and abs(right[1].mean() - 40 * number) < 6
    means = torch.nn.functional.avg_pool2d((batch["image"] + 1) * 127.5, 2)
    assert ((batch["image_8"] + 1) * 127.5 - means).abs().max() <= 0.5 + 1e-4


def test_wrong_is_any_other_picture_of_the_part(settings: Settings, root: Path) -> None:
    dataset = opened(settings, root)
    for part, others in (("train", 5), ("val", 3)):
        rows = dataset.split(part)
        batches = Batches(dataset, rows, len(rows), 0, fields=("wrong.index",))
        found = {(int(a), int(b)) for n in range(80) for a, b in zip(*batches.batch(n).values(), strict=True)}
        assert len(found) == len(rows) * others and all(a != b and b in rows for a, b in found)


def test_windows_are_possible_and_parts_alone(settings: Settings, root: Path) -> None:
    dataset = opened(settings, root, {"crop": "random"})
    assert dataset.wide is not None and dataset.wide.shape == (10, 3, 19, 19)
    batches = Batches(dataset, dataset.split("train"), 6, 0, crop=True)
    assert batches.batch(0)["image"].shape == (6, 3, 16, 16) and batches.corners(0).max() <= 3
    assert opened(settings, root, part="test", val_fraction=0.0).count == 4
    assert opened(settings, root, part="train", limit=3).count == 3
    assert opened(settings, root, include=["train"]).count == 6
    assert opened(settings, root, {"encoder": "bag-of-words", "captions": 1}).column("embedding").shape == (10, 1024)


def rewritten(root: Path, part: str, name: str, change: Any) -> None:
    path = root / part / name
    dump(path, change(pickle.loads(path.read_bytes(), encoding="latin1")), 2, 3)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        (CAPTIONS, lambda v: dict(list(v.items())[:4]), "has no captions for COCO_train2014_000000000004, row 4 of"),
        (CAPTIONS, lambda v: {k: t[:2] for k, t in v.items()}, "has 2 captions for .*, row 0 of .*, where 5 are asked"),
        (CAPTIONS, lambda v: list(v), "captions.pickle is no dictionary of a name's captions"),
        (CAPTIONS, lambda v: {**v, "x": "y"}, "captions.pickle, the captions of x, is no list"),
        (CAPTIONS, lambda v: {**v, "x\ny": "z"}, r"captions.pickle, the captions of 'x\\ny', is no list$"),
        (CAPTIONS, lambda v: {**v, "x": [1]}, "captions.pickle, a caption of x, is int, no text"),
        (VECTORS, lambda v: v[:4], "has 4 rows, where filenames.pickle has 6: row 4 .*000000000004"),
        (VECTORS, lambda v: [*v[:3], v[3][:4], *v[4:]], r"row 3 is \(4, 1024\), where the first row has \(5, 1024\)"),
        (NAMES, lambda v: [*v[:2], "../val2014/COCO_val2014_000000000000", *v[3:]], "row 2 is .*names no file"),
    ],
)
def test_files_that_disagree_are_told_with_the_row(
    settings: Settings, root: Path, name: str, change: Any, said: str
) -> None:
    rewritten(root, "train", name, change)
    with pytest.raises(UserError, match=said):
        opened(settings, root)


def test_pictures_that_are_missing_or_none_go_by_on_bad(settings: Settings, root: Path) -> None:
    folder = root / "coco_official" / "train2014"
    (folder / "COCO_train2014_000000000001.jpg").unlink()
    (folder / "COCO_train2014_000000000002.jpg").write_bytes(b"<html>")
    with pytest.raises(UserError, match="2 of 10 pictures cannot be used: 1 missing file, 1 not a picture"):
        opened(settings, root)
    assert opened(settings, root, on_bad="skip", max_bad_fraction=0.5).count == 8


def test_folders_that_are_not_there_are_told(settings: Settings, root: Path) -> None:
    (root / "val" / CAPTIONS).unlink()
    assert "has no val/captions.pickle, as data=coco needs" in refused(settings, root)
    assert opened(settings, root, part="train").count == 6
    assert "would train on the test part" in refused(settings, root, val_fraction=0.0)
    (root / "train" / NAMES).write_bytes(b"cposix\nsystem\n(S'x'\ntR.")
    assert "asks for posix.system" in refused(settings, root, part="train")
