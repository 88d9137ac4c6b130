"""Optimizers whose learning rate is a device tensor, changed in place and never read back.

Fused Adam, AdamW and SGD take such a rate; RMSprop has no fused form in torch, so ours stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class Rates(Protocol):
    """One network's optimizer settings (conf/optimizer); read only."""

    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def lr(self) -> float: ...  # noqa: D102
    @property
    def betas(self) -> Sequence[float]: ...  # noqa: D102
    @property
    def eps(self) -> float: ...  # noqa: D102
    @property
    def weight_decay(self) -> float: ...  # noqa: D102
    @property
    def alpha(self) -> float: ...  # noqa: D102
    @property
    def momentum(self) -> float: ...  # noqa: D102
    @property
    def clip_norm(self) -> float | None: ...  # noqa: D102


class RMSprop(torch.optim.Optimizer):
    """RMSprop (Hinton 2012): steps of lr·g / (sqrt(mean of g²) + eps), the same arithmetic as torch's own."""

    def __init__(self, params: Any, lr: Tensor, alpha: float, eps: float, weight_decay: float, momentum: float):
        super().__init__(
            params, {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum}
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            grads: list[Tensor] = [p.grad for p in params if p.grad is not None]
            for p in params:
                if not self.state[p]:
                    self.state[p]["square_avg"] = torch.zeros_like(p)
                    if group["momentum"]:
                        self.state[p]["momentum_buffer"] = torch.zeros_like(p)
            squares = [self.state[p]["square_avg"] for p in params]
            if group["weight_decay"]:
                grads = list(torch._foreach_add(grads, params, alpha=group["weight_decay"]))
            torch._foreach_mul_(squares, group["alpha"])
            torch._foreach_addcmul_(squares, grads, grads, value=1 - group["alpha"])
            roots = torch._foreach_sqrt(squares)
            torch._foreach_add_(roots, group["eps"])
            moves = list(torch._foreach_div(grads, roots))
            if group["momentum"]:
                buffers = [self.state[p]["momentum_buffer"] for p in params]
                torch._foreach_mul_(buffers, group["momentum"])
                torch._foreach_add_(buffers, moves)
                moves = [b.clone() for b in buffers]
            torch._foreach_mul_(moves, group["lr"])
            torch._foreach_sub_(params, moves)


def build_optimizer(params: Sequence[nn.Parameter], rates: Rates, lr: Tensor) -> torch.optim.Optimizer:
    """Return the optimizer that `rates` describes over `params`, with `lr` as its rate."""
    # Steps counted on the device, so that a recorded step counts them too; torch has it on accelerators only.
    shared: dict[str, Any] = {"weight_decay": rates.weight_decay, "fused": True}
    adam: dict[str, Any] = {**shared, "eps": rates.eps, "capturable": lr.is_cuda}
    betas = (float(rates.betas[0]), float(rates.betas[1]))
    if rates.kind == "adam":
        return torch.optim.Adam(params, lr=lr, betas=betas, **adam)
    if rates.kind == "adamw":
        return torch.optim.AdamW(params, lr=lr, betas=betas, **adam)
    if rates.kind == "sgd":
        return torch.optim.SGD(params, lr=lr, momentum=rates.momentum, **shared)
    return RMSprop(params, lr, rates.alpha, rates.eps, rates.weight_decay, rates.momentum)


def restore(optimizer: torch.optim.Optimizer, state: dict[str, Any], lr: Tensor) -> None:
    """Load `state`, and put the rate tensor back, which torch's loading replaces by a copy."""
    optimizer.load_state_dict(state)
    for group in optimizer.param_groups:
        group["lr"] = lr
