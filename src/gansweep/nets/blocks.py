"""Parts that every network is made of: activations, norms, spectral normalisation, initialisers."""

from __future__ import annotations

from collections.abc import Callable

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


def at_least_one(**sizes: int) -> None:
    """Refuse a size of `model` that is not a whole number of at least 1 (ConfigError naming its key)."""
    for key, value in sizes.items():
        if not isinstance(value, int) or value < 1:
            raise ConfigError(f"model.{key}={value}: must be a whole number, at least 1")


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
