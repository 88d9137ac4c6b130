"""Requests for HDGAN: the outputs follow data.size and the scales follow the outputs; wrong values are refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hdgan_small import NO_REPLAY, hdgan

from gansweep.assemble import check
from gansweep.config.compose import session, to_settings
from gansweep.config.settings import Settings
from gansweep.errors import UserError
from gansweep.nets.blocks import ConfigError
from gansweep.system import System


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
    settings = _composed(*overrides, "+data.args.sizes=[64,128]")
    system = check(settings)
    assert _parameters(system) == dict(zip(("gen", "dis"), parameters, strict=True))
    assert _charged(settings) == _terms(*sizes)
    assert settings.scales["kld"] == 4 and settings.scales[f"d_pair_{sizes[-1]}"] == 1


def test_one_number_moves_an_outputs_terms_or_a_loss_of_both_networks() -> None:
    settings = _composed("data.size=256", "model.outputs.at_256.px_64=0.25", "scales.d_img_128=null")
    assert [settings.scales[name] for name in ("d_pair_64", "pair_64", "d_img_64", "img_64")] == [0.25] * 4
    assert _charged(settings) == _terms(64, 128, 256) - {"d_img_128", "img_128"}


def test_a_width_factor_thins_the_layers_and_leaves_sentence_and_code() -> None:
    system: Any = check(_composed("data.size=256", "+data.args.sizes=[64,128]", "model.width_factor=0.125"))
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
        ("model.replay.policy=best", "model.replay.policy=best: no such choice; did you mean 'lowest'?"),
        ("model.num_emb=4", "model.num_emb=4: a picture has model.captions=1 sentences, no more"),
        ("model.captions=0", "model.captions=0: must be a whole number, at least 1"),
        ("model.clip=0", "model.clip=0: must be a number greater than 0"),
        ("model.reduction.kld=avg", "model.reduction.kld=avg: no such choice"),
        ("+model.generator.memory=4096", "model.generator.memory: no such key"),
    ],
)
def test_a_wrong_value_is_refused_by_its_dotted_key(override: str, line: str) -> None:
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
    with pytest.raises(ConfigError, match=r"the largest is 16 px; say data\.size=16"):
        hdgan(outputs={"at_32": {"px_16": 1.0}})
