"""Named protocols of the Inception Score: which image goes to which split, with which std, under which key.

They differ in nothing but the order of the images, how the splits are cut, the std's ddof and which logits count; the
score of one split is the same everywhere, exp(mean KL(p(y|x) || p(y))) in float64 (Salimans et al. 2016, section 4).
The splits are cut further into blocks, the unit of the intervals and of sharing work among processes.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gansweep.errors import UserError, nearest

ORDER_SEED = 2020
FEWEST_IMAGES_PER_SPLIT = 50
# About so many blocks in all: enough for a bootstrap, few enough that their sums stay near a megabyte.
BLOCKS = 100


@dataclass(frozen=True)
class Protocol:
    """How one published program turns logits into a score.

    `order`: "numpy" is RandomState(seed).permutation, "torch" is torch.randperm under the seed, "given" the order the
    images come in. `chunked`: splits of ceil(N/S) images as torch.chunk cuts them, which can make fewer splits than
    asked for; else split i is i*N//S to (i+1)*N//S. `ddof`: of the std over splits. `whole_batches_of`: only the first
    multiple of so many images, in that order, is scored. `drops_background`: logit 0 does not count.
    """

    name: str
    order: Literal["numpy", "torch", "given"] = "numpy"
    chunked: bool = False
    ddof: int = 0
    whole_batches_of: int = 1
    drops_background: bool = False

    def classes(self, logits: int) -> int:
        """Return how many of a judge's `logits` count as classes; UserError when fewer than two are left."""
        classes = logits - int(self.drops_background)
        if classes < 2:
            raise UserError(
                f"a judge of {logits} logits leaves {classes} classes to {self.name}: at least 2 are needed"
            )
        return classes

    def order_text(self, seed: int = ORDER_SEED) -> str:
        """Return the order in words, as it is recorded beside a score."""
        return {"numpy": f"RandomState({seed})", "torch": f"randperm({seed})", "given": "as given"}[self.order]


# torch-fidelity 0.4.0; openai/improved-gan; hanzhanggit/StackGAN-inception-model, whose shuffle had no seed;
# torchmetrics 1.9.0, whose shuffle takes the global generator's seed and whose float32 sums are float64 here.
TORCH_FIDELITY = Protocol("torch-fidelity")
IMPROVED_GAN = Protocol("improved-gan", order="given")
STACKGAN = Protocol("stackgan", whole_batches_of=64, drops_background=True)
TORCHMETRICS = Protocol("torchmetrics", order="torch", chunked=True, ddof=1)
PROTOCOLS = {protocol.name: protocol for protocol in (TORCH_FIDELITY, IMPROVED_GAN, STACKGAN, TORCHMETRICS)}


def protocol_named(name: str) -> Protocol:
    """Return the protocol of that name; UserError with the nearest one when there is none."""
    if name not in PROTOCOLS:
        raise UserError(f"there is no protocol '{name}'; {nearest(name, PROTOCOLS)}")
    return PROTOCOLS[name]


def metric_key(judge_key: str, protocol: Protocol) -> str:
    """Return the metric's name: the judge's key under torch-fidelity, else `<judge key>_<protocol>`.

    So `inception_score` is the FID Inception's under torch-fidelity alone; dashes become underscores, since a dash must
    be quoted in searches for a metric.
    """
    return judge_key if protocol == TORCH_FIDELITY else f"{judge_key}_{protocol.name.replace('-', '_')}"


@dataclass(frozen=True)
class Layout:
    """Where each image of a set of known size belongs.

    `block_of_row`: int64 (images,), for each image as it comes the number of its block, -1 when it is left out.
    `split_of_block`, `size_of_block`: int64 (blocks,). Blocks are numbered along the splits and cut as these are.
    `scored`: images that count; `splits`: how many there are, which may be fewer than were asked for.
    """

    block_of_row: Tensor
    split_of_block: Tensor
    size_of_block: Tensor
    scored: int
    splits: int

    @property
    def images(self) -> int:
        """Return how many images are announced, those that are left out included."""
        return len(self.block_of_row)

    @property
    def blocks(self) -> int:
        """Return how many blocks there are."""
        return len(self.size_of_block)

    def share(self, rank: int, world: int) -> Tensor:
        """Return the rows, ascending, that process `rank` of `world` scores when no block is to be torn: int64.

        Images that are left out belong to nobody. Merged, the shares give the bits of one process with all rows.
        """
        lowest, highest = rank * self.blocks // world, (rank + 1) * self.blocks // world
        return torch.nonzero((self.block_of_row >= lowest) & (self.block_of_row < highest)).flatten()


def check_sizes(images: int, splits: int, protocol: Protocol = TORCH_FIDELITY) -> str | None:
    """Refuse fewer images than splits (UserError); return a one-line warning for fewer than 50 images a split."""
    if splits < 1:
        raise UserError(f"eval.splits={splits} is out of range: a score needs at least one split")
    scored = images - images % protocol.whole_batches_of
    if scored < splits:
        lost = f" ({scored} in whole batches of {protocol.whole_batches_of})" if scored != images else ""
        raise UserError(f"eval.n={images}{lost} is fewer than eval.splits={splits}: every split needs an image")
    if scored < FEWEST_IMAGES_PER_SPLIT * splits:
        return (
            f"{scored} images in {splits} splits are {scored // splits} a split (under {FEWEST_IMAGES_PER_SPLIT}): "
            "the score is biased low; raise eval.n or lower eval.splits"
        )
    return None


def lay_out(
    images: int, splits: int, protocol: Protocol = TORCH_FIDELITY, seed: int = ORDER_SEED, blocks: int = BLOCKS
) -> Layout:
    """Cut `images` images into splits and about `blocks` blocks; UserError when there are fewer images than splits."""
    check_sizes(images, splits, protocol)
    scored = images - images % protocol.whole_batches_of
    size = -(-scored // splits)
    bounds = [min(i * size, scored) if protocol.chunked else i * scored // splits for i in range(splits + 1)]
    bounds = sorted(set(bounds))  # chunks that would begin at the end are not made
    splits = len(bounds) - 1
    ends: list[int] = []
    split_of_block: list[int] = []
    for i, (start, stop) in enumerate(itertools.pairwise(bounds)):
        parts = min(-(-blocks // splits), stop - start)
        ends += [start + (j + 1) * (stop - start) // parts for j in range(parts)]
        split_of_block += [i] * parts
    block_of_row = np.full(images, -1, dtype=np.int64)
    block_of_row[_order(images, protocol, seed)[:scored]] = np.searchsorted(ends, np.arange(scored), side="right")
    return Layout(
        block_of_row=torch.from_numpy(block_of_row),
        split_of_block=torch.tensor(split_of_block),
        size_of_block=torch.tensor(np.diff([0, *ends]), dtype=torch.int64),
        scored=scored,
        splits=splits,
    )


def split_of_rows(
    images: int, splits: int, protocol: Protocol = TORCH_FIDELITY, order_seed: int = ORDER_SEED
) -> Tensor:
    """Return for each image, in the order they come, its split's number: int64 (images,), -1 when it is left out."""
    layout = lay_out(images, splits, protocol, order_seed)
    return torch.where(layout.block_of_row < 0, -1, layout.split_of_block[layout.block_of_row])


def _order(images: int, protocol: Protocol, seed: int) -> np.ndarray:
    """Return the row that stands at each position of the protocol's order: int64 (images,)."""
    if protocol.order == "given":
        return np.arange(images)
    if protocol.order == "torch":
        return torch.randperm(images, generator=torch.Generator().manual_seed(seed)).numpy()
    return np.random.RandomState(seed).permutation(images)
