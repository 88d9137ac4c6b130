"""The Inception Score as a `torchmetrics.Metric`, which joins its sums across processes by itself.

A module of its own, imported by nothing here: importing torchmetrics costs seconds.
"""

from __future__ import annotations

from typing import Any

import torch
import torchmetrics
from torch import Tensor

from gansweep.metrics.estimates import estimate
from gansweep.metrics.protocols import ORDER_SEED, TORCH_FIDELITY, Protocol, lay_out
from gansweep.metrics.score import counted
from gansweep.metrics.sums import REDUCTIONS, add_logits, check_complete, empty_sums


class InceptionScoreMetric(torchmetrics.Metric):
    """Inception Score of `images` images in all processes together, from a judge of `logits` outputs.

    Every process gives each of its images its row in the whole set; with the rows of `layout.share(rank, world)` the
    score has the bits of a single process, with any other partition it agrees to 1e-12. UserError when there are fewer
    images than splits.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    def __init__(
        self,
        images: int,
        logits: int,
        key: str = "score",
        splits: int = 10,
        protocol: Protocol = TORCH_FIDELITY,
        order_seed: int = ORDER_SEED,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.key, self.protocol = key, protocol
        self.layout = lay_out(images, splits, protocol, order_seed)
        for name, value in empty_sums(self.layout, protocol.classes(logits), "cpu").items():
            self.add_state(name, default=value, dist_reduce_fx=REDUCTIONS[name])

    def update(self, logits: Tensor, rows: Tensor) -> None:
        """Add the logits (B, K), float, of the images numbered `rows` (int64 (B,)) in the whole set."""
        state = {name: getattr(self, name) for name in REDUCTIONS}
        add_logits(state, counted(logits, self.protocol), rows.cpu(), self.layout)

    def compute(self) -> dict[str, float]:
        """Return the score of all processes' images by name: `key` and `<key>_<part>`, as `Score.named` has them.

        ValueError when images are missing, NotFinite for logits that are not finite. (No Score: torchmetrics walks
        through dataclasses and refuses frozen ones.)
        """
        sums = {name: getattr(self, name).cpu() for name in REDUCTIONS}
        check_complete(sums, self.layout)
        return estimate(sums, self.layout, self.protocol).named(self.key)

    @torch.no_grad()
    def forward(self, logits: Tensor, rows: Tensor) -> None:
        """Same as `update`: a batch has no score of its own."""
        self.update(logits, rows)
