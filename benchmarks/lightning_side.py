"""The VAE-GAN's plain step as a LightningModule with manual optimisation. Imports lightning, so import it late.

`Trainer.fit` runs in a thread of its own and takes as many steps as it is told to, so that it can take turns with
others. Its batches are drawn beforehand and its noise in the step; losses are logged with `self.log_dict`, as users do.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import lightning
import torch
import torch.nn.functional as F
from hand_loops import PlainLoop
from torch import Tensor, nn


class _Module(lightning.LightningModule):
    def __init__(self, nets: Mapping[str, nn.Module], scales: Mapping[str, float], lr: float):
        super().__init__()
        self.automatic_optimization = False
        self.plain, self.rate = PlainLoop(nets, scales, lr), lr
        self.enc, self.dec, self.dis = self.plain.enc, self.plain.dec, self.plain.dis

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [torch.optim.Adam(net.parameters(), lr=self.rate) for net in (self.enc, self.dec, self.dis)]

    def _learn(self, optimizer: Any, loss: Tensor) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()

    def training_step(self, x: Tensor, number: int) -> None:
        plain, w = self.plain, self.plain.scales
        enc, dec, dis = self.optimizers()
        mean, log_variance = plain.encode(x)
        z = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
        kld = (-0.5 * (1 + log_variance - mean.pow(2) - log_variance.exp())).mean()
        enc_loss = w["l1"] * F.l1_loss(plain.decode(z), x) + w["kld"] * kld
        self._learn(enc, enc_loss)
        rec, sample = plain.decode(z.detach()), plain.decode(torch.randn_like(z))
        real, fake = torch.ones_like(z[:, :1]), torch.zeros_like(z[:, :1])
        adversarial = w["adv_rec"] * plain.bce(plain.judge(rec), real)
        adversarial = adversarial + w["adv_prior"] * plain.bce(plain.judge(sample), real)
        dec_loss = w["l1_dec"] * F.l1_loss(rec, x) + adversarial
        self._learn(dec, dec_loss)
        dis_loss = w["d_real"] * plain.bce(plain.judge(x), real)
        dis_loss = dis_loss + w["d_rec"] * plain.bce(plain.judge(rec.detach()), fake)
        dis_loss = dis_loss + w["d_prior"] * plain.bce(plain.judge(sample.detach()), fake)
        self._learn(dis, dis_loss)
        self.log_dict({"enc": enc_loss, "dec": dec_loss, "dis": dis_loss})


class _Gate(lightning.Callback):
    """Lets the trainer take a step only when one is allowed."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.allowed, self.done, self.over = 0, 0, False

    def on_train_batch_start(self, trainer: Any, *rest: Any) -> None:
        with self.changed:
            self.changed.wait_for(lambda: self.done < self.allowed or self.over)

    def on_train_batch_end(self, *rest: Any) -> None:
        with self.changed:
            self.done += 1
            self.changed.notify_all()


class _Endless:
    def __init__(self, batches: Sequence[Tensor]):
        self.batches = batches

    def __iter__(self) -> Iterator[Tensor]:
        while True:
            yield from self.batches


class LightningSide:
    """`run(start, count)` lets Lightning's loop take `count` steps and returns when they are taken."""

    def __init__(
        self, nets: Mapping[str, nn.Module], batches: Sequence[Tensor], scales: Mapping[str, float], lr: float
    ):
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        self.gate, self.error = _Gate(), None
        module = _Module(nets, scales, lr)
        options: dict[str, Any] = dict.fromkeys(
            ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
        )
        kind = "gpu" if batches[0].device.type == "cuda" else "cpu"
        trainer = lightning.Trainer(accelerator=kind, devices=1, max_epochs=-1, callbacks=[self.gate], **options)

        def fit() -> None:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    trainer.fit(module, _Endless([x.contiguous() for x in batches]))
            except BaseException as error:
                self.error = error
            with self.gate.changed:
                self.gate.over = True
                self.gate.changed.notify_all()

        threading.Thread(target=fit, daemon=True, name="lightning").start()

    def run(self, start: int, count: int) -> None:
        gate = self.gate
        with gate.changed:
            gate.allowed += count
            gate.changed.notify_all()
            gate.changed.wait_for(lambda: gate.done >= gate.allowed or gate.over)
        if self.error is not None:
            raise RuntimeError(f"lightning: {self.error}") from self.error
