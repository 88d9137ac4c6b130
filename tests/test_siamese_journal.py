"""The siamese journal's presets: all entries are there, compose, build and train shrunk; twins differ as they say."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

from gansweep.assemble import check
from gansweep.build import build_system
from gansweep.config import conf_dir
from gansweep.config.compose import Session, session, to_settings
from gansweep.config.settings import Settings
from gansweep.journals import entries
from gansweep.runs import checkpoint
from gansweep.runs.record import flatten
from gansweep.system import System
from gansweep.train import train
from test_conf import commands

FOLDER = conf_dir() / "experiment" / "siamese"
PRESETS = sorted(path.stem for path in FOLDER.glob("*.yaml"))
REMARK = "README"
# The rows of the journal's table: the presets of each, and where a remark stands beside or instead of them.
ROWS = {
    1: ["06-20_siamese_train", "06-20_large_weights"],
    2: ["06_train_2"],
    3: ["06_train_3"],
    4: ["06_M_1"],
    5: ["06_M_2", "06_M_2_as_coded"],
    6: ["06_M_3", "06_M_3_as_coded"],
    7: ["07_GAN_1"],
    8: ["07_GAN_2", "07_GAN_2_as_coded"],
    9: ["07_GAN_SR"],
    10: [REMARK],
    11: ["07-09_GAN_1_2"],
    12: ["07-10_GAN_1"],
    13: ["07-10_GAN_1_3"],
    14: ["07-11"],
    15: [REMARK],
    16: ["07-12_GAN_11_2"],
    17: ["07-12_from_1_2", REMARK],
    18: ["07-13"],
    19: ["07-13-2"],
    20: [REMARK],
    21: [REMARK],
    22: ["07-14"],
    23: ["07-14-2_he", "07-14-2_xavier"],
    24: ["07-15_plain_trunk"],
    25: ["07-15_gan_5", "07-15_gan_1"],
    26: ["07-15_gan_2"],
    27: ["07-15_gan_01"],
    28: [REMARK],
    29: ["07-16", "07-16_1", "07-16_as_coded"],
    30: ["07-17", "07-17_1", "07-17_1_as_coded"],
    31: ["07-18"],
    32: ["07-19", "07-19_as_coded"],
    33: ["07-20_theta", "07-20_theta_1"],
    34: [REMARK],
    35: ["07-27", "07-27_as_coded"],
}
SMALL = [
    "+scale_down=cpu",
    "data.args.people=3",
    "data.limit=40",
    "data.val_fraction=0.34",
    "data.size=16",
    "model.width_factor=0.1",
    "batch_size=4",
    "steps=3",
    "log_every=1",
    "sample_every=0",
    "val_every=0",
    "tracker=none",
    "runtime.device=cpu",
    "runtime.threads=1",
]
# Those that keep the best by a held-out loss, which must then be there.
WATCHED = {name: ("val_every=3",) for name in PRESETS if name.startswith(("07-19", "07-20"))}


@pytest.fixture(scope="module", name="hydra")
def opened() -> Iterator[Session]:
    with session() as hydra:
        yield hydra


@lru_cache
def settings(hydra: Session, name: str, *overrides: str) -> Settings:
    return to_settings(hydra.compose(hydra.normal([f"experiment=siamese/{name}", *overrides])))


def flat(hydra: Session, name: str) -> dict[str, object]:
    return flatten(settings(hydra, name).model_dump(mode="json"))


@lru_cache
def whole(hydra: Session, name: str) -> System:
    """The checked system of a preset, on the meta device."""
    return check(settings(hydra, name))


def on_meta(given: Settings) -> System:
    with torch.device("meta"):
        return build_system(given)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The override that lets all share one small set of drawn heads."""
    return f"data.cache_dir={tmp_path_factory.mktemp('faces')}"


def test_every_row_of_the_journal_is_a_preset_or_a_remark() -> None:
    assert list(ROWS) == list(range(1, 36))
    assert sorted(name for names in ROWS.values() for name in names if name != REMARK) == PRESETS
    readme = (FOLDER / "README.md").read_text()
    told = {int(row): text for row, text in re.findall(r"^\| (\d+) \| (.*) \|$", readme, re.M)}
    assert list(told) == list(ROWS)
    for row, names in ROWS.items():
        assert re.findall(r"`([\w-]+)`", told[row]) == [name for name in names if name != REMARK]
        assert (f"\n- **{row}**, " in readme) == (REMARK in names)


