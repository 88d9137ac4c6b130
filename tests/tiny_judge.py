"""A judge that needs no weights: for tests of what uses one."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import torch
from torch import Tensor

from gansweep.metrics.judges import Reading
from gansweep.scoring import judging


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


class SeeingJudge(TinyJudge):
    """Gives features too: the pixels, coarsely; its logit 0 counts as a background class."""

    background = True

    def read(self, images: torch.Tensor) -> Reading:
        features = torch.nn.functional.adaptive_avg_pool2d(images.float(), 4).flatten(1)
        return Reading(self.logits(images), features)


class DyingJudge(SeeingJudge):
    """Kills its process at the picture whose number GANSWEEP_TEST_DIES_AT says; its passes are kept at every chance."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seen = 0
        judging.KEEP_EVERY_S = 0.0

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        self.seen += len(images)
        if self.seen > int(os.environ.get("GANSWEEP_TEST_DIES_AT", "1000000")):
            os.kill(os.getpid(), signal.SIGKILL)
        print(f"judged {len(images)}", file=sys.stderr)
        return super().logits(images)
