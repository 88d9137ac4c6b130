"""Faces by identity, pose and light: drawn ones, and files in Multi-PIE's own layout."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gansweep.data import Batches, Dataset, open_data
from gansweep.data.columns import Repeated
from gansweep.data.faces import CAMERAS, LIGHTS, YAW_DEG, Face, few, parsed
from gansweep.data.head_drawing import albedo_of, lit, look_at, shadow_map
from gansweep.data.head_shape import Person
from gansweep.data.heads import Heads, contour_mask, light_of
from gansweep.data.relations import uniform
from gansweep.data.source import Item
from gansweep.errors import UserError

from .conftest import Settings

SIZE = 24


@pytest.fixture(scope="session")
def drawn_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that all tests share: drawing takes seconds."""
    return tmp_path_factory.mktemp("heads")


@pytest.fixture
def heads(settings: Settings, drawn_once: Path) -> Any:
    """Open a few small heads; `args` are completed from conf."""

    def make(**changes: Any) -> Dataset:
        args = {**settings("heads").args, "people": 4, **changes.pop("args", {})}
        few = {"size": SIZE, "val_fraction": 0.25, "cache_dir": str(drawn_once), "args": args}
        return open_data(settings("heads", **{**few, **changes}), progress=False)

    return make


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three subjects, one in two sessions, from three cameras under two lights, in Multi-PIE's own folders."""
    root = tmp_path / "multipie"
    for subject, session in (("007", "01"), ("138", "01"), ("138", "02"), ("250", "03")):
        for camera in ("051", "140", "090"):
            for light in ("07", "09"):
                face = Face(subject, session, "02", camera, light)
                path = (
                    root / f"session{session}" / "multiview" / subject / "02" / f"{camera[:2]}_{camera[2]}" / face.name
                )
                path.parent.mkdir(parents=True, exist_ok=True)
                shade = int(subject) // 2 + int(session) * 10 + int(light)
                Image.new("RGB", (40, 30), (shade, CAMERAS.index(camera), int(session))).save(path)
    return root


# Names


def test_names_say_who_from_where_under_what() -> None:
    face = parsed("session01/138_01_02_051_07.png")
    assert face == ("138", "01", "02", "051", "07") and face.name == "138_01_02_051_07.png"
    assert face.tags == ("subject138", "cam051", "light07", "frontal")
    for name in ("138_01_02_051.png", "138_01_02_051_20.png", "138_01_02_052_07.png", "a138_01_02_051_07.png"):
        assert parsed(name) is None


def test_poses_are_numbered_as_the_journals_were() -> None:
    assert CAMERAS[:9] == ("080", "130", "140", "051", "050", "041", "190", "090", "200")
    assert list(YAW_DEG.values()) == [45, 30, 15, 0, -15, -30, -45, 60, -60] and len(CAMERAS) == 15


@pytest.mark.parametrize("limit", [1, 2, 5, 17, 90, 719])
def test_a_limit_keeps_targets_and_a_smaller_one_keeps_fewer_of_the_same(limit: int) -> None:
    faces = [Face(f"{n:03d}", "01", "01", c, light) for n in range(4) for c in sorted(YAW_DEG) for light in LIGHTS]
    items = [Item(face.name, face.subject, tags=face.tags) for face in faces]
    kept, more = few(items, limit), few(items, limit + 1)
    assert len(kept) == limit and set(kept) < set(more) and few(items, None) == items
    assert {item.group for item in kept} == {item.group for item in kept if item.id.endswith("051_09.png")}
    people = len({item.group for item in kept})
    assert people >= min(4, int(limit**0.5))
    assert {item.group for item in few(items, limit, "03") if item.id.endswith("051_03.png")} == {
        item.group for item in kept
    }


def test_a_limited_set_has_targets_and_pairs(heads: Any) -> None:
    dataset = heads(limit=24, args={"target_light": 3})
    rows = np.arange(24)
    target = dataset.related("target", rows, 0, 0)
    assert set(dataset.fields["light"][target]) == {3}
    pairs = np.stack([dataset.related("pair", rows, 0, index) for index in range(50)])
    same = (dataset.fields["identity"][pairs] == dataset.fields["identity"]) & (pairs != rows)
    assert same.mean() > 0.5


# Drawing


@functools.cache
def drawn(person: int, yaw_deg: float, light: str, size_px: int = 48) -> np.ndarray:
    who = Person.of(0, person)
    return lit(look_at(who, yaw_deg, size_px), light_of(light), shadow_map(who, light_of(light)))


def test_a_picture_is_the_same_to_the_byte_every_time() -> None:
    once = drawn(1, 30, "04")
    drawn.cache_clear()
    np.testing.assert_array_equal(drawn(1, 30, "04"), once)
    assert once.shape == (3, 48, 48) and once.dtype == np.uint8


