"""HDGAN as a system: its vows, recording, samples, requests that are refused, and that it learns to read sentences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hdgan_small import NO_REPLAY, batch, hdgan, scales
from torch import Tensor

from engine.tape import Tape
from engine.test_vows import Vows
from gansweep.assemble import check
from gansweep.config import conf_dir
from gansweep.config.compose import session, to_settings
from gansweep.config.settings import PhaseTiming, Settings
from gansweep.engine.drive import Eager
from gansweep.engine.graph import Graph
from gansweep.engine.handle import evaluation
from gansweep.engine.step import EagerEngine
from gansweep.errors import UserError
from gansweep.nets.blocks import ConfigError
from gansweep.runs.meter import Meter
from gansweep.system import System
from small import engine, timetable

REPLAY = {policy: {"capacity": 5, "fraction": 0.5, "policy": policy} for policy in ("lowest", "random", "fifo")}


def _made(options: dict[str, Any] | None = None, **changes: Any) -> Callable[[], EagerEngine]:
    def make() -> EagerEngine:
        torch.manual_seed(0)
        system = hdgan(**changes)
        return engine(system, scales(system), **(options or {}))

    return make


CASES: dict[str, Callable[[], EagerEngine]] = {
    "as published": _made({"ema_decay": 0.9, "optimizer": {"clip_norm": 0.5, "betas": [0.5, 0.999]}}),
    "one output": _made(sizes_px=(16,)),
    "new fakes for G": _made(fresh_fakes=True),
    "accumulating": _made({"micro_batches": 2}),
    "replay, lowest": _made(replay=REPLAY["lowest"]),
    "replay, random": _made(replay=REPLAY["random"]),
    "replay, fifo": _made(replay=REPLAY["fifo"], fresh_fakes=True),
    "stages": _made(gen={"arch": "multistage"}),
    "skips": _made(gen={"skip": "upsample"}),
    "short skips, layer norm": _made(gen={"skip": "short", "norm": "layer"}, dis={"norm": "layer", "joint_1x1": False}),
    "shared trunk": _made(dis={"share_trunk": True}),
    "layer norm as coded": _made(gen={"norm": "layer_as_coded"}, dis={"norm": "layer_as_coded"}),
    "spectral": _made(dis={"norm": "spectral"}, gan_loss="hinge"),
    "clipped critic": _made({"optimizer": {"kind": "rmsprop"}}, gan_loss="wgan", clip=0.01),
}
TWICE = {"dis": PhaseTiming(repeat=2)}


def _raws(system: Any, step: int, count: int) -> list[dict[str, Tensor]]:
    return [batch(system, seed=10 * step + n) for n in range(count)]


@pytest.mark.parametrize("case", CASES)
def test_a_step_reads_nothing_back_and_draws_only_from_its_own_streams(case: str) -> None:
    ours = CASES[case]()
    plan = timetable(ours.system, TWICE)
    ours.step(0, plan.at(0), _raws(ours.system, 0, 2))
    with Vows():
        for step in (1, 2):
            metrics = ours.step(step, plan.at(step), _raws(ours.system, step, 2))
    assert all(torch.isfinite(value) for value in metrics.values()), metrics


@pytest.mark.parametrize("case", ["as published", "replay, lowest", "replay, random", "shared trunk"])
def test_replayed_steps_are_the_eager_engines(case: str) -> None:
    ours, theirs = CASES[case](), CASES[case]()
    plan, left, right = timetable(ours.system, TWICE), Meter(), Meter()
    for driver, meter in ((Graph(ours, dict, Tape()), left), (Eager(theirs, dict), right)):
        for step in range(4):
            driver.take(step, plan.at(step), _raws(ours.system, step, 2), meter)
    ours_read, theirs_read = left.read(), right.read()
    assert ours_read == pytest.approx(theirs_read, rel=1e-9, abs=1e-12)
    others = theirs.tensors()
    for name, value in ours.tensors().items():
        torch.testing.assert_close(value, others[name], rtol=1e-9, atol=1e-11, msg=name)


def test_both_phases_use_one_forward_of_the_generator_a_turn_unless_told_otherwise() -> None:
    for fresh, forwards in ((False, 3), (True, 4)):
        ours = _made(fresh_fakes=fresh)()
        seen: list[int] = []
        ours.system.nets["gen"].register_forward_hook(lambda *given, at=seen: at.append(1))
        ours.step(0, timetable(ours.system, {"dis": PhaseTiming(repeat=3)}).at(0), _raws(ours.system, 0, 3))
        assert len(seen) == forwards


def test_samples_are_of_every_size_the_finest_last_and_vary_with_noise_and_sentence() -> None:
    system = hdgan((16, 64))
    ours = engine(system, scales(system))
    x, noise = batch(system), ours.noise.draw(system.noise, 4, 0)
    with evaluation(system.nets) as nets:
        found = system.sample(nets, x, noise)
        again = system.sample(nets, x, noise)
        other = system.sample(nets, {"embedding": -x["embedding"]}, noise)
        redrawn = system.sample(nets, x, ours.noise.draw(system.noise, 4, 1))
        with pytest.raises(ValueError, match="needs a batch with an embedding"):
            system.sample(nets, None, noise)
    assert {name: tuple(picture.shape) for name, picture in found.items()} == {
        "16": (4, 3, 16, 16),
        "64": (4, 3, 64, 64),
    }
    assert list(found)[-1] == "64" and max(p.abs().max() for p in found.values()) <= 1
    for name, picture in found.items():
        assert torch.equal(picture, again[name])
        assert not torch.equal(picture, other[name]) and not torch.equal(picture, redrawn[name])


def test_inputs_are_named_as_the_data_name_them() -> None:
    assert list(hdgan((16, 32, 64)).inputs) == [
        "image",
        "image_32",
        "image_16",
        "embedding",
        "wrong.image",
        "wrong.image_32",
        "wrong.image_16",
    ]
    assert list(hdgan((32,)).inputs) == ["image", "embedding", "wrong.image"]


def test_overfitting_a_handful_of_captioned_pictures() -> None:
    """Eight sentences, each of one colour: D learns to match them, and G to paint each sentence's colour."""
    torch.manual_seed(0)
    system = hdgan((16,), gen={"hid_dim": 8}, dis={"hid_dim": 8, "text_code": 8})
    weights = {**scales(system), "d_pair_16": 1.0, "d_img_16": 1.0, "pair_16": 1.0, "img_16": 1.0, "kld": 0.1}
    ours = engine(system, weights, dtype=torch.float32, lr=1e-3, optimizer={"betas": [0.5, 0.999]})
    x = batch(system, 8, dtype=torch.float32)
    colours = torch.linspace(-0.8, 0.8, 8)[
        [[0, 5, 2, 7, 4, 1, 6, 3], [3, 6, 1, 4, 7, 2, 5, 0], [1, 0, 3, 2, 5, 4, 7, 6]]
    ].T
    x["image"] = colours[:, :, None, None].expand(8, 3, 16, 16) + 0.05 * x["image"]
    x["wrong.image"] = x["image"].roll(3, 0)
    plan = timetable(system)
    found: list[dict[str, float]] = []
    for step in range(150):
        metrics = ours.step(step, plan.at(step), [x])
        found.append({name: metrics[name].item() for name in ("dis/d_pair_16", "dis/gap_16")})
    mean = lambda name, part: sum(metrics[name] for metrics in part) / len(part)  # noqa: E731
    # At rest it cannot tell: 0.5. It falls to less than half of its first value, and pairs are told from wrong pairs.
    assert mean("dis/d_pair_16", found[-10:]) < 0.5 * mean("dis/d_pair_16", found[:3])
    assert mean("dis/gap_16", found[-10:]) > 0.5
    with evaluation(system.nets) as nets:
        painted = system.sample(nets, x, ours.noise.draw(system.noise, 8, 0))["16"].mean((2, 3))
    own = (painted - colours).abs().mean()
    others = torch.stack([(painted - colours.roll(n, 0)).abs().mean() for n in range(1, 8)]).mean()
    assert own < 0.5 * others, (own, others)


