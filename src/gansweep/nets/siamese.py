"""The frontaliser of the siamese journal: a trunk of five stages, a code in two halves, a decoder of one of them.

Pictures are (B, C, S, S); S is halved four times, so it is a multiple of 16 (96 as published, which ends at 6 px).
Every kernel is 3 px but the residual trunk's shortcut from the picture (1 px) and the head's (all that is left).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from gansweep.nets.blocks import ConfigError, Down, activation, biased, nearest_multiples, normalise, scaled, weighted

KERNEL = 3
STRIDE = 16
UPSAMPLES = ("transpose", "bilinear")
"""How the decoder doubles a side: a transposed convolution, or interpolation in front of a plain one (June)."""

# Channels behind each convolution, one line a stage; each stage but the first begins by halving the side. The trunk's
# last one is the code's, which is asked for.
_PLAIN = ((32, 64), (64, 64, 128), (128, 96, 192), (192, 128, 256), (256, 160))
_RESIDUAL = (64, 128, 192, 256)
_DECODER = ((160, 256), (256, 128, 192), (192, 96, 128), (128, 64, 64), (64, 32))


def end_px(size_px: int) -> int:
    """Return the side behind four halvings; ConfigError for a size that they do not divide."""
    if size_px < STRIDE or size_px % STRIDE:
        raise ConfigError(
            f"data.size={size_px}: not divided by {STRIDE}, the stride of four halvings; "
            f"nearest: {nearest_multiples(size_px, STRIDE)}"
        )
    return size_px // STRIDE


def plain_trunk(channels: int, code: int, factor: float, part: Mapping[str, Any]) -> nn.Sequential:
    """Return the trunk from 15 July on, fourteen convolutions: features (B, code, S/16, S/16)."""
    layers: list[nn.Module] = []
    before = channels
    for stage, widths in enumerate(_PLAIN):
        for n, width in enumerate(widths):
            layers.append(_down(before, scaled(width, factor), 2 if stage and n == 0 else 1, part))
            before = scaled(width, factor)
    return nn.Sequential(*layers, _down(before, code, 1, part))


def residual_trunk(channels: int, code: int, factor: float, part: Mapping[str, Any]) -> nn.Sequential:
    """Return the trunk until 14 July, five residual stages: features (B, code, S/16, S/16)."""
    widths = [channels, *(scaled(width, factor) for width in _RESIDUAL), code]
    first, *rest = pairwise(widths)
    return nn.Sequential(FirstStage(*first, part), *(Stage(*pair, part) for pair in rest))


TRUNKS: dict[str, Callable[[int, int, float, Mapping[str, Any]], nn.Sequential]] = {
    "plain": plain_trunk,
    "residual": residual_trunk,
}


def _down(before: int, width: int, stride: int, part: Mapping[str, Any]) -> Down:
    return Down(before, width, KERNEL, stride, biased(part), part)


class FirstStage(nn.Module):
    """Two convolutions at the picture's side, added to a 1 x 1 convolution of the picture (which has no norm)."""

    def __init__(self, before: int, width: int, part: Mapping[str, Any]):
        super().__init__()
        self.first = _down(before, width, 1, part)
        self.second = _down(width, width, 1, {**part, "act": "none"})
        self.shortcut = weighted(nn.Conv2d(before, width, 1, bias=biased(part)), part["norm"])
        self.act = activation(part["act"], part["slope"])

    def forward(self, pictures: Tensor) -> Tensor:
        """Return features of the same side, (B, width, S, S)."""
        return self.act(self.second(self.first(pictures)) + self.shortcut(pictures))


class Stage(nn.Module):
    """A convolution that halves the side, and two through half its width that are added to it."""

    def __init__(self, before: int, width: int, part: Mapping[str, Any]):
        super().__init__()
        half = max(1, width // 2)
        self.first = _down(before, width, 2, part)
        self.narrow = _down(width, half, 1, part)
        self.widen = _down(half, width, 1, {**part, "act": "none"})
        self.act = activation(part["act"], part["slope"])

    def forward(self, features: Tensor) -> Tensor:
        """Return features of half the side, (B, width, S/2, S/2)."""
        halved = self.first(features)
        return self.act(self.widen(self.narrow(halved)) + halved)


class Rise(nn.Module):
    """Convolution that keeps (stride 1) or doubles (stride 2) the side, norm, activation; `last` has neither."""

    def __init__(self, before: int, width: int, stride: int, part: Mapping[str, Any], last: bool = False):
        super().__init__()
        norm = "none" if last and part["norm"] != "spectral" else part["norm"]
        interpolates = part["upsample"] == "bilinear"
        self.upsample = nn.Upsample(scale_factor=2, mode="bilinear") if interpolates and stride == 2 else nn.Identity()
        bias = biased(part)
        conv: nn.Module = (
            nn.Conv2d(before, width, KERNEL, 1, 1, bias=bias)
            if interpolates
            else nn.ConvTranspose2d(before, width, KERNEL, stride, 1, stride - 1, bias=bias)
        )
        self.conv = weighted(conv, norm)
        self.norm = normalise(norm, width)
        self.act = nn.Identity() if last else activation(part["act"], part["slope"])

    def forward(self, features: Tensor) -> Tensor:
        """Return features or a picture of the same or of twice the side."""
        return self.act(self.norm(self.conv(self.upsample(features))))


def decoder(channels: int, code: int, factor: float, part: Mapping[str, Any]) -> nn.Sequential:
    """Return fourteen convolutions from features (B, code, S/16, S/16) to pictures that are not yet activated."""
    layers: list[nn.Module] = []
    before = code
    for stage, widths in enumerate(_DECODER):
        for n, width in enumerate(widths):
            layers.append(Rise(before, scaled(width, factor), 2 if stage and n == 0 else 1, part))
            before = scaled(width, factor)
    return nn.Sequential(*layers, Rise(before, channels, 1, part, last=True))


class Frontaliser(nn.Module):
    """One tower: trunk `enc`, whose channels are the identity's and then pose's and light's; `head`; `dec`.

    Both towers are this one network, run on two pictures. The decoder sees the identity's channels alone.
    """

    def __init__(
        self,
        size_px: int,
        channels: int,
        identity: int,
        attributes: int,
        poses: int,
        lights: int,
        factor: float,
        encoder: Mapping[str, Any],
        decoder_part: Mapping[str, Any],
    ):
        super().__init__()
        self.code, self.classes = (scaled(identity, factor), scaled(attributes, factor)), (poses, lights)
        self.enc = TRUNKS[encoder["trunk"]](channels, sum(self.code), factor, encoder)
        self.head = nn.Conv2d(self.code[1], poses + lights, end_px(size_px))
        self.dec = decoder(channels, self.code[0], factor, decoder_part)

    def forward(self, pictures: Tensor, decode: bool = True) -> tuple[Tensor, ...]:
        """Return frontal pictures before their activation, identity code, pose and light logits.

        (B, C, S, S), (B, identity · (S/16)²), (B, poses), (B, lights); without `decode` the pictures are left out.
        """
        identity, attributes = self.enc(pictures).split(self.code, 1)
        pose, light = self.head(attributes).flatten(1).split(self.classes, 1)
        found = (torch.flatten(identity, 1), pose, light)
        return (self.dec(identity), *found) if decode else found
