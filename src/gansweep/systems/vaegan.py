"""VAE-GAN with pixel reconstruction: one discriminator judges originals, reconstructions and samples.

After Larsen et al. 2016, with the pixels' distance instead of, or beside, the distance in a hidden layer of the
discriminator. Phases in the journal's order: encoder, decoder, discriminator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gansweep.losses import GAN_LOSSES, gradient_penalty, mse, r1
from gansweep.nets.blocks import (
    ACTIVATIONS,
    INITIALISERS,
    OUTPUT_RANGES,
    OUTPUTS,
    ConfigError,
    halvings,
    initialise,
    scaled,
)
from gansweep.nets.given import LAYER, Check, flag, listed, maybe, one_of, positive, table, whole
from gansweep.nets.vaegan import Decoder, Discriminator, Encoder
from gansweep.system import Look, Phase, Shared, Spec, Term
from gansweep.systems.parts import REDUCTION, encode, kld_term, probability, reconstruction_terms


class VaeGan:
    """Networks enc, dec, dis; phases enc (learns enc), dec (learns dec), dis (learns dis).

    The sizes follow `size_px`: one halving for each doubling above 4 px, widths doubling from `base_width`, unless
    `levels`, `widths` or `discriminator.blocks` are given. `width_factor` multiplies every width. Raises ConfigError
    for what the layer lists cannot produce.
    """

    counts = "dec"
    positive_knobs = ("huber_delta", "clip")
    takes: ClassVar[dict[str, Check]] = {
        "latent": whole,
        "base_width": whole,
        "levels": maybe(whole),
        "widths": maybe(listed(whole)),
        "encoder": table(**LAYER, kernel=whole, conv_bias=flag),
        "decoder": table(**LAYER, kernel=whole, conv_bias=flag, output=one_of(OUTPUTS)),
        "discriminator": table(
            **LAYER,
            kernel=whole,
            conv_bias=flag,
            downsample=one_of(("pool", "stride")),
            blocks=maybe(listed(table(channels=whole, convs=whole))),
            head=maybe(listed(whole, least=0)),
            head_act=one_of(ACTIVATIONS),
            joint_batch=flag,
            feature_block=whole,
        ),
        "init": one_of(INITIALISERS),
        "gan_loss": one_of(GAN_LOSSES),
        "clip": maybe(positive),
        "single_forward": flag,
        "reduction": REDUCTION,
    }

    def __init__(
        self,
        size_px: int,
        channels: int,
        latent: int,
        base_width: int,
        levels: int | None,
        widths: Sequence[int] | None,
        encoder: Mapping[str, Any],
        decoder: Mapping[str, Any],
        discriminator: Mapping[str, Any],
        init: str,
        gan_loss: str,
        reduction: Mapping[str, str],
        width_factor: float = 1.0,
        clip: float | None = None,
        single_forward: bool = False,
    ):
        levels = halvings(size_px, len(widths) if widths else levels)
        widths = [scaled(w, width_factor) for w in widths or [base_width << n for n in range(levels)]]
        blocks, head = self._discriminator_lists(discriminator, widths, width_factor)
        halvings(size_px, len(blocks))
        self.nets: dict[str, nn.Module] = {
            "enc": Encoder(size_px, channels, widths, latent, encoder),
            "dec": Decoder(size_px, channels, widths, latent, decoder),
            "dis": Discriminator(size_px, channels, blocks, head, discriminator),
        }
        for part, net in zip((encoder, decoder, discriminator), self.nets.values(), strict=True):
            initialise(net, init, part["slope"])
        self.output = OUTPUTS[decoder["output"]]
        self.output_range = OUTPUT_RANGES.get(decoder["output"])
        self.inputs = {"image": Spec((channels, size_px, size_px))}
        self.noise = {
            "eps": Spec((latent,), "normal"),
            "prior": Spec((latent,), "normal"),
            "alpha": Spec((1, 1, 1), "uniform"),
        }
        self.knobs = {"real_label": 1.0, "fake_label": 0.0, "fool_label": 1.0, "huber_delta": 1.0}
        if clip is not None:
            self.knobs["clip"] = float(clip)
        self.memory: dict[str, Tensor] = {}
        self.gan = GAN_LOSSES[gan_loss]
        self.joint_batch = bool(discriminator["joint_batch"])
        self.feature_block = discriminator["feature_block"]
        if not 1 <= self.feature_block <= len(blocks):
            raise ConfigError(
                f"model.discriminator.feature_block={self.feature_block}: not one of the blocks 1 to {len(blocks)}"
            )
        self.shared = self._shared(single_forward)
        self.phases = (self._enc(reduction, single_forward), self._dec(reduction), self._dis(clip is not None))

    @staticmethod
    def _discriminator_lists(
        part: Mapping[str, Any], widths: Sequence[int], factor: float
    ) -> tuple[list[dict[str, int]], list[int]]:
        """Return the blocks and the head: as given, or by the published rule of the size."""
        blocks = part["blocks"]
        if blocks is None:
            # 64 px: two blocks of two convolutions, then blocks of three; 128 px dropped the third one again.
            deep = 3 if len(widths) < 5 else 2
            blocks = [{"channels": w, "convs": 2 if n < 2 else deep} for n, w in enumerate(widths)]
        else:
            blocks = [{**block, "channels": scaled(block["channels"], factor)} for block in blocks]
        head = [widths[-1], scaled(32, factor)] if part["head"] is None else [scaled(w, factor) for w in part["head"]]
        return blocks, head

    def _shared(self, single_forward: bool) -> dict[str, Shared]:
        """Forwards that phases share; with one forward (Larsen), enc and dec learn from the same reconstruction."""
        live = ("enc", "dec") if single_forward else ("dec",)
        # Between the decoder's turn and its own, D is the same and so is what it says of the decoder's pictures: one
        # forward serves both. In a joint batch batch norm would make it another.
        judge = ("dec",) if self.joint_batch else ("dec", "dis")
        return {
            "code": Shared(encode, live=("enc",), stale=("dec", "dis")),
            "raw": Shared(lambda nets, x: nets.dec(x["code"].z), live=live, stale=("dis",)),
            "rebuilt": Shared(lambda nets, x: self.output(x["raw"]), live=live, stale=("dis",)),
            "fake": Shared(lambda nets, x: self.output(nets.dec(x.noise["prior"])), live=("dec",), stale=("dis",)),
            "rec_logit": Shared(lambda nets, x: nets.dis(x["rebuilt"]), live=judge, renewed=True),
            "prior_logit": Shared(lambda nets, x: nets.dis(x["fake"]), live=judge, renewed=True),
        }

    def _enc(self, reduction: Mapping[str, str], single_forward: bool) -> Phase:
        # The gradient passes through the decoder, which learns in its own phase from its own, second forward.
        raw = (lambda nets, x: x["raw"]) if single_forward else (lambda nets, x: nets.dec(x["code"].z))
        return Phase(
            name="enc",
            learns=("enc",),
            views={
                "enc_raw": raw,
                "rec": lambda nets, x: self.output(x["enc_raw"]),
                **self._features(),
            },
            terms={
                **reconstruction_terms(reduction["rec"], "enc_raw", "rec"),
                "feature": Term(mse, ("feature_rec", "feature_real")),
                "kld": kld_term(reduction["kld"]),
            },
            pair=("rec", "batch.image"),
        )

    def _dec(self, reduction: Mapping[str, str]) -> Phase:
        fools = self.gan[2]
        judge = ("knobs.fool_label", "knobs.fake_label")
        return Phase(
            name="dec",
            learns=("dec",),
            views={"rec": lambda nets, x: x["rebuilt"], **self._features()},
            terms={
                **reconstruction_terms(reduction["rec"], "raw", "rec", "_dec"),
                "feature_dec": Term(mse, ("feature_rec", "feature_real")),
                "adv_rec": Term(fools, ("rec_logit", *judge)),
                "adv_prior": Term(fools, ("prior_logit", *judge)),
            },
            pair=("rec", "batch.image"),
        )

    def _features(self) -> dict[str, Any]:
        """Views of the learned similarity (Larsen et al. 2016, eq. 7): features of block k of the discriminator."""

        def at(view: str) -> Any:
            return lambda nets, x: nets.dis(x[view], feature_block=self.feature_block)

        return {"feature_rec": at("rec"), "feature_real": at("batch.image")}

    def _dis(self, clipped: bool) -> Phase:
        real, fake, _ = self.gan
        labels = ("knobs.real_label", "knobs.fake_label")
        return Phase(
            name="dis",
            learns=("dis",),
            views=self._judged(),
            terms={
                "d_real": Term(real, ("real_logit", *labels)),
                "d_rec": Term(fake, ("rec_logit", *labels)),
                "d_prior": Term(fake, ("prior_logit", *labels)),
                "r1": Term(r1, ("critic", "batch.image")),
                "gp": Term(gradient_penalty, ("critic", "batch.image", "fake", "noise.alpha")),
            },
            reports={
                "p_real": Term(probability, ("real_logit",)),
                "p_rec": Term(probability, ("rec_logit",)),
                "p_prior": Term(probability, ("prior_logit",)),
            },
            after=(clip_weights,) if clipped else (),
            pair=("real_logit", "prior_logit"),
        )

    def _judged(self) -> dict[str, Any]:
        """Views of D's logits, in three batches as published or in one joint batch (which batch norm tells apart)."""
        critic = {"critic": lambda nets, x: nets.still("dis")}
        if not self.joint_batch:  # what it says of fakes is shared with the decoder's phase
            return {"real_logit": lambda nets, x: nets.dis(x.batch["image"]), **critic}

        def joint(nets: Any, x: Look) -> tuple[Tensor, ...]:
            return nets.dis(torch.cat([x.batch["image"], x["rebuilt"], x["fake"]])).chunk(3)

        part = lambda n, nets, x: x["joint"][n]  # noqa: E731
        logits = {name: partial(part, n) for n, name in enumerate(("real_logit", "rec_logit", "prior_logit"))}
        return {"joint": joint, **logits, **critic}

    def sample(self, nets: Any, batch: Mapping[str, Tensor] | None, noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return {"image": pictures decoded from the prior}, (B, C, S, S), in the data's normalised range."""
        return {"image": self.output(nets.dec(noise["prior"]))}

    def reconstruct(self, nets: Any, batch: Mapping[str, Tensor], noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return {"image": the batch's pictures decoded from the mean of their code}."""
        return {"image": self.output(nets.dec(nets.enc(batch["image"])[0]))}


@torch.no_grad()
def clip_weights(learnt: Sequence[nn.Parameter], x: Look) -> None:
    """Clamp a Wasserstein critic's learnt weights to [-clip, clip], a knob (Arjovsky et al. 2017, algorithm 1)."""
    bound = x.knobs["clip"]
    for weight in learnt:
        weight.clamp_(min=-bound, max=bound)