# Requests


def _composed(*overrides: str) -> Settings:
    with session() as hydra:
        return to_settings(hydra.compose(hydra.normal(["model=hdgan", *overrides])))


def _parameters(system: System) -> dict[str, int]:
    return {name: sum(p.numel() for p in net.parameters()) for name, net in system.nets.items()}


def _charged(settings: Settings) -> set[str]:
    return {name for name, scale in settings.scales.items() if scale is not None}


def _terms(*sizes: int) -> set[str]:
    return {"kld"} | {f"{kind}_{size}" for kind in ("d_pair", "d_img", "pair", "img") for size in sizes}


@pytest.mark.parametrize(
    ("overrides", "sizes", "parameters"),
    [
        (["data.size=256"], (64, 128, 256), (41_378_496, 25_693_606)),
        (["data.size=128"], (64, 128), (41_228_928, 17_093_188)),
        (["data.size=64"], (64,), (40_634_880, 8_510_466)),
        (
            ["data.size=256", "model.outputs.at_256.px_64=null", "model.outputs.at_256.px_128=null"],
            (256,),
            (41_368_128, 8_600_418),
        ),
        (["data.size=256", "model.outputs.at_256.px_128=null"], (64, 256), (41_375_040, 17_110_884)),
    ],
)
def test_the_outputs_follow_the_size_and_the_scales_follow_the_outputs(
    overrides: list[str], sizes: Sequence[int], parameters: tuple[int, int]
) -> None:
    settings = _composed(*overrides)
    system = check(settings)
    assert _parameters(system) == dict(zip(("gen", "dis"), parameters, strict=True))
    assert _charged(settings) == _terms(*sizes)
    assert settings.scales["kld"] == 4 and settings.scales[f"d_pair_{sizes[-1]}"] == 1


