"""A small classifier of pictures, and the fitting of one: a convolutional network from scratch, or a linear head.

Everything random is drawn on the CPU from the recipe's seed, so that the same machine with as many threads gives the
same bits. Knows tensors only: where pictures come from and where weights go is others' business.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from gansweep.errors import RunFailed

# Sides are halved until they are no longer than this; maps widen with each halving, up to four times the first.
_LEAST_PX, _FIRST_WIDTH, _MOST_WIDENED = 6, 32, 4
# Pictures are moved by at most this share of their side while fitting.
_SHIFT_SHARE = 1 / 28
_WEIGHT_DECAY = 0.01
# The rate rises to its peak in this share of the steps and falls along a cosine to zero in the rest.
_RISE_SHARE = 0.1
_STEPS_PER_CHECK = 100

Batch = Callable[[int], tuple[Tensor, Tensor]]
Advance = Callable[[int], None]


@dataclass(frozen=True)
class Recipe:
    """How a classifier is fitted: optimiser steps, pictures per step, peak learning rate, seed of all that is drawn."""

    steps: int
    batch_size: int
    lr: float
    seed: int


class SmallNetwork(nn.Module):
    """Float pictures (N, C, size_px, size_px) in [-1, 1] → features (N, D) → logits (N, K), with bias.

    Pairs of 3 x 3 convolutions, the first of stride 2, each with batch norm and ReLU; then the mean over the map and a
    linear head. `fold` puts each batch norm into its convolution: what is stored and judged with is folded.
    """

    def __init__(self, size_px: int, channels: int, logits: int, folded: bool = False) -> None:
        super().__init__()
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        width = _FIRST_WIDTH
        while True:
            for stride in (2, 1):
                self.convs.append(nn.Conv2d(channels, width, 3, stride, 1))
                self.norms.append(nn.Identity() if folded else nn.BatchNorm2d(width))
                channels = width
            size_px, width = (size_px + 1) // 2, min(2 * width, _MOST_WIDENED * _FIRST_WIDTH)
            if size_px <= _LEAST_PX:
                break
        self.head = nn.Linear(channels, logits)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def features(self, images: Tensor) -> Tensor:
        """Return features (N, D), not negative, for float pictures in [-1, 1]."""
        x = images.contiguous(memory_format=torch.channels_last)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.relu(norm(conv(x)))
        return x.mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, K) for float pictures in [-1, 1]."""
        return cast(Tensor, self.head(self.features(images)))

    def fold(self) -> None:
        """Put the batch norms' running statistics into the convolutions, in float64, and leave training for good."""
        self.eval().double()
        for place, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            if isinstance(norm, nn.BatchNorm2d):
                self.convs[place] = fuse_conv_bn_eval(cast(nn.Conv2d, conv), norm)
                self.norms[place] = nn.Identity()
        self.float().requires_grad_(False)


def small_entries(size_px: int, channels: int, logits: int) -> dict[str, tuple[int, ...]]:
    """Return name → shape of every weight of a folded `SmallNetwork`."""
    with torch.device("meta"):
        network = SmallNetwork(size_px, channels, logits, folded=True)
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def scaled(pixels: Tensor) -> Tensor:
    """Return pixels of 0..255 as the small network sees them, float in [-1, 1]."""
    return pixels.to(torch.float32) * (1 / 127.5) - 1.0


def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Move each picture (N, C, H, W) by its own few pixels both ways; the border is repeated into what comes free."""
    count, _, height, width = images.shape
    most = max(1, round(width * _SHIFT_SHARE))
    padded = F.pad(images, (most,) * 4, mode="replicate")
    corners = torch.randint(0, 2 * most + 1, (2, count, 1), generator=generator).to(images.device)
    rows = (corners[0] + torch.arange(height, device=images.device)).view(count, 1, height, 1)
    columns = (corners[1] + torch.arange(width, device=images.device)).view(count, 1, 1, width)
    picture = torch.arange(count, device=images.device).view(count, 1, 1, 1)
    plane = torch.arange(images.shape[1], device=images.device).view(1, -1, 1, 1)
    return padded[picture, plane, rows, columns]


def fit_small(
    size_px: int, channels: int, logits: int, batch: Batch, recipe: Recipe, device: torch.device, advance: Advance
) -> SmallNetwork:
    """Fit a small network from scratch and return it folded, on `device`.

    `batch(i)` gives the pictures of step i, float in [-1, 1], and their classes, int64; they are shifted here.
    RunFailed when the loss stops being a number.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = SmallNetwork(size_px, channels, logits)
    network.to(device).train()
    generator = torch.Generator().manual_seed(recipe.seed)

    def moved(step: int) -> tuple[Tensor, Tensor]:
        images, classes = batch(step)
        return shifted(images, generator), classes

    _descend(network, moved, recipe, advance)
    network.fold()
    return network


def fit_head(features: Tensor, logits: int, batch: Batch, recipe: Recipe, advance: Advance) -> nn.Linear:
    """Fit a linear head with bias on features (N, D), standardised while it is fitted; returns it for plain ones.

    `batch(i)` gives the row numbers of step i and their classes, both int64. RunFailed when the loss stops being a
    number.
    """
    mean, std = features.mean(dim=0), features.std(dim=0, correction=0)
    std[std == 0] = 1.0  # a feature that never changes says nothing, and must not be divided by
    head = nn.Linear(features.shape[1], logits).to(features.device)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)

    def standardised(step: int) -> tuple[Tensor, Tensor]:
        rows, classes = batch(step)
        return (features[rows] - mean) / std, classes

    _descend(head, standardised, recipe, advance)
    with torch.no_grad():
        weight = head.weight.double() / std.double()
        head.bias.copy_(head.bias.double() - weight @ mean.double())
        head.weight.copy_(weight)
    return head.requires_grad_(False)


def _descend(module: nn.Module, batch: Batch, recipe: Recipe, advance: Advance) -> None:
    """Lower the cross-entropy by AdamW, the rate rising at first and then falling along a cosine."""
    optimizer = torch.optim.AdamW(module.parameters(), lr=recipe.lr, weight_decay=_WEIGHT_DECAY)
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.lr, total_steps=max(2, recipe.steps), pct_start=_RISE_SHARE, cycle_momentum=False
    )
    with _repeatable():
        for step in range(recipe.steps):
            inputs, classes = batch(step)
            loss = F.cross_entropy(module(inputs), classes)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            rate.step()
            last = step == recipe.steps - 1
            if (last or step % _STEPS_PER_CHECK == 0) and not bool(torch.isfinite(loss)):
                raise RunFailed(
                    f"the judge's loss is {float(loss.detach()):g} at step {step}: try an lr below {recipe.lr:g}"
                )
            advance(1)


@contextlib.contextmanager
def _repeatable() -> Iterator[None]:
    """Have cuDNN take algorithms that give the same bits each time; a CPU needs nothing."""
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before
