"""Films of clips: what is in them, that picture and sound belong together, and what is done without PyAV."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from gansweep import clips as module
from gansweep.clips import Clips, coders, film_frames, gathered, strips, write_film, writing_notes
from gansweep.config import conf_dir
from gansweep.config.settings import DataSettings
from gansweep.data import Dataset, open_data
from gansweep.data.clips import utterances
from gansweep.data.grid_video import Film
from gansweep.data.resize import Fit
from gansweep.errors import UserError
from gansweep.gallery import Gallery
from gansweep.runs.tracker import NullTracker
from gansweep.runs.writer import Copier, Writer

SIZE, FRAMES, SAMPLES = 32, 5, 666
CPU = torch.device("cpu")


def shown(runs: tuple[int, ...] = (2, 1), channels: int = 1, size: tuple[int, int] = (SIZE, SIZE)) -> Clips:
    """Clips of greys that can be told apart: real ones grow lighter, made ones darker, and sound louder."""
    count = sum(runs)
    steps = torch.arange(count * FRAMES).view(count, FRAMES, 1, 1, 1)
    frame = torch.ones(count, FRAMES, channels, *size)
    tone = torch.sin(torch.arange(count * FRAMES * SAMPLES) * 0.2) * torch.linspace(0.1, 0.9, count * FRAMES * SAMPLES)
    still = torch.full((count, channels, *size), 120.0)
    return Clips(
        (frame * (20 + 10 * steps)).to(torch.uint8),
        still.to(torch.uint8),
        (frame * (240 - 10 * steps)).to(torch.uint8),
        tone.view(count, -1),
        runs,
    )


@pytest.fixture
def av() -> Any:
    return pytest.importorskip("av")


@pytest.fixture
def without_av(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def refuse(name: str, *rest: Any, **more: Any) -> Any:
        if name.split(".")[0] == "av":
            raise ImportError(name)
        return imported(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)


def seen(av: Any, path: Path) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Return a film's frames (F, H, W, 3), its sound, and facts of both streams."""
    with av.open(str(path)) as film:
        picture, tone = film.streams.video[0], film.streams.audio[0]
        facts = {
            "coders": (picture.codec_context.name, tone.codec_context.name),
            "rate": picture.average_rate,
            "seconds": (float(picture.duration * picture.time_base), float(tone.duration * tone.time_base)),
            "heard": (tone.rate, tone.layout.name),
        }
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in film.decode(picture)])
    with av.open(str(path)) as film:
        sound = np.concatenate([frame.to_ndarray()[0] for frame in film.decode(film.streams.audio[0])])
    return frames, sound, facts


# What is in a film


def test_a_film_has_three_panels_every_frame_and_all_of_the_sound(av: Any, tmp_path: Path) -> None:
    clips = shown()
    path = write_film(clips, tmp_path / "new" / "a.mp4")
    assert [one.name for one in path.parent.iterdir()] == ["a.mp4"]
    frames, sound, facts = seen(av, path)
    assert frames.shape == (15, 128 + 18, 3 * 128 + 2 * 4, 3)
    panels = [frames[:, 30:, at + 8 : at + 120].mean(axis=(1, 2, 3)) for at in (0, 132, 264)]
    for panel, wanted in zip(panels, (clips.real, np.full(15, 120), clips.made), strict=True):
        levels = wanted if isinstance(wanted, np.ndarray) else wanted[..., 0, 0, 0].flatten().numpy()
        np.testing.assert_allclose(panel, levels, atol=3)
    assert facts["coders"] == ("h264" if "H.264" in coders().words else "mpeg4", "aac")  # type: ignore[union-attr]
    assert float(facts["rate"]) == pytest.approx(16_000 / 666) and facts["heard"] == (16_000, "mono")
    wanted = clips.sound.reshape(-1).numpy()
    assert np.corrcoef(sound[: len(wanted)], wanted)[0, 1] > 0.99, "not a sample late"
    assert facts["seconds"][0] == pytest.approx(15 * 666 / 16_000, abs=1e-3)
    assert abs(facts["seconds"][0] - facts["seconds"][1]) < 1 / 24


@pytest.mark.parametrize("count", [1, 60])
def test_sound_and_picture_end_together_however_long_the_film(av: Any, tmp_path: Path, count: int) -> None:
    facts = seen(av, write_film(shown((count,)), tmp_path / "a.mp4"))[2]
    assert facts["seconds"][0] == pytest.approx(count * FRAMES * 666 / 16_000, abs=2e-3)
    assert abs(facts["seconds"][0] - facts["seconds"][1]) < 0.5 / 24


