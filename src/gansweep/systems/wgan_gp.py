"""WGAN-GP (Gulrajani et al. 2017, algorithm 1): DCGAN's networks, a critic held to slope 1 by a gradient penalty.

The timetable gives the critic its turns before each one of the generator (`schedule.phases.dis.repeat`), each with a
new batch, new codes and new places between them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gansweep.losses import critic_high, critic_low, gradient_penalty
from gansweep.nets.blocks import ConfigError
from gansweep.system import Phase, Shared, Spec, Term
from gansweep.systems.dcgan import JUDGED, Rivals


class WganGp(Rivals):
    """Networks gen, dis (the critic); phases dis (learns dis), gen (learns gen).

    Batch norm in the critic is a ConfigError: the penalty is of each picture's own gradient, and batch norm would make
    it depend on its neighbours (section 4).
    """

    def __init__(
        self,
        size_px: int,
        channels: int,
        latent: int,
        base_width: int,
        prior: str,
        generator: Mapping[str, Any],
        discriminator: Mapping[str, Any],
        init: str,
        width_factor: float = 1.0,
    ):
        if discriminator["norm"] == "batch":
            raise ConfigError(
                "model.discriminator.norm=batch: the gradient penalty is of each picture by itself, and batch norm"
                " mixes them; choices: layer, instance, group, spectral, none"
            )
        super().__init__(size_px, channels, latent, base_width, prior, generator, discriminator, init, width_factor)
        # Algorithm 1 draws anew for the generator, also after the critic's last turn.
        self.noise |= {"prior_dis": Spec((latent,), prior), "alpha": Spec((1, 1, 1), "uniform")}
        # Live for nobody, so made without a graph.
        self.shared = {"fake": Shared(lambda nets, x: self.paint(nets, x.noise["prior_dis"]))}
        self.phases = (self._dis(), self._gen())

    def _dis(self) -> Phase:
        return Phase(
            name="dis",
            learns=("dis",),
            views=JUDGED,
            terms={
                "d_real": Term(critic_high, ("real_logit",)),
                "d_fake": Term(critic_low, ("fake_logit",)),
                "gp": Term(gradient_penalty, ("critic", "batch.image", "fake", "noise.alpha")),
            },
            # With the critic's slope at 1 this is the estimated distance of data and samples (Arjovsky et al. 2017).
            reports={"w_distance": Term(lambda real, fake: real.mean() - fake.mean(), ("real_logit", "fake_logit"))},
            pair=("real_logit", "fake_logit"),
        )

    def _gen(self) -> Phase:
        return Phase(
            name="gen",
            learns=("gen",),
            views={
                "picture": lambda nets, x: self.paint(nets, x.noise["prior"]),
                "logit": lambda nets, x: nets.dis(x["picture"]),
            },
            terms={"adv": Term(critic_high, ("logit",))},
            pair=("picture", "batch.image"),
        )
