from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gansweep.data import open_data
from gansweep.data.folder import Folder
from gansweep.data.source import Item, Listing
from gansweep.errors import UserError

from .conftest import Draw, Settings


@pytest.fixture
def listing(settings: Settings, pictures: Path) -> Any:
    def make(**changes: Any) -> Listing:
        return Folder(settings("folder", path=str(pictures), **changes)).items()

    return make


def by_id(listing: Listing) -> dict[str, Item]:
    return {item.id: item for item in listing.items}


def test_class_folders_become_labels_and_tags(listing: Any, draw: Draw) -> None:
    for name in ("dog/b.png", "cat/deep/c.JPG", "cat/a.png"):
        draw(name)
    found = listing()
    assert [(item.id, item.label, item.tags) for item in found.items] == [
        ("cat/a.png", "cat", ("cat",)),
        ("cat/deep/c.JPG", "cat", ("cat", "deep")),
        ("dog/b.png", "dog", ("dog",)),
    ]
    assert found.label_names == ["cat", "dog"]


def test_class_numbers_do_not_depend_on_the_selection(settings: Settings, pictures: Path, draw: Draw) -> None:
    for name in ("cat/a.png", "dog/b.png", "emu/c.png"):
        draw(name)
    dataset = open_data(settings("folder", path=str(pictures), size=8, include=["emu"]))
    assert dataset.label_names == ["cat", "dog", "emu"]
    assert dataset.fields["label"].tolist() == [2]


@pytest.mark.parametrize("names", [("cat/a.png", "b.png"), ("cat/a.png", "cat/b.png"), ("a.png",)])
def test_a_picture_at_the_top_or_a_single_folder_makes_no_classes(
    listing: Any, draw: Draw, names: tuple[str, ...]
) -> None:
    for name in names:
        draw(name)
    assert listing().label_names == []


def test_what_is_no_picture_or_hidden_is_passed_over(listing: Any, draw: Draw, pictures: Path) -> None:
    draw("a.png")
    draw(".hidden.png")
    draw(".git/b.png")
    (pictures / "readme.md").write_text("not a picture")
    assert list(by_id(listing())) == ["a.png"]


def test_a_name_that_is_no_utf8_is_read_like_any_other(settings: Settings, draw: Draw, pictures: Path) -> None:
    draw("a.png").rename(pictures / "odd\udcff.png")
    dataset = open_data(settings("folder", path=str(pictures), size=8))
    assert dataset.fields["id"] == ["odd\udcff.png"]
    assert len(dataset.split("train")) == 1


def test_a_link_that_leads_nowhere_is_an_unusable_picture(settings: Settings, draw: Draw, pictures: Path) -> None:
    draw("a.png")
    (pictures / "b.png").symlink_to(pictures / "gone.png")
    with pytest.raises(UserError, match="1 of 2 pictures cannot be used: 1 missing file"):
        open_data(settings("folder", path=str(pictures), size=8))


def test_links_to_folders_are_followed_once(listing: Any, draw: Draw, pictures: Path, tmp_path: Path) -> None:
    draw("a.png")
    other = tmp_path / "other"
    other.mkdir()
    (pictures / "a.png").rename(other / "b.png")
    (pictures / "link").symlink_to(other)
    (other / "back").symlink_to(pictures)
    assert list(by_id(listing())) == ["link/b.png"]


