"""The FID Inception v3 of 5 December 2015: the network that the Inception Score is defined by.

Layout: the TensorFlow graph of that date as its public PyTorch port names it (94 convolutions with batch norm, eps
1e-3, and a 2048 x 1008 head). It differs from the later Inception v3: average pools leave out the padding, and the last
block pools by maximum. Batch norm is folded into the convolutions in float64 at loading; the head's bias is left out,
as in the original score.

The 1 x 1 convolutions that read one block's input run as one. That of an average pool is among them: it trades places
with the average, which then has fewer channels to go through.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gansweep.metrics.tf1_resize import resize_tf1

SIZE_PX = 299
CLASSES = 1008
FEATURES = 2048
BATCH_NORM_EPS = 1e-3
# On a CPU the stem, whose maps take 5 MB a picture, takes so many pictures at a time: more leave the caches, and glibc
# gives such blocks back to the system after each layer. Worth 8 % of the whole (benchmarks/reports).
STEM_PICTURES = 4


@dataclass(frozen=True)
class Conv:
    """One convolution of the layout: output channels, kernel (height, width), stride, padding ("same" or none).

    `pooled`: a 3 x 3 maximum of stride 2 follows.
    """

    name: str
    channels: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padded: bool = True
    pooled: bool = False


# A branch is a chain of convolutions; a tuple inside it is a fork whose outputs are concatenated.
Branch = tuple["Conv | tuple[Conv, ...]", ...]


@dataclass(frozen=True)
class Block:
    """Parallel branches whose outputs are concatenated, then the pool branch: its kind, its stride, its convolution."""

    branches: tuple[Branch, ...]
    pool: str
    pool_conv: Conv | None = None

    @property
    def opening(self) -> tuple[Conv, ...]:
        """The 1 x 1 convolutions of the block's input, that of an average pool last."""
        narrow = tuple(conv for conv, *_ in self.branches if isinstance(conv, Conv) and conv.kernel == (1, 1))
        return (*narrow, self.pool_conv) if self.pool == "average" and self.pool_conv else narrow


def _narrow(channels: int) -> Conv:
    return Conv("branch_pool", channels)


def _block_a(pool_channels: int) -> Block:
    five = (Conv("branch5x5_1", 48), Conv("branch5x5_2", 64, (5, 5)))
    double = (Conv("branch3x3dbl_1", 64), Conv("branch3x3dbl_2", 96, (3, 3)), Conv("branch3x3dbl_3", 96, (3, 3)))
    return Block(((Conv("branch1x1", 64),), five, double), "average", _narrow(pool_channels))


def _block_b() -> Block:
    double = (
        Conv("branch3x3dbl_1", 64),
        Conv("branch3x3dbl_2", 96, (3, 3)),
        Conv("branch3x3dbl_3", 96, (3, 3), 2, False),
    )
    return Block(((Conv("branch3x3", 384, (3, 3), 2, False),), double), "halve")


def _block_c(middle: int) -> Block:
    seven = (
        Conv("branch7x7_1", middle),
        Conv("branch7x7_2", middle, (1, 7)),
        Conv("branch7x7_3", 192, (7, 1)),
    )
    double = (
        Conv("branch7x7dbl_1", middle),
        Conv("branch7x7dbl_2", middle, (7, 1)),
        Conv("branch7x7dbl_3", middle, (1, 7)),
        Conv("branch7x7dbl_4", middle, (7, 1)),
        Conv("branch7x7dbl_5", 192, (1, 7)),
    )
    return Block(((Conv("branch1x1", 192),), seven, double), "average", _narrow(192))


def _block_d() -> Block:
    three = (Conv("branch3x3_1", 192), Conv("branch3x3_2", 320, (3, 3), 2, False))
    seven = (
        Conv("branch7x7x3_1", 192),
        Conv("branch7x7x3_2", 192, (1, 7)),
        Conv("branch7x7x3_3", 192, (7, 1)),
        Conv("branch7x7x3_4", 192, (3, 3), 2, False),
    )
    return Block((three, seven), "halve")


