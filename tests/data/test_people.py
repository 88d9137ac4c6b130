"""Drawn people, and the same pictures as a folder of files in the VAE journal's own layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gansweep.data import Dataset, open_data, verbs
from gansweep.data.folder import Folder
from gansweep.data.people import People, Shot, photograph, write_set
from gansweep.data.people_bodies import Body, Solid
from gansweep.data.people_drawing import Layers, draw_solid, lit
from gansweep.data.people_poses import POSES, posed, reach, vector
from gansweep.data.resize import Fit, fit_picture
from gansweep.errors import UserError

from .conftest import Settings

SIZE = 24


@pytest.fixture
def people(settings: Settings) -> Any:
    """Open a few small pictures; `args` are completed from conf."""

    def make(**changes: Any) -> Dataset:
        args = {**settings("people").args, "count": 32, **changes.pop("args", {})}
        return open_data(settings("people", **{"size": SIZE, "args": args, **changes}), progress=False)

    return make


# What is drawn


def bodies(pose: str, count: int = 12) -> list[tuple[Body, dict[str, np.ndarray], float | None]]:
    found = []
    for number in range(count):
        random = np.random.default_rng([number, POSES.index(pose)])
        body = Body.of(random)
        found.append((body, *posed(body, pose, random)))
    return found


def test_bones_keep_their_lengths_and_limbs_hang_together() -> None:
    for pose in POSES:
        for body, at, _ in bodies(pose):
            for of in "lr":
                for start, end, bone in (
                    ("shoulder", "elbow", "arm"), ("elbow", "wrist", "forearm"),
                    ("hip", "knee", "thigh"), ("knee", "ankle", "shin"), ("wrist", "fingers", "hand"),
                ):  # fmt: skip
                    length = np.linalg.norm(at[f"{start}_{of}"] - at[f"{end}_{of}"])
                    assert abs(length - body.size[bone]) < 1e-6, (pose, bone)
            assert all(np.isfinite(point).all() for point in at.values())
            assert abs(float(at["head_up"] @ at["head_front"])) < 0.05


def test_two_bones_reach_what_is_near_and_point_at_what_is_far() -> None:
    joint, end = reach(vector(0, 0, 0), vector(0, -1, 0), 0.6, 0.6, vector(0, 0, 1))
    np.testing.assert_allclose(end, [0, -1, 0], atol=1e-9)
    np.testing.assert_allclose(joint, [0, -0.5, np.sqrt(0.36 - 0.25)], atol=1e-9)
    _, end = reach(vector(0, 0, 0), vector(3, 0, 0), 0.6, 0.6, vector(0, 1, 0))
    np.testing.assert_allclose(end, [0.998 * 1.2, 0, 0], atol=1e-9)


def test_poses_are_what_they_are_called() -> None:
    """By the height of head, hips and knees as shares of the body's: no two poses can be mistaken."""
    for body, at, _ in bodies("standing"):
        assert at["head"][1] > 0.8 * body.size["tall"] and at["pelvis"][1] > 0.4 * body.size["tall"]
    for body, at, seat in bodies("sitting"):
        low = 0.0 if seat is None else seat
        assert low < at["pelvis"][1] < low + 0.1 * body.size["tall"]
        assert at["head"][1] - at["pelvis"][1] > 0.25 * body.size["tall"]
    for body, at, _ in bodies("crouching"):
        assert at["pelvis"][1] < 0.3 * body.size["tall"] and at["head"][1] < 0.75 * body.size["tall"]
        assert max(at["knee_l"][1], at["knee_r"][1]) > 0.8 * at["pelvis"][1]
    for body, at, _ in bodies("lying"):
        assert at["head"][1] < 0.4 * body.size["tall"]
        assert abs(at["head"][0] - at["ankle_l"][0]) > 0.5 * body.size["tall"]


def test_an_upright_cylinder_is_as_wide_and_as_bright_as_it_should_be() -> None:
    """Radius 0.2: half covered at its edge; a light from the right shines as the cosine, which is x / radius."""
    at = np.linspace(-0.395, 0.395, 80)
    layers = Layers(at, at[::-1], 0.01)
    draw_solid(layers, Solid(vector(0, -1, 0), vector(0, 1, 0), (0.2, 0.2), ((1.0, (1.0, 0.5, 0.0)),)), np.eye(3))
    row = layers.cover[40]
    assert row[(np.abs(at) < 0.19)].min() == 1 and row[np.abs(at) > 0.21].max() == 0
    inside = np.abs(at) < 0.15
    np.testing.assert_allclose(layers.seen[1][40, inside], at[inside] / 0.2, atol=1e-4)
    np.testing.assert_allclose(layers.seen[0][40, inside], np.sqrt(0.04 - at[inside] ** 2), atol=1e-4)
    light = lit(layers, vector(1, 0, 0), 1.0)
    assert light[0, 40, 55] > light[0, 40, 45] > light[0, 40, 30] and (light[2][:, inside] < 1e-6).all()


