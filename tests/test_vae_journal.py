"""The presets of the VAE and VAE-GAN journals: all entries are there, compose, build, train shrunk, differ as said."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from gansweep.assemble import check
from gansweep.config import conf_dir
from gansweep.config.compose import session, to_settings
from gansweep.data.people import write_set
from gansweep.journals import entries
from gansweep.runs.record import flatten
from gansweep.train import train
from test_conf import commands, experiment, on_meta, parameters


def folder_of(journal: str) -> Path:
    return conf_dir() / "experiment" / journal


def text_of(name: str) -> str:
    return (conf_dir() / "experiment" / f"{name}.yaml").read_text()


REMARK = "README"
PER_EPOCH = {"vae": 256, "vaegan": 312}  # batches
# The rows of the journals' tables: the presets of each, or that a remark stands in its place.
VAE_ROWS = {
    1: ["2022-03-31_relu", "2022-04-01a"],
    2: ["2022-04-04_latent64", "2022-04-04"],
    3: ["2022-04-02_sigmoid"],
    4: ["2022-04-04"],
    5: ["2022-04-05_lr5e-5"],
    6: ["2022-04-06_lr1e-4"],
    7: ["2022-04-08_pad"],
    8: ["2022-04-11_standing"],
    9: ["2022-04-04_kernel3", "2022-04-04"],
    10: ["2022-04-11_he_normal", "2022-04-11_he_normal_as_coded"],
    11: ["2022-04-04_linear", "2022-04-04"],
    12: ["2022-04-04"],
    13: ["2022-04-05_lr5e-5"],
    14: ["2022-04-05_pad_unit"],
    15: ["2022-04-04"],
    16: ["2022-04-03_tanh"],
    17: ["2022-04-02_sigmoid"],
    18: ["2022-04-03_tanh"],
    19: [REMARK],
    20: [REMARK],
    21: ["2022-04-01a", "2022-04-01b_without_128s"],
    22: ["2022-03_keras_example_bce", "2022-03-28_mse", "2022-03-30_tanh", "2022-04-12_unit_bce"],
    23: [REMARK],
    24: ["2022-04-01b_no_watermarks"],
}
VAEGAN_ROWS = {
    1: ["test1", "test1_sums"],
    2: [REMARK],
    3: [REMARK],
    4: ["test2"],
    5: ["test3"],
    6: ["test4"],
    7: ["test5"],
    8: ["rate_distortion", "low_kld"],
}
JOURNALS = {"vae": VAE_ROWS, "vaegan": VAEGAN_ROWS}
PRESETS = sorted(f"{path.parent.name}/{path.stem}" for one in JOURNALS for path in folder_of(one).glob("*.yaml"))
STAND_INS = {
    "vae": "people stands in for figure photographs of 640 px (not public)",
    "vaegan": "heads stands in for anime portraits (unnamed set)",
}
SMALL = ["scale_down=cpu", "steps=3", "tracker=none", "runtime.device=cpu"]


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty pictures in the VAE journal's own layout, small."""
    folder = tmp_path_factory.mktemp("photographs")
    write_set(folder, 60, long_px=96)
    return folder


