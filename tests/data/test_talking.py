"""Drawn people who speak: the voice, the faces, and the clips made of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gansweep.data import Batches, Dataset, open_data, verbs
from gansweep.data.clips import Mismatched, few
from gansweep.data.relations import NOBODY, uniform
from gansweep.data.source import Item
from gansweep.data.talking import Clip, Talking
from gansweep.data.talking_drawing import FlatFace, Looks, draw, looks
from gansweep.data.voice import RATE_HZ, SAMPLES, VOWELS, Voice, _filtered, _pulses, _resonances, speak
from gansweep.errors import UserError

from .conftest import Settings

SIZE = 24


def rng(*seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def loudness(audio: np.ndarray) -> np.ndarray:
    """Return the root mean square of every frame's sound."""
    return np.sqrt((audio.astype(np.float64) ** 2).mean(axis=-1))


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(first.reshape(-1), second.reshape(-1))[0, 1])


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("talking")


@pytest.fixture
def talking(settings: Settings, made_once: Path) -> Any:
    """Open four speakers with two utterances each, small; `args` are completed from conf."""

    def make(**changes: Any) -> Dataset:
        args = {
            **settings("talking").args,
            "speakers": 4,
            "utterances": 2,
            "voice": "syllables",
            **changes.pop("args", {}),
        }
        small = {"size": SIZE, "val_fraction": 0.1, "cache_dir": str(made_once), "args": args}
        return open_data(settings("talking", **{**small, **changes}), progress=False)

    return make


# Voice


def test_speech_is_cut_at_24_frames_a_second_and_ends_in_silence() -> None:
    for number in range(4):
        said = speak(Voice.of(rng(0, number)), 72, rng(number))
        assert SAMPLES == 666 == RATE_HZ // 24
        assert said.audio.shape == (72, 666) and said.audio.dtype == np.float32
        assert np.isfinite(said.audio).all() and 0.5 < np.abs(said.audio).max() < 1
        assert said.lips.shape == (72, 2) and said.lips[:, 0].min() >= 0 and 0.4 < said.lips[:, 0].max() <= 1
        assert 4 <= len(said.words) <= 20
        assert loudness(said.audio)[-5:].max() < 0.02 * loudness(said.audio).max()
        assert said.lips[-5:, 0].max() < 0.02
    with_nothing = speak(Voice.of(rng(0)), 3, rng(0))  # too short for a word
    assert with_nothing.words == () and loudness(with_nothing.audio).max() < 0.9