@pytest.mark.parametrize("size_px", [16, 33, 40])
def test_any_size_is_drawn(size_px: int) -> None:
    large, small = drawn(2, 0, "09", 96).astype(float), drawn(2, 0, "09", size_px).astype(float)
    assert small.shape == (3, size_px, size_px)
    np.testing.assert_allclose(small.mean(axis=(1, 2)), large.mean(axis=(1, 2)), atol=4)


def test_light_falls_from_where_it_stands() -> None:
    """Codes go from left to right; the even ones stand higher, so that the brow is brighter than the chin."""
    for person in range(3):
        left, right, above, level = (
            drawn(person, 0, light).astype(float).sum(axis=0) for light in ("01", "19", "08", "09")
        )
        half = left.shape[1] // 2
        assert left[:, :half].mean() > 1.05 * left[:, half:].mean()
        assert right[:, half:].mean() > 1.05 * right[:, :half].mean()
        assert above[34:40, 16:32].mean() < level[34:40, 16:32].mean()


def test_heads_turn_with_the_camera_and_both_sides_mirror() -> None:
    """A front light by symmetry: the view from 30 degrees left is about the mirrored one from 30 degrees right."""
    who = Person.of(0, 2)  # bald, hence symmetric
    views = {yaw: albedo_of(look_at(who, yaw, 48)) for yaw in (-60, -30, 0, 30, 60)}
    for yaw in (30, 60):
        assert np.abs(views[yaw] - views[-yaw][..., ::-1]).mean() < 0.005
        assert np.abs(views[yaw] - views[0]).mean() > 0.015
    assert np.abs(views[60] - views[0]).mean() > np.abs(views[30] - views[0]).mean()


def test_people_differ_more_than_nothing_and_seeds_make_others() -> None:
    front = [drawn(person, 0, "09").astype(float) for person in range(6)]
    apart = [np.abs(a - b).mean() for i, a in enumerate(front) for b in front[:i]]
    assert min(apart) > 3
    assert Person.of(0, 1).size != Person.of(1, 1).size and Person.of(0, 1).size == Person.of(0, 1).size


def test_contours_weigh_five_on_their_share_of_the_pixels() -> None:
    mask = contour_mask([Person.of(0, 1), Person.of(0, 2)], 48)
    assert mask.shape == (1, 48, 48) and set(np.unique(mask)) == {1, 5}
    assert abs((mask == 5).mean() - 0.139) < 0.001
    assert (mask[0, :4, :4] == 1).all() and (mask[0, 15:40, 12:36] == 5).mean() > 0.139


# The set of heads


def test_the_whole_grid_is_there_and_split_by_person(heads: Any) -> None:
    dataset = heads()
    assert dataset.count == 4 * 9 * 20 and dataset.images.shape[1:] == (3, SIZE, SIZE)
    for row in (0, 333, 719):
        face = parsed(dataset.fields["id"][row])
        assert face is not None
        numbers = [int(dataset.fields[name][row]) for name in ("identity", "pose", "light")]
        assert numbers == [int(face.subject) - 1, CAMERAS.index(face.camera), int(face.light)]
    held_out = {dataset.fields["group"][row] for row in dataset.split("val")}
    assert 0 < len(held_out) < 4 and len(dataset.split("val")) == 180 * len(held_out)
    assert dataset.label_names == list(CAMERAS[:9])
    np.testing.assert_array_equal(dataset.fields["label"], dataset.fields["pose"])


def test_the_target_is_the_frontal_standard_light_picture(heads: Any) -> None:
    dataset = heads()
    rows = np.arange(dataset.count)
    target = dataset.related("target", rows, 0, 0)
    assert (dataset.fields["identity"][target] == dataset.fields["identity"]).all()
    assert set(dataset.fields["pose"][target]) == {3} and set(dataset.fields["light"][target]) == {9}
    fields = (
        "image",
        "target.image",
        "pair.image",
        "pair_target.image",
        "real.image",
        "mask",
        "identity",
        "pose",
        "light",
    )
    batch = Batches(dataset, dataset.split("train"), 8, 0, fields=fields).batch(0)
    assert batch["mask"].shape == (8, 1, SIZE, SIZE) and set(batch["mask"].unique().tolist()) == {1.0, 5.0}
    assert batch["pair_target.image"].shape == (8, 3, SIZE, SIZE)


def test_random_light_targets_are_drawn_anew(heads: Any) -> None:
    dataset = heads(args={"target_light": "random"})
    rows = np.arange(dataset.count)
    draws = np.stack([dataset.related("target", rows, 0, index) for index in range(30)])
    assert (dataset.fields["pose"][draws] == 3).all() and len(np.unique(dataset.fields["light"][draws])) == 20
    assert (dataset.fields["identity"][draws] == dataset.fields["identity"]).all()


