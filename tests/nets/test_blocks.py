"""Spectral normalisation, initialisers and sizes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from gansweep.engine.handle import Nets
from gansweep.nets.blocks import ConfigError, Spectral, halvings, initialise, normalise
from gansweep.nets.vae import Same, SameTranspose


@pytest.mark.parametrize("kind", ["linear", "conv", "transpose"])
def test_power_iteration_finds_the_largest_singular_value(kind: str) -> None:
    torch.manual_seed(0)
    layer, shape = _layer(kind)
    matrix = _with_singular_values(layer, (2.0, 1.0, 0.5))
    spectral = Spectral(layer).double().train()
    x = torch.randn(shape, dtype=torch.float64)
    for _ in range(60):  # the error falls by (1 / 2)^2 an iteration
        spectral(x)
    torch.testing.assert_close(torch.linalg.matrix_norm(matrix(), ord=2).item(), 2.0)
    ours, plain = spectral(x) - _bias(layer), layer(x) - _bias(layer)
    torch.testing.assert_close(ours, plain / 2.0, rtol=1e-8, atol=1e-10)


def _layer(kind: str) -> tuple[nn.Module, tuple[int, ...]]:
    if kind == "linear":
        return nn.Linear(6, 4).double(), (2, 6)
    if kind == "conv":
        return nn.Conv2d(3, 5, 3, 2, 1).double(), (2, 3, 8, 8)
    return nn.ConvTranspose2d(4, 3, 5, 2, 2, 1).double(), (2, 4, 4, 4)


def _with_singular_values(layer: nn.Module, values: tuple[float, ...]) -> Callable[[], torch.Tensor]:
    """Give the weight, flattened by output channel, these leading singular values; return a reader of that matrix."""
    weight: torch.Tensor = layer.weight  # type: ignore[assignment]

    def matrix() -> torch.Tensor:
        return (weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else weight).flatten(1)

    with torch.no_grad():
        u, _, v = torch.linalg.svd(matrix(), full_matrices=False)
        wanted = torch.zeros(u.shape[1], dtype=torch.float64)
        wanted[: len(values)] = torch.tensor(values, dtype=torch.float64)
        new = u @ torch.diag(wanted) @ v
        if isinstance(layer, nn.ConvTranspose2d):
            weight.copy_(new.unflatten(1, (weight.shape[0], *weight.shape[2:])).transpose(0, 1))
        else:
            weight.copy_(new.reshape(weight.shape))
    return matrix


def _bias(layer: nn.Module) -> torch.Tensor:
    bias: torch.Tensor = layer.bias  # type: ignore[assignment]
    return bias if isinstance(layer, nn.Linear) else bias[:, None, None]


def test_spectral_normalisation_works_under_vmap_where_torchs_own_does_not() -> None:
    layer = Spectral(nn.Linear(5, 3))
    params = {k: torch.stack([v, 2 * v]) for k, v in layer.named_parameters()}
    buffers = {k: torch.stack([v, v]) for k, v in layer.named_buffers()}
    x = torch.randn(2, 4, 5)
    both = torch.func.vmap(lambda p, b, x: torch.func.functional_call(layer, (p, b), (x,)))(params, buffers, x)
    weight, bias = params["layer.weight"][1], params["layer.bias"][1]
    u = torch.nn.functional.normalize(weight @ torch.nn.functional.normalize(weight.t() @ layer.u, dim=0), dim=0)
    v = torch.nn.functional.normalize(weight.t() @ layer.u, dim=0)
    torch.testing.assert_close(both[1], x[1] @ (weight / (u @ weight @ v)).t() + bias, rtol=1e-4, atol=1e-5)


def test_a_still_network_uses_batch_statistics_and_moves_no_buffer() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(Spectral(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4)).train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    nets = Nets({"dis": net})
    x = torch.randn(4, 3, 6, 6)
    still = nets.still("dis")(x)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    moving = nets.dis(x)
    torch.testing.assert_close(still, moving)
    assert not torch.equal(net[1].running_mean, before["1.running_mean"])
    assert not torch.equal(net[0].u, before["0.u"])


def test_layer_norm_is_over_all_channels_and_pixels_with_a_weight_a_channel() -> None:
    norm = normalise("layer", 6)
    assert [tuple(p.shape) for p in norm.parameters()] == [(6,), (6,)]
    out = norm(torch.randn(3, 6, 4, 4) * 5 + 2)
    torch.testing.assert_close(out.flatten(1).mean(1), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.flatten(1).std(1, correction=0), torch.ones(3), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("kind", "std"),
    [("normal", 0.05), ("dcgan", 0.02), ("he_normal", (2 / 1.09 / 2700) ** 0.5), ("glorot_uniform", (2 / 5400) ** 0.5)],
)
def test_initialisers_have_their_spread_and_zero_biases(kind: str, std: float) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(300, 300, 3)
    initialise(layer, kind, slope=0.3)
    assert layer.weight.std().item() == pytest.approx(std, rel=0.02)
    assert layer.bias is not None and not layer.bias.any()


def test_unknown_choices_name_the_key_and_the_choices() -> None:
    with pytest.raises(ConfigError, match=r"model\.init=he: no such choice; choices: default, glorot_uniform"):
        initialise(nn.Linear(1, 1), "he")
    with pytest.raises(ConfigError, match="norm=bach"):
        normalise("bach", 3)


@pytest.mark.parametrize(
    ("size", "levels", "expected"), [(32, None, 3), (64, None, 4), (128, None, 5), (48, 3, 3), (8, None, 1)]
)
def test_sizes_follow_one_rule_of_halvings(size: int, levels: int | None, expected: int) -> None:
    assert halvings(size, levels) == expected


@pytest.mark.parametrize(
    ("size", "levels", "near"),
    [(48, None, "32 or 64"), (4, None, "8"), (100, 3, "96 or 104"), (2, 2, "4$"), (64, 9, "512$")],
)
def test_a_size_that_the_stride_does_not_divide_is_refused_with_the_nearest(
    size: int, levels: int | None, near: str
) -> None:
    with pytest.raises(ConfigError, match=rf"data\.size={size}: .*{near}"):
        halvings(size, levels)


@pytest.mark.parametrize(
    ("kernel", "stride", "side"), [(5, 2, 8), (5, 1, 7), (4, 2, 8), (4, 1, 8), (3, 2, 9), (2, 3, 10), (1, 2, 6)]
)
def test_same_padding_gives_the_sides_that_tensorflow_gives(kernel: int, stride: int, side: int) -> None:
    part = {"norm": "none", "act": "none", "slope": 0.2}
    down = Same(3, 4, kernel, stride, part)
    assert down(torch.randn(1, 3, side, side)).shape[-1] == -(-side // stride)
    up = SameTranspose(4, 3, kernel, stride, part)
    assert up(torch.randn(1, 4, side, side)).shape[-1] == side * stride


def test_the_transpose_is_the_adjoint_of_the_same_convolution() -> None:
    torch.manual_seed(0)
    part = {"norm": "none", "act": "none", "slope": 0.2}
    down, up = Same(3, 4, 5, 2, part).double(), SameTranspose(4, 3, 5, 2, part).double()
    with torch.no_grad():
        up.conv.weight.copy_(down.conv.weight)  # type: ignore[operator, union-attr]
        down.conv.bias.zero_()  # type: ignore[operator, union-attr]
        up.conv.bias.zero_()  # type: ignore[operator, union-attr]
    x, y = torch.randn(1, 3, 8, 8, dtype=torch.float64), torch.randn(1, 4, 4, 4, dtype=torch.float64)
    assert (down(x) * y).sum().item() == pytest.approx((x * up(y)).sum().item(), rel=1e-10)
