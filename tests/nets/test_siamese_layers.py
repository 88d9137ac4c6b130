"""The siamese journal's networks: the counts and shapes that its specification states, at other sizes, other norms."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import nn

from gansweep.nets.blocks import ConfigError
from gansweep.nets.siamese import Frontaliser, decoder, plain_trunk
from gansweep.nets.siamese_codes import CodesDiscriminator, CodesGenerator
from gansweep.nets.siamese_dis import ACTS, discriminator_of_kind

PART: dict[str, Any] = {"norm": "batch", "act": "elu", "slope": 0.2, "conv_bias": True}
DECODER = {**PART, "upsample": "transpose"}
DIS = {**PART, "act": None}
# (from, to) of each convolution of 3 px, as the specification lists them.
PLAIN = "3 32 64 64 64 128 128 96 192 192 128 256 256 160 320"
RISING = "240 160 256 256 128 192 192 96 128 128 64 64 64 32"


def _count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def _millions(net: nn.Module, digits: int = 2) -> float:
    return round(_count(net) / 1e6, digits)


def _chain(widths: str) -> int:
    """Weights, biases, and two numbers of batch norm for each convolution of a chain."""
    sizes = [int(width) for width in widths.split()]
    return sum(9 * a * b + 3 * b for a, b in itertools.pairwise(sizes))


def _frontaliser(size_px: int = 96, trunk: str = "plain", upsample: str = "transpose", factor: float = 1.0) -> Any:
    encoder = {**PART, "trunk": trunk}
    return Frontaliser(size_px, 3, 240, 80, 9, 20, factor, encoder, {**DECODER, "upsample": upsample})


@pytest.mark.parametrize(("trunk", "millions"), [("residual", 3.51), ("plain", 2.86)])
def test_the_frontaliser_has_the_stated_parameters(trunk: str, millions: float) -> None:
    with torch.device("meta"):
        gen = _frontaliser(trunk=trunk)
    assert (_millions(gen.enc), _millions(gen.head), _millions(gen.dec)) == (millions, 0.08, 2.75)
    assert _count(gen.head) == 80 * 29 * 36 + 29
    assert _count(gen.dec) == _chain(RISING) + 9 * 32 * 3 + 3


def test_the_plain_trunk_to_the_last_weight() -> None:
    with torch.device("meta"):
        assert _count(plain_trunk(3, 320, 1.0, PART)) == _chain(PLAIN) == 2_864_064


def test_the_residual_trunk_to_the_last_weight() -> None:
    stages = [_chain("3 64 64") + 3 * 64 + 64]  # and the 1 x 1 convolution of the picture, without a norm
    for a, b in ((64, 128), (128, 192), (192, 256), (256, 320)):
        stages.append(_chain(f"{a} {b} {b // 2} {b}"))
    with torch.device("meta"):
        enc = _frontaliser(trunk="residual").enc
    assert [_count(stage) for stage in enc] == stages


@pytest.mark.parametrize("trunk", ["plain", "residual"])
@pytest.mark.parametrize("upsample", ["transpose", "bilinear"])
def test_the_frontaliser_gives_the_stated_shapes(trunk: str, upsample: str) -> None:
    with torch.device("meta"):
        gen, pictures = _frontaliser(trunk=trunk, upsample=upsample), torch.empty(2, 3, 96, 96)
        assert [tuple(part.shape) for part in gen(pictures)] == [(2, 3, 96, 96), (2, 240 * 6 * 6), (2, 9), (2, 20)]
        assert [tuple(part.shape) for part in gen(pictures, decode=False)] == [(2, 8640), (2, 9), (2, 20)]
        sides = [stage.shape[-1] for stage in _stages(gen.enc, pictures)]
        assert sides[-1] == 6 and sorted(set(sides), reverse=True) == [96, 48, 24, 12, 6]
        assert _count(_frontaliser(trunk=trunk)) == _count(gen)


def _stages(trunk: nn.Sequential, pictures: torch.Tensor) -> list[torch.Tensor]:
    found = []
    for layer in trunk:
        pictures = layer(pictures)
        found.append(pictures)
    return found


def test_the_decoder_sees_the_identity_alone_and_the_head_the_rest_alone() -> None:
    gen = _frontaliser(size_px=16, factor=0.1).double().eval()
    features = torch.randn(2, 32, 1, 1, dtype=torch.float64)
    gen.enc = nn.Identity()  # what is handed in stands for the trunk's answer
    picture, identity, pose, light = gen(features)
    changed = features.clone()
    changed[:, 24:] += 1
    other = gen(changed)
    assert torch.equal(other[0], picture) and torch.equal(other[1], identity)
    assert not torch.equal(other[2], pose) and not torch.equal(other[3], light)
    changed = features.clone()
    changed[:, :24] += 1
    other = gen(changed)
    assert not torch.equal(other[0], picture) and torch.equal(other[2], pose) and torch.equal(other[3], light)


def test_a_residual_stage_adds_in_front_of_its_activation() -> None:
    gen = _frontaliser(size_px=16, trunk="residual", factor=0.1).double()
    x = torch.randn(3, 3, 16, 16, dtype=torch.float64)
    first, second = gen.enc[0], gen.enc[1]
    elu = nn.functional.elu
    inner = first.second.norm(first.second.conv(elu(first.first.norm(first.first.conv(x)))))
    expected = elu(inner + first.shortcut(x))
    torch.testing.assert_close(first(x), expected)
    halved = elu(second.first.norm(second.first.conv(expected)))
    wide = second.widen.norm(second.widen.conv(elu(second.narrow.norm(second.narrow.conv(halved)))))
    torch.testing.assert_close(second(expected), elu(wide + halved))


@pytest.mark.parametrize(("kind", "millions"), [("linear", 2.86), ("conv", 2.88), ("conv_elu", 2.88), ("sr", 14.65)])
def test_the_discriminators_have_the_stated_parameters(kind: str, millions: float) -> None:
    with torch.device("meta"):
        dis = discriminator_of_kind(96, 3, 1.0, {**DIS, "kind": kind})
        assert _millions(dis) == millions
        assert dis(torch.empty(2, 3, 96, 96)).shape == (2, 1)
    by_hand = {
        "linear": 2_864_064 + 321,
        "conv": 2_864_064 + 320 * 36 + 1,
        "conv_elu": 2_864_064 + 320 * 36 + 1 + 2,
        # The first has no norm; then pairs, a convolution of 6 px, and two linear layers.
        "sr": 27 * 64 + 64 + _chain("64 64 128 128 256 256 512 512") + 36 * 512**2 + 3 * 512 + 513 * 1024 + 1025,
    }
    assert _count(dis) == by_hand[kind]


def test_a_bounded_discriminator_cannot_say_less_than_0_269() -> None:
    pictures = torch.randn(64, 3, 16, 16)
    for kind, lowest in (("conv_elu", -1.0), ("conv", -1e9)):
        dis = discriminator_of_kind(16, 3, 0.1, {**DIS, "kind": kind})
        with torch.no_grad():
            dis.head.weight.mul_(1000)  # type: ignore[union-attr, operator]
        logits = dis(pictures)
        assert (logits.min() >= -1) == (lowest == -1.0)
        if lowest == -1.0:
            assert round(torch.sigmoid(torch.tensor(lowest)).item(), 3) == 0.269
            assert round(nn.functional.softplus(torch.tensor(lowest)).item(), 3) == 0.313
            assert round(nn.functional.softplus(torch.tensor(-lowest)).item(), 3) == 1.313


def test_the_networks_of_27_july_have_the_stated_parameters_and_shapes() -> None:
    with torch.device("meta"):
        gen = CodesGenerator(96, 3, (100, 9, 20), 1.0, PART, DECODER)
        dis = CodesDiscriminator(96, 3, 200, 9, 20, 1.0, PART)
        assert (_millions(gen, 1), _millions(dis)) == (10.9, 2.94)
        assert (gen.join.in_features, gen.join.out_features) == (450, 11_520)
        codes = [torch.empty(2, length) for length in (100, 9, 20)]
        assert gen(torch.empty(2, 3, 96, 96), *codes).shape == (2, 3, 96, 96)
        shapes = [tuple(part.shape) for part in dis(torch.empty(2, 3, 96, 96))]
    assert shapes == [(2, 200), (2, 9), (2, 20), (2, 1)]
    trunk = _chain(PLAIN.replace(" 320", " 321"))
    rising = _chain(RISING.replace("240 ", "320 ")) + 9 * 32 * 3 + 3
    assert _count(gen) == trunk + 451 * 11_520 + rising
    assert _count(dis) == trunk + 322 * (200 + 9 + 20 + 1)


@pytest.mark.parametrize("norm", ["batch", "instance", "layer", "group", "spectral", "none"])
def test_any_norm_any_size_and_any_kind_trains(norm: str) -> None:
    part = {**PART, "norm": norm}
    pictures = torch.randn(2, 3, 32, 32)
    gen = Frontaliser(32, 3, 240, 80, 5, 4, 0.05, {**part, "trunk": "residual"}, {**part, "upsample": "bilinear"})
    nets: list[nn.Module] = [gen]
    nets += [discriminator_of_kind(32, 3, 0.05, {**part, "kind": kind}) for kind in ACTS]
    for net in nets:
        found = net(pictures)
        parts = found if isinstance(found, tuple) else (found,)
        torch.stack([part.square().sum() for part in parts]).sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_without_biases_only_the_heads_have_any() -> None:
    part = {**PART, "conv_bias": False}
    gen = Frontaliser(16, 3, 240, 80, 9, 20, 0.1, {**part, "trunk": "plain"}, {**part, "upsample": "transpose"})
    convolutions = [name for name, p in gen.named_parameters() if name.endswith("bias") and "norm" not in name]
    assert convolutions == ["head.bias"]


@pytest.mark.parametrize(("size_px", "nearest"), [(100, "96 or 112"), (8, "16")])
def test_a_size_that_sixteen_does_not_divide_is_refused(size_px: int, nearest: str) -> None:
    makers: list[Any] = [
        lambda: _frontaliser(size_px=size_px),
        lambda: CodesGenerator(size_px, 3, (1,), 0.1, PART, DECODER),
        lambda: CodesDiscriminator(size_px, 3, 2, 2, 2, 0.1, PART),
        *(lambda k=kind: discriminator_of_kind(size_px, 3, 0.1, {**DIS, "kind": k}) for kind in ACTS),
    ]
    for make in makers:
        with pytest.raises(ConfigError, match=rf"data\.size={size_px}: not divided by 16.*nearest: {nearest}$"):
            make()


def test_the_decoder_doubles_four_times() -> None:
    with torch.device("meta"):
        assert decoder(1, 12, 0.1, DECODER)(torch.empty(2, 12, 3, 3)).shape == (2, 1, 48, 48)
