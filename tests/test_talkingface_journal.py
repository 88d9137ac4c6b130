"""The talking-face journal's presets: every line is there, composes, builds and trains shrunk; twins differ as told."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

from gansweep.assemble import check
from gansweep.build import build_system
from gansweep.config import conf_dir
from gansweep.config.compose import Session, session, to_settings
from gansweep.config.settings import Settings
from gansweep.engine.schedule import build_curve
from gansweep.errors import UserError
from gansweep.journals import entries
from gansweep.runs import checkpoint
from gansweep.runs.record import flatten
from gansweep.system import System
from gansweep.train import train
from test_conf import commands

FOLDER = conf_dir() / "experiment" / "talkingface"
PRESETS = sorted(path.stem for path in FOLDER.glob("*.yaml"))
FIRST = "03-18_rates"
REMARK = "README"
# The rows of the journal's table: the presets of each, and where a remark stands beside or instead of them.
ROWS = {
    1: ["03-18_rates", "03-18_rates_as_meant"],
    2: ["03-18_scales"],
    3: ["03-19_lower_half"],
    4: ["03-19_l1"],
    5: ["03-19_id"],
    6: ["03-19_seq_sync"],
    7: ["03-19_id_1", "03-19_id_less"],
    8: [REMARK],
    9: ["03-20_l1_lower"],
    10: ["03-21_weights"],
    11: ["03-21_rates"],
    12: ["03-21_config", "03-21_config_as_coded"],
    13: ["03-21_id_2"],
    14: ["03-22_sync_grid"],
    15: ["03-22_leaky"],
    16: ["03-23_sync_batch_norm"],
    17: ["03-23_labels"],
    18: ["03-24_conv3d"],
    19: ["03-25_id_filters", "03-25_id_filters_as_coded"],
    20: ["03-28_leaky_audio"],
    21: ["03-28_patch"],
    22: ["03-30_no_l1", "03-30_no_l1_as_coded"],
    23: ["03-31", "03-31_as_coded", REMARK],
    24: [REMARK],
    25: ["04-02", "04-02_as_coded", REMARK],
    26: ["04-03", "04-03_as_coded"],
    27: ["04-05_id_only", "04-05_id_only_as_coded"],
    28: ["04-05_id_seq", "04-05_id_seq_as_coded"],
    29: ["04-05_id_l1", "04-05_id_l1_as_coded"],
    30: ["04-11", "04-11_as_coded", "04-11_every_20", "04-11_every_20_as_coded"],
}
SMALL = [
    "+scale_down=cpu",
    "data.args.speakers=4",
    "data.args.utterances=2",
    "data.args.seconds=2",
    "data.args.voice=syllables",
    "data.val_fraction=0",
    "batch_size=4",
    "steps=3",
    "log_every=1",
    "sample_every=0",
    "val_every=0",
    "tracker=none",
    "runtime.device=cpu",
    "runtime.threads=1",
]
# Two clips are enough of those with 20 frames.
TWO = {name: ("batch_size=2",) for name in PRESETS if name.startswith(("03-3", "04-02"))}
# Terms of the generator that the code cut off from it.
LOST = {
    "03-31_as_coded": ["gen/seq"],
    "04-02_as_coded": ["gen/seq"],
    "04-03_as_coded": ["gen/sync", "gen/seq"],
    "04-05_id_seq_as_coded": ["gen/seq"],
}


@pytest.fixture(scope="module", name="hydra")
def opened() -> Iterator[Session]:
    with session() as hydra:
        yield hydra


@lru_cache
def settings(hydra: Session, name: str, *overrides: str) -> Settings:
    return to_settings(hydra.compose(hydra.normal([f"experiment=talkingface/{name}", *overrides])))


def flat(hydra: Session, name: str) -> dict[str, object]:
    return flatten(settings(hydra, name).model_dump(mode="json"))


@lru_cache
def whole(hydra: Session, name: str) -> System:
    """The checked system of a preset, on the meta device."""
    return check(settings(hydra, name))


def on_meta(given: Settings) -> System:
    with torch.device("meta"):
        return build_system(given)


def parent(name: str) -> str | None:
    """Return the preset that a preset's file begins with."""
    found = re.findall(r"^  - /experiment/talkingface/(\S+)$", (FOLDER / f"{name}.yaml").read_text(), re.M)
    assert len(found) <= 1
    return found[0] if found else None


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The override that lets all share two small sets of drawn clips, of 5 frames and of 20."""
    return f"data.cache_dir={tmp_path_factory.mktemp('talk')}"


def test_every_row_of_the_journal_is_a_preset_or_a_remark() -> None:
    assert list(ROWS) == list(range(1, 31))
    assert sorted(name for names in ROWS.values() for name in names if name != REMARK) == PRESETS
    readme = (FOLDER / "README.md").read_text()
    told = {int(row): text for row, text in re.findall(r"^\| (\d+) \| (.*) \|$", readme, re.M)}
    assert list(told) == list(ROWS)
    for row, names in ROWS.items():
        assert re.findall(r"`([\w-]+)`", told[row]) == [name for name in names if name != REMARK]
        assert (f"\n- **{row}**, " in readme) == (REMARK in names)


def test_journals_tells_each_entrys_day_and_line() -> None:
    known = {entry.name: entry for entry in entries() if entry.name.startswith("talkingface/")}
    assert sorted(known) == [f"talkingface/{name}" for name in PRESETS]
    months = {"03": "March", "04": "April"}
    for name in PRESETS:
        entry = known[f"talkingface/{name}"]
        assert entry.journal == "Talking-face" and entry.line, name
        assert entry.when.startswith(f"{int(name[3:5])} {months[name[:2]]} 2021"), name
        assert ("as coded" in f"{entry.when} ") == name.endswith("_as_coded"), name
        assert "\nFound:" in entry.head or "\nUnstated" in entry.head, name


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_the_journals_size_and_says_its_epochs(hydra: Session, name: str) -> None:
    given, system = settings(hydra, name), whole(hydra, name)
    assert {p.device.type for net in system.nets.values() for p in net.parameters()} == {"meta"}
    model: Any = given.model.model_dump()
    assert (given.data.name, given.data.size, given.data.channels) == ("talking", 256, 1)
    assert given.data.stand_in == "talking stands in for Lombard GRID (audio and front video)"
    assert given.data.args["frames"] == model["frames"]
    # 72 frames a video, and 60 videos.
    assert given.data.limit == 60 * (given.data.args["seconds"] * 24 // model["frames"])
    assert system.native_px == 68  # type: ignore[attr-defined]
    files = [name]
    while not (written := re.search(r"^steps: (\d+) +# (.*)$", (FOLDER / f"{files[-1]}.yaml").read_text(), re.M)):
        files.append(parent(files[-1]) or "")
    told = re.fullmatch(r"(\d+) epochs x ([\d,]+): 60 videos( of 75 frames)?, (\d) a step", written[2])
    assert told is not None
    epochs, per_epoch, at_once = (int(told[n].replace(",", "")) for n in (1, 2, 4))
    by_frame = model["step"] == "frame"
    assert by_frame == bool(told[3]) and at_once == given.batch_size
    assert per_epoch == 60 * (75 if by_frame else 1) // at_once
    assert given.steps == int(written[1]) == epochs * per_epoch


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_shrunk_is_the_same_structure_and_trains(
    hydra: Session, name: str, talk: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    full, small = settings(hydra, name), settings(hydra, name, *SMALL, talk, *TWO.get(name, ()))
    assert (small.scales, small.schedule) == (full.scales, full.schedule)
    for net, module in on_meta(small).nets.items():
        assert list(module.state_dict()) == list(whole(hydra, name).nets[net].state_dict())
    with caplog.at_level(logging.WARNING):
        outcome = train(small, tmp_path / "run", [])
    assert (outcome.status, outcome.step) == ("FINISHED", 3)
    lost = [message for message in caplog.messages if "no gradient" in message]
    assert len(lost) == (name in LOST)
    assert all(message.endswith(f"learns: {', '.join(LOST[name])}") for message in lost)
    assert outcome.last_losses and all(map(math.isfinite, outcome.last_losses.values()))
    logged = {key.rpartition("/")[2] for key in outcome.last_losses}
    assert logged >= {
        term
        for term, scale in full.scales.items()
        if scale is not None and not (term.startswith("d_seq") and full.schedule.phases["seq"].every != 1)
    }
    assert outcome.last_losses["grad_norm/gen"] > 0


def test_the_reach_check_refuses_what_was_coded_on_31_march(hydra: Session, talk: str, tmp_path: Path) -> None:
    refused = settings(hydra, "03-31_as_coded", *SMALL, talk, "batch_size=2", "runtime.reach=error")
    with pytest.raises(UserError, match="gen/seq"):
        train(refused, tmp_path / "run", [])


HEARS = {f"scales.d_sync_{of}" for of in ("real", "fake", "wrong")}
SEQ = {f"scales.{term}" for term in ("seq", "d_seq_real", "d_seq_fake")}
SYNC = {"scales.sync", *HEARS}
PIXELS = {"model.pixels.offset", "model.pixels.scale"}
RATES = {"optimizer.sync.lr", "optimizer.seq.lr"}
CONV3D = {f"model.seq.{key}" for key in ("widths", "kernel_frames", "stride_frames", "norm")}
CHANGES: dict[str, set[str]] = {
    "03-18_rates_as_meant": RATES,
    "03-18_scales": {"scales.sync", "scales.seq", "scales.l1"},
    "03-19_lower_half": {"model.sync.crop"},
    "03-19_l1": set(),
    "03-19_id": set(),
    "03-19_seq_sync": set(),
    "03-19_id_1": set(),
    "03-19_id_less": {"scales.id"},
    "03-20_l1_lower": {"model.region"},
    "03-21_weights": {"model.region", "scales.sync", "scales.seq"},
    "03-21_rates": RATES,
    "03-21_config": set(),
    "03-21_config_as_coded": {"model.seq.head", "model.seq.earlier", *PIXELS, *HEARS},
    "03-21_id_2": {"scales.id"},
    "03-22_sync_grid": set(),
    "03-22_leaky": {
        *(f"model.{part}.act" for part in ("gen", "gen.speech", "id", "sync", "sync.video", "sync.speech")),
    },
    "03-23_sync_batch_norm": {"model.sync.video.norm", "model.sync.speech.conv"},
    "03-23_labels": {f"model.knobs.{of}_label" for of in ("real", "fake", "fool")},
    "03-24_conv3d": {"model.seq.kind", *CONV3D},
    "03-25_id_filters": {"model.id.widths", "model.sync.video.act", "scales.sync", *RATES},
    "03-25_id_filters_as_coded": {
        *("model.seq.earlier", "model.sync.video.norm", "model.sync.speech.conv"),
        *PIXELS,
        *HEARS,
    },
    "03-28_patch": {"model.id.kind", "model.id.act"},
    "03-28_leaky_audio": {"model.gen.speech.act"},
    "03-30_no_l1": {
        *("scales.sync", "scales.l1", "model.frames", "model.run", "data.args.frames", "data.limit"),
        *CONV3D,
    },
    "03-30_no_l1_as_coded": {*PIXELS, *HEARS},
    "03-31": {"model.gen.speech.conv", "model.id.norm", "model.sync.video.conv", "scales.l1", *RATES},
    "03-31_as_coded": {"model.detached", "schedule.phases.seq.every", "runtime.reach", *HEARS},
    "04-02": {"model.step", "steps", "log_every", "sample_every", "val_every", "checkpoint_every"},
    "04-02_as_coded": {
        *("model.detached", "runtime.reach", *(f"scales.d_{judge}_leak" for judge in ("id", "sync", "seq"))),
        *HEARS,
    },
    "04-03": {
        *("steps", "batch_size", "log_every", "sample_every", "val_every", "checkpoint_every", "runtime.accumulate"),
        *("data.limit", "data.args.frames", "model.frames", "model.remake", "model.region", "model.id.norm"),
        *(f"model.sync.{key}" for key in ("frames", "context", "video.conv", "video.dense", "speech.conv")),
        *("model.sync.speech.dense", "scales.id", "scales.sync", "scales.seq", "scales.l1"),
    },
    "04-03_as_coded": {
        *("model.detached", "runtime.reach", *(f"scales.d_{judge}_leak" for judge in ("id", "sync", "seq"))),
    },
    "04-05_id_only": {*SEQ, *SYNC, "schedule.phases.sync.until", "schedule.phases.seq.until"},
    "04-05_id_only_as_coded": {"scales.d_id_leak"},
    "04-05_id_seq": {*SEQ, "schedule.phases.seq.until"},
    "04-05_id_seq_as_coded": {"model.detached", "runtime.reach", "scales.d_id_leak", "scales.d_seq_leak"},
    "04-05_id_l1": {"scales.l1"},
    "04-05_id_l1_as_coded": {"scales.d_id_leak"},
    "04-11": {
        *("steps", "batch_size", "log_every", "sample_every", "val_every", "checkpoint_every", "runtime.accumulate"),
        *("model.gen.skip", "model.gen.context", "model.gen.speech.conv", "model.gen.speech.dense"),
        *("scales.id", "scales.sync", "scales.l1", *RATES, "schedule.curves"),
        *(
            f"schedule.curves.optimizer.{net}.lr.{key}"
            for net in ("gen", "id", "sync", "seq")
            for key in (
                "kind",
                "decay_by",
                "every_steps",
            )
        ),
    },
    "04-11_as_coded": {
        *SEQ,
        *SYNC,
        *("scales.d_id_leak", "schedule.phases.sync.until", "schedule.phases.seq.until"),
        *(
            f"schedule.curves.optimizer.{net}.lr.{key}"
            for net in ("gen", "id", "sync")
            for key in (
                "decay_by",
                "multiply_by",
            )
        ),
        *(f"schedule.curves.optimizer.seq.lr.{key}" for key in ("kind", "decay_by", "every_steps")),
    },
    "04-11_every_20": {
        f"schedule.curves.optimizer.{net}.lr.{key}"
        for net in ("gen", "id", "sync", "seq")
        for key in ("every_steps", "floor")
    },
    "04-11_every_20_as_coded": {
        f"schedule.curves.optimizer.{net}.lr.{key}" for net in ("gen", "id", "sync") for key in ("every_steps", "floor")
    },
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_preset_differs_from_the_one_it_begins_with_in_what_it_says(hydra: Session, name: str) -> None:
    assert sorted([FIRST, *CHANGES]) == PRESETS and parent(FIRST) is None
    before = parent(name)
    assert before is not None
    old, new = flat(hydra, before), flat(hydra, name)
    assert {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)} == CHANGES[name]


def test_twins_of_one_day_differ_in_the_faults_alone(hydra: Session) -> None:
    """Those that begin with another as-coded preset, against what they are the twin of."""
    old, new = flat(hydra, "04-11_every_20"), flat(hydra, "04-11_every_20_as_coded")
    changed = {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
    assert changed == {
        *CHANGES["04-11_as_coded"],
        *(f"schedule.curves.optimizer.{net}.lr.floor" for net in ("gen", "id", "sync", "seq")),
    }


def test_the_journals_weights(hydra: Session) -> None:
    """Sequence, sync, identity, L1."""
    march, april = (0.6, 0.9, 1, 600), (0.2, 0.8, 2, 1000)
    sets = {
        "03-21_weights": (0.6, 1.6, 1, 600),
        "03-21_config": (0.6, 1.6, 1, 600),
        "03-21_id_2": (0.6, 1.6, 2, 600),
        "03-25_id_filters": (0.6, 0.8, 1, 600),
        "03-28_patch": (0.6, 0.8, 1, 600),
        "03-30_no_l1": (0.6, 0.9, 1, 0),
        "03-31": march,
        "04-02": march,
        "04-03": april,
        "04-05_id_only": (None, None, 2, 1000),
        "04-05_id_seq": (0.2, None, 2, 1000),
        "04-05_id_l1": (None, None, 2, 1200),
        "04-11": (0.2, 0.6, 100, 100),
        "04-11_as_coded": (None, None, 100, 100),
    }
    for name, weights in sets.items():
        scales = settings(hydra, name).scales
        assert tuple(scales[term] for term in ("seq", "sync", "id", "l1")) == weights, name


def test_the_journals_rates(hydra: Session) -> None:
    """Of sync and of the sequence; identity's and G's are 1e-4 throughout."""
    for name, rate in {
        "03-18_rates": 10e-5,
        "03-18_rates_as_meant": 1e-5,
        "03-20_l1_lower": 1e-4,
        "03-21_rates": 100e-5,
        "03-24_conv3d": 1e-3,
        "03-25_id_filters": 1e-5,
        "03-30_no_l1": 1e-5,
        "03-31": 1e-4,
        "04-05_id_l1": 1e-4,
        "04-11": 1e-5,
    }.items():
        optimizer = settings(hydra, name).optimizer
        assert [optimizer.for_net(net).lr for net in ("sync", "seq")] == pytest.approx([rate, rate]), name
        assert [optimizer.for_net(net).lr for net in ("gen", "id")] == [1e-4, 1e-4]
        assert all(optimizer.for_net(net).betas == [0.5, 0.999] for net in ("gen", "id", "sync", "seq"))


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("03-21_config", {"id": 59_769, "sync": 167_883}),
        ("03-21_config_as_coded", {"seq": 19_691_400}),
        ("03-25_id_filters", {"id": 125_465}),
        ("03-28_patch", {"id": 2_764_609}),
        ("03-31", {"id": 2_763_713, "seq": 58_633_033}),
        ("04-03", {"sync": 77_797_984}),
        ("04-11", {"gen": 47_372_481, "sync": 77_797_984, "seq": 58_633_033, "id": 2_764_609}),
    ],
)
def test_networks_are_those_of_the_day(hydra: Session, name: str, counts: dict[str, int]) -> None:
    found = {net: sum(p.numel() for p in module.parameters()) for net, module in whole(hydra, name).nets.items()}
    assert {net: found[net] for net in counts} == counts


def test_of_smoothed_labels_a_perfect_discriminators_loss_is_0_413(hydra: Session) -> None:
    given = settings(hydra, "03-23_labels")
    real, fake = given.model.knobs["real_label"], given.model.knobs["fake_label"]
    lowest = [-(label * math.log(label) + (1 - label) * math.log(1 - label)) for label in (real, fake)]
    assert [round(value, 3) for value in lowest] == [0.325, 0.500]
    charged = [given.scales["d_id_real"], given.scales["d_id_fake"]]
    assert round(sum(scale * value for scale, value in zip(charged, lowest, strict=True) if scale), 3) == 0.413
    assert given.model.knobs["fool_label"] == real


@pytest.mark.parametrize(
    ("name", "answers"),
    [
        ("04-02_as_coded", {"id": 0.67, "sync": 0.64, "seq": 0.55}),
        ("04-03_as_coded", {"id": 0.80}),
        ("04-05_id_only_as_coded", {"id": 0.80}),
        ("04-05_id_l1_as_coded", {"id": 0.80}),
        ("04-11_as_coded", {"id": 0.995}),
    ],
)
def test_the_best_answer_to_a_made_frame_where_gradients_are_not_cleared(
    hydra: Session, name: str, answers: dict[str, float]
) -> None:
    """Where the derivative of d_fake's -log(1 - p) and the leak's -log(p), with their weights, is zero."""
    scales = settings(hydra, name).scales
    for judge, answer in answers.items():
        leak, fake = scales[f"d_{judge}_leak"], scales[f"d_{judge}_fake"]
        assert leak is not None and fake is not None and leak == scales[judge]
        logit = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
        for _ in range(60):  # Newton's steps, held short
            loss = fake * torch.nn.functional.softplus(logit) + leak * torch.nn.functional.softplus(-logit)
            (slope,) = torch.autograd.grad(loss, logit, create_graph=True)
            (bend,) = torch.autograd.grad(slope, logit)
            logit = (logit - (slope / bend).clamp(-1, 1)).detach().requires_grad_()
        assert logit.sigmoid().item() == pytest.approx(answer, abs=0.005 if answer < 0.99 else 0.0005)
        assert f" {answer:.{3 if answer > 0.99 else 2}f}" in (FOLDER / f"{name}.yaml").read_text()


def test_rates_of_11_april_decay_as_meant_and_as_coded(hydra: Session) -> None:
    """An epoch is 30 steps: what is left after 10, 20, 40, 100 and 149 of them."""

    def rate(name: str, net: str, epoch: int) -> float:
        given = settings(hydra, name)
        base = given.optimizer.for_net(net).lr
        curve = given.schedule.curves.get(f"optimizer.{net}.lr")
        return build_curve(f"optimizer.{net}.lr", curve)(30 * epoch, base) if curve else base

    assert [rate("04-11", net, 100) for net in ("gen", "id")] == pytest.approx([8.2e-5, 3.5e-5], rel=0.01)
    assert [rate("04-11", net, 149) for net in ("gen", "id")] == pytest.approx([0.98**14 * 1e-4, 0.9**14 * 1e-4])
    coded = [rate("04-11_as_coded", "gen", epoch) for epoch in (9, 10, 20, 100)]
    assert coded == pytest.approx([1e-4, 2e-6, 4e-8, 1e-21], rel=0.03)
    coded = [rate("04-11_every_20_as_coded", "gen", epoch) for epoch in (19, 20, 40, 100, 149)]
    assert coded == pytest.approx([1e-4, 2e-6, 4e-8, 3.2e-13, 3.2e-13])
    assert rate("04-11_every_20_as_coded", "id", 149) == pytest.approx(1e-9)
    for net, left in (("gen", 0.98**5), ("id", 0.9**5)):
        found = [rate("04-11_every_20", net, epoch) for epoch in (99, 100, 149)]
        assert found == pytest.approx([1e-4 * left ** (4 / 5), 1e-4 * left, 1e-4 * left])
    assert {rate("04-11_as_coded", "seq", epoch) for epoch in (0, 149)} == {1e-5}


def test_a_sequence_term_that_reaches_nothing_teaches_nothing(hydra: Session, talk: str, tmp_path: Path) -> None:
    """As coded, G and its identity discriminator are the same weights with the sequence as without; as meant not."""

    def learnt(name: str) -> dict[str, Any]:
        train(settings(hydra, name, *SMALL, talk), tmp_path / name, [])
        return checkpoint.load(tmp_path / name / "checkpoints" / "last.pt")["nets"]

    def same(one: dict[str, Any], other: dict[str, Any]) -> set[str]:
        return {net for net in ("gen", "id") if all(torch.equal(v, other[net][k]) for k, v in one[net].items())}

    alone, coded = learnt("04-05_id_only_as_coded"), learnt("04-05_id_seq_as_coded")
    assert same(alone, coded) == {"gen", "id"}
    assert "gen" not in same(learnt("04-05_id_only"), learnt("04-05_id_seq"))


@pytest.mark.parametrize(
    ("name", "count"), [("03-19_l1", 4), ("03-19_id", 5), ("03-19_seq_sync", 9), ("03-22_sync_grid", 6)]
)
def test_sweeps_are_of_so_many_runs(hydra: Session, name: str, count: int) -> None:
    jobs = hydra.expand([f"experiment=talkingface/{name}"])
    assert len(jobs) == len({tuple(job) for job in jobs}) == count
    last = to_settings(hydra.compose(jobs[-1]))
    assert flatten(last.model_dump(mode="json")) != flat(hydra, name)
    check(last)


def test_the_grid_of_sync_moves_both_branches(hydra: Session) -> None:
    part: Any = settings(
        hydra, "03-22_sync_grid", "model.sync.video.norm=instance", "model.sync.video.act=lrelu"
    ).model.model_dump()["sync"]
    assert {entry["norm"] for entry in part["speech"]["conv"]} == {"instance"}
    assert (part["speech"]["act"], part["act"]) == ("lrelu", "lrelu")


@pytest.mark.parametrize("name", [name for name in PRESETS if commands(f"talkingface/{name}")])
def test_commands_in_comments_compose(hydra: Session, name: str) -> None:
    """Of a sweep its last job; a preset's own sweep is told where it has one."""
    for command in commands(f"talkingface/{name}"):
        jobs = BasicSweeper.split_arguments(hydra.parse(hydra.normal(command)), None)[0]
        check(to_settings(hydra.compose(jobs[-1])))


def test_presets_take_the_real_set(hydra: Session) -> None:
    """All that a preset says of the data is said of films in a folder too."""
    given = settings(hydra, "04-11", "data=grid", "data.path=films")
    assert given.data.stand_in is None and given.data.args["frames"] == 5 and "speakers" not in given.data.args


def test_commands_and_settings_in_the_readme_compose(hydra: Session) -> None:
    text = " ".join((FOLDER / "README.md").read_text().split())
    found = re.findall(r"`gansweep train (experiment=[^`]+)`", text)
    assert len(found) == 3
    faults = re.findall(r"\| `((?:model|scales)[^`]+)` \|", text)
    assert len(faults) == 7
    for command in [*found, *(f"experiment=talkingface/04-02 {fault}" for fault in faults)]:
        check(to_settings(hydra.compose(hydra.normal(command.split()))))