def test_journals_tells_each_entrys_day_and_line() -> None:
    known = {entry.name: entry for entry in entries() if entry.name.startswith("siamese/")}
    assert sorted(known) == [f"siamese/{name}" for name in PRESETS]
    for entry in known.values():
        assert entry.journal == "Siamese" and re.search(r"(June|July) 2018", entry.when) and entry.line, entry.name
        day = re.match(r"siamese/0[67]-(\d\d)", entry.name)
        assert day is None or day[1] == "20" or entry.when.startswith(f"{int(day[1])} July 2018"), entry.name


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_the_journals_size_and_says_its_epochs(hydra: Session, name: str) -> None:
    given = settings(hydra, name)
    system = whole(hydra, name)
    assert {p.device.type for net in system.nets.values() for p in net.parameters()} == {"meta"}
    assert given.data.name == "heads" and given.data.size == 96
    files = [name]
    while not (written := re.search(r"^steps: (\d+) +# (.*)$", (FOLDER / f"{files[-1]}.yaml").read_text(), re.M)):
        files += re.findall(r"- /experiment/siamese/(\S+)", (FOLDER / f"{files[-1]}.yaml").read_text())
    assert given.steps == int(written[1])
    for epochs, batches in re.findall(r"(\d+)(?: epochs)? x ([\d,]+)", written[2]):
        per_epoch = int(batches.replace(",", ""))
        assert per_epoch in (111_780 // given.batch_size, 34_200 // given.batch_size)
        assert int(epochs) == round(given.steps / per_epoch)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_shrunk_is_the_same_structure_and_trains(
    hydra: Session, name: str, faces: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    full, small = settings(hydra, name), settings(hydra, name, *SMALL, faces, *WATCHED.get(name, ()))
    assert (small.scales, small.schedule) == (full.scales, full.schedule)
    for net, module in on_meta(small).nets.items():
        assert list(module.state_dict()) == list(whole(hydra, name).nets[net].state_dict())
    with caplog.at_level(logging.WARNING):
        outcome = train(small, tmp_path / "run", [])
    assert (outcome.status, outcome.step) == ("FINISHED", 3)
    # Of four pairs none may share its pose, and those apart by more than the margin have no gradient.
    assert all(message.endswith("learns: gen/contra_pose") for message in caplog.messages if "no gradient" in message)
    assert outcome.last_losses and all(map(math.isfinite, outcome.last_losses.values()))
    logged = {key.rpartition("/")[2] for key in outcome.last_losses}
    assert logged >= {term for term, scale in full.scales.items() if scale is not None}
    assert outcome.last_losses["grad_norm/gen"] > 0


RATES = {f"optimizer.{net}.lr" for net in ("gen", "dis")}
CURVES = {"schedule.curves"} | {
    f"schedule.curves.optimizer.{net}.lr.{key}" for net in ("gen", "dis") for key in ("kind", "values")
}
AS_SCRIPTS = {"scales.l1", "scales.mse", "optimizer.gen.lr", "schedule.phases.dis.every", *CURVES}
CHANGES = [
    ("06_M_2", "06_M_2_as_coded", {"model.contour", "model.freeze_stats"}),
    ("06_M_3", "06_M_3_as_coded", {"model.contour", "model.freeze_stats"}),
    ("07_GAN_2", "07_GAN_2_as_coded", {"model.discriminator.kind"}),
    ("07-16", "07-16_as_coded", AS_SCRIPTS),
    ("07-17_1", "07-17_1_as_coded", AS_SCRIPTS | {"scales.adv", "data.args.real", "steps"}),
    ("07-19", "07-19_as_coded", AS_SCRIPTS | {"data.args.real", "checkpoint.best_by"}),
    (
        "07-27",
        "07-27_as_coded",
        {f"scales.{term}" for term in ("l1", "class_pose", "d_pose", "d_real", "d_fake")}
        | {"model.class_labels", "data.args.real"},
    ),
    ("06_M_3", "06_M_2", {"scales.l1", "scales.mse"}),
    ("07_GAN_1", "07_GAN_2", {"model.discriminator.kind"}),
    ("07-13", "07-13-2", {"optimizer.dis.lr"}),
    ("07-14", "07-14-2_he", {"model.init"}),
    ("07-14-2_he", "07-14-2_xavier", {"model.init"}),
    ("07-14", "07-15_plain_trunk", {"model.encoder.trunk", "steps", "batch_size", "log_every"}),
    ("07-15_gan_5", "07-15_gan_1", {"scales.adv"}),
    ("07-15_gan_5", "07-15_gan_2", {"scales.adv", "schedule.phases.dis.every"}),
    ("07-15_gan_01", "07-16", {"scales.l1"}),
    ("07-16", "07-16_1", {"scales.contra_id"}),
    ("07-16", "07-17", {"scales.adv", "data.args.real"}),
    ("07-16", "07-18", {"scales.class_light"}),
    ("07-16", "07-19", {"data.args.target_light", "data.args.real", "checkpoint.best_by", "checkpoint.best_mode"}),
    ("07-20_theta", "07-20_theta_1", {"scales.adv"}),
]


@pytest.mark.parametrize(("before", "after", "changed"), CHANGES, ids=[after for _, after, _ in CHANGES])
def test_presets_differ_in_what_they_say(hydra: Session, before: str, after: str, changed: set[str]) -> None:
    old, new = flat(hydra, before), flat(hydra, after)
    assert {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)} == changed
    assert {name for name in PRESETS if name.endswith("_as_coded")} <= {after for _, after, _ in CHANGES}


def test_a_preset_goes_on_from_the_run_that_its_head_names(hydra: Session, faces: str, tmp_path: Path) -> None:
    """M_2 from train_3, GAN_2 from M_2 with another discriminator: the generator alone is taken, its decoder frozen."""
    before = tmp_path / "06_train_3"
    train(settings(hydra, "06_train_3", *SMALL, faces), before, [])
    for name, more in (("06_M_2", []), ("07_GAN_2", ["model.warm_start.nets=[gen]"])):
        run, source = tmp_path / name, before / "checkpoints" / "step-00000003.pt"
        start = [f"model.warm_start.from={source}", *more]
        assert train(settings(hydra, name, *SMALL, faces, *start), run, []).status == "FINISHED"
        old, new = (checkpoint.load(folder / "checkpoints" / "last.pt")["nets"]["gen"] for folder in (before, run))
        moved = {key.partition(".")[0] for key in new if not torch.equal(old[key], new[key])}
        assert moved == ({"dec"} if name == "06_M_2" else {"enc", "head"})
        before = run


def test_the_journals_strings_of_weights(hydra: Session) -> None:
    """GAN, then contrastive pose and light, two classes, contrastive identity, reconstruction."""
    order = ("adv", "contra_pose", "contra_light", "class_pose", "class_light", "contra_id", "l1")
    strings = {
        "07-09_GAN_1_2": (0.001, 10, 10, 10, 10, 10, 1),
        "07-10_GAN_1": (1, 1, 1, 1, 1, 1, 100),
        "07-10_GAN_1_3": (0.001, 10, 10, 10, 10, 10, 1),
        "07-11": (10, 1, 1, 1, 1, 1, 20),
        "07-14": (0.1, 1, 1, 1, 1, 0.1, 1),
        "07-15_gan_5": (5, 1, 1, 1, 1, 1, 1),
        "07-15_gan_2": (2, 1, 1, 1, 1, 1, 1),
        "07-15_gan_01": (0.1, 1, 1, 1, 1, 1, 1),
        "07-16": (0.1, 1, 1, 1, 1, 1, 5),
        "07-16_1": (0.1, 1, 1, 1, 1, 0.5, 5),
        "07-17": (1, 1, 1, 1, 1, 1, 5),
        "07-17_1": (0.5, 1, 1, 1, 1, 1, 1),
        "07-18": (0.1, 1, 1, 1, 5, 1, 5),
        "07-19": (0.1, 1, 1, 1, 1, 1, 5),
    }
    for name, weights in strings.items():
        scales = settings(hydra, name).scales
        assert tuple(scales[term] for term in order) == weights, name


@pytest.mark.parametrize("name", [name for name in PRESETS if commands(f"siamese/{name}")])
def test_commands_in_comments_compose(hydra: Session, name: str) -> None:
    """Without the runs that they go on from; of a sweep its last job."""
    for command in commands(f"siamese/{name}"):
        overrides = [argument for argument in command if not argument.startswith("model.warm_start.")]
        jobs = BasicSweeper.split_arguments(hydra.parse(hydra.normal(overrides)), None)[0]
        check(to_settings(hydra.compose(jobs[-1])))


def test_commands_in_the_readme_compose(hydra: Session) -> None:
    text = " ".join((FOLDER / "README.md").read_text().split())
    found = re.findall(r"`gansweep (?:train|-m) (experiment=[^`]+)`", text)
    assert len(found) == 3
    for command in found:
        check(to_settings(hydra.compose(hydra.expand(hydra.normal(command.split()))[-1])))
