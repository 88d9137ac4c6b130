"""Parts that every network is made of: sizes, activations, norms, strided convolutions up and down, initialisers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATIONS: dict[str, Callable[[float], nn.Module]] = {
    # In place: a pass over memory less, no page given back and taken again; a norm or a convolution stands in front,
    # which keeps its input, not its output.
    "lrelu": lambda slope: nn.LeakyReLU(slope, inplace=True),
    "relu": lambda slope: nn.ReLU(inplace=True),
    "elu": lambda slope: nn.ELU(),
    "silu": lambda slope: nn.SiLU(),
    "gelu": lambda slope: nn.GELU(),
    "tanh": lambda slope: nn.Tanh(),
    "none": lambda slope: nn.Identity(),
}

OUTPUTS: dict[str, Callable[[Tensor], Tensor]] = {"tanh": torch.tanh, "sigmoid": torch.sigmoid, "none": lambda raw: raw}
"""Output activations of a decoder, by name; applied by the system, so that cross-entropy can read the logits."""

OUTPUT_RANGES = {"tanh": (-1.0, 1.0), "sigmoid": (0.0, 1.0)}
"""What an output activation can reach; `none` reaches everything."""

NORMS = ("batch", "instance", "layer", "group", "spectral", "none")
INITIALISERS = ("default", "glorot_uniform", "glorot_normal", "he_normal", "he_uniform", "normal", "dcgan")


class ConfigError(ValueError):
    """A network that its configuration cannot produce; the message names the key, its value and what would do."""


def choose(key: str, value: str, choices: object) -> str:
    """Return `value` when it is one of `choices`; otherwise a ConfigError that names `key` and the choices."""
    names = list(choices)  # type: ignore[call-overload]
    if value not in names:
        raise ConfigError(f"{key}={value}: no such choice; choices: {', '.join(names)}")
    return value


def halvings(size_px: int, levels: int | None, smallest_px: int = 4) -> int:
    """Return how often `size_px` is halved: down to `smallest_px` unless `levels` says otherwise.

    A size that the total stride does not divide is a ConfigError naming the nearest sizes that would do.
    """
    if levels is None:
        levels = 0
        while size_px > 0 and smallest_px << levels < size_px:
            levels += 1
        wanted = smallest_px << levels
        if wanted != size_px or levels == 0:
            near = f"{max(wanted // 2, 2 * smallest_px)} or {max(wanted, 4 * smallest_px)}"
            raise ConfigError(f"data.size={size_px}: not {smallest_px} px doubled some times; nearest: {near}")
    if levels < 1 or size_px % (1 << levels):
        stride = 1 << max(levels, 1)
        raise ConfigError(
            f"data.size={size_px}: not divided by the total stride {stride} of model.levels={levels}; "
            f"nearest: {nearest_multiples(size_px, stride)}"
        )
    return levels


def nearest_multiples(size_px: int, stride: int) -> str:
    """Return the multiple of `stride` below `size_px` and the one above, or the only one there is."""
    below = size_px // stride * stride
    return f"{below} or {below + stride}" if below else f"{stride}"


def scaled(width: int, factor: float) -> int:
    """Return `width` channels times `factor`, at least one."""
    return max(1, round(width * factor))


def activation(name: str, slope: float = 0.2) -> nn.Module:
    """Return the activation `name`; `slope` is the leak of `lrelu`."""
    return ACTIVATIONS[choose("act", name, ACTIVATIONS)](slope)


def normalise(name: str, channels: int, flat: bool = False) -> nn.Module:
    """Return the norm layer `name` over `channels`, of pictures or (`flat`) of vectors.

    `layer` normalises over all of a sample's channels and pixels with a weight per channel, which is GroupNorm with one
    group; `spectral` is a property of the weighted layer (see `weighted`), so nothing stands here.
    """
    choose("norm", name, NORMS)
    if name == "batch":
        return nn.BatchNorm1d(channels) if flat else nn.BatchNorm2d(channels)
    if name == "instance" and not flat:
        return nn.InstanceNorm2d(channels, affine=True)
    if name == "layer":
        return nn.GroupNorm(1, channels)
    if name == "group":
        return nn.GroupNorm(next(g for g in (16, 8, 4, 2, 1) if channels % g == 0), channels)
    return nn.Identity()


def weighted(layer: nn.Module, norm: str) -> nn.Module:
    """Return `layer`, under spectral normalisation where the norm is `spectral`."""
    return Spectral(layer) if norm == "spectral" else layer


class Spectral(nn.Module):
    """A convolution or linear layer whose weight is divided by its largest singular value (Miyato et al. 2018, eq. 10).

    One step of power iteration a training forward, by plain tensor operations on a buffer: the stock form fails under
    vmap. Where `still` is set the iteration is computed but its vector is not stored (input gradients).
    """

    u: Tensor

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer
        self.still = False
        self.register_buffer("u", F.normalize(torch.randn(self._matrix().shape[0]), dim=0))

    def _matrix(self) -> Tensor:
        weight: Tensor = self.layer.weight  # type: ignore[assignment]
        if isinstance(self.layer, nn.ConvTranspose2d):
            weight = weight.transpose(0, 1)
        return weight.flatten(1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Apply the layer with its weight normalised."""
        matrix = self._matrix()
        with torch.no_grad():
            v = F.normalize(matrix.t() @ self.u, dim=0)
            u = F.normalize(matrix @ v, dim=0)
            if self.training and not self.still:
                self.u.copy_(u)
        return self._apply_layer(inputs, self.layer.weight / (u @ (matrix @ v)))  # type: ignore[operator, arg-type]

    def _apply_layer(self, inputs: Tensor, weight: Tensor) -> Tensor:
        layer = self.layer
        if isinstance(layer, nn.Linear):
            return F.linear(inputs, weight, layer.bias)
        if isinstance(layer, nn.ConvTranspose2d):
            padding = tuple(int(side) for side in layer.padding)
            return F.conv_transpose2d(
                inputs, weight, layer.bias, layer.stride, padding, layer.output_padding, layer.groups, layer.dilation
            )
        assert isinstance(layer, nn.Conv2d)
        return F.conv2d(inputs, weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups)


