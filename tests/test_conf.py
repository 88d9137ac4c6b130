"""Every file of conf/ composes, is valid, builds whole, trains shrunk (others': test_*_journal.py)."""

from __future__ import annotations

import functools
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gansweep.assemble import check
from gansweep.build import build_system
from gansweep.config import conf_dir
from gansweep.config.compose import session, to_settings
from gansweep.config.settings import Settings
from gansweep.runs.record import flatten
from gansweep.runs.tracker import prepare_store
from gansweep.system import System
from gansweep.train import train

CONF = conf_dir()
ELSEWHERE = ("hdgan", "siamese")  # their presets
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


def asks_for(name: str) -> list[str]:
    """Return the overrides that bring one file of conf/ into a run of otherwise default settings."""
    group, _, option = name.rpartition("/")
    if name.startswith("experiment/"):
        return [f"experiment={name.removeprefix('experiment/')}"]
    if group in FOLLOWS_MODEL:
        return [f"model={option}"]
    if name in ("data/heads", "data/multipie"):  # 96 px, as their system wants them; the default one does not
        return [f"{group}={option}", "data.size=64"]
    return [] if not group or group.startswith("hydra/") else [f"{group}={option}"]


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


# Data for the models whose fields a folder of pictures has not; small, and packed once.
OWN_DATA = {
    "siamese": ["data=heads", "data.args.people=3", "data.limit=60", "data.val_fraction=0.34"],
    "hdgan": ["data=emoji", "data.limit=40"],
    "talkingface": ["data=talking", "data.args.speakers=4", "data.args.utterances=1", "data.args.seconds=2"],
}


def data_for(name: str, packed: list[str]) -> list[str]:
    """Return the overrides of the data that an option's model is tried on."""
    group, _, option = name.rpartition("/")
    own = OWN_DATA.get(option.split("_")[0]) if group in ("model", *FOLLOWS_MODEL) else None
    return packed if own is None else [*own, packed[-1]]


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


@pytest.mark.parametrize(
    ("name", "overrides", "counts"),
    [
        ("vaegan/test1", (), (2_717_776, 1_905_440, 2_969_697)),
        ("vaegan/test2", (), (2_717_776, 1_905_440, 2_969_697)),
        ("vaegan/test1", ("model.latent=100",), (1_898_376, 1_495_840, 2_969_697)),
        ("vaegan/test3", (), (7_634_512, 6_010_144, 8_927_457)),
        ("vaegan/test4", (), (5_995_912, 5_190_944, 8_927_457)),
        ("vaegan/test5", (), (5_995_912, 5_190_944, 8_927_457)),
    ],
)
def test_vaegan_has_the_published_layers(name: str, overrides: tuple[str, ...], counts: tuple[int, ...]) -> None:
    assert parameters(experiment(name, *overrides)) == dict(zip(("enc", "dec", "dis"), counts, strict=True))


@pytest.mark.parametrize(("name", "dis"), [("dcgan", 2_765_568), ("wgan_gp", 2_765_568 + 64)])
def test_dcgan_has_the_examples_layers_and_the_critic_64_biases_more(name: str, dis: int) -> None:
    assert parameters(experiment(name)) == {"gen": 3_576_704, "dis": dis}


@pytest.mark.parametrize(
    ("name", "convolutions_m", "total_m", "bottleneck"),
    [
        ("vae/2022-04-01a", 0.63, 27.96, (128, 40, 40)),
        ("vae/2022-04-01b_without_128s", 0.18, 76.47, (92, 80, 80)),
        ("vae/2022-04-02_sigmoid", 0.13, 105.66, (64, 80, 80)),
        ("vae/2022-04-03_tanh", 0.13, 105.66, (64, 80, 80)),
        ("vae/2022-04-04", 0.14, 105.69, (64, 80, 80)),
        ("vae/2022-04-05_lr5e-5", 0.14, 105.69, (64, 80, 80)),
        ("vae/2022-04-06_lr1e-4", 0.14, 105.69, (64, 80, 80)),
    ],
)
def test_vae_has_the_journals_sizes(
    name: str, convolutions_m: float, total_m: float, bottleneck: tuple[int, ...]
) -> None:
    """`convolutions_m` and `total_m` are millions, to the precision that the table states."""
    settings = experiment(name)
    enc: Any = on_meta(settings).nets["enc"]
    assert round(sum(p.numel() for p in enc.down.parameters()) / 1e6, 2) == convolutions_m
    assert round(sum(parameters(settings).values()) / 1e6, 2) == total_m
    assert tuple(enc.down(torch.empty(1, 3, 640, 640, device="meta")).shape[1:]) == bottleneck


