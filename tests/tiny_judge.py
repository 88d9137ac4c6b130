"""A judge that needs no weights: for tests of what uses one."""

from __future__ import annotations

import torch
from torch import Tensor


class TinyJudge:
    """Logits: the mean of each colour in each quarter of the picture, spread out; 12 classes."""

    opened = 0

    def __init__(self, name: str, weights: str | None, device: torch.device, key: str | None = None) -> None:
        self.name, self.key, self.device = name, key or f"is_{name}", device
        TinyJudge.opened += 1

    def identity(self) -> dict[str, str]:
        return {"judge": self.name, "weights_sha256": "0" * 64}

    def logits(self, images: Tensor) -> Tensor:
        means = torch.nn.functional.adaptive_avg_pool2d(images.expand(-1, 3, -1, -1).float(), 2)
        return means.flatten(1) / 16.0