def test_metadata_and_sidecars_give_captions(listing: Any, draw: Draw, pictures: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        draw(name)
    (pictures / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "from metadata", "tags": "x"}')
    (pictures / "a.txt").write_text("from the sidecar")
    (pictures / "b.txt").write_text("first\nsecond\n")
    found = by_id(listing())
    assert [found[name].captions for name in sorted(found)] == [("from metadata",), ("first", "second"), ()]
    assert found["a.png"].tags == ("x",)


def test_labels_and_groups_from_metadata(listing: Any, draw: Draw, pictures: Path) -> None:
    rows = [{"file_name": name, "label": name[0], "group": "same"} for name in ("x.png", "y.png")]
    for row in rows:
        draw(row["file_name"])
    (pictures / "metadata.json").write_text(json.dumps(rows))
    assert [(item.label, item.group) for item in listing().items] == [("x", "same"), ("y", "same")]


def test_labels_for_some_pictures_only_are_refused(listing: Any, draw: Draw, pictures: Path) -> None:
    draw("a.png")
    draw("b.png")
    (pictures / "metadata.jsonl").write_text('{"file_name": "a.png", "label": "A"}')
    with pytest.raises(UserError, match=r"labels 1 pictures and not 1 others, such as b.png; label all or none"):
        listing()


def test_tags_select(listing: Any, draw: Draw) -> None:
    for name in ("cat/a.png", "cat/watermark/b.png", "dog/c.png"):
        draw(name)
    assert list(by_id(listing(include=["cat"], exclude=["watermark"]))) == ["cat/a.png"]
    with pytest.raises(UserError, match="did you mean 'watermark'"):
        listing(exclude=["watermrk"])


def test_names_of_the_vae_journal_become_tags(listing: Any, draw: Draw) -> None:
    draw("set-7/123-anna-v640_640v427.jpg", (427, 640))
    (item,) = listing(name_tags=True).items
    assert item.tags == ("set-7", "123", "anna", "v640")


def test_orientation_is_of_the_picture_as_seen(listing: Any, draw: Draw) -> None:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    draw("tall.png", (20, 30))
    draw("wide.png", (30, 20))
    draw("square.png", (20, 20))
    draw("turned.jpg", (30, 20), exif=exif)
    assert list(by_id(listing(orientation="portrait"))) == ["tall.png", "turned.jpg"]
    assert list(by_id(listing(orientation="landscape"))) == ["wide.png"]


def test_an_orientation_that_no_picture_has_is_refused(listing: Any, draw: Draw) -> None:
    draw("tall.png", (20, 30))
    with pytest.raises(UserError, match=r"data.orientation=landscape: none of the 1 pictures"):
        listing(orientation="landscape")


def test_grouping_by_folder_keeps_folders_on_one_side(settings: Settings, pictures: Path, draw: Draw) -> None:
    for folder in range(6):
        for number in range(3):
            draw(f"set-{folder}/{number}.png")
    dataset = open_data(settings("folder", path=str(pictures), size=8, group_by="folder", val_fraction=0.3))
    assert dataset.fields["group"] == [f"set-{folder}" for folder in range(6) for _ in range(3)]
    sides = [{dataset.fields["group"][row] for row in dataset.split(name)} for name in ("train", "val")]
    assert sides[0] and sides[1] and not sides[0] & sides[1]


def test_pixels_boxes_and_split(settings: Settings, pictures: Path, draw: Draw) -> None:
    draw("a.png", (16, 8))
    draw("b.png", (8, 16))
    dataset = open_data(settings("folder", path=str(pictures), size=16, resize="pad", pad_value=7, val_fraction=0.4))
    assert dataset.fields["box"].tolist() == [[0, 4, 16, 12], [4, 0, 12, 16]]
    assert (dataset.images[0, :, :4] == 7).all()
    assert sorted([*dataset.split("train"), *dataset.split("val")]) == [0, 1]
    assert "label" not in dataset.fields and "caption" not in dataset.fields


def test_mean_and_deviation_are_those_of_the_pixels(settings: Settings, pictures: Path, draw: Draw) -> None:
    for number in range(4):
        draw(f"{number}.png")
    dataset = open_data(settings("folder", path=str(pictures), size=8))
    pixels = dataset.images.astype(np.float64) / 255
    np.testing.assert_allclose(dataset.manifest["mean"], pixels.mean(axis=(0, 2, 3)), atol=1e-12)
    np.testing.assert_allclose(dataset.manifest["std"], pixels.std(axis=(0, 2, 3)), atol=1e-12)
