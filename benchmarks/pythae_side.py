"""pythae's VAE-GAN trainer on gansweep's own networks: one side of a comparison. Imports pythae, so import it late.

Its step does less than ours, by design: one forward of encoder and decoder serves all three networks, the
reconstruction is judged up to one block of the discriminator only, its own logit is not asked for, and a margin rule
(its defaults: equilibrium 0.68, margin 0.4) leaves the discriminator's or the decoder's update out of many steps,
backward pass and all. How many depends on the pictures, so there is also a side whose margin leaves nothing out.
"""

from __future__ import annotations

import copy
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from pythae.data.datasets import BaseDataset
from pythae.models import VAEGAN, VAEGANConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseDiscriminator, BaseEncoder
from pythae.trainers import CoupledOptimizerAdversarialTrainer, CoupledOptimizerAdversarialTrainerConfig
from pythae.trainers.training_callbacks import ProgressBarCallback
from torch import Tensor, nn

WHAT_IT_LEAVES_OUT = (
    "It does less than ours: one shared pass of encoder and decoder for all three networks, the reconstruction judged"
    " only up to block 2 of D (features, no verdict); and by default its margin rule leaves out updates."
)
NO_MARGIN = 1e9
"""A margin that no loss is beyond: every network is updated in every step."""


class Encoder(BaseEncoder):
    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> ModelOutput:
        mean, log_variance = self.net(x)
        return ModelOutput(embedding=mean, log_covariance=log_variance)


class Decoder(BaseDecoder):
    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=torch.tanh(self.net(z)))


class Discriminator(BaseDiscriminator):
    """Asked for a layer, it stops behind that block, as pythae's own discriminators do."""

    def __init__(self, net: nn.Module, block: int):
        super().__init__()
        self.net, self.depth = net, block

    def forward(self, x: Tensor, output_layer_levels: list[int] | None = None) -> ModelOutput:
        if output_layer_levels is None:
            return ModelOutput(embedding=torch.sigmoid(self.net(x)))
        level = output_layer_levels[0]
        return ModelOutput(**{f"embedding_layer_{level}": self.net(x, feature_block=level)})


class _Trainer(CoupledOptimizerAdversarialTrainer):
    """Counts which networks were updated."""

    updates: dict[str, int]

    def _optimizers_step(self, model_output: Any) -> None:
        for name in ("encoder", "decoder", "discriminator"):
            self.updates[name] += bool(model_output[f"update_{name}"])
        super()._optimizers_step(model_output)


class _Loader:
    """Batches drawn beforehand, so that no time of a data loader is charged to pythae."""

    def __init__(self, batches: Sequence[Tensor]):
        self.batches, self.dataset = batches, range(len(batches) * len(batches[0]))
        self.start, self.count = 0, 1

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for n in range(self.start, self.start + self.count):
            yield {"data": self.batches[n % len(self.batches)]}

    def __len__(self) -> int:
        return self.count


class PythaeSide:
    """`run(start, count)` is one call of its trainer's loop over `count` batches, with its four `.item()` a step."""

    def __init__(
        self,
        nets: Mapping[str, nn.Module],
        batches: Sequence[Tensor],
        latent: int,
        lr: float,
        margin: float | None = None,
        block: int = 2,
    ):
        own = {name: copy.deepcopy(net).to(memory_format=torch.contiguous_format) for name, net in nets.items()}
        shape = tuple(batches[0].shape[1:])
        rule = {} if margin is None else {"margin": margin}
        model = VAEGAN(
            VAEGANConfig(input_dim=shape, latent_dim=latent, reconstruction_layer=block, **rule),
            Encoder(own["enc"]),
            Decoder(own["dec"]),
            Discriminator(own["dis"], block),
        )
        self.folder = tempfile.TemporaryDirectory()
        rates = {f"{name}_learning_rate": lr for name in ("encoder", "decoder", "discriminator")}
        config = CoupledOptimizerAdversarialTrainerConfig(
            output_dir=self.folder.name,
            per_device_train_batch_size=len(batches[0]),
            no_cuda=batches[0].device.type == "cpu",
            **rates,
        )
        few = BaseDataset(batches[0].cpu(), torch.zeros(len(batches[0])))
        state = copy.deepcopy(model.state_dict())
        for name in list(logging.root.manager.loggerDict):
            if name.startswith("pythae"):
                logging.getLogger(name).disabled = True
        self.trainer = _Trainer(model, few, training_config=config)
        self.trainer.prepare_training()
        model.load_state_dict(state)  # its sanity check ran a batch through the norms
        handler = self.trainer.callback_handler
        handler.callbacks = [one for one in handler.callbacks if not isinstance(one, ProgressBarCallback)]
        self.trainer.train_loader = self.loader = _Loader([x.contiguous() for x in batches])
        self.trainer.updates = dict.fromkeys(("encoder", "decoder", "discriminator"), 0)
        self.steps = 0
        self.losses: tuple[float, ...] = ()

    def run(self, start: int, count: int) -> None:
        self.loader.start, self.loader.count = start, count
        self.losses = self.trainer.train_step(epoch=1)
        self.steps += count

    def __call__(self, n: int) -> None:
        self.run(n, 1)

    def update_shares(self) -> dict[str, float]:
        """Return the share of steps so far in which each network was updated."""
        return {name: count / max(self.steps, 1) for name, count in self.trainer.updates.items()}
