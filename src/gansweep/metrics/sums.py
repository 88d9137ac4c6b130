"""The sums an Inception Score needs, one row of them per block, in float64.

On the CPU every entry is added image by image in the order they come, so a block's bits depend neither on the batches
it came in nor on what came between: two processes that hold whole blocks add up to the bits of one. On a GPU the sums
are the same each time for the same batches; other batches may move the last bits.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from gansweep.errors import RunFailed
from gansweep.metrics.protocols import Layout

# How each part of the state joins that of another part of the set: torch's reductions, by name.
REDUCTIONS = {"p": "sum", "p_squared": "sum", "p_log_p": "sum", "count": "sum", "first_bad": "min"}


class NotFinite(RunFailed):
    """Some logits or features were NaN or infinite; `index` is the number, from 0, of the first such sample."""

    def __init__(self, what: str, index: int) -> None:
        super().__init__(f"{what} are not finite at sample {index} (counted from 0): no score can be computed")
        self.index = index


def empty_sums(layout: Layout, classes: int, device: torch.device | str) -> dict[str, Tensor]:
    """Return the state before the first image.

    float64 `p`, `p_squared` (blocks, classes): sums of p(y|x) and its square; `p_log_p` (blocks,): sum over images and
    classes, in nats; `count` (blocks,): images; int64 `first_bad` (): row of the first sample with logits that are not
    finite, the number of images when there is none.
    """
    blocks = layout.blocks
    zeros = functools.partial(torch.zeros, dtype=torch.float64, device=device)
    return {
        "p": zeros(blocks, classes),
        "p_squared": zeros(blocks, classes),
        "p_log_p": zeros(blocks),
        "count": zeros(blocks),
        "first_bad": torch.tensor(layout.images, device=device),
    }


def add_logits(state: dict[str, Tensor], logits: Tensor, rows: Tensor, layout: Layout) -> None:
    """Add the logits (B, classes), any float type, of the images numbered `rows` (int64 (B,), on the CPU) to `state`.

    Softmax runs in float64 from log-softmax, so that a probability that underflows to 0 adds 0, not nan. Nothing is
    read back from the device.
    """
    if not len(rows):
        return
    device = state["p"].device
    log_p = torch.log_softmax(logits.detach().to(device, torch.float64), dim=1)
    state["first_bad"].copy_(torch.minimum(state["first_bad"], first_bad_row(logits.to(device), rows, layout.images)))
    blocks = layout.block_of_row[rows]
    if bool((blocks < 0).any()):
        kept = torch.nonzero(blocks >= 0).flatten()
        blocks, log_p = blocks[kept], log_p[kept.to(device, non_blocking=True)]
    # Counted on the CPU: bincount reads its input's maximum back from a device.
    state["count"] += torch.bincount(blocks, minlength=layout.blocks).to(device, non_blocking=True)
    blocks = blocks.to(device, non_blocking=True)
    p = log_p.exp()
    _add_in_order(state["p"], blocks, p)
    _add_in_order(state["p_squared"], blocks, p.square())
    # As columns: one-dimensional sums take another route on a GPU, which adds a batch before it adds it to the rest.
    _add_in_order(state["p_log_p"].unsqueeze(1), blocks, (p * log_p).sum(dim=1, keepdim=True))


def first_bad_row(values: Tensor, rows: Tensor, none: int) -> Tensor:
    """Return the least of `rows` (B,) where `values` (B, K) are not all finite, or `none`: int64 (), on that device."""
    numbers = rows.to(values.device, non_blocking=True)
    return torch.where(torch.isfinite(values).all(dim=1), none, numbers).min()


def merge_sums(state: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    """Join the state of another part of the same set to `state`, in place; ValueError when they do not fit."""
    if {name: value.shape for name, value in state.items()} != {name: value.shape for name, value in other.items()}:
        raise ValueError("the two parts were announced with different numbers of images, splits or classes")
    for name, value in state.items():
        theirs = other[name].to(value.device)
        value.copy_(torch.minimum(value, theirs) if REDUCTIONS[name] == "min" else value + theirs)


def check_complete(state: dict[str, Tensor], layout: Layout, what: str = "the judge's logits") -> None:
    """Raise NotFinite with the first bad sample, or ValueError when images are missing or were given twice.

    `state` is on the CPU.
    """
    if int(state["first_bad"]) < layout.images:
        raise NotFinite(what, int(state["first_bad"]))
    if not torch.equal(state["count"], layout.size_of_block.double()):
        given, block = int(state["count"].sum()), int((state["count"] != layout.size_of_block).nonzero()[0])
        raise ValueError(
            f"{given} of {layout.scored} announced images were given; block {block} has "
            f"{int(state['count'][block])} of its {int(layout.size_of_block[block])}"
        )


def _add_in_order(table: Tensor, rows: Tensor, values: Tensor) -> None:
    """table[rows[i]] += values[i] for i = 0, 1, ... in turn; shapes (R, C), (B,), (B, C)."""
    if table.is_cuda:
        # Sorts by row first; index_add_ would add atomically, in an order that changes from call to call.
        table.index_put_((rows,), values, accumulate=True)
    else:
        table.index_add_(0, rows, values)