def _block_e(pool: str) -> Block:
    three = (
        Conv("branch3x3_1", 384),
        (Conv("branch3x3_2a", 384, (1, 3)), Conv("branch3x3_2b", 384, (3, 1))),
    )
    double = (
        Conv("branch3x3dbl_1", 448),
        Conv("branch3x3dbl_2", 384, (3, 3)),
        (Conv("branch3x3dbl_3a", 384, (1, 3)), Conv("branch3x3dbl_3b", 384, (3, 1))),
    )
    return Block(((Conv("branch1x1", 320),), three, double), pool, _narrow(192))


STEM = (
    Conv("Conv2d_1a_3x3", 32, (3, 3), 2, False),
    Conv("Conv2d_2a_3x3", 32, (3, 3), 1, False),
    Conv("Conv2d_2b_3x3", 64, (3, 3), pooled=True),
    Conv("Conv2d_3b_1x1", 80),
    Conv("Conv2d_4a_3x3", 192, (3, 3), 1, False, pooled=True),
)
BLOCKS: dict[str, Block] = {
    "Mixed_5b": _block_a(32),
    "Mixed_5c": _block_a(64),
    "Mixed_5d": _block_a(64),
    "Mixed_6a": _block_b(),
    "Mixed_6b": _block_c(128),
    "Mixed_6c": _block_c(160),
    "Mixed_6d": _block_c(160),
    "Mixed_6e": _block_c(192),
    "Mixed_7a": _block_d(),
    "Mixed_7b": _block_e("average"),
    "Mixed_7c": _block_e("maximum"),
}


class FoldedConv(nn.Conv2d):
    """A convolution that already holds its batch norm, followed by ReLU, and by the maximum where there is one."""

    def __init__(self, conv: Conv, channels_in: int) -> None:
        padding = (conv.kernel[0] // 2, conv.kernel[1] // 2) if conv.padded else (0, 0)
        super().__init__(channels_in, conv.channels, conv.kernel, conv.stride, padding)
        self.pooled = conv.pooled

    def forward(self, input: Tensor) -> Tensor:
        """Return the activations, (N, C, H, W)."""
        x = super().forward(input)
        # ReLU of the maximum is the maximum of ReLU, of a quarter of the values.
        return F.relu_(F.max_pool2d(x, 3, 2) if self.pooled else x)


class Opening(nn.Conv2d):
    """A block's 1 x 1 convolutions of its input as one, followed by the average pool of the last's outputs and ReLU."""

    def __init__(self, convs: tuple[Conv, ...], channels_in: int, averaged: bool) -> None:
        super().__init__(channels_in, sum(conv.channels for conv in convs), 1)
        self.cuts = [conv.channels for conv in convs]
        self.averaged = averaged

    def parts(self, block_input: Tensor) -> list[Tensor]:
        """Return each convolution's activations, (N, C, H, W)."""
        parts = list(self(block_input).split(self.cuts, dim=1))
        if self.averaged:
            parts[-1] = F.avg_pool2d(parts[-1], 3, 1, 1, count_include_pad=False)
        return [F.relu(part) for part in parts]


class Head(nn.Linear):
    """The classes' weights: in float32 also where the rest runs in bf16, whose 8 bits are too few for a logit of 10."""

    def forward(self, input: Tensor) -> Tensor:
        """Return logits (N, 1008) for features (N, 2048)."""
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input)


