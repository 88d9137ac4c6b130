"""sample: the files it writes, the noise it shares between checkpoints, reconstructions, conditional systems."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from gansweep.errors import UserError
from gansweep.grids import make_grid
from gansweep.restore import recorded, restore
from gansweep.runs.rundir import Run
from gansweep.sample import sample
from gansweep.system import Spec
from tiny_runs import tiny_run, tiny_settings


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    """Overrides for a folder of 24 flat pictures."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(24):
        Image.new("RGB", (16, 16), (10 * index, 0, 255 - 10 * index)).save(folder / f"{index:02d}.png")
    return ["data=folder", f"data.path={folder}", "data.size=16", f"data.cache_dir={tmp_path / 'cache'}"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return tiny_run(tmp_path / "outputs" / "day" / "one", ema=True)


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_writes_a_grid_and_single_pictures_below_the_run(run: Run) -> None:
    made = sample(str(run.dir), n=5)
    assert made.folder == run.dir / "sampled" / "step-00000007-seed-0"
    assert [path.name for path in made.singles] == [f"{index:05d}.png" for index in range(5)]
    images = np.stack([pixels(path).transpose(2, 0, 1) for path in made.singles])
    assert images.shape == (5, 3, 16, 16) and images.std() > 1
    assert np.array_equal(pixels(made.grid), make_grid(images))
    assert str(made).splitlines()[0].startswith("5 pictures of step 7, EMA weights, seed 0")


def test_they_are_the_pictures_that_eval_is_scores(run: Run) -> None:
    made = sample(run.id[:8], n=3, seed=4)
    drawn = torch.cat(list(restore(run.checkpoint_dir / "last.pt", run, recorded).draw(40, 16, 4)))
    found = np.stack([pixels(path).transpose(2, 0, 1) for path in made.singles])
    assert np.abs(found.astype(int) - drawn[:3].numpy().astype(int)).max() <= 1


def test_more_pictures_than_a_batch_are_numbered_on(run: Run, tmp_path: Path) -> None:
    made = sample(str(run.dir), n=70, out=tmp_path / "many")
    assert len({path.name for path in made.singles}) == 70 and made.singles[-1].name == "00069.png"
    assert pixels(made.grid).shape == (8 * 18 + 2, 9 * 18 + 2, 3)


def test_seed_and_ema_change_the_pictures_and_the_folder(run: Run) -> None:
    first = sample(str(run.dir), n=2)
    others = [sample(str(run.dir), n=2, seed=1), sample(str(run.dir), n=2, ema=False)]
    assert [made.folder.name for made in others] == ["step-00000007-seed-1", "step-00000007-seed-0-no-ema"]
    for made in others:
        assert not np.array_equal(pixels(made.grid), pixels(first.grid))


def test_equal_weights_give_equal_pictures_in_two_runs(run: Run, tmp_path: Path) -> None:
    other = tiny_run(tmp_path / "outputs" / "day" / "two", ema=True)
    assert np.array_equal(pixels(sample(run.id, n=4).grid), pixels(sample(other.id, n=4).grid))


@pytest.mark.parametrize(("n", "seed"), [(0, 0), (3, -1)])
def test_numbers_out_of_range_are_refused(run: Run, n: int, seed: int) -> None:
    with pytest.raises(UserError, match=f"n={n}, seed={seed}"):
        sample(str(run.dir), n=n, seed=seed)
    assert not (run.dir / "sampled").exists()


def test_reconstructions_stand_beside_held_out_pictures(tmp_path: Path, photos: list[str]) -> None:
    run = tiny_run(tmp_path / "one", tiny_settings(*photos, "data.val_fraction=0.5"))
    made = sample(str(run.dir), n=1, reconstruct=True)
    assert made.reconstructions is not None
    grid = pixels(made.reconstructions)
    original, copy = grid[2:18, 2:18], grid[2:18, 20:36]
    assert (original == original[0, 0]).all(), "a flat picture of the folder"
    assert original[0, 0, 0] % 10 == 0 and original[0, 0, 2] == 255 - original[0, 0, 0]
    assert not np.array_equal(original, copy)


class Conditional:
    """Draws the mean colour of the picture it is given, and no network has a say."""

    def __init__(self, size_px: int, **_: Any) -> None:
        self.nets = {"dec": torch.nn.Linear(1, 1)}
        self.inputs = {"image": Spec((3, size_px, size_px))}
        self.noise = {"shift": Spec((1,), "normal", batched=False)}
        self.knobs: dict[str, float] = {}
        self.memory: dict[str, Tensor] = {}
        self.phases = ()
        self.shared: dict[str, Any] = {}
        self.counts = ""

    def sample(self, nets: Any, batch: Mapping[str, Tensor] | None, noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        assert batch is not None and noise["shift"].shape == (1,)
        image = batch["image"]
        return {"small": image[:, :, :4, :4], "image": image.mean((2, 3), keepdim=True).expand_as(image)}


def test_a_conditional_system_gets_the_fields_it_reads_and_its_finest_output_is_kept(
    tmp_path: Path, photos: list[str]
) -> None:
    settings = tiny_settings(*photos, "data.val_fraction=0")
    settings.model.target, settings.model.knobs = f"{__name__}.Conditional", {}
    run = tiny_run(tmp_path / "one", settings)
    made = sample(str(run.dir), n=30)
    reds = [int(pixels(path)[0, 0, 0]) for path in made.singles]
    assert pixels(made.singles[0]).shape == (16, 16, 3)
    assert len(set(reds[:24])) == 24 and reds[24:] == reds[:6], "round and round"
    with pytest.raises(UserError, match="no reconstructions"):
        sample(str(run.dir), n=1, reconstruct=True)


class Speaker(Conditional):
    """Makes of a clip its own frames, upside down in grey."""

    def __init__(self, size_px: int, **_: Any) -> None:
        super().__init__(size_px)
        clip = Spec((5, 1, size_px, size_px))
        self.inputs = {"frames": clip, "still": Spec((1, size_px, size_px)), "audio": Spec((5, 666), "vector")}

    def sample(self, nets: Any, batch: Mapping[str, Tensor] | None, noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        assert batch is not None
        return {"image": batch["frames"][:, 2]}

    def clips(self, nets: Any, batch: Mapping[str, Tensor], noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        sound = batch["audio"].flatten(1)
        return {"made": -batch["frames"], "real": batch["frames"], "still": batch["still"], "sound": sound}


@pytest.mark.parametrize(("n", "frames"), [(40, 200), (3, 15)])
def test_whole_utterances_of_a_system_that_makes_clips_are_filmed(tmp_path: Path, n: int, frames: int) -> None:
    av = pytest.importorskip("av")
    talking = ["data=talking", "data.args.speakers=3", "data.args.utterances=1", "data.args.voice=syllables"]
    settings = tiny_settings(*talking, "data.val_fraction=0", f"data.cache_dir={tmp_path / 'cache'}")
    settings.model.target, settings.model.knobs = f"{__name__}.Speaker", {}
    run = tiny_run(tmp_path / "one", settings)
    made = sample(str(run.dir), n=n)
    assert [path.name for path in made.clips] == ["clips.png", "clips.mp4"]
    assert str(made).splitlines()[-1] == str(made.folder / "clips.mp4")
    with av.open(str(made.clips[1])) as film:
        shown = [frame.to_ndarray(format="gray") for frame in film.decode(video=0)]
    assert len(shown) == frames, "two utterances of 14 clips and the beginning of a third, or the beginning of one"
    panels = np.stack(shown)[:, 18:].astype(int)
    assert np.abs(panels[:, :, :128] + panels[:, :, 264:] - 255).mean() < 4, "made is the negative of real"
    drawer = restore(run.checkpoint_dir / "last.pt", run, recorded).drawer
    assert torch.equal(drawer.clips([1, 20], 0, 1).real[:, 2], drawer.samples([1, 20], 0)["image"])
    again = sample(str(run.dir), n=n, out=tmp_path / "again")
    assert again.clips[0].read_bytes() == made.clips[0].read_bytes()


def test_a_normalisation_that_cannot_be_undone_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tiny_run(tmp_path / "one", tiny_settings("data.normalize=zscore"))
    sample(str(run.dir), n=1)
    assert "zscore cannot be undone" in capsys.readouterr().err
