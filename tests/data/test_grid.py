"""Recorded people, in the exact layouts of GRID: frames and sound come back together, and what is broken is told of."""

from __future__ import annotations

import builtins
import csv
import pickle
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gansweep.data import Batches, Dataset, open_data, verbs
from gansweep.data.clips import named
from gansweep.data.grid import Grid
from gansweep.data.grid_layout import recordings, speaker_rule
from gansweep.data.grid_video import Film
from gansweep.data.source import BadPicture
from gansweep.errors import Missing, UserError

from .conftest import Settings
from .films import HEIGHT, SAMPLES, WIDTH, arrays, film, loudness, numbers, pictures, sound, wav

SIZE = 16


@pytest.fixture
def opened(settings: Settings, tmp_path: Path) -> Callable[..., Dataset]:
    """Open what lies in `films` of the test's own folder, small, whole frames stretched to the square."""

    def make(**changes: Any) -> Dataset:
        small = {"path": str(tmp_path / "films"), "size": SIZE, "resize": "stretch", "val_fraction": 0}
        args = {**settings("grid").args, **changes.pop("args", {})}
        return open_data(settings("grid", **{**small, **changes, "args": args}), progress=False)

    return make


@pytest.fixture
def films(tmp_path: Path) -> Path:
    folder = tmp_path / "films"
    folder.mkdir()
    return folder


def clip(folder: Path, frames: int = 24, samples: int | None = None, seed: int = 0) -> Path:
    """A clip of arrays of so many frames, with its sound or one of another length."""
    loud = loudness(seed)
    count = frames * SAMPLES if samples is None else samples
    return arrays(folder, pictures(np.arange(frames) / 24, loud), sound(count / 16_000, loud)[:count])