def test_the_same_seed_says_the_same_bytes_and_another_seed_other_words() -> None:
    voice = Voice.of(rng(3))
    once, again, other = (speak(voice, 48, rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(once.audio, again.audio)
    np.testing.assert_array_equal(once.lips, again.lips)
    assert once.words == again.words != other.words


@pytest.mark.parametrize("vowel", VOWELS)
def test_a_vowel_sounds_where_its_resonances_are(vowel: str) -> None:
    """Of 100 Hz's harmonics the strongest near F1 lies at F1, and two octaves above all four are many dB weaker."""
    formants = np.array(VOWELS[vowel].formants_hz, dtype=float)
    source = _pulses(np.full(RATE_HZ // 2, 100.0))
    hz = np.fft.rfftfreq(1024, 1 / RATE_HZ)
    sound = _filtered(source, _resonances(hz, np.tile(formants, (len(source) // 80 + 1, 1))))
    spectrum = np.abs(np.fft.rfft(sound[2000:6000] * np.hanning(4000)))
    flat = spectrum / np.abs(np.fft.rfft(source[2000:6000] * np.hanning(4000)))
    harmonics = np.arange(100, 4000, 100)
    gain = flat[np.rint(harmonics * 4000 / RATE_HZ).astype(int)]
    near = (harmonics > 200) & (harmonics < formants[0] + 250)
    assert abs(harmonics[near][gain[near].argmax()] - formants[0]) <= 100
    for formant in formants:
        here, between = gain[np.abs(harmonics - formant) <= 60].max(), gain[np.abs(harmonics - 3950) <= 60].max()
        assert here > between


# Speech against pictures


def test_the_mouth_opens_with_loudness_and_with_no_other_sound() -> None:
    right, wrong, shifted = [], [], []
    said = [speak(Voice.of(rng(0, number)), 72, rng(0, number, 1)) for number in range(8)]
    for number, one in enumerate(said):
        right.append(correlation(one.lips[:, 0], loudness(one.audio)))
        wrong.append(correlation(one.lips[:, 0], loudness(said[number - 1].audio)))
        shifted.append(correlation(one.lips[:, 0], np.roll(loudness(one.audio), 10)))
    assert min(right) > 0.6
    assert abs(float(np.mean(wrong))) < 0.35 and abs(float(np.mean(shifted))) < 0.35


def test_it_is_so_in_the_pixels_of_the_clips(talking: Any) -> None:
    """How far the mouth's place is from the still, against loudness: its own clip's, and the wrong one's."""
    dataset = talking(size=48)
    frames = dataset.column("frames").astype(float)
    still, lips, audio = (dataset.column(name) for name in ("still", "lips", "audio"))
    # From the mouth's place down to the chin: rows 0.3 to 0.85 of face units, columns -0.35 to 0.35.
    crop = (..., slice(31, 45), slice(15, 33))
    moved = np.abs(frames - still[:, None])[crop].mean(axis=(-3, -2, -1))
    rows = np.arange(dataset.count)
    other = dataset.related("wrong", rows, 0, 0)
    assert correlation(moved, lips[..., 0]) > 0.85
    assert correlation(moved, loudness(audio)) > 0.6
    assert correlation(moved, loudness(audio[other])) < 0.3
    by_speaker = [
        correlation(moved[of], loudness(audio[of])) for of in (dataset.column("identity") == n for n in range(4))
    ]
    assert min(by_speaker) > 0.6


# Faces


def test_lips_open_close_and_round(size_px: int = 64) -> None:
    face = FlatFace.of(rng(0, 1))
    lips = np.array([[0.0, 1.0], [1.0, 1.0], [1.0, 0.5]])
    closed, wide, round_ = draw(face, Looks(lips, np.ones(3), np.zeros(3)), size_px).astype(float).sum(axis=1)
    np.testing.assert_array_equal(closed[: size_px // 2], wide[: size_px // 2])
    dark = [one[size_px // 2 :, 16:48] < 110 for one in (closed, wide, round_)]
    assert dark[1].sum() > dark[0].sum() + 20
    assert dark[1].any(axis=0).sum() > dark[2].any(axis=0).sum() + 3


def test_eyes_close_and_blink_now_and_then_but_not_in_the_still() -> None:
    face, lips = FlatFace.of(rng(0, 1)), np.tile([0.0, 1.0], (2, 1))
    opened, shut = draw(face, Looks(lips, np.array([1.0, 0.0]), np.zeros(2)), 64).astype(float)
    assert np.abs(opened - shut)[:, :32].max() > 90 and (opened == shut)[:, 36:].all()
    blinks = [(looks(np.zeros((72, 2)), rng(seed)).eyes == 0).sum() for seed in range(40)]
    assert 0.4 < np.mean(blinks) < 3 and min(blinks) == 0
    assert all(looks(np.zeros((72, 2)), rng(seed)).eyes[-5] == 1 for seed in range(40))


@pytest.mark.parametrize("size_px", [16, 33, 100])
def test_any_size_is_drawn(size_px: int) -> None:
    for number in range(3):
        face, moving = FlatFace.of(rng(0, number)), Looks(np.array([[0.7, 1.2]]), np.ones(1), np.ones(1))
        small, large = (draw(face, moving, px)[0].astype(float) for px in (size_px, 128))
        assert small.shape == (3, size_px, size_px)
        np.testing.assert_allclose(small.mean(axis=(1, 2)), large.mean(axis=(1, 2)), atol=4)


# Clips


def test_columns_are_what_a_talking_face_asks_for(talking: Any) -> None:
    dataset = talking()
    assert dataset.count == 4 * 2 * 14 and len(dataset.split("val")) == 28
    fields = ("still", "frames", "audio", "wrong.audio")
    batch = Batches(dataset, dataset.split("train"), 8, 0, fields=fields).batch(0)
    shapes = {name: tuple(value.shape) for name, value in batch.items()}
    assert shapes == {
        "index": (8,), "still": (8, 1, SIZE, SIZE), "frames": (8, 5, 1, SIZE, SIZE), "audio": (8, 5, 666),
        "wrong.audio": (8, 5, 666),
    }  # fmt: skip
    assert all(value.is_floating_point() for name, value in batch.items() if name != "index")
    assert -1 <= batch["frames"].min() < -0.3 and 0.3 < batch["frames"].max() <= 1
    assert (batch["audio"] != batch["wrong.audio"]).any(dim=-1).all()
    np.testing.assert_array_equal(dataset.images, dataset.column("frames")[:, 2])
    assert dataset.column("lips").shape == (112, 5, 2)
    assert dataset.column("identity").tolist() == [number for number in range(4) for _ in range(28)]


def test_clips_are_cut_from_one_utterance(talking: Any) -> None:
    """With a stride of 2, a clip's third frame is the next one's first, in picture and sound; they share a still."""
    dataset = talking(channels=3, args={"stride": 2, "frames": 4, "seconds": 1, "speakers": 1})
    assert dataset.count == 2 * 11 and dataset.fields["id"][1] == Clip(0, 0, 2).name == "s001_u001_f0002"
    for name in ("frames", "audio", "lips"):
        column = dataset.column(name)
        np.testing.assert_array_equal(column[:10, 2:], column[1:11, :2])
    still, frames = dataset.column("still"), dataset.column("frames")
    np.testing.assert_array_equal(still[:11], np.repeat(frames[9:10, 1], 11, axis=0))  # 19 of 24
    np.testing.assert_array_equal(still[0], still[11])  # lips closed, eyes open: it tells nothing of what was said


def test_a_set_is_the_same_to_the_byte_whoever_makes_it(settings: Settings, tmp_path: Path) -> None:
    found = []
    for number, (workers, seed) in enumerate(((1, 0), (3, 0), (1, 1))):
        args = {"speakers": 2, "utterances": 2, "seconds": 1, "seed": seed, "voice": "syllables"}
        changes = {"size": 16, "workers": workers, "args": args, "cache_dir": str(tmp_path / str(number))}
        found.append(open_data(settings("talking", **changes), progress=False).fingerprint)
    assert found[0] == found[1] != found[2]


def test_speakers_look_and_sound_unlike_each_other_and_say_different_things(talking: Any) -> None:
    dataset = talking()
    still, audio = dataset.column("still").astype(float), dataset.column("audio")
    faces = [still[28 * number] for number in range(4)]
    assert min(np.abs(a - b).mean() for i, a in enumerate(faces) for b in faces[:i]) > 8
    assert len({audio[14 * number : 14 * number + 14].tobytes() for number in range(8)}) == 8


# The wrong speech


def test_the_wrong_speech_asks_for_other_lips_on_the_same_side(talking: Any) -> None:
    dataset = talking()
    rows = np.arange(dataset.count)
    opening = dataset.column("lips")[..., 0]
    found = np.stack([dataset.related("wrong", rows, 0, index) for index in range(20)])
    assert (found != rows).all() and (dataset.held_out[found] == dataset.held_out).all()
    distance = np.abs(opening[found] - opening).mean(axis=-1)
    assert (distance > 0.05).mean() > 0.99 and (distance >= 0.15).mean() > 0.95
    assert len(set(found[:, 0].tolist())) > 5
    np.testing.assert_array_equal(found[0], dataset.related("wrong", rows, 0, 0))
    np.testing.assert_array_equal(found[0][40:43], dataset.related("wrong", rows[40:43], 0, 0))


def test_who_is_alone_finds_no_wrong_speech() -> None:
    relation = Mismatched(np.array([[0.0], [0.1], [0.9]]))
    sides = np.array([False, True, True])
    found = relation.pick(np.arange(3), sides, "wrong", lambda purpose, of: uniform(0, 0, purpose, of))
    assert found.tolist() == [NOBODY, 2, 1] and not relation.crosses(sides)


# Settings


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"speaker": 3}, r"data.args.speaker is unknown.*'speakers'"),
        ({"speakers": 0}, r"data.args.speakers=0 is out of range: a whole number, 1 to 999"),
        ({"seconds": 2.5}, r"data.args.seconds=2.5 is out of range"),
        ({"frames": 100}, r"data.args.frames=100 is out of range: a whole number, 1 to 72"),
        ({"voice": "mine"}, r"data.args.voice=mine is unknown.*auto"),
        ({"stride": 0}, r"data.args.stride=0 is out of range"),
    ],
)
def test_wrong_arguments_are_refused(settings: Settings, args: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Talking(settings("talking", args=args)).check()


def test_a_size_without_room_for_a_mouth_is_refused(settings: Settings) -> None:
    with pytest.raises(UserError, match=r"data.size=15 is too small"):
        Talking(settings("talking", size=15)).check()


@pytest.mark.parametrize("limit", [1, 5, 14, 30, 111])
def test_a_limit_keeps_whole_utterances_of_several_speakers(settings: Settings, limit: int) -> None:
    items = Talking(settings("talking", args={"speakers": 4, "utterances": 2})).items().items
    kept, more = few(items, limit), few(items, limit + 1)
    assert len(kept) == limit and set(kept) < set(more) and few(items, None) == items
    assert len({item.id[:9] for item in kept}) == -(-limit // 14)
    assert len({item.group for item in kept}) == {1: 1, 5: 1, 14: 1, 30: 2, 111: 4}[limit]


def test_tags_select_speakers_and_utterances(settings: Settings) -> None:
    chosen = Talking(settings("talking", include=["speaker003"], exclude=["u002"])).items().items
    assert {item.id[:9] for item in chosen} == {f"s003_u{n:03d}" for n in (1, *range(3, 9))}
    assert isinstance(chosen[0], Item) and chosen[0].group == "s003"


def test_the_card_says_procedural_and_what_the_still_alone_reaches(
    settings: Settings, talking: Any, tmp_path: Path
) -> None:
    dataset = talking()
    config = settings(
        "talking", size=SIZE, val_fraction=0.25, cache_dir=str(tmp_path),
        args={"speakers": 2, "utterances": 1, "seconds": 1, "voice": "syllables"},
    )  # fmt: skip
    text = verbs.card(config, progress=False)
    assert "procedural   drawn by a program" in text and "voice: built-in syllables" in text
    assert "repeat the still  MSE 0.0" in text and "its lower half  MSE 0.0" in text
    error = dataset.column("still").astype(float)[:, None] - dataset.column("frames")
    assert 0 < np.abs(error / 127.5).mean() < 0.05
