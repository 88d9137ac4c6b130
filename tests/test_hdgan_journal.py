"""The HDGAN journal's presets: all entries are there, compose, build and train shrunk; twins differ as they say."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest
import torch

from gansweep.build import build_system
from gansweep.config import conf_dir
from gansweep.config.compose import Session, session, to_settings
from gansweep.config.settings import Settings
from gansweep.engine.schedule import piecewise
from gansweep.journals import entries
from gansweep.runs.record import flatten
from gansweep.system import System
from gansweep.train import train
from test_conf import commands

FOLDER = conf_dir() / "experiment" / "hdgan"
PRESETS = sorted(path.stem for path in FOLDER.glob("*.yaml"))
REMARK = "README"
# The journal's entries in their order: the presets of each, and where a remark stands beside or instead of them.
ROWS = {
    1: ["small_1"],
    2: ["small_2"],
    3: ["large_shared_skip"],
    4: ["no_upsampling_skip"],
    5: ["multistage"],
    6: ["256_early_version"],
    7: ["256_shared_skip_num_emb_1", "64_thin_num_emb_1"],
    8: ["small_batch"],
    9: ["short_skip"],
    10: ["balanced", "unbalanced"],
    11: ["layer_norm_relu", "layer_norm_relu_as_coded", "layer_norm_lrelu", "layer_norm_lrelu_as_coded"],
    12: ["extra_1x1"],
    13: [REMARK],
    14: ["local_disc"],
    15: ["replay_buffer"],
    16: [REMARK],
    17: [REMARK],
    18: [
        "ncritic_first_100",
        "ncritic_first_100_as_coded",
        "ncritic_all",
        "ncritic_none_flowers",
        "ncritic_first_100_flowers",
        "ncritic_first_10_flowers",
        REMARK,
    ],
    19: [REMARK],
    20: ["fulglo_256"],
    21: ["single_256", "comb_64_256", "comb_128_256"],
    22: ["global_no_img", "both_heads"],
    23: [REMARK],
    24: ["coco_64", "coco_64_128"],
    25: ["bigger", "bigger_local"],
    26: ["vanilla_256"],
    27: [REMARK],
}
PICTURES = {"birds": 8_855, "flowers": 7_034, "COCO": 82_783}
SMALL = [
    "+scale_down=cpu",
    "data.limit=8",
    "data.val_fraction=0.25",
    "+data.args.embedding=16",
    "model.embedding=16",
    "model.width_factor=0.02",
    "batch_size=2",
    "steps=3",
    "log_every=1",
    "sample_every=0",
    "val_every=0",
    "tracker=none",
    "runtime.device=cpu",
    "runtime.threads=1",
]


@pytest.fixture(scope="module", name="hydra")
def opened() -> Iterator[Session]:
    with session() as hydra:
        yield hydra


@lru_cache
def settings(hydra: Session, name: str, *overrides: str) -> Settings:
    return to_settings(hydra.compose(hydra.normal([f"experiment=hdgan/{name}", *overrides])))


def flat(hydra: Session, name: str) -> dict[str, object]:
    return flatten(settings(hydra, name).model_dump(mode="json"))


@lru_cache
def on_meta(hydra: Session, name: str, *overrides: str) -> System:
    with torch.device("meta"):
        return build_system(settings(hydra, name, *overrides))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The override that lets all share the drawings, packed once for each choice of sizes."""
    return f"data.cache_dir={tmp_path_factory.mktemp('drawn')}"


def test_every_row_of_the_journal_is_a_preset_or_a_remark() -> None:
    assert list(ROWS) == list(range(1, 28))
    assert sorted(name for names in ROWS.values() for name in names if name != REMARK) == PRESETS
    readme = (FOLDER / "README.md").read_text()
    told = {int(row): text for row, text in re.findall(r"^\| (\d+) \| (.*) \|$", readme, re.M)}
    assert list(told) == list(ROWS)
    for row, names in ROWS.items():
        assert re.findall(r"`([\w-]+)`", told[row]) == [name for name in names if name != REMARK]
        assert (f"\n- **{row}**, " in readme) == (REMARK in names)