def test_pairs_are_the_journals(settings: Settings) -> None:
    """The siamese note's figures for 200 people: same identity 0.502, light 0.524, pose 0.055, phi of the two 0.95."""
    reader = Heads(settings("heads"))
    names = [item.id for item in reader.items().items]
    faces = [face for face in map(parsed, names) if face]
    numbers = [reader.numbers(face) for face in faces]
    fields = {name: np.array([one[name] for one in numbers]) for name in ("identity", "pose", "light")}
    rows, held_out = np.arange(len(names)), np.zeros(len(names), dtype=np.bool_)
    pair = reader.relations({"id": names, **fields})["pair"].pick(
        rows, held_out, "pair", functools.partial(uniform, 0, 0)
    )
    same = {name: values[pair] == values for name, values in fields.items()}
    for name, share in (("identity", 0.502), ("light", 0.524), ("pose", 0.055)):
        assert abs(same[name].mean() - share) < 0.01, name
    assert abs(np.corrcoef(same["identity"], same["light"])[0, 1] - 0.95) < 0.01
    assert (pair != rows).all()
    steps = np.abs(fields["pose"][pair] - fields["pose"])[same["identity"] & same["light"]]
    assert (steps == 1).mean() > 0.99  # the others met by chance


@pytest.mark.parametrize(
    ("real", "poses", "lights"), [("any", 9, 20), ("frontal", 1, 20), ("standard", 1, 1), ("target", 1, 1)]
)
def test_what_the_discriminator_is_shown(heads: Any, real: str, poses: int, lights: int) -> None:
    dataset = heads(args={"real": real})
    rows = np.arange(dataset.count)
    draws = np.stack([dataset.related("real", rows, 0, index) for index in range(20)])
    assert len(np.unique(dataset.fields["pose"][draws])) == poses
    assert len(np.unique(dataset.fields["light"][draws])) == lights
    same = (dataset.fields["identity"][draws] == dataset.fields["identity"]).mean()
    assert same == 1 if real == "target" else 0.2 < same < 0.8


def test_arguments_that_only_relate_do_not_draw_anew(heads: Any, tmp_path: Path) -> None:
    alike = {"limit": 2, "cache_dir": str(tmp_path / "cache")}
    first = heads(**alike).fingerprint
    for args in ({"real": "frontal"}, {"pair": "random"}, {"target_light": "random"}):
        assert heads(**alike, args=args).fingerprint == first
    assert len([path for path in (tmp_path / "cache").iterdir() if path.is_dir()]) == 1
    for args in ({"seed": 1}, {"mask": "own"}, {"label": "light"}):
        assert heads(**alike, args=args).fingerprint != first


def test_masks_are_common_or_ones_own_and_kept_once(heads: Any, tmp_path: Path) -> None:
    common, own = (
        heads(args={"mask": mask}, include=["light00"], size=48).stored("mask") for mask in ("common", "own")
    )
    assert isinstance(common, Repeated) and len(common.values) == 1
    assert isinstance(own, Repeated) and len(own.values) == 4
    assert not np.array_equal(own.values[0], own.values[1])
    weights = np.random.default_rng(0).random((SIZE, SIZE, 3))
    np.save(tmp_path / "mask_20.npy", weights)
    given = heads(args={"mask": str(tmp_path / "mask_20.npy")}, limit=4).column("mask")
    np.testing.assert_allclose(given[2], weights.transpose(2, 0, 1), rtol=1e-6)