def test_captions_name_the_panels_from_left_to_right() -> None:
    heading = next(film_frames(shown()))[:18]
    inked = [(heading[:, at : at + 128] < 128).any(axis=(0, 2)).nonzero()[0] for at in (0, 132, 264)]
    for columns in inked:
        assert len(columns) > 8 and abs((columns[0] + columns[-1]) / 2 - 64) < 3
    assert len({heading[:, at : at + 128].tobytes() for at in (0, 132, 264)}) == 3


@pytest.mark.parametrize(
    ("channels", "size", "panel"), [(3, (SIZE, SIZE), 128), (1, (33, 43), 129), (3, (200, 200), 200)]
)
def test_any_size_and_colour_is_filmed(
    av: Any, tmp_path: Path, channels: int, size: tuple[int, int], panel: int
) -> None:
    clips = shown((1,), channels, size)
    if channels == 3:
        clips.real[:, :, 0] = 255
    frames, _, _ = seen(av, write_film(clips, tmp_path / "a.mp4"))
    assert frames.shape[2] == -(-(3 * panel + 8) // 2) * 2 and frames.shape[1] % 2 == 0
    red, green = frames[-1, 60, 40, 0], frames[-1, 60, 40, 1]
    assert (red > 200 and green < 110) if channels == 3 else abs(int(red) - int(green)) < 4


def test_strips_have_a_row_real_one_still_and_one_made_for_each_utterance() -> None:
    clips = shown((3, 1))
    frames, columns = strips(clips)
    assert columns == 10 and frames.shape == (2 * 3 * 10, 1, SIZE, SIZE)
    rows = frames[:, 0, 0, 0].reshape(6, 10)
    assert rows[0].tolist() == [20 + 10 * n for n in range(10)] and set(rows[1]) == {120}
    assert rows[2].tolist() == [240 - 10 * n for n in range(10)]
    assert rows[3].tolist() == [170, 180, 190, 200, 210, *[255] * 5]


def test_what_a_system_gives_becomes_bytes() -> None:
    real = torch.full((2, FRAMES, 1, 4, 4), -1.0)
    part = {"real": real, "still": torch.zeros(2, 1, 4, 4), "made": real + 2, "sound": torch.zeros(2, FRAMES * 9)}
    found = gathered([part, part], "tanh", [3, 1])
    assert found.real.dtype == torch.uint8 and found.real.shape == (4, FRAMES, 1, 4, 4)
    assert (int(found.real.max()), int(found.still.min()), int(found.made.min())) == (0, 128, 255)
    assert found.sound.shape == (4, FRAMES * 9) and found.runs == (3, 1)


# Lips and speech stay together


def talking(tmp_path: Path, **args: Any) -> Dataset:
    values = yaml.safe_load((conf_dir() / "data" / "talking.yaml").read_text(encoding="utf-8"))
    args = {**values["args"], "speakers": 4, "utterances": 2, "seconds": 2, "voice": "syllables", **args}
    changes = {"size": 48, "args": args, "cache_dir": str(tmp_path / "cache")}
    return open_data(DataSettings.model_validate({**values, **changes}), progress=False)


def best_lag(moved: np.ndarray, heard: np.ndarray) -> tuple[int, float]:
    """Return after how many frames loudness follows the lips most closely, and how closely it does at once."""
    level = np.sqrt((heard.astype(float) ** 2).mean(axis=1))
    found = {lag: float(np.corrcoef(moved[6:-6], np.roll(level, -lag)[6:-6])[0, 1]) for lag in range(-5, 6)}
    return max(found, key=lambda lag: found[lag]), found[0]


def test_the_mouth_of_the_real_panel_moves_with_the_films_own_sound(av: Any, tmp_path: Path) -> None:
    dataset = talking(tmp_path)
    runs = utterances(dataset, np.arange(dataset.count), 4)
    rows = np.concatenate(runs)
    frames, heard = dataset.column("frames")[rows], dataset.column("audio")[rows]
    still = dataset.column("still")[rows]
    clips = Clips(
        *(torch.from_numpy(np.ascontiguousarray(part)) for part in (frames, still, frames[:, ::-1])),
        torch.from_numpy(heard.reshape(len(rows), -1)),
        tuple(map(len, runs)),
    )
    path = write_film(clips, tmp_path / "a.mp4")
    read = Film(path, path)
    extent = read.extent(Fit(size=48), 60)
    count = len(rows) * FRAMES
    assert round(extent.frames) == count and extent.sound_frames == pytest.approx(count, abs=0.5)
    panel = np.stack([np.asarray(image) for image in read.frames(extent, 1)])[:count, 18:, :144].astype(float)
    small = panel.reshape(count, 48, 3, 48, 3).mean(axis=(2, 4))
    crop = (slice(None), slice(31, 45), slice(15, 33))
    rest = np.repeat(still[:, None, 0], FRAMES, axis=1).reshape(count, 48, 48)
    filmed = np.abs(small - rest)[crop].mean(axis=(1, 2))
    sound = read.audio(extent, 60)[: count * SAMPLES]
    sound = np.pad(sound, (0, count * SAMPLES - len(sound))).reshape(count, SAMPLES)
    drawn = np.abs(frames.reshape(count, 48, 48).astype(float) - rest)[crop].mean(axis=(1, 2))
    lag, at_once = best_lag(filmed, sound)
    wanted_lag, wanted = best_lag(drawn, heard.reshape(count, SAMPLES))
    assert lag == wanted_lag == 0 and wanted > 0.6 and abs(at_once - wanted) < 0.03


# Which clips


def test_utterances_are_whole_in_order_and_of_as_many_people_as_there_are(tmp_path: Path) -> None:
    dataset = talking(tmp_path)
    rows = np.arange(dataset.count)
    runs = utterances(dataset, rows, 5)
    assert [len(run) for run in runs] == [9] * 5
    assert [dataset.fields["group"][run[0]] for run in runs] == ["s001", "s002", "s003", "s004", "s001"]
    assert [dataset.fields["id"][row] for row in runs[4]][:2] == ["s001_u002_f0000", "s001_u002_f0005"]
    some = utterances(dataset, rows[3:7], 5)
    assert [run.tolist() for run in some] == [[3, 4, 5, 6]]
    overlapping = talking(tmp_path, stride=1, speakers=1, utterances=1)
    (only,) = utterances(overlapping, np.arange(overlapping.count), 5)
    assert [overlapping.fields["id"][row] for row in only[:2]] == ["s001_u001_f0000", "s001_u001_f0005"]


def test_clips_of_a_set_that_knows_no_next_one_stand_alone(tmp_path: Path) -> None:
    dataset = talking(tmp_path)
    dataset.relations = {name: one for name, one in dataset.relations.items() if name != "next"}
    assert [run.tolist() for run in utterances(dataset, np.arange(20), 3)] == [[0], [18], [9]]


# What a run does with them


class Told(NullTracker):
    def __init__(self) -> None:
        self.said: list[tuple[str, ...]] = []

    def image(self, key: str, png_path: Path, step: int) -> None:
        self.said.append(("image", key, png_path.name))

    def file(self, path: Path, artifact_dir: str = "") -> None:
        self.said.append(("file", artifact_dir, path.name))


class Seer:
    def grids(self) -> dict[str, torch.Tensor]:
        return {"samples": torch.zeros(4, 1, 8, 8, dtype=torch.uint8)}

    def clips(self) -> Clips:
        return shown((1,))


def gallery(tmp_path: Path, threaded: bool = False) -> tuple[Gallery, Told, Writer]:
    told, writer = Told(), Writer(threaded)
    return Gallery(Seer(), told, tmp_path, Copier(CPU), writer), told, writer  # type: ignore[arg-type]


@pytest.mark.parametrize("threaded", [False, True])
def test_a_run_hangs_grids_and_keeps_the_film_as_an_artifact(av: Any, tmp_path: Path, threaded: bool) -> None:
    ours, told, writer = gallery(tmp_path, threaded)
    ours.show(30)
    writer.settle(wait=True)
    name = "step-00000030"
    assert told.said == [
        ("image", "samples", f"{name}.png"), ("image", "clips", f"{name}.png"), ("file", "clips", f"{name}.mp4")
    ]  # fmt: skip
    assert seen(av, tmp_path / "clips" / f"{name}.mp4")[0].shape[0] == FRAMES
    assert Image.open(tmp_path / "grids" / "clips" / f"{name}.png").size == (5 * 34 + 2, 3 * 34 + 2)


@pytest.mark.usefixtures("without_av")
def test_without_pyav_there_is_the_grid_and_one_line_that_says_what_it_takes(tmp_path: Path) -> None:
    ours, told, _ = gallery(tmp_path)
    ours.show(0)
    ours.show(1)
    assert coders() is None and {kind for kind, *_ in told.said} == {"image"}
    assert not (tmp_path / "clips").exists() and len(list((tmp_path / "grids" / "clips").iterdir())) == 2
    said = "an mp4 of the clips needs PyAV: pip install 'gansweep[video]'; until then they are grids of frames"
    assert writing_notes() == [said]


def test_without_h264_it_is_mpeg_4_and_that_is_said(av: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    can = module._can_encode
    monkeypatch.setattr(module, "_can_encode", lambda av, name: "264" not in name and can(av, name))
    assert seen(av, write_film(shown(), tmp_path / "a.mp4"))[2]["coders"] == ("mpeg4", "aac")
    assert writing_notes() == [
        "films of clips are written as MPEG-4 part 2, which browsers do not play: this PyAV has no H.264"
    ]


def test_a_folder_that_cannot_be_written_is_told_in_one_line(av: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/a.mp4: cannot be written"):
        write_film(shown((1,)), tmp_path / "file" / "a.mp4")