def test_one_number_moves_an_outputs_terms_or_a_loss_of_both_networks() -> None:
    settings = _composed("data.size=256", "model.outputs.at_256.px_64=0.25", "scales.d_img_128=null")
    assert [settings.scales[name] for name in ("d_pair_64", "pair_64", "d_img_64", "img_64")] == [0.25] * 4
    assert _charged(settings) == _terms(64, 128, 256) - {"d_img_128", "img_128"}


def test_a_width_factor_thins_the_layers_and_leaves_sentence_and_code() -> None:
    system: Any = check(_composed("data.size=256", "model.width_factor=0.125"))
    assert sum(_parameters(system).values()) < 67_072_102 / 20
    assert system.nets["gen"].condition.project.weight.shape == (256, 1024)
    assert system.nets["gen"].start.width == 128 and system.nets["dis"].levels["64"].pair.weight.shape[1] == 64


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("data.size=48", "data.size=48: model.outputs names no outputs for it; nearest: 64 or 128"),
        ("data.size=512", "data.size=512: model.outputs names no outputs for it; nearest: 128 or 256"),
        (
            "model.outputs.at_64.px_64=null",
            "model.outputs.at_64: its largest output must be data.size, 64 px, and there is none",
        ),
        ("model.outputs.at_64.px_64=-1", "model.outputs.at_64.px_64=-1: must be a number, at least 0"),
        ("+model.outputs.at_64.p32=1", "model.outputs.at_64.p32: no such key; keys are px_ and a size in px"),
        ("+model.outputs.at_64.px_24=1", "model.outputs.at_64.px_24: outputs are 16 px doubled some times"),
        ("model.generator.arch=multi", "model.generator.arch=multi: no such choice; did you mean 'multistage'?"),
        ("model.generator.skip=long", "model.generator.skip=long: no such choice; choices: none, short, upsample"),
        ("model.generator.norm=layer_as_code", "model.generator.norm=layer_as_code: no such choice; did you mean"),
        ("model.generator.reduce_dim_at=[12]", "model.generator.reduce_dim_at: 12 px is no side after 4 px doubled"),
        ("model.discriminator.image_head=all", "model.discriminator.image_head=all: no such choice; choices: both"),
        ("model.discriminator.head_256=5", "model.discriminator.head_256=5: no such choice; choices: full, patch"),
        ("model.replay.capacity=-1", "model.replay.capacity=-1: must be a whole number, 0 (no buffer) or more"),
        ("model.replay.fraction=1", "model.replay.fraction=1: must be a number between 0 and 1, both excluded"),
        ("model.replay.policy=best", "model.replay.policy=best: no such choice; choices: fifo, lowest, random"),
        ("model.clip=0", "model.clip=0: must be a number greater than 0"),
        ("model.reduction.kld=avg", "model.reduction.kld=avg: no such choice"),
        ("+model.generator.memory=4096", "model.generator.memory: no such key"),
        ("scales.d_pair_64=null", None),
    ],
)
def test_a_wrong_value_is_refused_by_its_dotted_key(override: str, line: str | None) -> None:
    if line is None:
        check(_composed(override))
        return
    with pytest.raises(UserError) as caught:
        check(_composed(override))
    assert str(caught.value).startswith(line) and "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_replay_buffer_takes_whole_batches() -> None:
    with pytest.raises(UserError, match=r"runtime\.accumulate=2: phase 'dis' keeps a memory of whole batches"):
        check(_composed("model.replay.capacity=500", "runtime.accumulate=2"))


def test_the_journals_buffer_fits_a_card() -> None:
    with torch.device("meta"):
        system = hdgan((64, 128, 256), embedding=1024, replay={**NO_REPLAY, "capacity": 500})
    size = sum(tensor.numel() * tensor.element_size() for tensor in system.memory.values())
    assert size == 500 * (3 * (64**2 + 128**2 + 256**2) + 4 * 1024 + 4)  # 131 MB


def test_a_largest_output_below_the_pictures_is_refused() -> None:
    with pytest.raises(ConfigError, match="the largest is 16 px; say data.size=16"):
        hdgan(outputs={"at_32": {"px_16": 1.0}})


def test_the_files_of_conf_say_what_the_class_takes() -> None:
    text = (Path(conf_dir()) / "schedule" / "hdgan.yaml").read_text()
    assert "[[0, 5], [1000, 15]]" in text and "critic_turns" in text
