"""DCGAN's and WGAN-GP's steps as users write them by hand, on gansweep's own networks; hand_loops has the VAE-GAN's.

Plain eager PyTorch as in the public examples: nothing frozen, default Adam, NCHW, `.item()` each step.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

Losses = dict[str, float]
Draws = Mapping[int, Mapping[str, Tensor]]


class _Loop:
    """The networks, copied, and their optimizers."""

    def __init__(
        self, nets: Mapping[str, nn.Module], rates: Mapping[str, float], betas: tuple[float, float], bf16: bool = False
    ):
        own = {name: copy.deepcopy(net).to(memory_format=torch.contiguous_format) for name, net in nets.items()}
        self.gen, self.dis = own["gen"], own["dis"]
        self.adam = {name: torch.optim.Adam(net.parameters(), lr=rates[name], betas=betas) for name, net in own.items()}
        self.device_type, self.bf16 = next(self.gen.parameters()).device.type, bf16

    def autocast(self) -> Any:
        return torch.autocast(self.device_type, torch.bfloat16) if self.bf16 else nullcontext()

    def paint(self, code: Tensor) -> Tensor:
        with self.autocast():
            raw = self.gen(code)
        return torch.tanh(raw.float() if self.bf16 else raw)

    def judge(self, pictures: Tensor) -> Tensor:
        with self.autocast():
            logits = self.dis(pictures)
        return logits.float() if self.bf16 else logits


class DcganLoop(_Loop):
    """The example that PyTorch ships: D on pictures, D on fakes, D's update, G on the same fakes, G's update."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.sigmoid, self.bce = nn.Sigmoid(), nn.BCELoss()

    def step(self, batches: Sequence[Tensor], draws: Draws) -> Losses:
        x, code = batches[0], draws[0]["prior"]
        real, fake = torch.ones_like(code[:, :1]), torch.zeros_like(code[:, :1])
        self.dis.zero_grad()
        d_real = self.bce(self.sigmoid(self.judge(x)), real)
        d_real.backward()
        pictures = self.paint(code)
        d_fake = self.bce(self.sigmoid(self.judge(pictures.detach())), fake)
        d_fake.backward()
        d_loss = d_real + d_fake
        self.adam["dis"].step()
        self.gen.zero_grad()
        g_loss = self.bce(self.sigmoid(self.judge(pictures)), real)
        g_loss.backward()
        self.adam["gen"].step()
        return {"dis": d_loss.item(), "gen": g_loss.item()}


class WganGpLoop(_Loop):
    """Algorithm 1 of Gulrajani et al. 2017: the critic's turns, each on new pictures, then the generator's."""

    penalty = 10.0

    def slope(self, real: Tensor, fake: Tensor, alpha: Tensor) -> Tensor:
        between = (alpha * real + (1 - alpha) * fake).requires_grad_(True)
        verdict = self.judge(between)
        (gradient,) = torch.autograd.grad(verdict, between, torch.ones_like(verdict), create_graph=True)
        return ((gradient.flatten(1).norm(2, dim=1) - 1) ** 2).mean()

    def step(self, batches: Sequence[Tensor], draws: Draws) -> Losses:
        d_losses = []
        # gansweep's timetable counts a step's batches and draws down to the generator's, so this does too.
        for n in reversed(range(len(batches))):
            x, noise = batches[n], draws[n]
            self.dis.zero_grad()
            pictures = self.paint(noise["prior_dis"]).detach()
            d_loss = self.judge(pictures).mean() - self.judge(x).mean()
            d_loss = d_loss + self.penalty * self.slope(x, pictures, noise["alpha"])
            d_loss.backward()
            self.adam["dis"].step()
            d_losses.append(d_loss.item())
        self.gen.zero_grad()
        g_loss = -self.judge(self.paint(draws[0]["prior"])).mean()
        g_loss.backward()
        self.adam["gen"].step()
        return {"dis": sum(d_losses) / len(d_losses), "gen": g_loss.item()}
