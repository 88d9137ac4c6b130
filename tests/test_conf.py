"""Every file of conf/ composes, is valid, builds whole, trains shrunk (others': test_*_journal.py)."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from data.text_sets import birds, coco
from gansweep.assemble import check
from gansweep.build import build_system
from gansweep.config import conf_dir
from gansweep.config.compose import session, to_settings
from gansweep.config.settings import Settings
from gansweep.runs.tracker import prepare_store
from gansweep.system import System
from gansweep.train import train

CONF = conf_dir()
ELSEWHERE = ("hdgan", "siamese", "talkingface", "vae", "vaegan")  # their presets
FILES = sorted(str(p.relative_to(CONF).with_suffix("")) for p in CONF.rglob("*.yaml") if p.parent.name not in ELSEWHERE)
EXPERIMENTS = [name.removeprefix("experiment/") for name in FILES if name.startswith("experiment/")]
FOLLOWS_MODEL = ("scales", "schedule")
IDX_FILES = [f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]


@functools.cache
def composed(*overrides: str) -> tuple[Settings, dict[str, Any]]:
    """Return the checked settings of a request (not to be changed), and which option each group chose."""
    with session() as hydra:
        cfg = hydra.compose(hydra.normal(overrides))
        return to_settings(cfg), dict(cfg.hydra.runtime.choices)


def experiment(name: str, *overrides: str) -> Settings:
    return composed(f"experiment={name}", *overrides)[0]


def on_meta(settings: Settings) -> System:
    with torch.device("meta"):
        return build_system(settings)


def parameters(settings: Settings) -> dict[str, int]:
    return {name: sum(p.numel() for p in net.parameters()) for name, net in on_meta(settings).nets.items()}


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of forty small portraits, named as the VAE journal's files are."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for number in range(40):
        pixels = random.integers(0, 256, (48, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03d}-anna-standing_640v427.png")
    return folder


@pytest.fixture(scope="session")
def packed(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Overrides that point any preset at the forty pictures, packed once for each way of resizing."""
    cache = tmp_path_factory.mktemp("packed")
    return ["data=folder", f"data.path={pictures}", f"data.cache_dir={cache}"]


TEXT_SETS: dict[str, Callable[[Path], Any]] = {"stackgan": birds, "coco": coco}


def option_of(name: str) -> str:
    """Return the option of a file of the data group, or nothing."""
    return name.removeprefix("data/") if name.startswith("data/") else ""


# Data for the models whose fields a folder of pictures has not; small, and packed once.
OWN_DATA = {
    "siamese": ["data=heads", "data.args.people=3", "data.limit=60", "data.val_fraction=0.34"],
    "hdgan": ["data=emoji", "data.limit=40"],
    "talkingface": ["data=talking", "data.args.speakers=4", "data.args.utterances=1", "data.args.seconds=2"],
}


def asks_for(name: str) -> list[str]:
    """Return the overrides that bring one file of conf/ into a run of otherwise default settings."""
    group, _, option = name.rpartition("/")
    if name.startswith("experiment/"):
        return [f"experiment={name.removeprefix('experiment/')}"]
    if group in ("model", *FOLLOWS_MODEL):
        return [f"model={option}", *own_data(name)[:1]]
    if name in ("data/heads", "data/multipie"):  # 96 px, as their system wants them; the default one does not
        return [f"{group}={option}", "data.size=64"]
    if group in ("hydra/sweeper", "hydra/launcher"):
        return [f"{group}={option}"]
    return [] if not group or group.startswith("hydra/") else [f"{group}={option}"]


def own_data(name: str) -> list[str]:
    """Return the overrides of the data that an option's model needs; none where a folder of pictures will do."""
    group, _, option = name.rpartition("/")
    return OWN_DATA.get(option.split("_")[0], []) if group in ("model", *FOLLOWS_MODEL) else []


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_read_valid_and_builds_at_full_size(name: str, pictures: Path, tmp_path: Path) -> None:
    settings, choices = composed(*asks_for(name))
    group, _, option = name.rpartition("/")
    if name.startswith("experiment/"):
        group, option = "experiment", name.removeprefix("experiment/")
    assert not group or choices[group] == option
    settings = settings.model_copy(deep=True)
    if settings.data.name == "grid":
        film_as_arrays(tmp_path / "s1_a")
        settings.data.path = str(tmp_path)
    if settings.data.name in TEXT_SETS:
        TEXT_SETS[settings.data.name](tmp_path)
        settings.data.path = str(tmp_path)
    if settings.data.name in ("folder", "multipie"):
        settings.data.path = str(pictures)
    if settings.data.name == "fashion_mnist":
        for file in IDX_FILES:
            (tmp_path / file).touch()
        settings.data.path = str(tmp_path)
    system = check(settings)
    assert {p.device.type for net in system.nets.values() for p in net.parameters()} == {"meta"}
    assert Settings.model_validate(settings.model_dump(mode="json")) == settings


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiment_shrunk_is_the_same_structure(name: str) -> None:
    full, small = experiment(name), experiment(name, "scale_down=cpu")
    assert sum(parameters(small).values()) < sum(parameters(full).values()) / 4
    for net, module in on_meta(full).nets.items():
        assert list(on_meta(small).nets[net].state_dict()) == list(module.state_dict())
    assert small.scales == full.scales
    assert small.schedule == full.schedule


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiment_shrunk_trains_three_steps(name: str, packed: list[str], tmp_path: Path) -> None:
    settings = experiment(name, "scale_down=cpu", "steps=3", "tracker=none", "runtime.device=cpu", *packed)
    outcome = train(settings, tmp_path / "run", [])
    assert (outcome.status, outcome.step) == ("FINISHED", 3)
    charged = [term for term, scale in settings.scales.items() if scale is not None]
    for term in charged:
        logged = [value for key, value in outcome.last_losses.items() if key.rpartition("/")[2] == term]
        assert logged and all(math.isfinite(value) for value in logged), term
    norms = {key: value for key, value in outcome.last_losses.items() if key.startswith("grad_norm/")}
    assert norms.keys() == {f"grad_norm/{net}" for net in on_meta(settings).nets}
    assert all(0 < value < math.inf for value in norms.values())
    assert (tmp_path / "run" / "checkpoints" / "last.pt").is_file()
    grids = {path.name for path in (tmp_path / "run" / "grids").iterdir() if any(path.iterdir())}
    assert grids == {"samples", *(["reconstructions"] if hasattr(on_meta(settings), "reconstruct") else [])}