def test_light_falls_from_where_it_stands_and_shadows_away_from_it(people: Any) -> None:
    """The same person lit from both sides: what is brighter under the left light lies to the left, body and floor."""
    from gansweep.data.people_scene import Setting, drawn

    for pose in POSES:
        sums = []
        for side in (-1.0, 1.0):
            light = vector(side * 0.8, 0.45, 0.4)
            setting = Setting((0.7, 0.7, 0.7), (0.7, 0.7, 0.7), light, 1.0, 9.0)
            random = np.random.default_rng(3)
            columns, rows = (np.arange(96) + 0.5) * 427 / 96, (np.arange(144) + 0.5) * 640 / 144
            sums.append(drawn([Body.of(random)], pose, setting, (427, 640), False, random, columns, rows, 4.4))
        left, right = (one.astype(float).sum(axis=2) for one in sums)
        lighter = np.where(left > right + 30)[1].mean(), np.where(right > left + 30)[1].mean()
        assert lighter[0] + 20 < lighter[1], pose


def test_a_picture_is_the_same_at_any_size_and_every_time() -> None:
    shot = Shot.of(0, 5)
    large, small = photograph(0, shot, 320), photograph(0, shot, 160)
    assert large.size == tuple(round(side / 2) for side in shot.extent)
    assert photograph(0, shot, 160).tobytes() == small.tobytes()
    apart = np.abs(np.asarray(large.resize(small.size, Image.Resampling.BOX), float) - np.asarray(small, float))
    assert apart.mean() < 2.5
    assert photograph(1, Shot.of(1, 5), 160).tobytes() != small.tobytes()


@pytest.mark.parametrize("resize", ["stretch", "pad", "crop"])
@pytest.mark.parametrize("number", [0, 7])
def test_the_nearest_pixels_are_those_of_the_whole_picture(settings: Settings, resize: str, number: int) -> None:
    """Only the pixels that resampling takes are drawn; shadows, coarse maps of what is drawn, differ a little."""
    cfg = settings("people", size=40, resize=resize, resample="nearest", pad_value=9)
    reader = People(cfg)
    item = next(item for item in reader.items().items if f"/{number + 1}-" in item.id)
    whole = fit_picture(photograph(0, Shot.of(0, number)), Fit.of(cfg))
    drawn = reader.picture(item)
    assert drawn.box == whole.box and drawn.pixels.shape == (3, 40, 40)
    assert np.abs(drawn.pixels.astype(int) - whole.pixels).mean() < 3


# The set


def test_what_is_there_and_how_often(settings: Settings) -> None:
    listing = People(settings("people")).items()
    assert len(listing.items) == 1000 and listing.label_names == list(POSES)
    assert len({item.group for item in listing.items}) == 63
    share = {tag: sum(tag in item.tags for item in listing.items) / 1000 for tag in (*POSES, "watermark", "duo")}
    wanted = {"standing": 0.45, "sitting": 0.25, "lying": 0.15, "crouching": 0.15, "watermark": 0.1, "duo": 0.08}
    assert all(abs(share[tag] - wanted[tag]) < 0.03 for tag in wanted)
    wide = sum(item.id.endswith("_427v640.jpg") for item in listing.items) / 1000
    assert 0.2 < wide < 0.4
    for item in listing.items:
        folder, name = item.id.split("/")
        number, subject, pose, *_ = name.split("_")[0].split("-")
        assert (item.group, item.label) == (subject, pose) and {subject, pose, number, folder} <= set(item.tags)
        assert folder.replace("-", "_") in item.tags


def test_more_pictures_leave_the_first_as_they_are(people: Any) -> None:
    few, more = people(args={"count": 20}), people(args={"count": 32})
    places = [more.fields["id"].index(name) for name in few.fields["id"]]
    np.testing.assert_array_equal(more.images[places], few.images)
    assert few.fingerprint != more.fingerprint == people(args={"count": 32}).fingerprint
    assert people(args={"seed": 1}).fingerprint != more.fingerprint


def test_people_are_held_out_whole(people: Any) -> None:
    dataset = people(args={"count": 64}, val_fraction=0.3)
    sides = [{dataset.fields["group"][row] for row in dataset.split(name)} for name in ("train", "val")]
    assert sides[0] and sides[1] and not sides[0] & sides[1]


