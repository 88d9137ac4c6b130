"""DCGAN (Radford et al. 2016): a generator from noise and a discriminator, both of strided convolutions.

Phases in the order of the example that PyTorch ships: discriminator, then generator, on the same fakes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from gansweep.losses import GAN_LOSSES, r1
from gansweep.nets.blocks import INITIALISERS, OUTPUT_RANGES, OUTPUTS, halvings, initialise, scaled
from gansweep.nets.dcgan import Discriminator, Generator
from gansweep.nets.given import LAYER, Check, flag, one_of, table, whole
from gansweep.system import Phase, Shared, Spec, Term, View
from gansweep.systems.parts import probability

PRIORS: dict[str, Callable[[Tensor], Tensor]] = {"normal": lambda drawn: drawn, "uniform": lambda drawn: 2 * drawn - 1}
"""What a code is made of noise of that kind: N(0, 1), or uniform in [-1, 1) as in the paper."""

JUDGED: dict[str, View] = {
    "real_logit": lambda nets, x: nets.dis(x.batch["image"]),
    "fake_logit": lambda nets, x: nets.dis(x["fake"]),
    "critic": lambda nets, x: nets.still("dis"),
}
"""What the phase dis looks at: pictures, then fakes (a shared forward), and D itself for a penalty on its slope."""


class Rivals:
    """Networks gen and dis and the prior, as all systems of DCGAN's networks have them; their phases are their own.

    The widths double from `base_width`, one level for each doubling of `size_px` above 4 px; `width_factor` multiplies
    each. Pictures are (B, channels, size_px, size_px). Raises ConfigError for what the layer lists cannot produce.
    """

    counts = "gen"
    takes: ClassVar[dict[str, Check]] = {
        "latent": whole,
        "base_width": whole,
        "prior": one_of(PRIORS),
        "generator": table(**LAYER, conv_bias=flag, output=one_of(OUTPUTS)),
        "discriminator": table(**LAYER, conv_bias=flag),
        "init": one_of(INITIALISERS),
        "gan_loss": one_of(GAN_LOSSES),
    }

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
        widths = [scaled(base_width << n, width_factor) for n in range(halvings(size_px, None))]
        self.nets: dict[str, nn.Module] = {
            "gen": Generator(channels, widths, latent, generator),
            "dis": Discriminator(channels, widths, discriminator),
        }
        for part, net in zip((generator, discriminator), self.nets.values(), strict=True):
            initialise(net, init, part["slope"])
        self.output = OUTPUTS[generator["output"]]
        self.output_range = OUTPUT_RANGES.get(generator["output"])
        self.prior = PRIORS[prior]
        self.inputs = {"image": Spec((channels, size_px, size_px))}
        self.noise = {"prior": Spec((latent,), prior)}
        self.knobs: dict[str, float] = {}
        self.memory: dict[str, Tensor] = {}
        self.shared: dict[str, Shared] = {}
        self.phases: tuple[Phase, ...] = ()

    def paint(self, nets: Any, drawn: Tensor) -> Tensor:
        """Return the generator's pictures, (B, C, S, S), for noise of the prior's kind, (B, latent)."""
        return self.output(nets.gen(self.prior(drawn)))

    def sample(self, nets: Any, batch: Mapping[str, Tensor] | None, noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return {"image": pictures of the prior}, (B, C, S, S), in the data's normalised range."""
        return {"image": self.paint(nets, noise["prior"])}


class Dcgan(Rivals):
    """Networks gen, dis; phases dis (learns dis), gen (learns gen). `gan_loss` is one of losses.GAN_LOSSES."""

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
        gan_loss: str,
        width_factor: float = 1.0,
    ):
        super().__init__(size_px, channels, latent, base_width, prior, generator, discriminator, init, width_factor)
        self.gan = GAN_LOSSES[gan_loss]
        self.knobs = {"real_label": 1.0, "fake_label": 0.0, "fool_label": 1.0}
        # One forward for both: D looks at the fakes that G then learns from.
        fake = Shared(lambda nets, x: self.paint(nets, x.noise["prior"]), live=("gen",), stale=("dis",))
        self.shared = {"fake": fake}
        self.phases = (self._dis(), self._gen())

    def _dis(self) -> Phase:
        real, fake, _ = self.gan
        labels = ("knobs.real_label", "knobs.fake_label")
        return Phase(
            name="dis",
            learns=("dis",),
            views=JUDGED,
            terms={
                "d_real": Term(real, ("real_logit", *labels)),
                "d_fake": Term(fake, ("fake_logit", *labels)),
                "r1": Term(r1, ("critic", "batch.image")),
            },
            reports={"p_real": Term(probability, ("real_logit",)), "p_fake": Term(probability, ("fake_logit",))},
            pair=("real_logit", "fake_logit"),
        )

    def _gen(self) -> Phase:
        return Phase(
            name="gen",
            learns=("gen",),
            views={"fake_logit": lambda nets, x: nets.dis(x["fake"])},
            terms={"adv": Term(self.gan[2], ("fake_logit", "knobs.fool_label", "knobs.fake_label"))},
            # The same fakes as in dis, after D has learnt from them.
            reports={"p_fake": Term(probability, ("fake_logit",))},
            pair=("fake", "batch.image"),
        )