def whole(dataset: Dataset, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the frames (F, S, S) and the sound (F, 666) of a recording, put together from its clips."""
    rows = [row for row, one in enumerate(dataset.fields["id"]) if named(one)[0] == name]
    firsts = [named(dataset.fields["id"][row])[1] for row in rows]
    assert firsts == list(range(0, 5 * len(rows), 5))
    frames, audio = dataset.column("frames")[rows], dataset.column("audio")[rows]
    return frames.reshape(-1, SIZE, SIZE).astype(float), audio.reshape(-1, SAMPLES)


def correlation(brightness: np.ndarray, heard: np.ndarray, lag: int) -> float:
    """Of brightness with how loud the sound is `lag` frames later."""
    level = np.sqrt((heard.astype(float) ** 2).mean(axis=1))
    inner = slice(4, len(level) - 4)
    return float(np.corrcoef(brightness[inner], np.roll(level, -lag)[inner])[0, 1])


def listed() -> list[dict[str, str]]:
    with Path("bad_files.csv").open(newline="") as file:
        return list(csv.DictReader(file))


# Films


@pytest.mark.parametrize(
    ("name", "fps", "sound_at"),
    [
        ("s1_a.mov", 24, "s1_a.wav"),
        ("front/s1_a.mov", 24, "audio/s1_a.wav"),
        ("s1_a.MP4", 25, None),
        ("s1_a.mpg", 25, None),
        ("s1/s1_a.avi", Fraction(30000, 1001), None),
        ("s1_a.mkv", 50, None),
    ],
)
def test_frames_and_sound_of_a_film_come_back_together(
    opened: Any, films: Path, name: str, fps: Any, sound_at: str | None
) -> None:
    """The upper half of a frame has its number, the lower how loud it is then; 2.6 s, of which 60 frames are read."""
    pytest.importorskip("av")
    loud = loudness(1)
    times_s = np.arange(int(2.6 * fps)) / float(fps)
    inside = sound(2.6, loud, 44_100)
    film(films / name, pictures(times_s, loud), fps, None if sound_at else inside)
    if sound_at:
        wav(films / sound_at, sound(2.6, loud, 48_000), 48_000, channels=2)
    dataset = opened()
    assert dataset.count == 12 and dataset.manifest["skipped"] == []
    frames, heard = whole(dataset, name)
    wanted_s = np.arange(60) * SAMPLES / 16_000
    nearest = np.abs(times_s[None] - wanted_s[:, None]).argmin(axis=1)
    assert np.abs(numbers(frames) - nearest).max() <= (0 if fps in (24, 25, 50) else 1)
    brightness = frames[:, 10:14].mean(axis=(1, 2))
    at_lags = [correlation(brightness, heard, lag) for lag in range(-3, 4)]
    assert int(np.argmax(at_lags)) in ((3,) if fps == 24 else (3, 2, 4)) and at_lags[3] > 0.97
    level = np.sqrt((heard.astype(float) ** 2).mean(axis=1)) / 0.8 * np.sqrt(2)
    np.testing.assert_allclose(level[4:-4], loud((np.arange(60) * SAMPLES + 333)[4:-4] / 16_000), atol=0.04)


def test_24_frames_a_second_are_taken_one_by_one(films: Path) -> None:
    pytest.importorskip("av")
    loud = loudness(0)
    path = film(films / "a.avi", pictures(np.arange(72) / 24, loud), 24, sound(3, loud, 16_000), 16_000)
    read = Film(path, path)
    extent = read.extent(_fit(), 60)
    assert round(extent.frames) == 72 and extent.sound_frames == pytest.approx(72.07, abs=0.1)
    assert extent.late_frames == 0
    found = numbers(np.stack([np.asarray(image) for image in read.frames(extent, 1)]))
    assert found[:72].tolist() == list(range(72))


def test_a_film_twice_as_slow_gives_each_frame_twice(films: Path) -> None:
    pytest.importorskip("av")
    path = film(films / "a.avi", pictures(np.arange(24) / 12, loudness(0)), 12, None)
    read = Film(path, wav(films / "a.wav", np.zeros(32_000, np.float32) + 0.1))
    extent = read.extent(_fit(), 60)
    found = numbers(np.stack([np.asarray(image) for image in read.frames(extent, 1)]))
    wanted_s = np.arange(47) * SAMPLES / 16_000
    assert found[:47].tolist() == [int(np.floor(12 * at + 0.5)) for at in wanted_s]


def test_sound_that_begins_late_is_silent_until_then(films: Path, opened: Any) -> None:
    av = pytest.importorskip("av")
    path, loud = films / "s1_a.mkv", loudness(0)
    with av.open(str(path), "w") as box:
        picture = box.add_stream("libx264", rate=24)
        picture.width, picture.height, picture.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        tone = box.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for number, pixels in enumerate(pictures(np.arange(48) / 24, loud)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = number
            box.mux(picture.encode(frame))
        box.mux(picture.encode())
        samples = av.AudioFrame.from_ndarray(np.full((1, 24_000), 9000, np.int16), format="s16", layout="mono")
        samples.sample_rate, samples.pts = 16_000, 8_000  # half a second, 12 frames
        box.mux(tone.encode(samples))
        box.mux(tone.encode())
    with pytest.raises(UserError, match="1 of 1 recordings cannot be used: 1 sound and picture differ in length"):
        opened()
    assert "begins 12.0 frames late" in Path("bad_files.csv").read_text()
    heard = whole(opened(max_av_gap_frames=13), "s1_a.mkv")[1].reshape(-1)
    assert not heard[:7900].any() and (np.abs(heard[8100:] - 9000 / 32768) < 0.01).all()


def test_a_film_is_turned_as_it_is_to_be_shown(films: Path) -> None:
    """The matrix of the track says: a quarter turn clockwise, as of a telephone held upright."""
    pytest.importorskip("av")
    frames = np.zeros((5, HEIGHT, WIDTH, 3), np.uint8)
    frames[:, :, : WIDTH // 2] = 250  # what was left is then above
    path = film(films / "a.mov", frames, 24, None)
    raw = bytearray(path.read_bytes())
    at = raw.index(b"tkhd") + 4 + 40
    one, minus = (1 << 16).to_bytes(4, "big"), (-(1 << 16)).to_bytes(4, "big", signed=True)
    raw[at : at + 20] = bytes(4) + one + bytes(4) + minus + bytes(4)
    path.write_bytes(raw)
    read = Film(path, wav(films / "a.wav", np.full(4000, 0.1, np.float32)))
    shown = np.asarray(next(iter(read.frames(read.extent(_fit(), 60), 1))))
    assert shown.shape == (WIDTH, HEIGHT)
    assert shown[: WIDTH // 2 - 4].min() > 200 and shown[WIDTH // 2 + 4 :].max() < 50


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        ("silent", "no sound"),
        ("sound only", "no picture in it"),
        ("cut", "truncated"),
        ("beginning", "damaged"),
        ("empty", "empty file"),
        ("text", "damaged"),
        ("playlist", "damaged"),
        ("sound cut", "sound and picture differ in length"),
        ("sound text", "damaged"),
        ("sound empty", "empty file"),
        ("short", "too short"),
        ("long", "too long"),
        ("flat", "too elongated"),
    ],
)
def test_a_film_that_cannot_be_used_is_told_by_its_name(opened: Any, films: Path, spoil: str, reason: str) -> None:
    av = pytest.importorskip("av")
    loud, count = loudness(0), {"short": 4, "long": 60}.get(spoil, 30)
    path, beside = films / "s1_bad.mkv", films / "s1_bad.wav"
    if spoil == "sound only":
        with av.open(str(path), "w") as box:
            tone = box.add_stream("pcm_s16le", rate=16_000, layout="mono")
            samples = av.AudioFrame.from_ndarray(np.ones((1, 9000), np.int16), format="s16", layout="mono")
            samples.sample_rate, samples.pts = 16_000, 0
            box.mux(tone.encode(samples))
    else:
        shown = pictures(np.arange(count) / 24, loud)
        shown = np.tile(shown, (1, 1, 9, 1)) if spoil == "flat" else shown
        film(path, shown, 24, None if spoil == "silent" else sound(count / 24, loud, 44_100))
    raw = path.read_bytes()
    if spoil == "cut":
        path.write_bytes(raw[: len(raw) // 3])
    if spoil == "beginning":
        path.write_bytes(bytes(len(raw)))
    if spoil == "empty":
        path.write_bytes(b"")
    if spoil == "text":
        path.write_text("<html>not found</html>")
    if spoil == "playlist":
        other = film(films.parent / "elsewhere.mp4", pictures(np.arange(48) / 24, loud), 24, sound(2, loud, 44_100))
        path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{other}\n#EXT-X-ENDLIST\n")
    if spoil.startswith("sound "):
        wav(beside, sound(count / 24, loud))
    if spoil == "sound cut":
        beside.write_bytes(beside.read_bytes()[:15_000])
    if spoil == "sound text":
        beside.write_text("no sound at all, and no header of one either")
    if spoil == "sound empty":
        beside.write_bytes(b"")
    if spoil == "sound only":
        beside.unlink(missing_ok=True)
    with pytest.raises(UserError, match=rf"1 of 1 recordings cannot be used: 1 {reason}") as caught:
        opened(args={"most_seconds": 2})
    assert caught.value.exit_code == 2 and "\n  s1_bad.mkv: " in str(caught.value)


def test_bytes_changed_at_random_are_a_broken_film_or_none(films: Path) -> None:
    """Never another error than the one that is told by file."""
    pytest.importorskip("av")
    random, loud = np.random.default_rng(1), loudness(0)
    for suffix in (".mov", ".mpg", ".mkv", ".avi"):
        path = film(films / f"a{suffix}", pictures(np.arange(25) / 25, loud), 25, sound(1, loud, 44_100))
        raw = path.read_bytes()
        for number in range(12):
            changed = bytearray(raw)
            within = 500 if number % 2 else len(raw)
            for place in random.integers(0, within, 1 + number):
                changed[place] = random.integers(0, 256)
            path.write_bytes(changed)
            read = Film(path, path)
            try:
                extent = read.extent(_fit(), 60)
                assert np.abs(read.audio(extent, 60)).max() <= 1
                for _ in read.frames(extent, 1):
                    pass
            except BadPicture:
                pass


def test_one_broken_film_among_others_is_left_out_counted_and_told(
    opened: Any, films: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Frames that turn out broken when they are decoded: the recording is one, not one for each of its clips."""
    pytest.importorskip("av")
    for number in range(3):
        loud = loudness(number)
        path = film(films / f"s{number}_a.avi", pictures(np.arange(48) / 24, loud), 24, sound(2, loud, 44_100))
    raw = bytearray(path.read_bytes())
    at = raw.index(b"movi") + 4
    first = raw.index(b"00dc", at)
    for place in range(first + 8, len(raw) - 64, 64):  # its packets stay where they are
        if b"dc" not in raw[place : place + 64] and b"wb" not in raw[place : place + 64]:
            raw[place : place + 64] = bytes(64)
    path.write_bytes(raw)
    with pytest.raises(UserError, match=r"1 of 3 recordings cannot be used: 1 (damaged|truncated)\n  s2_a.avi: "):
        opened()
    assert "data.on_bad=skip data.max_bad_fraction=0.34" in _message(opened)
    dataset = opened(on_bad="skip", max_bad_fraction=0.34)
    assert dataset.count == 18 and [one["path"] for one in dataset.manifest["skipped"]] == ["s2_a.avi"]
    assert "1 of 3 recordings cannot be used" in capsys.readouterr().err
    assert [row["path"] for row in listed()] == ["s2_a.avi"]


# Arrays


def test_arrays_come_back_to_the_byte(opened: Any, films: Path) -> None:
    random = np.random.default_rng(0)
    frames = random.integers(0, 256, (12, SIZE, SIZE, 3), dtype=np.uint8)
    heard = random.uniform(-1, 1, 12 * SAMPLES + 90).astype(np.float64)
    arrays(films / "s1_a", frames, heard)
    dataset = opened(channels=3)
    assert dataset.fields["id"] == ["s1_a_f0000", "s1_a_f0005"]
    found = dataset.column("frames").reshape(10, 3, SIZE, SIZE)
    np.testing.assert_array_equal(found, frames[:10].transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(dataset.column("audio").reshape(-1), heard[: 10 * SAMPLES].astype(np.float32))
    np.testing.assert_array_equal(dataset.column("still")[1], frames[7].transpose(2, 0, 1))  # the fifth from the end
    np.testing.assert_array_equal(dataset.images, dataset.column("frames")[:, 2])
    swapped = opened(channels=3, args={"colour": "rgb"}).column("frames").reshape(10, 3, SIZE, SIZE)
    np.testing.assert_array_equal(swapped, found[:, ::-1])
    level = np.sqrt((heard[: 12 * SAMPLES].reshape(12, SAMPLES) ** 2).mean(axis=1))
    np.testing.assert_allclose(dataset.column("loudness").reshape(-1), (level / level.max())[:10], rtol=1e-5)


def test_a_film_and_arrays_of_it_give_the_same(opened: Any, films: Path) -> None:
    pytest.importorskip("av")
    loud = loudness(3)
    shown, heard = pictures(np.arange(48) / 24, loud), sound(2, loud)
    film(films / "s1_film.mov", shown, 24, None)
    wav(films / "s1_film.wav", heard)
    arrays(films / "s1_arrays", shown, heard)
    dataset = opened()
    (seen, said), (seen_too, said_too) = (whole(dataset, name) for name in ("s1_film.mov", "s1_arrays"))
    np.testing.assert_allclose(seen, seen_too, atol=8)
    np.testing.assert_allclose(said, said_too, atol=1e-4)


def test_filenames_txt_says_which_clips_count_by_the_end_of_their_paths(opened: Any, films: Path) -> None:
    for name in ("one/s1_a", "one/s1_b", "two/s2_a"):
        clip(films / name, 10)
    (films / "one" / "filenames.txt").write_text("/home/someone/else/data/s1_b\n\n")
    assert set(opened().fields["group"]) == {"s1", "s2"} and opened().count == 4
    (films / "one" / "filenames.txt").unlink()
    (films / "filenames.txt").write_text("C:\\data\\one\\s1_a\n../one/s1_b/video_frames.npy\n")
    assert {named(one)[0] for one in opened().fields["id"]} == {"one/s1_a", "one/s1_b"}
    (films / "filenames.txt").write_text("one/s1_a\none/s1_z\n")
    with pytest.raises(UserError, match=r"1 of 2 recordings cannot be used: 1 missing file\n  s1_z: missing file"):
        opened()


def _objects(folder: Path, name: str) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (pytest.fail, ("a pickle was run",))

    with (folder / name).open("wb") as out:
        np.lib.format.write_array_header_1_0(out, {"descr": "|O", "fortran_order": False, "shape": (10,)})
        pickle.dump(Trap(), out)


def _short(folder: Path, name: str) -> None:
    path = folder / name
    path.write_bytes(path.read_bytes()[:-10])


def _huge(folder: Path, name: str) -> None:
    with (folder / name).open("wb") as out:
        shape = (10**9, 4096, 4096, 3) if name.startswith("video") else (10**15,)
        descr = "|u1" if name.startswith("video") else "<f4"
        np.lib.format.write_array_header_1_0(out, {"descr": descr, "fortran_order": False, "shape": shape})


def _saved(*values: Any) -> Any:
    return lambda folder, name: np.save(folder / name, np.zeros(*values))


FRAMES, SOUND = "video_frames.npy", "audio.npy"


@pytest.mark.parametrize(
    ("name", "spoil", "reason"),
    [
        (FRAMES, _objects, "not numbers"),
        (SOUND, _objects, "not numbers"),
        (FRAMES, _short, "truncated"),
        (SOUND, _short, "truncated"),
        (FRAMES, _huge, "truncated"),
        (SOUND, _huge, "truncated"),
        (FRAMES, _saved((10, 8, 8, 3), np.float32), "not frames"),
        (FRAMES, _saved((10, 8, 8), np.uint8), "not frames"),
        (FRAMES, _saved((10, 3, 8, 8), np.uint8), "not frames"),
        (FRAMES, _saved((0, 8, 8, 3), np.uint8), "no frames"),
        (FRAMES, _saved((4, 8, 8, 3), np.uint8), "sound and picture differ"),
        (FRAMES, _saved((10, 100, 4, 3), np.uint8), "too small"),
        (SOUND, _saved(6660, np.int16), "not sound"),
        (SOUND, _saved((2, 6660), np.float32), "not sound"),
        (SOUND, _saved(0, np.float32), "no sound"),
        (SOUND, lambda folder, name: np.save(folder / name, np.full(6660, 9000.0)), "sound not in -1..1"),
        (SOUND, lambda folder, name: np.save(folder / name, np.full(6660, np.nan)), "damaged"),
        (SOUND, lambda folder, name: (folder / name).unlink(), "missing file"),
        (SOUND, lambda folder, name: (folder / name).write_bytes(b""), "damaged"),
        (
            FRAMES,
            lambda folder, name: (folder / name).write_bytes(b"\x93NUMPY\x01\x00\x08\x00(((((((("),
            "damaged",
        ),
    ],
)
def test_arrays_that_cannot_be_used_are_told_by_their_folder(
    opened: Any, films: Path, name: str, spoil: Any, reason: str
) -> None:
    folder = clip(films / "s1_bad", 10)
    spoil(folder, name)
    with pytest.raises(UserError, match=rf"1 of 1 recordings cannot be used: 1 {reason}.*\n  s1_bad: "):
        opened()


def test_sound_in_a_row_of_its_own_and_of_half_precision_is_sound(opened: Any, films: Path) -> None:
    clip(films / "s1_a", 10)
    np.save(films / "s1_a" / "audio.npy", np.full((1, 6660), 0.5, np.float16))
    assert (opened().column("audio") == 0.5).all()


# Sound and picture of unequal length


@pytest.mark.parametrize(("samples", "frames"), [(24, 24), (25.9, 24), (26, 24), (22.4, 22), (22, 22)])
def test_unequal_lengths_are_cut_to_the_shorter(opened: Any, films: Path, samples: float, frames: int) -> None:
    clip(films / "s1_a", 24, int(samples * SAMPLES))
    dataset = opened(args={"frames": 1})
    assert dataset.count == frames and dataset.fields["id"][-1] == f"s1_a_f{frames - 1:04d}"


def test_beyond_the_gap_on_bad_decides_and_the_list_names_file_and_gap(
    opened: Any, films: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, samples in (("s1_a", 24.0), ("s1_b", 27.0), ("s2_a", 24.0), ("s2_b", 20.5)):
        clip(films / name, 24, int(samples * SAMPLES))
    with pytest.raises(UserError) as caught:
        opened()
    assert caught.value.exit_code == 2
    lines = str(caught.value).splitlines()
    assert lines[0] == "2 of 4 recordings cannot be used: 2 sound and picture differ in length"
    assert lines[1] == "  s1_b: sound and picture differ in length"
    rows = listed()
    assert [row["path"] for row in rows] == ["s1_b", "s2_b"]
    assert rows[0]["detail"] == "by 3.0 frames, data.max_av_gap_frames=2: 1.00 s of picture, 1.12 s of sound"
    assert rows[1]["detail"].startswith("by 3.5 frames")
    dataset = opened(on_bad="skip", max_bad_fraction=0.5)
    assert dataset.count == 8 and "2 of 4 recordings cannot be used" in capsys.readouterr().err
    assert opened(max_av_gap_frames=3.5).count == 16
    with pytest.raises(UserError, match="2 of 4"):
        opened(max_av_gap_frames=0)


# Who speaks, and whose sound is whose


def test_speakers_are_groups_and_numbers_in_their_order(opened: Any, films: Path) -> None:
    for name in ("s10_a", "s2_a", "s2_b", "s1_a"):
        clip(films / name, 10, seed=len(name))
    dataset = opened(val_fraction=0.34)
    by_group = dict(zip(dataset.fields["group"], dataset.column("identity").tolist(), strict=True))
    assert by_group == {"s1": 0, "s2": 1, "s10": 2}
    held_out = {dataset.fields["group"][row] for row in dataset.split("val")}
    training = {dataset.fields["group"][row] for row in dataset.split("train")}
    assert held_out and training and not held_out & training
    assert opened(include=["s10"]).column("identity").tolist() == [2, 2], "whoever else is selected"
    assert set(opened(exclude=["s2_b"]).fields["group"]) == {"s1", "s2", "s10"}


@pytest.mark.parametrize(
    ("rule", "path", "speaker"),
    [
        ("prefix", "front/s1_l_bbim3a.mov", "s1"),
        ("prefix", "front/bbaf2n.mov", ""),
        ("prefix", "front/_x.mov", ""),
        ("folder", "s1/video/bbaf2n.mpg", "s1"),
        ("folder", "bbaf2n.mpg", ""),
        ("s[0-9]+", "x/s12_a.mov", "s12"),
        ("s[0-9]+", "x/t12_a.mov", ""),
        ("clip-([a-z]+)", "clip-anna-3.mov", "anna"),
    ],
)
def test_the_rule_reads_who_speaks_from_the_path(rule: str, path: str, speaker: str) -> None:
    from pathlib import PurePosixPath

    assert speaker_rule(rule)(PurePosixPath(path)) == speaker


def test_a_name_that_says_nobody_is_told_and_a_rule_that_never_fits_refused(opened: Any, films: Path) -> None:
    clip(films / "s1_a", 10)
    clip(films / "nobody", 10)
    with pytest.raises(UserError, match=r"1 of 2 recordings cannot be used: 1 no speaker in its name\n  nobody: "):
        opened()
    with pytest.raises(UserError, match=r"data.args.speaker=folder names the speaker of no recording, such as nobody"):
        opened(args={"speaker": "folder"})


def test_the_sound_is_the_wav_beside_or_in_a_folder_beside_unless_another_films(tmp_path: Path) -> None:
    names = [
        "s1/video/a.mpg", "s1/audio/a.wav", "s2/video/a.mpg", "s2/audio/a.WAV",
        "b.mov", "b.wav", "x/c.mov", "y/c.mov", "y/c.wav",
        "front/d.mov", "audio/d.wav", "sound/d.wav",
    ]  # fmt: skip
    found = {one.name: one for one in recordings(tmp_path, names, "[a-z]", True)}
    heard = {name: str(one.reads.sound.relative_to(tmp_path)) for name, one in found.items()}  # type: ignore[union-attr]
    assert heard == {
        "s1/video/a.mpg": "s1/audio/a.wav", "s2/video/a.mpg": "s2/audio/a.WAV", "b.mov": "b.wav",
        "x/c.mov": "x/c.mov", "y/c.mov": "y/c.wav", "front/d.mov": "audio/d.wav",
    }  # fmt: skip
    assert {name for name, one in found.items() if one.fault} == {"front/d.mov"}
    assert str(found["front/d.mov"].fault) == "several sounds: audio/d.wav, sound/d.wav: which is its own?"


# What a talking face is given


def test_columns_and_relations_are_those_of_drawn_clips(opened: Any, films: Path) -> None:
    for seed, name in enumerate(("s1_a", "s1_b", "s2_a", "s2_b", "s3_a")):
        clip(films / name, 24, seed=seed)
    dataset = opened(val_fraction=0.34)
    fields = ("still", "frames", "audio", "wrong.audio", "pair.identity", "identity", "loudness", "wrong.loudness")
    for side in ("train", "val"):
        rows = dataset.split(side)
        batch = Batches(dataset, rows, len(rows), 0, fields=fields, shuffle=False).batch(0)
        assert batch["frames"].shape == (len(rows), 5, 1, SIZE, SIZE) and batch["still"].shape[1:] == (1, SIZE, SIZE)
        assert batch["audio"].shape == batch["wrong.audio"].shape == (len(rows), 5, SAMPLES)
        assert (batch["pair.identity"] == batch["identity"]).all()
        assert ((batch["loudness"] - batch["wrong.loudness"]).abs().mean(dim=1) > 0.05).all()
    following = dataset.relations["next"].pick(np.arange(dataset.count), dataset.held_out, "next", lambda *_: None)
    assert [dataset.fields["id"][row] for row in following[:3]] == ["s1_a_f0005", "s1_a_f0010", "s1_a_f0015"]
    assert following[3] == -1


def test_the_box_cuts_the_face_out_and_bars_are_no_picture(opened: Any, films: Path) -> None:
    frames = np.zeros((10, 40, 80, 3), np.uint8)
    frames[:, 10:30, 20:40] = 200
    arrays(films / "s1_a", frames, np.full(6660, 0.1))
    assert (opened(args={"crop": [0.25, 0.25, 0.5, 0.75]}).images == 200).all()
    padded = opened(resize="pad", pad_value=7)
    assert padded.fields["box"].tolist() == [[0, 4, 16, 12]] * 2 and (padded.images[:, :, :4] == 7).all()


def test_a_limit_keeps_whole_recordings_of_several_speakers(opened: Any, films: Path) -> None:
    for name in ("s1_a", "s1_b", "s2_a", "s2_b"):
        clip(films / name, 20)
    some = opened(limit=8)
    assert some.count == 8 and len({named(one)[0] for one in some.fields["id"]}) == 2
    assert set(some.fields["group"]) == {"s1", "s2"}


def test_data_check_counts_recordings_and_the_card_shows_what_the_still_reaches(
    settings: Settings, films: Path
) -> None:
    for name in ("s1_a", "s2_a"):
        clip(films / name, 10)
    cfg = settings("grid", path=str(films), size=SIZE)
    assert verbs.check(cfg, progress=False).startswith("data=grid: 2 of 2 recordings can be used; not packed yet")
    card = verbs.card(cfg, progress=False)
    assert "repeat the still" in card and "next: the clip that follows" in card and "procedural" not in card


# Settings


def test_films_without_pyav_exit_3_and_arrays_do_not_need_it(
    settings: Settings, films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip(films / "s1_a", 10)
    imported = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.split(".")[0] == "av":
            raise ImportError(name)
        return imported(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    cfg = settings("grid", path=str(films), size=SIZE)
    assert open_data(cfg, progress=False).count == 2
    (films / "s1_b.mov").write_bytes(b"whatever")
    with pytest.raises(Missing, match=r"pip install 'gansweep\[video\]'") as caught:
        open_data(cfg, progress=False)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"speakers": 3}, r"data.args.speakers is unknown.*'speaker'"),
        ({"frames": 0}, r"data.args.frames=0 is out of range: a whole number, 1 to 1440"),
        ({"stride": 1.5}, r"data.args.stride=1.5 is out of range"),
        ({"colour": "bgrr"}, r"data.args.colour=bgrr is unknown; did you mean 'bgr'"),
        ({"crop": [0, 0, 1]}, r"data.args.crop=\[0, 0, 1\] is no box: \[left, top, right, bottom\]"),
        ({"crop": [0.5, 0, 0.5, 1]}, r"is no box"),
        ({"crop": [0, 0, 1.2, 1]}, r"is no box"),
        ({"speaker": "folders"}, r"data.args.speaker=folders is unknown; did you mean 'folder'"),
        ({"speaker": "s[0-9"}, r"data.args.speaker=s\[0-9 is no regular expression"),
        ({"most_seconds": 0}, r"data.args.most_seconds=0 is out of range"),
    ],
)
def test_wrong_arguments_are_refused(settings: Settings, films: Path, args: dict[str, Any], message: str) -> None:
    clip(films / "s1_a", 10)
    with pytest.raises(UserError, match=message):
        Grid(settings("grid", path=str(films), args=args)).check()


def test_a_folder_without_recordings_is_refused(settings: Settings, films: Path) -> None:
    with pytest.raises(UserError, match=r"data=grid needs to be told where: data.path=FOLDER"):
        Grid(settings("grid")).check()
    (films / "a.png").touch()
    with pytest.raises(UserError, match=r"holds no film \(.mov, .mp4, .mpg, .avi, .mkv\) and no folder with video_fr"):
        Grid(settings("grid", path=str(films))).check()
    with pytest.raises(UserError, match=r"film does not exist; did you mean 'films'"):
        Grid(settings("grid", path=str(films.parent / "film"))).check()


def _fit() -> Any:
    from gansweep.data.resize import Fit

    return Fit(size=SIZE, channels=1)


def _message(opened: Any) -> str:
    try:
        opened()
    except UserError as error:
        return str(error)
    return ""


def test_bad_picture_is_what_a_film_raises(films: Path) -> None:
    with pytest.raises(BadPicture, match="missing file"):
        Film(films / "none.mov", films / "none.mov").extent(_fit(), 60)