def test_tags_and_orientation_select_as_in_a_folder(settings: Settings) -> None:
    def names(**changes: Any) -> list[str]:
        return [item.id for item in People(settings("people", **changes)).items().items]

    every = names()
    tall = names(orientation="portrait", include=["standing"], exclude=["watermark"])
    assert 0 < len(tall) < len(every)
    assert all(name.endswith("_640v427.jpg") and "-standing" in name and "watermark" not in name for name in tall)
    assert set(names(limit=9)) < set(names(limit=10))
    with pytest.raises(UserError, match=r"data.include: no picture has the tag 'standng'; did you mean 'standing'"):
        names(include=["standng"])
    with pytest.raises(UserError, match=r"data.orientation=portrait: none of the 1 drawn pictures is"):
        names(orientation="portrait", args={"count": 1, "seed": 0})


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"cuont": 3}, "data.args.cuont is unknown; did you mean 'count'"),
        ({"count": 0}, "data.args.count=0 is out of range: 1 to 100000"),
        ({"count": 2.5}, "data.args.count=2.5 is out of range"),
        ({"seed": -1}, "data.args.seed=-1 is out of range"),
    ],
)
def test_what_cannot_be_drawn_is_told(people: Any, args: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        people(args=args)
    assert "\n" not in str(caught.value)


def test_the_card_says_that_nobody_is_shown(settings: Settings) -> None:
    args = {"count": 24, "seed": 0}
    card = verbs.card(settings("people", size=SIZE, args=args, val_fraction=0.4))
    assert "procedural, not photographs, not real people" in card
    assert "procedural   drawn by a program" in card and "one mean image" in card


def test_grey_people_have_one_channel(people: Any) -> None:
    assert people(channels=1, limit=3).images.shape == (3, 1, SIZE, SIZE)


def test_a_logo_is_seen_where_the_tag_says_so() -> None:
    """The same picture with and without: it differs on a small part alone, and by less than all."""
    marked = next(shot for shot in (Shot.of(0, n) for n in range(60)) if shot.watermark)
    without = Shot(marked.number, marked.pose, marked.landscape, False, marked.duo)
    one, other = (np.asarray(photograph(0, shot, 160), float) for shot in (marked, without))
    differs = np.abs(one - other).max(axis=2)
    assert 0.002 < (differs > 8).mean() < 0.1 and differs.max() < 190


# As files, in the journal's layout


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty pictures as files, a quarter as large as the journal's."""
    folder = tmp_path_factory.mktemp("fafa")
    write_set(folder, 40, long_px=160)
    return folder


def test_the_layout_is_the_journals(written: Path) -> None:
    rows = json.loads((written / "metadata.json").read_text())
    assert len(rows) == 40 and all(list(row) == ["filename", "tags", "width", "height"] for row in rows)
    first = rows[0]
    assert first["filename"].startswith("set-1/1-anna-") and first["tags"][:2] == ["1", "anna"]
    assert first["tags"][-1] == "set_1" and {first["width"], first["height"]} == {427, 640}
    for row in rows:
        with Image.open(written / row["filename"]) as image:
            assert (image.width > image.height) == (row["width"] > row["height"])


def test_a_folder_of_them_has_the_same_names_tags_and_pictures(written: Path, settings: Settings, people: Any) -> None:
    given = {"size": SIZE, "resize": "pad", "pad_value": 0}
    read = open_data(settings("folder", path=str(written), name_tags=True, **given), progress=False)
    drawn = people(args={"count": 40}, **given)
    assert read.fields["id"] == drawn.fields["id"]
    assert [set(tags) for tags in read.fields["tags"]] == [set(tags) for tags in drawn.fields["tags"]]
    np.testing.assert_array_equal(read.fields["box"], drawn.fields["box"])
    assert np.abs(read.images.astype(float) - drawn.images).mean() < 2


@pytest.mark.parametrize(
    "filters",
    [
        {"include": ["standing"]},
        {"include": ["sitting", "lying"], "exclude": ["watermark"]},
        {"orientation": "portrait", "exclude": ["set_2", "duo"]},
        {"orientation": "landscape"},
    ],
)
@pytest.mark.parametrize("name_tags", [True, False])
def test_filters_choose_the_same_of_files_and_drawings(
    written: Path, settings: Settings, filters: dict[str, Any], name_tags: bool
) -> None:
    """With the list of tags alone, and with the words of the names beside it."""
    files = Folder(settings("folder", path=str(written), name_tags=name_tags, **filters)).items()
    drawn = People(settings("people", args={"count": 40, "seed": 0}, **filters)).items()
    assert [item.id for item in files.items] == [item.id for item in drawn.items]
    assert 0 < len(files.items) < 40


def test_a_picture_that_is_only_listed_and_one_that_is_not(written: Path, settings: Settings, tmp_path: Path) -> None:
    """Unlisted files keep the tags of their names; listed ones that are gone are told, and passed over if asked to."""
    folder = tmp_path / "set"
    write_set(folder, 12, long_px=40)
    rows = json.loads((folder / "metadata.json").read_text())
    unlisted, gone = rows[0]["filename"], rows[1]["filename"]
    (folder / "metadata.json").write_text(json.dumps(rows[1:]))
    (folder / gone).unlink()
    cfg = settings("folder", path=str(folder), name_tags=True, size=8)
    item = next(item for item in Folder(cfg).items().items if item.id == unlisted)
    assert {"anna", rows[0]["tags"][2], "set-1"} <= set(item.tags) and "set_1" not in item.tags
    with pytest.raises(UserError, match=rf"1 of 12 pictures cannot be used: 1 missing file\n  {gone}"):
        open_data(cfg, progress=False)
    allowed = cfg.model_copy(update={"on_bad": "skip", "max_bad_fraction": 0.1})
    assert open_data(allowed, progress=False).count == 11