def biased(part: Mapping[str, Any]) -> bool:
    """Tell whether the weighted layers of `part` have biases: asked for, or no norm layer behind them brings one."""
    return bool(part["conv_bias"]) or part["norm"] in ("none", "spectral")


class Down(nn.Module):
    """Convolution with a stride, norm, activation; keeps (stride 1, odd kernel) or halves (stride 2) the side."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, stride: int, bias: bool, part: Mapping[str, Any]
    ):
        super().__init__()
        conv = nn.Conv2d(channels_in, channels_out, kernel, stride, (kernel - 1) // 2, bias=bias)
        self.conv = weighted(conv, part["norm"])
        self.norm = normalise(part["norm"], channels_out)
        self.act = activation(part["act"], part["slope"])

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the picture's features, (B, channels_out, S/stride, S/stride)."""
        return self.act(self.norm(self.conv(pictures)))


def downs(
    channels: int, widths: Sequence[int], kernel: int, part: Mapping[str, Any], first_bias: bool
) -> nn.Sequential:
    """Return one `Down` of stride 2 for each of `widths`; as all lists have it, the first has no norm layer."""
    layers: list[nn.Module] = []
    before = channels
    for level, width in enumerate(widths):
        own = {**part, "norm": "none"} if level == 0 and part["norm"] != "spectral" else part
        layers.append(Down(before, width, kernel, 2, first_bias if level == 0 else biased(part), own))
        before = width
    return nn.Sequential(*layers)


class Up(nn.Module):
    """Transposed convolution that doubles the side, norm, activation."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, part: Mapping[str, Any], last: bool = False):
        super().__init__()
        padding = (kernel - 1) // 2
        extra = 2 + 2 * padding - kernel
        norm = "none" if last and part["norm"] != "spectral" else part["norm"]
        bias = part["conv_bias"] or (norm in ("none", "spectral") and not last)
        conv = nn.ConvTranspose2d(channels_in, channels_out, kernel, 2, padding, extra, bias=bias)
        self.conv = weighted(conv, norm)
        self.norm = normalise(norm, channels_out)
        self.act = nn.Identity() if last else activation(part["act"], part["slope"])

    def forward(self, features: Tensor) -> Tensor:
        """Return features or a picture of twice the side."""
        return self.act(self.norm(self.conv(features)))


def ups(channels: int, widths: Sequence[int], kernel: int, part: Mapping[str, Any]) -> nn.Sequential:
    """Return one `Up` for each of `widths`, the widest first, down to a picture that is not yet activated."""
    steps = [*reversed(widths[:-1]), channels]
    layers: list[nn.Module] = []
    before = widths[-1]
    for level, width in enumerate(steps):
        layers.append(Up(before, width, kernel, part, last=level == len(steps) - 1))
        before = width
    return nn.Sequential(*layers)


@torch.no_grad()
def initialise(module: nn.Module, kind: str, slope: float = 0.2, dense: str | None = None) -> None:
    """Set every convolution's weight by `kind`, every linear layer's by `dense` (None: alike), biases to zero.

    `default` leaves torch's own. `glorot_*`: Glorot and Bengio 2010; `he_*`: He et al. 2015, with the leak `slope`;
    `normal`: N(0, 0.05²), Keras's random_normal; `dcgan`: N(0, 0.02²), batch norm weights N(1, 0.02²) (Radford et al.
    2016).
    """
    dense = kind if dense is None else dense
    choose("model.init", kind, INITIALISERS)
    choose("model.init_dense", dense, INITIALISERS)
    setters: dict[str, Callable[[Tensor], object]] = {
        "glorot_uniform": nn.init.xavier_uniform_,
        "glorot_normal": nn.init.xavier_normal_,
        "he_normal": lambda w: nn.init.kaiming_normal_(w, a=slope),
        "he_uniform": lambda w: nn.init.kaiming_uniform_(w, a=slope),
        "normal": lambda w: nn.init.normal_(w, std=0.05),
        "dcgan": lambda w: nn.init.normal_(w, std=0.02),
    }
    for part in module.modules():
        own = dense if isinstance(part, nn.Linear) else kind
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) and own != "default":
            setters[own](part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif kind == "dcgan" and isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(part.weight, 1.0, 0.02)