@pytest.fixture(scope="session")
def packed(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Overrides that point any preset at those files, packed once for each way of fitting and choosing."""
    return ["data=folder", f"data.path={photographs}", f"data.cache_dir={tmp_path_factory.mktemp('packed')}"]


@pytest.mark.parametrize("journal", JOURNALS)
def test_every_row_of_a_journal_is_a_preset_or_a_remark(journal: str) -> None:
    rows, folder = JOURNALS[journal], folder_of(journal)
    assert list(rows) == list(range(1, {"vae": 24, "vaegan": 8}[journal] + 1))
    named = {name for names in rows.values() for name in names if name != REMARK}
    assert {f"{journal}/{name}" for name in named} == {name for name in PRESETS if name.startswith(f"{journal}/")}
    readme = (folder / "README.md").read_text()
    told = {int(row): text for row, text in re.findall(r"^\| (\d+), [^|]* \| (.*) \|$", readme, re.M)}
    assert list(told) == list(rows)
    for row, names in rows.items():
        assert re.findall(r"`([\w-]+)`", told[row]) == [name for name in names if name != REMARK]
        assert (f"\n- **{row}**, " in readme) == (REMARK in names)


def test_journals_tells_each_entrys_day_and_what_was_seen() -> None:
    known = {entry.name: entry for entry in entries() if entry.name.partition("/")[0] in JOURNALS}
    assert sorted(known) == PRESETS
    for entry in known.values():
        vae = entry.name.startswith("vae/")
        assert entry.journal == ("VAE" if vae else "VAE-GAN") and entry.line
        assert re.search(r"(March|April) 2022" if vae else r"January 2021", entry.when), entry.name
        assert "Found:" in entry.head or entry.name == "vaegan/rate_distortion", entry.name
        ours = "never run" in entry.when or entry.name == "vaegan/test1_sums"
        assert ours or "Observed" in entry.head, entry.name
        day = re.match(r"vae/2022-0(3|4)-(\d\d)", entry.name)
        if day and "checklist" not in entry.when:
            assert re.search(rf"\b{int(day[2])}\b.* {'March' if day[1] == '3' else 'April'}", entry.when), entry.name


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_stands_as_it_is_and_says_its_epochs(name: str, photographs: Path) -> None:
    """It is of the journal's size, looks at a named stand-in, and takes a folder in its place."""
    journal, given = name.partition("/")[0], experiment(name)
    system = check(given)
    assert {p.device.type for net in system.nets.values() for p in net.parameters()} == {"meta"}
    assert given.data.stand_in == STAND_INS[journal] and given.data.path is None
    assert given.data.size == (640 if journal == "vae" else given.data.size) and given.data.channels == 3
    own = experiment(name, "data=folder", f"data.path={photographs}")
    assert (own.data.name, own.data.stand_in, own.data.args) == ("folder", None, {})
    kept = ("size", "resize", "normalize", "orientation", "include", "exclude", "pad_value", "resample")
    if journal == "vae":
        assert all(getattr(own.data, key) == getattr(given.data, key) for key in kept)
    files = [name]
    while not re.search(r"^steps: ", text_of(files[-1]), re.M):
        files += re.findall(r"- /experiment/(\S+)", text_of(files[-1]))
    assert told_epochs(files[-1]) == (given.steps / PER_EPOCH[journal], PER_EPOCH[journal])


def told_epochs(name: str) -> tuple[int, int] | None:
    """Return the epochs, and their batches, that a preset's text reckons its steps as; None if it does not."""
    text = text_of(name)
    told = [(int(epochs), int(batches)) for epochs, batches in re.findall(r"(\d+) epochs x (\d+)", text)]
    steps = int(re.findall(r"^steps: (\d+)", text, re.M)[0])
    return next((one for one in told if one[0] * one[1] == steps), None)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_shrunk_is_the_same_structure_and_trains(name: str, packed: list[str], tmp_path: Path) -> None:
    full, small = experiment(name), experiment(name, *SMALL, *packed)
    assert (small.scales, small.schedule) == (full.scales, full.schedule)
    assert sum(parameters(small).values()) < sum(parameters(full).values()) / 4
    for net, module in on_meta(full).nets.items():
        assert list(on_meta(small).nets[net].state_dict()) == list(module.state_dict())
    outcome = train(small, tmp_path / "run", [])
    assert (outcome.status, outcome.step) == ("FINISHED", 3)
    for term in [term for term, scale in small.scales.items() if scale is not None]:
        logged = [value for key, value in outcome.last_losses.items() if key.rpartition("/")[2] == term]
        assert logged and all(math.isfinite(value) for value in logged), term
    norms = {key: value for key, value in outcome.last_losses.items() if key.startswith("grad_norm/")}
    assert norms.keys() == {f"grad_norm/{net}" for net in on_meta(small).nets}
    assert all(0 < value < math.inf for value in norms.values())
    grids = {path.name for path in (tmp_path / "run" / "grids").iterdir() if any(path.iterdir())}
    assert grids == {"samples", "reconstructions"}


@pytest.mark.parametrize(
    ("name", "few"),
    [
        ("vae/2022-04-02_sigmoid", ["data.limit=24"]),
        ("vae/2022-04-01b_no_watermarks", ["data.limit=24"]),
        ("vaegan/test1", ["data.args.people=2", "data.args.mask=own", "data.limit=24", "data.val_fraction=0.5"]),
    ],
)
def test_a_preset_trains_without_a_path_and_says_whose_place_its_data_take(
    name: str, few: list[str], tmp_path: Path
) -> None:
    outcome = train(experiment(name, *SMALL, *few, f"data.cache_dir={tmp_path / 'cache'}"), tmp_path / "run", [])
    assert (outcome.status, outcome.step) == ("FINISHED", 3)
    assert f"{STAND_INS[name.partition('/')[0]]}: results do not transfer" in (tmp_path / "run" / "run.log").read_text()


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
        ("vae/2022-04-01b_without_128s", "vae/2022-04-01b_no_watermarks", {"data.exclude"}),
        ("vae/2022-04-02_sigmoid", "vae/2022-04-03_tanh", {"model.output"}),
        ("vae/2022-04-03_tanh", "vae/2022-04-04", {"model.output", "model.conv", "batch_size"}),
        ("vae/2022-04-04", "vae/2022-04-04_linear", set()),
        ("vae/2022-04-04", "vae/2022-04-04_latent64", {"model.latent"}),
        ("vae/2022-04-04", "vae/2022-04-04_kernel3", {"model.conv"}),
        ("vae/2022-04-04", "vae/2022-04-05_lr5e-5", RATES),
        ("vae/2022-04-05_lr5e-5", "vae/2022-04-06_lr1e-4", RATES),
        ("vae/2022-04-05_lr5e-5", "vae/2022-04-05_pad_unit", {"data.resize", "data.pad_value", "data.normalize"}),
        ("vae/2022-04-05_lr5e-5", "vae/2022-04-08_pad", {"data.resize", "data.pad_value"}),
        ("vae/2022-04-08_pad", "vae/2022-04-11_standing", {"data.include"}),
        ("vae/2022-04-08_pad", "vae/2022-04-11_he_normal", {"model.init", "steps"}),
        ("vae/2022-04-11_he_normal", "vae/2022-04-11_he_normal_as_coded", {"model.init"}),
        ("vaegan/test1", "vaegan/test1_sums", {"model.reduction.rec", "model.reduction.kld"}),
        ("vaegan/test4", "vaegan/test5", {"scales.adv_rec", "scales.adv_prior"}),
        ("vaegan/test5", "vaegan/low_kld", {"scales.kld"}),
        ("vaegan/test5", "vaegan/rate_distortion", set()),
    ],
)
def test_presets_differ_in_what_the_journal_changed(before: str, after: str, changed: set[str]) -> None:
    old, new = (flatten(experiment(name).model_dump(mode="json")) for name in (before, after))
    assert {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)} == changed


def composes(command: list[str], photographs: Path) -> None:
    """Check the last job of a request; PICTURES are a folder in the journal's layout."""
    with session() as hydra:
        asked = [argument.replace("=PICTURES", f"={photographs}") for argument in command]
        check(to_settings(hydra.compose(hydra.expand(hydra.normal(asked))[-1])))


@pytest.mark.parametrize("name", [name for name in PRESETS if commands(name)])
def test_commands_in_comments_compose(name: str, photographs: Path) -> None:
    for command in commands(name):
        composes(command, photographs)


@pytest.mark.parametrize("journal", JOURNALS)
def test_commands_in_the_readmes_compose(journal: str, photographs: Path) -> None:
    text = " ".join((folder_of(journal) / "README.md").read_text().split())
    found = re.findall(r"`gansweep train (experiment=[^`]+)`", text)
    assert found
    for command in found:
        composes(command.removesuffix(" --cfg job").split(), photographs)


def test_rate_distortion_sweeps_the_forty_combinations() -> None:
    with session() as hydra:
        jobs = hydra.expand(["experiment=vaegan/rate_distortion"])
    assert len(jobs) == len({tuple(job) for job in jobs}) == 4 * 5 * 2
