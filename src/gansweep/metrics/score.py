"""The Inception Score, streamed: float64 sums per block, never a table of all logits.

IS of a set = exp(mean over images of KL(p(y|x) || p(y))), p(y) the mean of p(y|x) inside the set; the score is the mean
of IS over the splits (Salimans et al. 2016). The default protocol is torch-fidelity 0.4.0's. Which image belongs to
which split is known before the first image, so the sums can be kept while the images pass by. Imports torch and numpy
only.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gansweep.metrics.estimates import Score, estimate
from gansweep.metrics.protocols import ORDER_SEED, TORCH_FIDELITY, Protocol, check_sizes, lay_out, split_of_rows
from gansweep.metrics.sums import NotFinite, add_logits, check_complete, empty_sums, merge_sums

__all__ = ["ORDER_SEED", "InceptionScore", "NotFinite", "Score", "check_sizes", "split_of_rows"]


class InceptionScore:
    """Streaming Inception Score of `images` images known in number beforehand.

    Feed logits (B, K) batch by batch with `update`, in the images' order or with their row numbers, then `compute`.
    Memory is about 100 blocks x 2 K float64, whatever the number of images. The states of parts of the set join to the
    state of the whole (`sums`, `merge`): on the CPU to the last bit when each block lies in one part (as `layout.share`
    cuts), to 1e-12 otherwise. UserError when there are fewer images than splits.
    """

    def __init__(
        self,
        images: int,
        splits: int = 10,
        protocol: Protocol = TORCH_FIDELITY,
        order_seed: int = ORDER_SEED,
        device: torch.device | str = "cpu",
    ) -> None:
        self.images, self.protocol = images, protocol
        self.device = torch.device(device)
        self.layout = lay_out(images, splits, protocol, order_seed)
        self.reset()

    def reset(self) -> None:
        """Forget every image seen."""
        self.seen = 0
        self._sums: dict[str, Tensor] | None = None

    def update(self, logits: Tensor, rows: Tensor | None = None) -> None:
        """Add the logits (B, K) of the next B images, or of the images numbered `rows` (int64 (B,), on the CPU).

        ValueError for anything but float logits and for more images than were announced. Nothing is read back from the
        device: logits that are not finite are reported by `compute`.
        """
        logits = counted(logits, self.protocol)
        batch = len(logits)
        if self.seen + batch > self.images:
            raise ValueError(f"{self.seen + batch} images given where {self.images} were announced")
        rows = torch.arange(self.seen, self.seen + batch) if rows is None else rows.cpu()
        if self._sums is None:
            self._sums = empty_sums(self.layout, logits.shape[1], self.device)
        add_logits(self._sums, logits, rows, self.layout)
        self.seen += batch

    def sums(self) -> dict[str, Tensor]:
        """Return the state by name (`sums.empty_sums` says what each is); `sums.REDUCTIONS` says how parts join."""
        if self._sums is None:
            raise ValueError("no image was given yet")
        return self._sums

    def load(self, sums: dict[str, Tensor], seen: int) -> None:
        """Take up the state of an earlier, interrupted pass that had been given `seen` images."""
        fresh = empty_sums(self.layout, sums["p"].shape[1], self.device)
        merge_sums(fresh, sums)
        self._sums, self.seen = fresh, seen

    def merge(self, other: InceptionScore) -> None:
        """Add another part of the same set (same images, splits, protocol and order); ValueError when it is not."""
        if other.protocol != self.protocol or not torch.equal(other.layout.block_of_row, self.layout.block_of_row):
            raise ValueError("the two parts were announced with different numbers of images or splits, or orders")
        if other._sums is None:
            return
        if self._sums is None:
            self._sums = empty_sums(self.layout, other._sums["p"].shape[1], self.device)
        merge_sums(self._sums, other._sums)
        self.seen += other.seen

    def compute(self) -> Score:
        """Return the score; ValueError before all images were given, NotFinite with the first bad sample's index."""
        if self._sums is None:
            raise ValueError(f"0 of {self.images} announced images were given")
        sums = {name: value.cpu() for name, value in self._sums.items()}
        check_complete(sums, self.layout)
        return estimate(sums, self.layout, self.protocol)


def counted(logits: Tensor, protocol: Protocol) -> Tensor:
    """Return the logits (B, K) that count under `protocol`; ValueError for anything but float logits (B, K)."""
    if logits.ndim != 2 or not logits.is_floating_point():
        raise ValueError(f"expected float logits (B, K), got {logits.dtype} {tuple(logits.shape)}")
    protocol.classes(logits.shape[1])
    # Rows of another stride would be summed in another order, and so to other last bits.
    return (logits[:, 1:] if protocol.drops_background else logits).contiguous()