def film_as_arrays(folder: Path) -> None:
    """A recording of 20 frames as data=grid reads it without any library of films."""
    folder.mkdir()
    np.save(folder / "video_frames.npy", np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), dtype=np.uint8))
    np.save(folder / "audio.npy", np.sin(np.arange(20 * 666) / 9).astype(np.float32))


def data_for(name: str, packed: list[str]) -> list[str]:
    """Return the overrides of the data that an option's model is tried on."""
    own = own_data(name)
    return [*own, packed[-1]] if own else packed


OPTIONS = [name for name in FILES if "/" in name and not name.startswith(("experiment/", "hydra/"))]


@pytest.fixture(scope="session")
def idx_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the four files of Fashion-MNIST, forty pictures in each part."""
    folder, random = tmp_path_factory.mktemp("idx"), np.random.default_rng(0)
    for name in IDX_FILES:
        shape = (40, 28, 28) if "images" in name else (40,)
        head = bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)
        (folder / name).write_bytes(head + random.integers(0, 10, shape, dtype=np.uint8).tobytes())
    return folder


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_trains_three_steps_shrunk(name: str, packed: list[str], idx_folder: Path, tmp_path: Path) -> None:
    """Beside otherwise default settings; the experiments have a test of their own."""
    overrides = list(dict.fromkeys([*asks_for(name), "scale_down=cpu", "steps=3", "runtime.device=cpu"]))
    if not name.startswith("data/") or name == "data/folder":
        overrides += data_for(name, packed)
    else:
        overrides += [f"data.cache_dir={tmp_path / 'cache'}", "data.limit=40", "data.size=32"]
    if name == "data/fashion_mnist":
        overrides += [f"data.path={idx_folder}"]
    if name == "data/multipie":
        for number in range(40):
            Image.new("RGB", (40, 40), (6 * number, 90, 120)).save(tmp_path / f"{number:03d}_01_01_051_09.png")
        overrides += [f"data.path={tmp_path}"]
    if option_of(name) in TEXT_SETS:
        TEXT_SETS[option_of(name)](tmp_path)
        overrides += [f"data.path={tmp_path}", "batch_size=4"]
    if name == "data/grid":
        for number in range(12):
            film_as_arrays(tmp_path / f"s{number}_a")
        overrides += [f"data.path={tmp_path}"]
    overrides += [f"tracker.uri=sqlite:///{tmp_path / 'mlflow.db'}"] if name == "tracker/mlflow" else ["tracker=none"]
    settings = composed(*overrides)[0]
    prepare_store(settings.tracker)
    outcome = train(settings, tmp_path / "run", [])
    assert (outcome.status, outcome.step) == ("FINISHED", 3)
    assert outcome.last_losses and all(map(math.isfinite, outcome.last_losses.values()))


@pytest.mark.parametrize(("name", "dis"), [("dcgan", 2_765_568), ("wgan_gp", 2_765_568 + 64)])
def test_dcgan_has_the_examples_layers_and_the_critic_64_biases_more(name: str, dis: int) -> None:
    assert parameters(experiment(name)) == {"gen": 3_576_704, "dis": dis}


def commands(name: str) -> list[list[str]]:
    """Return the arguments of every command in a preset's comments: one for each of `… with A, or B`."""
    text = (CONF / "experiment" / f"{name}.yaml").read_text()
    comments = " ".join(line[1:].strip() for line in text.splitlines() if line.startswith("#")).replace("\\ ", "")
    assignment = r"[\w.]+=\S+"
    command = rf"gansweep (?:train|-m)((?: {assignment})+)(?: with((?:,? (?:or )?{assignment})+))?"
    found = []
    for fixed, alternatives in re.findall(command, comments):
        for changes in re.split(r",? or ", alternatives):
            found.append([argument.rstrip(",") for argument in (fixed + " " + changes).split()])
    return found


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_commands_in_comments_compose(name: str) -> None:
    for command in commands(name):
        check(composed(*command)[0])
