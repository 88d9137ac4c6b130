"""DCGAN's networks: the example's layers to the last weight, at other sizes, with other norms."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gansweep.nets.dcgan import Discriminator, Generator
from small import dcgan, wgan_gp

NORMS = ("batch", "instance", "layer", "group", "spectral", "none")


def _part(norm: str, act: str) -> dict[str, object]:
    return {"norm": norm, "act": act, "slope": 0.2, "conv_bias": False}


def _count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def _example_generator(nz: int = 100, ngf: int = 64, nc: int = 3) -> nn.Sequential:
    widths = (ngf * 8, ngf * 4, ngf * 2, ngf)
    layers: list[nn.Module] = [nn.ConvTranspose2d(nz, widths[0], 4, 1, 0, bias=False)]
    for wide, narrow in zip(widths, (*widths[1:], nc), strict=True):
        layers += [nn.BatchNorm2d(wide), nn.ReLU(), nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False)]
    return nn.Sequential(*layers)


def _example_discriminator(nc: int = 3, ndf: int = 64) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(nc, ndf, 4, 2, 1, bias=False), nn.LeakyReLU(0.2)]
    for narrow in (ndf, ndf * 2, ndf * 4):
        conv = nn.Conv2d(narrow, 2 * narrow, 4, 2, 1, bias=False)
        layers += [conv, nn.BatchNorm2d(2 * narrow), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(ndf * 8, 1, 4, 1, 0, bias=False))


def test_at_64_px_they_are_the_examples_networks() -> None:
    with torch.device("meta"):
        nets = dcgan(size_px=64, latent=100, base_width=64).nets
    assert (_count(nets["gen"]), _count(nets["dis"])) == (3_576_704, 2_765_568)


@pytest.mark.parametrize("net", ["gen", "dis"])
def test_the_same_weights_give_the_examples_numbers(net: str) -> None:
    torch.manual_seed(0)
    ours = dcgan(size_px=64, latent=10, base_width=4).nets[net]
    theirs = _example_generator(10, 4) if net == "gen" else _example_discriminator(ndf=4)
    state = ours.state_dict()
    assert [tuple(v.shape) for v in state.values()] == [tuple(v.shape) for v in theirs.state_dict().values()]
    theirs.load_state_dict(dict(zip(theirs.state_dict(), state.values(), strict=True)))
    inputs = torch.randn(4, 10) if net == "gen" else torch.randn(4, 3, 64, 64)
    expected = theirs(inputs[:, :, None, None] if net == "gen" else inputs)
    torch.testing.assert_close(ours(inputs), expected if net == "gen" else expected.flatten(1))


@pytest.mark.parametrize(
    ("size_px", "gen", "dis"), [(32, 1_068_928, 663_296), (64, 3_576_704, 2_765_568), (128, 12_786_560, 11_164_416)]
)
def test_widths_follow_the_size(size_px: int, gen: int, dis: int) -> None:
    with torch.device("meta"):
        system = dcgan(size_px=size_px, latent=100, base_width=64)
        pictures = system.nets["gen"](torch.empty(2, 100))
        assert tuple(pictures.shape) == (2, 3, size_px, size_px)
        assert tuple(system.nets["dis"](pictures).shape) == (2, 1)
    assert {name: _count(net) for name, net in system.nets.items()} == {"gen": gen, "dis": dis}


@pytest.mark.parametrize("norm", NORMS)
def test_every_norm_builds_and_biases_stand_only_where_no_norm_follows(norm: str) -> None:
    torch.manual_seed(0)
    gen = Generator(1, [4, 8], 6, _part(norm, "relu"))
    dis = Discriminator(1, [4, 8], _part(norm, "lrelu"))
    assert tuple(dis(gen(torch.randn(3, 6))).shape) == (3, 1)
    convolutions = [m for net in (gen, dis) for m in net.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    biased = [m.bias is not None for m in convolutions]
    bare = norm in ("spectral", "none")
    # gen: code, up, picture; dis: down, down, logit. What makes the picture and the logit has none, as published.
    assert biased == [bare, bare, False, norm != "batch", bare, False]


@pytest.mark.parametrize("norm", ["layer", "instance", "group"])
def test_a_critic_that_norms_each_picture_by_itself_sees_contrast(norm: str) -> None:
    torch.manual_seed(0)
    dis = Discriminator(3, [16, 32], _part(norm, "lrelu")).double()
    x = torch.rand(8, 3, 16, 16, dtype=torch.float64) * 2 - 1
    bias: torch.Tensor = dis.down[0].conv.bias  # type: ignore[assignment, union-attr]

    def seen() -> float:
        return ((dis(x) - dis(0.2 * x)).abs().mean() / dis(x).std()).item()

    nn.init.normal_(bias, std=0.3)
    assert seen() > 0.3
    nn.init.zeros_(bias)  # as in the example
    assert seen() < 0.05


def test_width_factor_thins_every_layer_and_keeps_the_structure() -> None:
    full, thin = dcgan(base_width=16), dcgan(base_width=16, width_factor=0.25)
    for name, net in full.nets.items():
        assert list(net.state_dict()) == list(thin.nets[name].state_dict())
    assert thin.nets["dis"].head.weight.shape == (1, 8, 4, 4)  # type: ignore[union-attr]


def test_the_initialiser_is_the_examples() -> None:
    torch.manual_seed(0)
    nets = dcgan(size_px=32, base_width=32).nets
    for net in nets.values():
        for part in net.modules():
            if isinstance(part, nn.Conv2d | nn.ConvTranspose2d) and part.weight.numel() > 5000:
                assert part.weight.std().item() == pytest.approx(0.02, rel=0.05)
            elif isinstance(part, nn.BatchNorm2d):
                assert part.weight.mean().item() == pytest.approx(1.0, abs=0.02) and not part.bias.any()


def test_the_critic_has_no_statistics_to_move() -> None:
    assert not list(wgan_gp().nets["dis"].buffers())