def test_journals_tells_each_entrys_day_and_line() -> None:
    known = {entry.name: entry for entry in entries() if entry.name.startswith("hdgan/")}
    assert sorted(known) == [f"hdgan/{name}" for name in PRESETS]
    for entry in known.values():
        assert entry.journal == "HDGAN" and entry.line, entry.name
        assert re.match(r"(by 30 October|10 October|22 September) 2017", entry.when), entry.name


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_builds_and_says_its_epochs(hydra: Session, name: str) -> None:
    given, system = settings(hydra, name), on_meta(hydra, name)
    assert {p.device.type for net in system.nets.values() for p in net.parameters()} == {"meta"}
    assert given.data.name == "emoji" and given.data.flip
    sizes = sorted({*given.data.args["sizes"], given.data.size})
    assert {f"image_{size}" for size in sizes[:-1]} | {"image"} <= system.inputs.keys()
    assert {key for key in system.inputs if key.startswith("image_")} == {f"image_{size}" for size in sizes[:-1]}
    files = [name]
    while not (written := re.search(r"^steps: (\d+) +# (.*)$", (FOLDER / f"{files[-1]}.yaml").read_text(), re.M)):
        files += re.findall(r"- /experiment/hdgan/(\S+)", (FOLDER / f"{files[-1]}.yaml").read_text())
    told = re.fullmatch(r"(\d+) epochs x ([\d,]+) batches of (\w+)'s? ([\d,]+)", written[2])
    assert told is not None
    epochs, batches, pictures = (int(told[n].replace(",", "")) for n in (1, 2, 4))
    assert pictures == PICTURES[told[3]] and batches == pictures // given.batch_size
    assert given.steps == int(written[1]) == epochs * batches
    assert given.schedule.curves["optimizer.lr"] == {
        "kind": "decay",
        "multiply_by": 0.5,
        "every_steps": 100 * batches,
    }


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_shrunk_is_the_same_structure_and_trains(
    hydra: Session, name: str, drawn: str, tmp_path: Path
) -> None:
    full, small = settings(hydra, name), settings(hydra, name, *SMALL, drawn)
    assert (small.scales, small.schedule, small.data.size) == (full.scales, full.schedule, full.data.size)
    whole = on_meta(hydra, name).nets
    for net, module in on_meta(hydra, name, *SMALL, drawn).nets.items():
        assert list(module.state_dict()) == list(whole[net].state_dict())
    outcome = train(small, tmp_path / "run", [])
    assert (outcome.status, outcome.step) == ("FINISHED", 3)
    logged = {key.rpartition("/")[2] for key in outcome.last_losses}
    assert logged >= {term for term, scale in full.scales.items() if scale is not None}
    # Two pictures and a layer or two of one channel: rates that run away are what some entries are about.
    assert all(map(math.isfinite, outcome.last_losses.values()))
    assert outcome.last_losses["grad_norm/gen"] > 0 and outcome.last_losses["grad_norm/dis"] > 0


TURNS = {"schedule.phases.dis.repeat"}
NORMS = {"model.generator.norm", "model.discriminator.norm"}
CHANGES = [
    ("balanced", "unbalanced", TURNS),
    ("ncritic_first_100", "ncritic_first_100_as_coded", TURNS),
    ("ncritic_first_100", "ncritic_all", TURNS),
    ("ncritic_none_flowers", "ncritic_first_100_flowers", TURNS),
    ("ncritic_none_flowers", "ncritic_first_10_flowers", TURNS),
    ("balanced", "layer_norm_relu", NORMS),
    ("layer_norm_relu", "layer_norm_lrelu", {"model.generator.act"}),
    ("layer_norm_relu", "layer_norm_relu_as_coded", NORMS),
    ("layer_norm_lrelu", "layer_norm_lrelu_as_coded", NORMS),
    ("no_upsampling_skip", "extra_1x1", {"model.discriminator.joint_1x1"}),
    ("256_early_version", "no_upsampling_skip", {"model.generator.skip"}),
    ("256_early_version", "short_skip", {"model.generator.skip"}),
    ("large_shared_skip", "256_shared_skip_num_emb_1", set()),
    ("balanced", "multistage", {"model.generator.arch"}),
    ("balanced", "local_disc", {"model.discriminator.image_head"}),
    ("balanced", "both_heads", {"model.discriminator.image_head"}),
    ("balanced", "replay_buffer", {"model.replay.capacity"}),
    ("ncritic_first_100", "fulglo_256", {"model.discriminator.head_256"}),
    ("balanced", "global_no_img", {f"scales.{term}_{size}" for term in ("d_img", "img") for size in (64, 128, 256)}),
    ("bigger", "bigger_local", {"model.discriminator.image_head"}),
]