@pytest.mark.parametrize("shape", [(SIZE, 25), (2, SIZE, SIZE), (SIZE,)])
def test_a_mask_of_the_wrong_size_is_named(heads: Any, tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "mask_20.npy", np.ones(shape))
    with pytest.raises(
        UserError, match=rf"data.args.mask=.*mask_20.npy is .*, where data.size={SIZE} asks for 24 x 24"
    ):
        heads(args={"mask": str(tmp_path / "mask_20.npy")})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"args": {"poeple": 3}}, "data.args.poeple is unknown; did you mean 'people'"),
        ({"args": {"people": 0}}, "data.args.people=0 is out of range: 1 to 999"),
        ({"args": {"real": "frontl"}}, "data.args.real=frontl is unknown; did you mean 'frontal'"),
        ({"args": {"target_light": 20}}, "data.args.target_light=20 is no light: 0 to 19, or random"),
        ({"args": {"mask": "nowhere.npy"}}, "data.args.mask=nowhere.npy cannot be read"),
        ({"size": 8}, "data.size=8 is too small for a face: 16 or more"),
        ({"include": ["cam052"]}, "data.include: no picture has the tag 'cam052'"),
    ],
)
def test_what_cannot_be_drawn_is_told(heads: Any, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        heads(**changes)
    assert "\n" not in str(caught.value)


def test_tags_that_leave_the_target_out_are_told(heads: Any) -> None:
    dataset = heads(include=["cam080"], limit=12)
    said = "080_.*png of heads .* has no 'target': among .* none is of that subject .*, from camera 051 under light 09"
    with pytest.raises(UserError, match=said):
        Batches(dataset, dataset.split("train"), 2, 0, fields=("target.image",))


def test_grey_heads_have_one_channel(heads: Any) -> None:
    assert heads(channels=1, limit=3).images.shape == (3, 1, SIZE, SIZE)


def test_a_folder_written_by_heads_is_read_by_multipie(heads: Any, settings: Settings, tmp_path: Path) -> None:
    dataset = heads(limit=12)
    for name, pixels in zip(dataset.fields["id"], dataset.images, strict=True):
        path = tmp_path / "drawn" / name[:3] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.transpose(1, 2, 0)).save(path)
    read = open_data(settings("multipie", path=str(tmp_path / "drawn"), size=SIZE, val_fraction=0.25), progress=False)
    assert [Path(name).name for name in read.fields["id"]] == dataset.fields["id"]
    np.testing.assert_array_equal(read.images, dataset.images)
    for name in ("pose", "light"):
        np.testing.assert_array_equal(read.fields[name], dataset.fields[name])
    digest = hashlib.sha256(read.images.tobytes()).hexdigest()
    assert digest == hashlib.sha256(dataset.images.tobytes()).hexdigest()


# Multi-PIE's files


def test_files_become_columns_and_sessions_keep_their_own_target(settings: Settings, folder: Path) -> None:
    dataset = open_data(settings("multipie", path=str(folder), size=16, val_fraction=0.3), progress=False)
    assert dataset.count == 4 * 3 * 2 and sorted(set(dataset.fields["group"])) == ["007", "138", "250"]
    assert sorted(set(dataset.fields["identity"])) == [0, 1, 2] and set(dataset.fields["pose"]) == {2, 3, 7}
    assert dataset.label_names == list(CAMERAS[:8]) and "mask" not in dataset.fields
    rows = np.arange(dataset.count)
    target = dataset.related("target", rows, 0, 0)
    faces = [parsed(name) for name in dataset.fields["id"]]
    for row in rows:
        face, found = faces[row], faces[target[row]]
        assert face and found and found == face._replace(camera="051", light="09")
    wrong = dataset.related("wrong", dataset.split("train"), 0, 0)
    assert (dataset.fields["identity"][wrong] != dataset.fields["identity"][dataset.split("train")]).all()


def test_names_that_say_nothing_are_unusable_pictures(settings: Settings, folder: Path) -> None:
    Image.new("RGB", (20, 20)).save(folder / "holiday.png")
    with pytest.raises(UserError, match=r"1 of 25 pictures cannot be used: 1 not named as Multi-PIE's\n  holiday.png"):
        open_data(settings("multipie", path=str(folder), size=16), progress=False)
    allowed = settings("multipie", path=str(folder), size=16, on_bad="skip", max_bad_fraction=0.1)
    assert open_data(allowed, progress=False).count == 24


def test_one_picture_in_two_folders_is_told(settings: Settings, folder: Path) -> None:
    Image.new("RGB", (20, 20)).save(folder / "007_01_02_051_07.png")
    with pytest.raises(UserError, match=r"session01/.*_051_07.png and 007_01_02_051_07.png in .* are one picture"):
        open_data(settings("multipie", path=str(folder), size=16), progress=False)


def test_a_set_must_be_there_and_be_one(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data=multipie needs to be told where: data.path=FOLDER"):
        open_data(settings("multipie"))
    (tmp_path / "other").mkdir()
    Image.new("RGB", (20, 20)).save(tmp_path / "other" / "holiday.png")
    with pytest.raises(UserError, match=r"no picture is named as Multi-PIE's are, such as 138_01_01_051_07.png"):
        open_data(settings("multipie", path=str(tmp_path / "other")), progress=False)


def test_a_mask_file_becomes_a_column(settings: Settings, folder: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "mask_20.npy", np.where(np.eye(16) > 0, 5, 1))
    args = {**settings("multipie").args, "mask": str(tmp_path / "mask_20.npy")}
    dataset = open_data(settings("multipie", path=str(folder), size=16, args=args), progress=False)
    assert dataset.column("mask").shape == (24, 1, 16, 16) and dataset.column("mask").max() == 5
