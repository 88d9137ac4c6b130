"""A running mean of the weights (Polyak and Juditsky 1992, with exponential weights), for grids and scores."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping

import torch
from torch import nn


class Ema:
    """Copies of the networks whose weights follow the live ones; buffers are copied."""

    def __init__(self, nets: Mapping[str, nn.Module], decay: float):
        self.decay = decay
        self.nets = {name: copy.deepcopy(net).requires_grad_(False) for name, net in nets.items()}
        self._pairs = {
            name: ([p.detach() for p in self.nets[name].parameters()], [p.detach() for p in net.parameters()])
            for name, net in nets.items()
        }
        self._buffers = {
            name: list(zip(self.nets[name].buffers(), net.buffers(), strict=True)) for name, net in nets.items()
        }

    @torch.no_grad()
    def update(self, learnt: Iterable[str]) -> None:
        """Move the means of the networks `learnt` in this step: mean = decay·mean + (1 - decay)·weight."""
        for name in learnt:
            means, live = self._pairs[name]
            torch._foreach_lerp_(means, live, 1 - self.decay)
            for mean, buffer in self._buffers[name]:
                mean.copy_(buffer)
