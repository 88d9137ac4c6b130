"""The VAE-GAN step as a user writes it by hand, on gansweep's own networks: what the engine is measured against.

It mirrors the loop of the VAE-GAN journal as it was read there (phases encoder, generator, discriminator in this
order; the code detached for the generator, the pictures for the discriminator; fakes decoded once and judged again
after the generator's update; three separate batches through the discriminator). gansweep's default timetable takes the
same step, but asks the discriminator once for what generator and discriminator learn from, as the tuned loop does.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Losses = dict[str, Any]


class PlainLoop:
    """Plain eager PyTorch: nothing frozen, default Adam, sigmoid and BCELoss, NCHW, three `.item()` a step.

    `nets` are copied, so both sides start from the same weights. `broken` multiplies the KL term: a fault on purpose,
    which the comparison of losses has to notice.
    """

    def __init__(
        self,
        nets: Mapping[str, nn.Module],
        scales: Mapping[str, float],
        lr: float,
        bf16: bool = False,
        broken: float = 1.0,
    ):
        own = {name: copy.deepcopy(net).to(memory_format=torch.contiguous_format) for name, net in nets.items()}
        self.enc, self.dec, self.dis = own["enc"], own["dec"], own["dis"]
        self.adam = {name: torch.optim.Adam(net.parameters(), lr=lr) for name, net in own.items()}
        self.scales, self.broken = scales, broken
        self.sigmoid, self.bce = nn.Sigmoid(), nn.BCELoss()
        self.device_type = next(self.enc.parameters()).device.type
        self.bf16 = bf16

    def autocast(self) -> Any:
        return torch.autocast(self.device_type, torch.bfloat16) if self.bf16 else nullcontext()

    def judge(self, pictures: Tensor) -> Tensor:
        with self.autocast():
            logits = self.dis(pictures)
        return self.sigmoid(logits.float() if self.bf16 else logits)

    def decode(self, code: Tensor) -> Tensor:
        with self.autocast():
            raw = self.dec(code)
        return torch.tanh(raw.float() if self.bf16 else raw)

    def encode(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        with self.autocast():
            mean, log_variance = self.enc(pictures)
        return (mean.float(), log_variance.float()) if self.bf16 else (mean, log_variance)

    def step(self, x: Tensor, noise: Mapping[str, Tensor]) -> Losses:
        w = self.scales
        real, fake = torch.ones_like(noise["prior"][:, :1]), torch.zeros_like(noise["prior"][:, :1])

        self.adam["enc"].zero_grad()
        mean, log_variance = self.encode(x)
        z = mean + noise["eps"] * torch.exp(0.5 * log_variance)
        kld = self.broken * (-0.5 * (1 + log_variance - mean.pow(2) - log_variance.exp())).mean()
        enc_loss = w["l1"] * F.l1_loss(self.decode(z), x) + w["kld"] * kld
        enc_loss.backward()
        self.adam["enc"].step()

        self.adam["dec"].zero_grad()
        rec, sample = self.decode(z.detach()), self.decode(noise["prior"])
        adversarial = w["adv_rec"] * self.bce(self.judge(rec), real) + w["adv_prior"] * self.bce(
            self.judge(sample), real
        )
        dec_loss = w["l1_dec"] * F.l1_loss(rec, x) + adversarial
        dec_loss.backward()
        self.adam["dec"].step()

        self.adam["dis"].zero_grad()
        d_real = self.bce(self.judge(x), real)
        d_rec, d_prior = self.bce(self.judge(rec.detach()), fake), self.bce(self.judge(sample.detach()), fake)
        dis_loss = w["d_real"] * d_real + w["d_rec"] * d_rec + w["d_prior"] * d_prior
        dis_loss.backward()
        self.adam["dis"].step()
        return {"enc": enc_loss.item(), "dec": dec_loss.item(), "dis": dis_loss.item()}


class TunedLoop(PlainLoop):
    """The best hand-written form of the same step.

    Gradients only for who learns, fused Adam, logits, channels_last, and each fake judged once: the discriminator has
    not changed when its own turn comes.
    """

    def __init__(self, nets: Mapping[str, nn.Module], scales: Mapping[str, float], lr: float, bf16: bool = False):
        super().__init__(nets, scales, lr, bf16)
        self.own = {"enc": self.enc, "dec": self.dec, "dis": self.dis}
        for net in self.own.values():
            net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.adam = {name: torch.optim.Adam(net.parameters(), lr=lr, fused=True) for name, net in self.own.items()}
        self.judge = self.logits  # type: ignore[method-assign]
        self.bce = F.binary_cross_entropy_with_logits  # type: ignore[assignment]

    def logits(self, pictures: Tensor) -> Tensor:
        with self.autocast():
            found = self.dis(pictures)
        return found.float() if self.bf16 else found

    def learn(self, name: str, loss: Tensor, retain: bool = False) -> Tensor:
        parameters = list(self.own[name].parameters())
        gradients = torch.autograd.grad(loss, parameters, retain_graph=retain)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            # Fused Adam walks weight and gradient by address: their layouts must agree.
            same = gradient.stride() == parameter.stride()
            parameter.grad = gradient if same else torch.empty_like(parameter).copy_(gradient)
        self.adam[name].step()
        return loss.detach()

    def step(self, x: Tensor, noise: Mapping[str, Tensor]) -> Losses:
        w = self.scales
        real, fake = torch.ones_like(noise["prior"][:, :1]), torch.zeros_like(noise["prior"][:, :1])
        mean, log_variance = self.encode(x)
        z = mean + noise["eps"] * torch.exp(0.5 * log_variance)
        kld = (-0.5 * (1 + log_variance - mean.pow(2) - log_variance.exp())).mean()
        enc = self.learn("enc", w["l1"] * F.l1_loss(self.decode(z), x) + w["kld"] * kld)
        rec, sample = self.decode(z.detach()), self.decode(noise["prior"])
        of_rec, of_sample = self.judge(rec), self.judge(sample)
        adversarial = w["adv_rec"] * self.bce(of_rec, real) + w["adv_prior"] * self.bce(of_sample, real)
        dec = self.learn("dec", w["l1_dec"] * F.l1_loss(rec, x) + adversarial, retain=True)
        d_real = self.bce(self.judge(x), real)
        d_rec, d_prior = self.bce(of_rec, fake), self.bce(of_sample, fake)
        dis = self.learn("dis", w["d_real"] * d_real + w["d_rec"] * d_rec + w["d_prior"] * d_prior)
        return {"enc": enc, "dec": dec, "dis": dis}