@pytest.mark.parametrize(("size_px", "total"), [(640, 105_687_971), (64, 1_473_443)])
def test_vae_of_4_april_to_the_last_weight(size_px: int, total: int) -> None:
    assert sum(parameters(experiment("vae/2022-04-04", f"data.size={size_px}")).values()) == total


@pytest.mark.parametrize(
    ("name", "weights", "size_px", "latent"),
    [
        ("vaegan/test1", (1, 1, 1, 0.1, 0.1, 1, 1, 1), 64, 200),
        ("vaegan/test2", (1, 2, 5, 0.5, 0.5, 2, 1, 1), 64, 200),
        ("vaegan/test3", (1, 2, 5, 0.5, 0.5, 2, 1, 1), 128, 200),
        ("vaegan/test4", (1, 2, 5, 0.1, 0.1, 2, 1, 1), 128, 100),
        ("vaegan/test5", (1, 2, 5, 0.05, 0.05, 2, 1, 1), 128, 100),
    ],
)
def test_vaegan_weights_are_the_journals(name: str, weights: tuple[float, ...], size_px: int, latent: int) -> None:
    terms = ("mse", "kld", "mse_dec", "adv_rec", "adv_prior", "d_real", "d_rec", "d_prior")
    settings = experiment(name)
    assert {k: v for k, v in settings.scales.items() if v is not None} == dict(zip(terms, weights, strict=True))
    assert (settings.data.size, settings.model.model_dump()["latent"]) == (size_px, latent)


RATES = {"optimizer.lr", "optimizer.enc.lr", "optimizer.dec.lr"}


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ("vae/2022-03-31_relu", "vae/2022-04-01a", {"model.act"}),
        ("vae/2022-03_keras_example_bce", "vae/2022-03-28_mse", {"scales.mse", "scales.bce"}),
        ("vae/2022-03-28_mse", "vae/2022-03-30_tanh", {"model.output", "model.latent", "data.orientation"}),
        ("vae/2022-04-01a", "vae/2022-04-01b_without_128s", {"model.conv"}),
        ("vae/2022-04-02_sigmoid", "vae/2022-04-03_tanh", {"model.output"}),
        ("vae/2022-04-03_tanh", "vae/2022-04-04", {"model.output", "model.conv", "batch_size"}),
        ("vae/2022-04-04", "vae/2022-04-04_latent64", {"model.latent"}),
        ("vae/2022-04-04", "vae/2022-04-04_kernel3", {"model.conv"}),
        ("vae/2022-04-04", "vae/2022-04-05_lr5e-5", RATES),
        ("vae/2022-04-05_lr5e-5", "vae/2022-04-06_lr1e-4", RATES),
        ("vae/2022-04-05_lr5e-5", "vae/2022-04-08_pad", {"data.resize", "data.pad_value"}),
        ("vae/2022-04-08_pad", "vae/2022-04-11_standing", {"data.include"}),
        ("vae/2022-04-11_random_normal", "vae/2022-04-11_he_normal", {"model.init"}),
        ("vaegan/test1", "vaegan/test1_sums", {"model.reduction.rec", "model.reduction.kld"}),
        ("vaegan/test4", "vaegan/test5", {"scales.adv_rec", "scales.adv_prior"}),
        ("vaegan/test5", "vaegan/low_kld", {"scales.kld"}),
        ("vaegan/test5", "vaegan/rate_distortion", set()),
    ],
)
def test_presets_differ_in_what_the_journal_changed(before: str, after: str, changed: set[str]) -> None:
    old, new = (flatten(experiment(name).model_dump(mode="json")) for name in (before, after))
    assert {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)} == changed


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


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if commands(name)])
def test_commands_in_comments_compose(name: str, packed: list[str]) -> None:
    for command in commands(name):
        with session() as hydra:
            overrides = [argument for argument in command if not argument.startswith("data.path=")]
            jobs = hydra.expand(hydra.normal([*overrides, *packed]))
            check(to_settings(hydra.compose(jobs[-1])))


def test_rate_distortion_sweeps_the_forty_combinations() -> None:
    with session() as hydra:
        jobs = hydra.expand(["experiment=vaegan/rate_distortion"])
    assert len(jobs) == len({tuple(job) for job in jobs}) == 4 * 5 * 2
