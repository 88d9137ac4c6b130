"""The talking face's three discriminators: of the person, of the run of frames, of lips against speech.

Pictures are (N, C, H, W), runs of frames (N, n, C, H, W), speech (N, A); each answers with logits, (N, …). All halve by
kernels of 4 px, stride 2, padding 1; a side of 1 px stays 1 px, so that the published lists also take small pictures.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gansweep.nets.blocks import ConfigError, activation, normalise, weighted
from gansweep.nets.talkingface import Speech, dense

DEEP_NORMS = ("batch", "instance", "none")
"""Norms over runs of frames, (N, C, n, H, W): `instance` has no weights, as torch's own."""


def after_stride(side: int, stride: int) -> int:
    """Return the side that a kernel of 4 px with padding 1 leaves of `side`."""
    return max((side - 2) // stride + 1, 1)


def _two_px(features: Tensor) -> Tensor:
    """Pad a height or width of 1 px to 2, which the kernel of 4 px with padding 1 makes 1 px of."""
    short = [0, int(features.shape[-1] < 2), 0, int(features.shape[-2] < 2)]
    return F.pad(features, short) if any(short) else features


class Strided(nn.Module):
    """Convolution of 4 px with a stride, norm, activation; no bias in front of a norm layer."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, norm: str, act: str, slope: float):
        super().__init__()
        conv = nn.Conv2d(channels_in, channels_out, 4, stride, 1, bias=norm in ("none", "spectral"))
        self.conv = weighted(conv, norm)
        self.norm, self.act = normalise(norm, channels_out), activation(act, slope)

    def forward(self, features: Tensor) -> Tensor:
        """Return (N, channels_out, H/stride, W/stride)."""
        return self.act(self.norm(self.conv(_two_px(features))))


def _strides(
    where: str, side: int, channels: int, layers: Sequence[tuple[int, int, str, str]], slope: float
) -> tuple[nn.Sequential, int]:
    """Return a `Strided` for each (channels, stride, norm, act) and the side they leave of `side`."""
    made: list[nn.Module] = []
    before = channels
    for width, stride, norm, act in layers:
        side = after_stride(side, stride)
        if norm == "instance" and side == 1:
            raise ConfigError(f"{where}.norm=instance: its layers reach 1 px, where nothing is left to normalise")
        made.append(Strided(before, width, stride, norm, act, slope))
        before = width
    return nn.Sequential(*made), side


class Identity(nn.Module):
    """Judges whether a frame is a real one of the person on the still, which is stacked below it: a map of logits.

    `kind` patch: pix2pix's (Isola et al. 2017), `levels` halvings from `base_width` channels on, then two convolutions
    of stride 1 (30 x 30 logits of 256 px). `plain`: a convolution for each of `widths`, no norm. `blocks`: for each of
    `widths` two convolutions, the first of which doubles the channels and has the norm.
    """

    def __init__(self, size_px: int, channels: int, part: Mapping[str, Any]):
        super().__init__()
        self.conv, _ = _strides("model.id", size_px, 2 * channels, _identity_layers(2 * channels, part), part["slope"])

    def forward(self, frames: Tensor, stills: Tensor) -> Tensor:
        """Return a map of logits for each frame and its still, (N, 1, h, w)."""
        return self.conv(torch.cat([frames, stills], 1))


def _identity_layers(channels: int, part: Mapping[str, Any]) -> list[tuple[int, int, str, str]]:
    norm, act = part["norm"], part["act"]
    plain = "spectral" if norm == "spectral" else "none"
    if part["kind"] == "patch":
        widths = [part["base_width"] << min(n, 3) for n in range(part["levels"] + 1)]
        layers = [(w, 2, norm if n else plain, act) for n, w in enumerate(widths)]
        return [*layers[:-1], (widths[-1], 1, norm, act), (1, 1, plain, "none")]
    layers = []
    for before, after in itertools.pairwise([channels, *part["widths"]]):
        if part["kind"] == "blocks":
            layers.append((2 * before, 2, norm, act))
        layers.append((after, 2, plain, act))
    return [*layers[:-1], (*layers[-1][:3], "none")]


class Conv3d(nn.Conv3d):
    """A 3-D convolution of `kernel_frames` x 4 x 4, padding 1, that halves the pictures; 1 px stays 1 px.

    Its weight keeps its own layout where a whole network is asked to be channels_last: that layout is for weights of
    four axes, and torch refuses it for five.
    """

    def __init__(self, channels_in: int, channels_out: int, frames: tuple[int, int], bias: bool):
        super().__init__(channels_in, channels_out, (frames[0], 4, 4), (frames[1], 2, 2), 1, bias=bias)

    def forward(self, features: Tensor) -> Tensor:
        """Return (N, channels_out, n', H/2, W/2)."""
        height, width = features.shape[-2:]
        if height > 2 or width > 2:
            return super().forward(features)
        # Padded by hand where the kernel sees all there is: in bf16 on a CPU, torch 2.13's weight gradient is not
        # finite otherwise.
        padded = F.pad(features, (1, 3 - width, 1, 3 - height))
        return F.conv3d(padded, self.weight, self.bias, self.stride, (1, 0, 0))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Conv3d:
        def on_four_axes(tensor: Tensor) -> Tensor:
            if tensor.dim() != 5:
                return fn(tensor)
            return fn(tensor.flatten(0, 1)).contiguous().unflatten(0, tensor.shape[:2])

        return super()._apply(on_four_axes, recurse)


class Strided3d(nn.Module):
    """Convolution of `kernel_frames` x 4 x 4 that halves the pictures, norm, activation."""

    def __init__(self, channels_in: int, channels_out: int, part: Mapping[str, Any]):
        super().__init__()
        frames = part["kernel_frames"], part["stride_frames"]
        self.conv = Conv3d(channels_in, channels_out, frames, bias=part["norm"] == "none")
        norms = {"batch": nn.BatchNorm3d, "instance": nn.InstanceNorm3d}
        self.norm = norms[part["norm"]](channels_out) if part["norm"] in norms else nn.Identity()
        self.act = activation(part["act"], part["slope"])

    def forward(self, features: Tensor) -> Tensor:
        """Return (N, channels_out, n', H/2, W/2)."""
        return self.act(self.norm(self.conv(features)))


class SequenceConv3d(nn.Module):
    """Judges a run of frames by 3-D convolutions, one for each of `widths`: (N, widths[-1], n', h, w) logits.

    The last one looks at two frames, stride 2, without norm or activation: 20 frames give 11 logits, 5 give 3, where
    the others keep the number (`kernel_frames` 3, `stride_frames` 1).
    """

    def __init__(self, size_px: int, channels: int, frames: int, part: Mapping[str, Any]):
        super().__init__()
        side, count = size_px, frames
        steps = list(itertools.pairwise([channels, *part["widths"]]))
        for _ in steps[:-1]:
            count = (count + 2 - part["kernel_frames"]) // part["stride_frames"] + 1
            side = after_stride(side, 2)
            if count < 1:
                raise ConfigError(f"model.seq.kernel_frames={part['kernel_frames']}: longer than the run of {frames}")
            if part["norm"] == "instance" and side == count == 1:
                raise ConfigError("model.seq.norm=instance: its layers reach 1 px, where nothing is left to normalise")
        self.conv = nn.Sequential(*(Strided3d(a, b, part) for a, b in steps[:-1]))
        self.last = Conv3d(*steps[-1], (2, 2), bias=True)

    def forward(self, runs: Tensor) -> Tensor:
        """Return logits."""
        return self.last(self.conv(runs.transpose(1, 2)))


class SequenceGru(nn.Module):
    """Judges a run of frames, each flattened to one long vector, by a GRU's last state.

    `head` linear: one logit of the state, (N, 1). `state`, as published: the state itself for logits, (N, hidden); it
    lies in (-1, 1), so that cross-entropy can only move between 0.313 and 1.313.
    """

    def __init__(self, size_px: int, channels: int, part: Mapping[str, Any]):
        super().__init__()
        self.gru = nn.GRU(channels * size_px**2, part["hidden"], batch_first=True)
        self.head = nn.Linear(part["hidden"], 1) if part["head"] == "linear" else nn.Identity()

    def forward(self, runs: Tensor) -> Tensor:
        """Return logits."""
        return self.head(self.gru(runs.flatten(2))[1][-1])


class Sync(nn.Module):
    """Judges whether lips and speech belong together: logits (N, joint[-1]), or (N, 1) of a cosine.

    A window's frames are stacked as channels, which is what a 3-D kernel over all of them does. `kind` joint: linear
    layers over the features of both sides. `cosine`: the cosine c of both, as the logit of (1 + c) / 2, 2 artanh(c), so
    that cross-entropy reads it as any other (after Wav2Lip, Prajwal et al. 2020, whose embeddings are not negative and
    whose probability is c itself).
    """

    def __init__(self, height_px: int, width_px: int, channels: int, heard_samples: int, part: Mapping[str, Any]):
        super().__init__()
        own, self.kind = part["video"], part["kind"]
        apart = self.kind == "joint"
        layers = [(width, 2, own["norm"], own["act"]) for width in own["conv"]]
        self.video, height_px = _strides("model.sync.video", height_px, channels * part["frames"], layers, own["slope"])
        for _ in layers:
            width_px = after_stride(width_px, 2)
        sizes = [own["conv"][-1] * height_px * width_px, *own["dense"]]
        self.lips = nn.Sequential(*dense(sizes, own["act"], own["slope"], last_act=apart))
        self.speech = Speech("model.sync.speech", heard_samples, part["speech"], last_act=apart)
        if not apart and sizes[-1] != self.speech.features:
            raise ConfigError(
                f"model.sync.kind=cosine: compares {sizes[-1]} values of the lips with {self.speech.features} of the "
                f"speech; give model.sync.video.dense and model.sync.speech.dense the same last width"
            )
        sizes = [sizes[-1] + self.speech.features, *part["joint"]] if apart else []
        self.joint = nn.Sequential(*dense(sizes, part["act"], part["slope"], last_act=False))

    def forward(self, windows: Tensor, speech: Tensor) -> Tensor:
        """Return logits of windows of frames, (N, k, C, h, w), with their speech, (N, A)."""
        lips, heard = self.lips(self.video(windows.flatten(1, 2)).flatten(1)), self.speech(speech)
        if self.kind == "joint":
            return self.joint(torch.cat([heard, lips], 1))
        # In at least float32: bf16 has nothing between 1 and the largest cosine that is allowed.
        wide = torch.promote_types(lips.dtype, torch.float32)
        lips, heard = F.normalize(lips.to(wide), dim=1), F.normalize(heard.to(wide), dim=1)
        cosine = (lips * heard).sum(1, keepdim=True)
        return 2 * torch.atanh(cosine.clamp(-1 + 1e-5, 1 - 1e-5))
