"""The talking face's generator: a U-Net that repaints a still picture, with speech and noise at its bottleneck.

Shapes: stills (B, C, S, S), speech (B, n, A) samples, noise (B, n or 1, L), frames (B, n, C, S, S). Speech is raw.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gansweep.nets.blocks import ConfigError, activation

FLAT_NORMS = ("batch", "instance", "none")
"""Norms over (N, C, length): `instance` has no weights, as torch's own."""

INITIALISERS = ("default", "dcgan", "he_normal")


class Sides(NamedTuple):
    """Sides in pixels: of what each encoder level gives, of what each decoder level's transposed convolution gives."""

    encoder: tuple[int, ...]
    decoder: tuple[int, ...]
    native: int

    @property
    def bottom(self) -> int:
        """Side of the bottleneck, of the speech's map and of the noise's."""
        return self.encoder[-1]


def unet_sides(size_px: int, levels: int, padding: str) -> Sides | None:
    """Return the U-Net's sides for a picture of `size_px`, or None where nothing would be left.

    Each level is two convolutions of 3 px, which take 4 px away where they are `valid` and none where `same`; between
    levels the side is halved on the way down and doubled on the way up.
    """
    lost = 4 if padding == "valid" else 0
    encoder = [size_px - lost]
    for _ in range(levels - 1):
        encoder.append(encoder[-1] // 2 - lost)
    side, decoder = encoder[-1], []
    for _ in range(levels - 1):
        decoder.append(2 * side)
        side = 2 * side - lost
    return Sides(tuple(encoder), tuple(decoder), side) if min(*encoder, side) >= 1 else None


def chosen_padding(size_px: int, levels: int, padding: str) -> tuple[str, Sides]:
    """Return valid or same, and the sides; `auto` is valid where that leaves at least a quarter of the picture's side.

    ConfigError for a picture that is too small, naming the smallest that will do.
    """
    if padding == "auto":
        valid = unet_sides(size_px, levels, "valid")
        padding = "valid" if valid is not None and 4 * valid.native >= size_px else "same"
    sides = unet_sides(size_px, levels, padding)
    if sides is None:
        least = next(s for s in itertools.count(size_px) if unet_sides(s, levels, padding) is not None)
        raise ConfigError(
            f"data.size={size_px}: {levels} levels of model.gen.widths with padding={padding} leave nothing of it; "
            f"the smallest is {least}"
        )
    return padding, sides


def flat_norm(name: str, channels: int) -> nn.Module:
    """Return the norm layer `name` over (N, channels, length)."""
    if name == "batch":
        return nn.BatchNorm1d(channels)
    return nn.InstanceNorm1d(channels) if name == "instance" else nn.Identity()


def dense(sizes: Sequence[int], act: str, slope: float, last_act: bool = True) -> list[nn.Module]:
    """Return linear layers through `sizes`, an activation behind each; behind the last one where `last_act`."""
    layers: list[nn.Module] = []
    for n, (wide, narrow) in enumerate(itertools.pairwise(sizes), start=1):
        layers.append(nn.Linear(wide, narrow))
        if last_act or n < len(sizes) - 1:
            layers.append(activation(act, slope))
    return layers


class Speech(nn.Module):
    """Convolutions over raw samples, (N, A), then linear layers: features, (N, `features`).

    `part` has `conv`, a list of {channels, kernel, stride, padding, norm}, `dense`, a list of widths, and act, slope.
    `where` is the part's key, for messages; ConfigError when a kernel is longer than what is left of the samples.
    """

    def __init__(self, where: str, samples: int, part: Mapping[str, Any], last_act: bool = True):
        super().__init__()
        layers: list[nn.Module] = []
        before, length = 1, samples
        for n, entry in enumerate(part["conv"]):
            kernel, stride, padding = entry["kernel"], entry["stride"], entry["padding"]
            if length + 2 * padding < kernel:
                raise ConfigError(
                    f"{where}.conv[{n}].kernel={kernel}: longer than the {length} values that reach it from {samples} "
                    f"samples; at most {length + 2 * padding}"
                )
            bias = entry["norm"] == "none"
            layers += [
                nn.Conv1d(before, entry["channels"], kernel, stride, padding, bias=bias),
                flat_norm(entry["norm"], entry["channels"]),
                activation(part["act"], part["slope"]),
            ]
            before, length = entry["channels"], (length + 2 * padding - kernel) // stride + 1
            if entry["norm"] == "instance" and length == 1:
                raise ConfigError(f"{where}.conv[{n}].norm=instance: one value is left of {samples} samples; say none")
        self.conv = nn.Sequential(*layers)
        sizes = [before * length, *part["dense"]]
        self.dense = nn.Sequential(*dense(sizes, part["act"], part["slope"], last_act))
        self.features = sizes[-1]

    def forward(self, samples: Tensor) -> Tensor:
        """Return the features of each piece of speech."""
        return self.dense(self.conv(samples.unsqueeze(1)).flatten(1))


class Pair(nn.Sequential):
    """Two convolutions of 3 px, an activation behind each; no norm, as published."""

    def __init__(self, channels_in: int, channels_out: int, padding: int, act: str, slope: float):
        super().__init__(
            nn.Conv2d(channels_in, channels_out, 3, 1, padding),
            activation(act, slope),
            nn.Conv2d(channels_out, channels_out, 3, 1, padding),
            activation(act, slope),
        )


def cropped(features: Tensor, side: int) -> Tensor:
    """Return the central `side` x `side` pixels; an odd pixel is left over at the bottom and the right."""
    top, left = (features.shape[-2] - side) // 2, (features.shape[-1] - side) // 2
    return features[..., top : top + side, left : left + side]


def resized(features: Tensor, side: int) -> Tensor:
    """Return the whole map at `side` x `side`, bicubic."""
    if features.shape[-1] == side:
        return features
    return F.interpolate(features, size=(side, side), mode="bicubic", align_corners=False)


SKIPS = {"crop": cropped, "resize": resized}
"""How an encoder's features are made to fit the decoder's: their centre, as published, or all of them, scaled."""


def _for_each(features: Tensor, count: int) -> Tensor:
    """Repeat what was computed of one still, (B, …), for each of its frames, (B · count, …)."""
    if count == 1:
        return features
    return features.unsqueeze(1).expand(-1, count, *features.shape[1:]).flatten(0, 1)


class Generator(nn.Module):
    """U-Net with two convolutions a level; speech and noise join as one channel each at its bottleneck.

    `widths` are the levels' channels, the first at the picture's size. `native_px` is the side of what it really
    paints (68 of 256 px with five levels of valid convolutions), which is then enlarged to the picture's. A still's
    features are computed once for all of its frames.
    """

    def __init__(self, size_px: int, channels: int, heard_samples: int, latent: int, part: Mapping[str, Any]):
        super().__init__()
        widths, act, slope = part["widths"], part["act"], part["slope"]
        padding, self.sides = chosen_padding(size_px, len(widths), part["padding"])
        self.size_px, self.native_px = size_px, self.sides.native
        self.fit, self.enlarge = SKIPS[part["skip"]], part["enlarge"]
        pad = 1 if padding == "same" else 0
        self.down = nn.ModuleList(Pair(a, b, pad, act, slope) for a, b in itertools.pairwise([channels, *widths]))
        cells = self.sides.bottom**2
        speech = {**part["speech"], "dense": [*part["speech"]["dense"], cells]}
        self.speech = Speech("model.gen.speech", heard_samples, speech)
        self.noise = nn.Sequential(*dense([latent, *part["noise"], cells], act, slope))
        self.up, self.join = nn.ModuleList(), nn.ModuleList()
        for n, (wide, narrow) in enumerate(itertools.pairwise(reversed(widths))):
            self.up.append(nn.ConvTranspose2d(wide + (2 if n == 0 else 0), narrow, 2, 2))
            self.join.append(Pair(2 * narrow, narrow, pad, act, slope))
        self.head = nn.Conv2d(widths[0], channels, 1)

    def forward(self, stills: Tensor, speech: Tensor, noise: Tensor) -> Tensor:
        """Return one frame for each piece of speech, (B, n, C, S, S), before the output activation."""
        batch, count = speech.shape[:2]
        levels = [self.down[0](stills)]
        for pair in itertools.islice(self.down, 1, None):
            levels.append(pair(F.max_pool2d(levels[-1], 2)))
        side = self.sides.bottom
        heard = self.speech(speech.flatten(0, 1)).unflatten(-1, (1, side, side))
        drawn = self.noise(noise).expand(batch, count, -1).flatten(0, 1).unflatten(-1, (1, side, side))
        frames = torch.cat([_for_each(levels.pop(), count), heard, drawn], 1)
        for up, pair in zip(self.up, self.join, strict=True):
            frames = up(frames)
            skip = self.fit(levels.pop(), frames.shape[-1])
            frames = pair(torch.cat([frames, _for_each(skip, count)], 1))
        frames = self.head(frames)
        if self.native_px != self.size_px:
            smooth = {"align_corners": False} if self.enlarge == "bilinear" else {}
            frames = F.interpolate(frames, size=(self.size_px, self.size_px), mode=self.enlarge, **smooth)
        return frames.unflatten(0, (batch, count))


_WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.Linear)


@torch.no_grad()
def draw_weights(module: nn.Module, kind: str, slope: float) -> None:
    """Draw the weights of convolutions and linear layers by `kind`, with biases of zero; a GRU keeps torch's own.

    `default` leaves all to torch; `dcgan`, as published: N(0, 0.02²), batch norm weights over pictures N(1, 0.02²);
    `he_normal`: He et al. 2015, with the leak `slope`.
    """
    for part in module.modules():
        if kind != "default" and isinstance(part, _WEIGHTED):
            if kind == "dcgan":
                nn.init.normal_(part.weight, std=0.02)
            else:
                nn.init.kaiming_normal_(part.weight, a=slope)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif kind == "dcgan" and isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.weight, 1.0, 0.02)
