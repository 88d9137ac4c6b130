"""The voice of espeak-ng: where the library is, by its own timing; where it is not, the built-in voice says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gansweep.data import open_data, talking
from gansweep.data.talking import Talking
from gansweep.data.talking_espeak import EnglishVoice, espeak, lips_of, speak_english
from gansweep.data.voice import SAMPLES, smooth_lips
from gansweep.errors import Missing

from .conftest import Settings

needs_espeak = pytest.mark.skipif(espeak() is None, reason="the library espeak-ng is not installed")


def test_phonemes_have_lips_whatever_their_stress() -> None:
    assert lips_of("p") == lips_of("b") == (0.0, 1.0)
    assert lips_of("'a") == lips_of(",aa") == lips_of("a") and lips_of("a")[0] == 1
    assert lips_of("'u:") == lips_of("u") and lips_of("u")[1] < 0.6
    assert lips_of("tS") == lips_of("S") != lips_of("t")
    assert lips_of("_:") == lips_of("_") == lips_of("") == (0.0, 1.0)


def test_lips_go_to_each_target_at_its_time() -> None:
    lips = smooth_lips([0.0, 0.5], np.array([[0.0, 1.0], [0.8, 0.6]]), 24)
    assert lips.shape == (24, 2) and lips.dtype == np.float32
    np.testing.assert_allclose(lips[:10], [[0.0, 1.0]] * 10, atol=0.01)
    np.testing.assert_allclose(lips[14:], [[0.8, 0.6]] * 10, atol=0.01)
    assert (np.diff(lips[:, 0]) >= 0).all()


def test_without_the_library_the_set_says_so_or_refuses(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talking, "espeak", lambda: None)
    there = Talking(settings("talking"))
    there.check()
    assert "voice: built-in syllables" in there.describe()
    assert there.stamp() == Talking(settings("talking", args={"voice": "syllables"})).stamp()
    with pytest.raises(Missing, match=r"data.args.voice=espeak: no library espeak-ng"):
        Talking(settings("talking", args={"voice": "espeak"})).check()


@needs_espeak
def test_english_opens_the_mouth_as_it_sounds_and_is_the_same_in_any_order() -> None:
    library = espeak()
    assert library is not None
    said = {}
    for number in (*range(4), *reversed(range(4))):
        random = np.random.Generator(np.random.PCG64(number))
        one = speak_english(library, EnglishVoice.of(random), 72, random)
        assert one.audio.shape == (72, SAMPLES) and len(one.words) >= 6
        np.testing.assert_array_equal(said.setdefault(number, one).audio, one.audio)
    loudness, lips, other = [], [], []
    for number, one in said.items():
        loudness.append(np.sqrt((one.audio**2).mean(axis=1)))
        lips.append(one.lips[:, 0])
        other.append(said[(number + 1) % 4].lips[:, 0])
        assert loudness[-1][-5:].max() < 0.02 and lips[-1][-5:].max() < 0.02
    own, wrong = (np.corrcoef(np.ravel(one), np.ravel(loudness))[0, 1] for one in (lips, other))
    assert own > 0.6 and wrong < own - 0.2  # sentences of one grammar begin and end alike


@needs_espeak
def test_a_set_is_spoken_by_the_library_where_there_is_one(settings: Settings, tmp_path: Path) -> None:
    found = []
    for workers in (1, 3):
        cfg = settings("talking", size=16, workers=workers, cache_dir=str(tmp_path / str(workers)),
                       args={"speakers": 2, "utterances": 2, "seconds": 1})  # fmt: skip
        dataset = open_data(cfg, progress=False)
        assert "voice: espeak-ng 1." in dataset.source
        found.append(dataset.fingerprint)
    assert found[0] == found[1]
