"""HDGAN's networks: the published counts and shapes on the meta device, each layer option, the layer norms."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gansweep.nets.blocks import ConfigError
from gansweep.nets.hdgan import SKIPS, Generator, MultiStage
from gansweep.nets.hdgan_blocks import HDGAN_NORMS, ConvBlock, LayerNormAsCoded, Pcn, Residual, norm_layer
from gansweep.nets.hdgan_dis import Discriminator

GEN: dict[str, Any] = {
    "norm": "batch",
    "act": "relu",
    "slope": 0.2,
    "arch": "nested",
    "res_blocks": 1,
    "reduce_dim_at": [8, 32, 128, 256],
    "skip": "none",
    "detach": True,
    "stage_res_blocks": 2,
}
DIS: dict[str, Any] = {
    "norm": "batch",
    "act": "lrelu",
    "slope": 0.2,
    "image_head": "global",
    "head_256": "patch",
    "joint_1x1": True,
    "share_trunk": False,
}
ALL_PX = [64, 128, 256]


def generator(sizes_px: list[int], hid: int = 128, **changes: Any) -> Generator:
    return Generator(sizes_px, 3, 1024, 100, 128, hid, max(1, hid // 2), {**GEN, **changes})


def discriminator(sizes_px: list[int], enc: int = 512, text: int = 128, **changes: Any) -> Discriminator:
    return Discriminator(sizes_px, 3, 1024, text, enc, {**DIS, **changes})


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def paint(net: Generator, samples: int = 2) -> tuple[Tensor, ...]:
    return net(torch.empty(samples, 1024), torch.empty(samples, 100), torch.empty(samples, 128))[0]


@pytest.mark.parametrize(
    ("sizes_px", "changes", "parameters"),
    [
        (ALL_PX, {}, 41_378_496),
        ([256], {}, 41_368_128),
        ([64], {}, 40_634_880),
        ([64], {"res_blocks": 2}, 71_315_968),
        ([64, 128], {"res_blocks": 2}, 72_205_440),
        (ALL_PX, {"res_blocks": 2}, 72_428_992),
        (ALL_PX, {"reduce_dim_at": [16, 128, 256]}, 63_661_184),
    ],
)
def test_the_generator_has_the_published_parameters_and_shapes(
    sizes_px: list[int], changes: dict[str, Any], parameters: int
) -> None:
    with torch.device("meta"):
        net = generator(sizes_px, **changes)
        assert count(net) == parameters
        assert [tuple(p.shape) for p in paint(net)] == [(2, 3, size, size) for size in sizes_px]


def test_each_part_of_the_generator_has_the_published_parameters() -> None:
    with torch.device("meta"):
        net: Any = generator(ALL_PX)
    assert count(net.condition) == 262_400 and count(net.start) == 3_784_704
    published = {4: 18_878_464, 8: 9_440_256, 16: 4_720_640, 32: 2_360_832, 64: 1_180_672, 128: 590_592, 256: 147_840}
    assert {int(name): count(scale) for name, scale in net.paint.scales.items()} == published
    assert {int(name): count(head) for name, head in net.paint.heads.items()} == {64: 6_912, 128: 3_456, 256: 1_728}


def test_the_discriminators_have_the_published_parameters_and_shapes() -> None:
    with torch.device("meta"):
        net = discriminator(ALL_PX)
        assert count(net) == 25_693_606
        own = {name: count(level) for name, level in net.levels.items()}
        assert own == {"64": 8_510_466, "128": 8_582_722, "256": 8_600_418}
        for size, patch in ((64, 1), (128, 1), (256, 5)):
            pair, images = net(torch.empty(2, 3, size, size), torch.empty(2, 1024), size)
            assert tuple(pair.shape) == (2, 1)
            assert [tuple(scores.shape) for scores in images] == [(2, 1, patch, patch)]
            code = net.levels[str(size)].encode(torch.empty(2, 3, size, size))  # type: ignore[operator, union-attr]
            assert tuple(code.shape) == (2, 512, 8, 8)


@pytest.mark.parametrize(
    ("head", "head_256", "shapes"),
    [
        ("global", "full", {64: [1], 128: [1], 256: [1]}),
        ("local", "patch", {64: [1], 128: [4], 256: [8]}),
        ("both", "patch", {64: [1], 128: [1, 4], 256: [5, 8]}),
        ("both", "full", {64: [1], 128: [1, 4], 256: [1, 8]}),
    ],
)
def test_image_heads_give_the_journals_maps(head: str, head_256: str, shapes: dict[int, list[int]]) -> None:
    with torch.device("meta"):
        net = discriminator(ALL_PX, image_head=head, head_256=head_256)
        found = {s: net(torch.empty(2, 3, s, s), torch.empty(2, 1024), s)[1] for s in ALL_PX}
    assert {size: [scores.shape[-1] for scores in maps] for size, maps in found.items()} == shapes


def test_the_full_head_at_256_px_costs_no_parameter_and_the_joint_layer_what_it_is_made_of() -> None:
    with torch.device("meta"):
        assert count(discriminator([256], head_256="full")) == count(discriminator([256]))
        joint = (512 + 128) * 512 + 2 * 512
        assert count(discriminator([64])) - count(discriminator([64], joint_1x1=False)) == joint - 128 * 16


def test_a_shared_trunk_is_one_for_all_sizes() -> None:
    with torch.device("meta"):
        net: Any = discriminator(ALL_PX, share_trunk=True)
        for size in ALL_PX:
            level = net.levels[str(size)]
            assert level.encode(torch.empty(2, 3, size, size)).shape[1:] == (128, 32, 32)
            pair, (image,) = net(torch.empty(2, 3, size, size), torch.empty(2, 1024), size)
            assert tuple(pair.shape) == (2, 1) and tuple(image.shape) == (2, 1, 1, 1)
    stack = [128 * 256 * 9 + 512, 256 * 512 * 9 + 1024, 512 * 512 * 9 + 1024]
    assert count(net.trunk) == sum(stack)
    names = [name for name, _ in net.named_parameters() if name.startswith("trunk")]
    assert len(names) == 9 and len(net.state_dict()) == len(set(net.state_dict()))


def test_a_trunk_needs_a_picture_large_enough() -> None:
    with pytest.raises(ConfigError, match=r"share_trunk=true: an output of 8 px .* 16 px"):
        discriminator([8], enc=8, share_trunk=True)


@pytest.mark.parametrize("kind", SKIPS)
@pytest.mark.parametrize("reduce_dim_at", [[8, 64, 256], [8, 32, 128, 256]])
def test_skips_keep_the_streams_shapes(kind: str, reduce_dim_at: list[int]) -> None:
    with torch.device("meta"):
        net: Any = generator(ALL_PX, skip=kind, reduce_dim_at=reduce_dim_at)
        assert [p.shape[-1] for p in paint(net)] == ALL_PX
    assert list(net.paint.skips) == ([] if kind == "none" else ["32", "64", "128"])
    if kind == "upsample":  # from 1024 channels at 4 px: 512, 256, 128
        steps = [layer for layer in net.paint.skips["32"].up if isinstance(layer, Pcn)]
        assert [step[1].out_channels for step in steps] == [512, 256, 128]


@pytest.mark.parametrize("detach", [True, False])
def test_stages_learn_through_the_picture_below_only_where_it_is_not_detached(detach: bool) -> None:
    net = Generator([16, 32], 3, 1024, 100, 128, 2, 4, {**GEN, "arch": "multistage", "detach": detach})
    assert isinstance(net.paint, MultiStage)
    pictures, _, _ = net(torch.randn(3, 1024), torch.randn(3, 100), torch.randn(3, 128))
    assert [tuple(p.shape) for p in pictures] == [(3, 3, 16, 16), (3, 3, 32, 32)]
    base = list(net.paint.base.parameters())
    found = torch.autograd.grad(pictures[1].sum(), base, allow_unused=True, retain_graph=True)
    assert any(g is not None for g in found) is not detach
    (code,) = torch.autograd.grad(pictures[1].sum(), [net.condition.project.weight])
    assert code.abs().sum() > 0


@pytest.mark.parametrize("norm", HDGAN_NORMS)
def test_each_norm_builds_both_networks_and_gives_gradients(norm: str) -> None:
    torch.manual_seed(0)
    net = Generator([16], 3, 1024, 100, 128, 2, 4, {**GEN, "norm": norm})
    judge = discriminator([16], enc=8, text=4, norm=norm)
    sentence = torch.randn(3, 1024)
    pictures, _, _ = net(sentence, torch.randn(3, 100), torch.randn(3, 128))
    pair, (image,) = judge(pictures[0], sentence, 16)
    for parameter, found in zip(
        net.parameters(), torch.autograd.grad(pair.sum() + image.sum(), list(net.parameters())), strict=True
    ):
        assert found.shape == parameter.shape and found.isfinite().all()
    biases = [name for name, _ in net.named_parameters() if name.endswith(".1.bias") or name.endswith("layer.bias")]
    assert bool(biases) is (norm in ("none", "spectral"))


def test_the_layer_norm_is_torchs_over_all_of_a_sample_and_the_coded_one_is_not() -> None:
    x = torch.randn(3, 4, 5, 5, dtype=torch.float64) * 3 + 2
    layer, coded = norm_layer("layer", 4).double(), LayerNormAsCoded(4).double()
    gamma, beta = torch.tensor([1.5, 2.0, 0.5, 1.0]).double(), torch.tensor([0.3, -0.2, 0.8, 1.0]).double()
    with torch.no_grad():
        for norm in (layer, coded):
            norm.weight.copy_(gamma)
            norm.bias.copy_(beta)
    spread = lambda v: v[:, None, None].expand(4, 5, 5)  # noqa: E731
    torch.testing.assert_close(layer(x), F.layer_norm(x, (4, 5, 5), spread(gamma), spread(beta)))
    plain = layer(x) - beta[None, :, None, None]
    torch.testing.assert_close((plain / gamma[None, :, None, None]).mean((1, 2, 3)), torch.zeros(3).double())
    # With weight 1 and bias b the correct layer moves the mean to b and leaves a deviation of 1; the coded one keeps
    # the mean at 0 and shrinks by the bias.
    with torch.no_grad():
        for norm in (layer, coded):
            norm.weight.fill_(1.0)
            norm.bias.fill_(0.5)
    torch.testing.assert_close(layer(x).mean((1, 2, 3)), torch.full((3,), 0.5).double())
    torch.testing.assert_close(coded(x).mean((1, 2, 3)), torch.zeros(3).double(), atol=1e-9, rtol=0)
    deviation = x.std((1, 2, 3))
    torch.testing.assert_close(coded(x).std((1, 2, 3)), deviation / (deviation + 1e-5 + 0.5))


def test_a_block_mirrors_the_border_and_a_residual_block_adds_without_activation() -> None:
    part = {"norm": "none", "act": "relu", "slope": 0.2}
    block = Pcn(2, 3, part)
    x = torch.randn(2, 2, 6, 6)
    conv: Any = block[1]
    torch.testing.assert_close(block(x), F.relu(F.conv2d(F.pad(x, (1, 1, 1, 1), "reflect"), conv.weight, conv.bias)))
    residual = Residual(2, {"norm": "batch", "act": "relu", "slope": 0.2})
    assert not any(isinstance(layer, nn.ReLU) for layer in residual.body[1])  # type: ignore[union-attr]
    assert torch.equal(residual(x), x + residual.body(x)) and residual(x).min() < 0
    assert isinstance(ConvBlock(2, 2, 1, part, bare=True)[-1], nn.Identity)