class FidInception(nn.Module):
    """uint8-range float images (N, 3, H, W) → features (N, 2048) → logits (N, 1008) without bias.

    Built with empty weights: fill it by `load` from a state dict in the public port's names.
    """

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleDict()
        # The public port's names: what each module holds, in order; of each convolution the kernel's shape.
        self.held: dict[str, tuple[str, ...]] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        channels = 3
        for conv in STEM:
            self._add(conv.name, conv, channels)
            channels = conv.channels
        for name, block in BLOCKS.items():
            channels = self._add_block(name, block, channels)
        self.head = Head(channels, CLASSES, bias=False)
        self.eval().requires_grad_(False)

    def _add(self, name: str, conv: Conv, channels_in: int, apart: bool = True) -> None:
        self.shapes[name] = (conv.channels, channels_in, *conv.kernel)
        if apart:
            self.held[name] = (name,)
            self.convs[name.replace(".", "/")] = FoldedConv(conv, channels_in)

    def _add_block(self, name: str, block: Block, channels_in: int) -> int:
        opening, total = block.opening, 0
        # The branch of a pool without a convolution is empty: it hands on the input's channels.
        for branch in (*block.branches, (block.pool_conv,) if block.pool_conv else ()):
            channels = channels_in
            for part in branch:
                fork = part if isinstance(part, tuple) else (part,)
                for conv in fork:
                    self._add(f"{name}.{conv.name}", conv, channels, conv not in opening)
                channels = sum(conv.channels for conv in fork)
            total += channels
        self.held[name] = tuple(f"{name}.{conv.name}" for conv in opening)
        self.convs[name] = Opening(opening, channels_in, block.pool == "average")
        return total

    def load(self, state: dict[str, Tensor]) -> None:
        """Fill the network from the public port's entries (already checked), folding batch norm in float64."""
        with torch.no_grad():
            for name, held in self.held.items():
                weights, biases = zip(*(fold_batch_norm(state, one) for one in held), strict=True)
                layer = cast(nn.Conv2d, self._layer(name))
                layer.weight.data = torch.cat(weights).to(layer.weight).contiguous(memory_format=torch.channels_last)
                cast(Tensor, layer.bias).copy_(torch.cat(biases))
            self.head.weight.copy_(state["fc.weight"])

    def _layer(self, name: str) -> nn.Module:
        return self.convs[name.replace(".", "/")]

    def features(self, images: Tensor) -> Tensor:
        """Return pooled features (N, 2048) for float images (N, 3, H, W) in 0..255."""
        few = STEM_PICTURES if images.device.type == "cpu" else max(1, len(images))
        x = torch.cat([self._stem(part) for part in images.split(few)])
        for name, block in BLOCKS.items():
            x = self._run_block(name, block, x)
        return x.mean(dim=(2, 3), dtype=torch.promote_types(x.dtype, torch.float32))

    def _stem(self, images: Tensor) -> Tensor:
        x = (resize_tf1(images, SIZE_PX) - 128.0) / 128.0
        x = x.contiguous(memory_format=torch.channels_last)
        for conv in STEM:
            x = self._layer(conv.name)(x)
        return x

    def _run_block(self, name: str, block: Block, x: Tensor) -> Tensor:
        opened = dict(zip(block.opening, cast(Opening, self.convs[name]).parts(x), strict=True))
        outputs = []
        for branch in block.branches:
            y = x
            for part in branch:
                fork = part if isinstance(part, tuple) else (part,)
                results = [opened[conv] if conv in opened else self._layer(f"{name}.{conv.name}")(y) for conv in fork]
                y = results[0] if len(results) == 1 else torch.cat(results, dim=1)
            outputs.append(y)
        if block.pool == "halve":
            outputs.append(F.max_pool2d(x, 3, 2))
        elif block.pool_conv in opened:
            outputs.append(opened[block.pool_conv])
        else:
            outputs.append(self._layer(f"{name}.branch_pool")(F.max_pool2d(x, 3, 1, 1)))
        return torch.cat(outputs, dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, 1008) for float images (N, 3, H, W) in 0..255."""
        return cast(Tensor, self.head(self.features(images)))


def wanted_entries() -> dict[str, tuple[int, ...]]:
    """Return name → shape of every entry of the public port's state dict, without its BN batch counters."""
    with torch.device("meta"):
        network = FidInception()
    shapes: dict[str, tuple[int, ...]] = {}
    for name, shape in network.shapes.items():
        shapes[f"{name}.conv.weight"] = shape
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.bn.{part}"] = shape[:1]
    return shapes | {"fc.weight": (CLASSES, FEATURES), "fc.bias": (CLASSES,)}


def fold_batch_norm(state: dict[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    """Return float64 weight and bias of convolution `name` with its batch norm in it: w g/s and b - m g/s."""
    weight = state[f"{name}.conv.weight"].double()
    gain, bias, mean, variance = (
        state[f"{name}.bn.{part}"].double() for part in ("weight", "bias", "running_mean", "running_var")
    )
    factor = gain / torch.sqrt(variance + BATCH_NORM_EPS)
    return weight * factor.view(-1, 1, 1, 1), bias - mean * factor