@pytest.mark.parametrize(("before", "after", "changed"), CHANGES, ids=[after for _, after, _ in CHANGES])
def test_presets_differ_in_what_they_say(hydra: Session, before: str, after: str, changed: set[str]) -> None:
    old, new = flat(hydra, before), flat(hydra, after)
    assert {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)} == changed
    assert {name for name in PRESETS if name.endswith("_as_coded")} <= {after for _, after, _ in CHANGES}


def meant(step: int, until: int) -> int:
    """The journal's rule: 5 in the first 100 steps and each 20th to 1,000, then 10 in each 50th to `until`, else 1."""
    if step >= until:
        return 1
    if step < 1000:
        return 5 if step < 100 or step % 20 == 0 else 1
    return 10 if step % 50 == 0 else 1


@pytest.mark.parametrize(
    ("name", "epochs", "steps_an_epoch"),
    [("first_100", 100, 553), ("all", 600, 553), ("first_100_flowers", 100, 439), ("first_10_flowers", 10, 439)],
)
def test_the_turns_of_d_are_those_that_the_journal_means(
    hydra: Session, name: str, epochs: int, steps_an_epoch: int
) -> None:
    turns, until = settings(hydra, f"ncritic_{name}").schedule.phases["dis"].repeat, epochs * steps_an_epoch
    for step in [*range(2200), *range(until - 1100, until + 1100)]:
        assert piecewise(turns, step) == meant(step, until), step


def test_as_coded_n_critic_never_comes_back(hydra: Session) -> None:
    turns = settings(hydra, "ncritic_first_100_as_coded").schedule.phases["dis"].repeat
    assert [piecewise(turns, step) for step in (0, 999, 1000, 55_299, 55_300)] == [5, 5, 15, 15, 15]


def test_commands_in_heads_compose(hydra: Session) -> None:
    """Those that only sweep presets and seeds name presets that there are; of the others the last job builds."""
    told = [command for name in PRESETS for command in commands(f"hdgan/{name}")]
    assert len(told) > 20 and ["experiment=hdgan/256_early_version", "model.generator.skip=none"] in told
    for command in told:
        names, *changes = [argument for argument in command if not argument.startswith("seed=")]
        swept = names.removeprefix("experiment=").split(",")
        assert {name.removeprefix("hdgan/") for name in swept} <= set(PRESETS)
        if changes:
            job = hydra.expand(hydra.normal([f"experiment={swept[-1]}", *changes]))[-1]
            with torch.device("meta"):
                build_system(to_settings(hydra.compose(job)))


@pytest.mark.parametrize(
    ("name", "gen", "dis"),
    [
        ("balanced", 41_378_496, 25_693_606),
        ("vanilla_256", 41_368_128, 8_600_418),
        ("small_2", 40_634_880, None),
        ("coco_64", 71_315_968, 8_510_466),
        ("coco_64_128", 72_205_440, 17_093_188),
        ("bigger", 63_661_184, 25_693_606),
    ],
)
def test_the_journals_models_have_their_sizes(hydra: Session, name: str, gen: int, dis: int | None) -> None:
    counts = {net: sum(p.numel() for p in module.parameters()) for net, module in on_meta(hydra, name).nets.items()}
    assert counts["gen"] == gen and dis in (None, counts["dis"])
