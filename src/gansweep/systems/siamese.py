"""Siamese face frontalisation: two towers of one network, whose codes agree where person, pose or light do.

The first tower's picture is also decoded, from the identity's half of its code alone, to the same person seen from the
front; a discriminator judges the result. Phases in the journal's order: discriminator, generator, on the same pictures.

Which picture is the target (fixed or random light), the second tower's or D's real one is the data's matter: the
relations `target`, `pair` and `real`. The decoder is told no light, so a target of random light has an error that no
weight can remove: the best answer is the mean over the lights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from gansweep.losses import GAN_LOSSES, gradient_penalty, r1
from gansweep.nets.blocks import INITIALISERS, OUTPUT_RANGES, OUTPUTS, initialise
from gansweep.nets.given import Check, maybe, one_of, positive, table, whole
from gansweep.nets.siamese import TRUNKS, Frontaliser
from gansweep.nets.siamese_dis import ACTS, discriminator_of_kind
from gansweep.system import Look, Phase, Shared, Spec, Term
from gansweep.systems.siamese_parts import (
    CONTOURS,
    DECODER,
    DISCRIMINATOR,
    ENCODER,
    accuracy,
    class_error,
    contour_reports,
    contrastive,
    diversity,
    judging_reports,
    pixel_terms,
    share_taken_as_real,
)
from gansweep.systems.vaegan import clip_weights


class Codes(NamedTuple):
    """What the trunk and the head say of a picture: identity (B, L), pose logits (B, 9), light logits (B, 20)."""

    identity: Tensor
    pose: Tensor
    light: Tensor


class Tower(NamedTuple):
    """The first tower: the frontal picture (B, C, S, S), and what a second tower says too."""

    picture: Tensor
    identity: Tensor
    pose: Tensor
    light: Tensor


class Siamese:
    """Networks gen (parts enc, head, dec), dis; phases dis (learns dis), gen (learns gen).

    Pictures are (B, channels, size_px, size_px), size_px a multiple of 16; `width_factor` multiplies every width.
    Raises ConfigError for what the layer lists cannot produce.
    """

    counts = "gen"
    reconstructs = "target.image"
    positive_knobs = ("margin", "clip")
    takes: ClassVar[dict[str, Check]] = {
        "identity_channels": whole,
        "attribute_channels": whole,
        "poses": whole,
        "lights": whole,
        "encoder": table(**ENCODER, trunk=one_of(TRUNKS)),
        "decoder": DECODER,
        "discriminator": table(**DISCRIMINATOR, kind=one_of(ACTS)),
        "contour": one_of(CONTOURS),
        "init": one_of(INITIALISERS),
        "init_dense": one_of(INITIALISERS),
        "gan_loss": one_of(GAN_LOSSES),
        "clip": maybe(positive),
    }

    def __init__(
        self,
        size_px: int,
        channels: int,
        identity_channels: int,
        attribute_channels: int,
        poses: int,
        lights: int,
        encoder: Mapping[str, Any],
        decoder: Mapping[str, Any],
        discriminator: Mapping[str, Any],
        contour: str,
        init: str,
        init_dense: str,
        gan_loss: str,
        clip: float | None = None,
        width_factor: float = 1.0,
    ):
        code, classes = (identity_channels, attribute_channels), (poses, lights)
        self.nets: dict[str, nn.Module] = {
            "gen": Frontaliser(size_px, channels, *code, *classes, width_factor, encoder, decoder),
            "dis": discriminator_of_kind(size_px, channels, width_factor, discriminator),
        }
        for part, net in zip((encoder, discriminator), self.nets.values(), strict=True):
            initialise(net, init, part["slope"], init_dense)
        self.output = OUTPUTS[decoder["output"]]
        self.output_range = OUTPUT_RANGES.get(decoder["output"])
        pictures, labels = ("image", "pair.image", "target.image", "real.image"), ("identity", "pose", "light")
        self.inputs = dict.fromkeys(pictures, Spec((channels, size_px, size_px)))
        self.inputs |= {relation + name: Spec((), "label") for relation in ("", "pair.") for name in labels}
        if contour != "none":
            self.inputs["mask"] = Spec((1, size_px, size_px), "vector")
        self.noise = {"alpha": Spec((1, 1, 1), "uniform")}
        self.knobs = {"real_label": 1.0, "fake_label": 0.0, "fool_label": 1.0, "margin": 2.0, "contour_strength": 1.0}
        if clip is not None:
            self.knobs["clip"] = float(clip)
        self.memory: dict[str, Tensor] = {}
        # One forward for both phases: D looks at the pictures that the generator then learns from.
        self.shared = {"first": Shared(self._first, live=("gen",), stale=("dis",))}
        self.phases = (self._dis(gan_loss, clip is not None), self._gen(gan_loss, contour))

    def _first(self, nets: Any, x: Look) -> Tower:
        raw, *codes = nets.gen(x.batch["image"])
        return Tower(self.output(raw), *codes)

    def _dis(self, gan_loss: str, clipped: bool) -> Phase:
        real, fake, _ = GAN_LOSSES[gan_loss]
        labels = ("knobs.real_label", "knobs.fake_label")
        return Phase(
            name="dis",
            learns=("dis",),
            views={
                "real_logit": lambda nets, x: nets.dis(x.batch["real.image"]),
                "fake_logit": lambda nets, x: nets.dis(x["first"].picture),
                "critic": lambda nets, x: nets.still("dis"),
            },
            terms={
                "d_real": Term(real, ("real_logit", *labels)),
                "d_fake": Term(fake, ("fake_logit", *labels)),
                "r1": Term(r1, ("critic", "batch.real.image")),
                "gp": Term(
                    lambda critic, real, first, alpha: gradient_penalty(critic, real, first.picture, alpha),
                    ("critic", "batch.real.image", "first", "noise.alpha"),
                ),
            },
            reports=judging_reports(gan_loss, _itself, _itself, ("real_logit", "fake_logit")),
            after=(clip_weights,) if clipped else (),
            pair=("real_logit", "fake_logit"),
        )

    def _gen(self, gan_loss: str, contour: str) -> Phase:
        return Phase(
            name="gen",
            learns=("gen",),
            views={
                "rec": lambda nets, x: x["first"].picture,
                "second": lambda nets, x: Codes(*nets.gen(x.batch["pair.image"], decode=False)),
                "logit": lambda nets, x: nets.dis(x["rec"]),
            },
            terms={
                "contra_id": _pull("identity", "identity"),
                "contra_pose": _pull("pose", "pose"),
                "contra_light": _pull("light", "light"),
                "class_pose": Term(lambda first, label: class_error(first.pose, label), ("first", "batch.pose")),
                "class_light": Term(lambda first, label: class_error(first.light, label), ("first", "batch.light")),
                **pixel_terms(contour, "rec"),
                "adv": Term(GAN_LOSSES[gan_loss][2], ("logit", "knobs.fool_label", "knobs.fake_label")),
            },
            reports={
                "acc_pose": Term(lambda first, label: accuracy(first.pose, label), ("first", "batch.pose")),
                "acc_light": Term(lambda first, label: accuracy(first.light, label), ("first", "batch.light")),
                "fooled": Term(share_taken_as_real, ("logit",)),
                "diversity": Term(diversity, ("rec", "batch.target.image")),
                **contour_reports(contour, "rec"),
            },
            pair=("rec", "batch.target.image"),
        )

    def sample(self, nets: Any, batch: Mapping[str, Tensor] | None, noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return {"image": the batch's people seen from the front}, (B, C, S, S); nothing else is drawn."""
        if batch is None:
            raise ValueError("a frontalised picture needs a picture to begin with")
        return self.reconstruct(nets, batch, noise)

    def reconstruct(self, nets: Any, batch: Mapping[str, Tensor], noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return {"image": the batch's people seen from the front}; what it should be is `target.image`."""
        return {"image": self.output(nets.gen(batch["image"])[0])}


def _itself(logits: Tensor) -> Tensor:
    return logits


def _pull(half: str, label: str) -> Term:
    """Return the contrastive term of one part of the two towers' codes; the same label pulls together."""

    def charge(first: Tower, second: Codes, own: Tensor, others: Tensor, margin: Tensor) -> Tensor:
        return contrastive(getattr(first, half), getattr(second, half), own == others, margin)

    return Term(charge, ("first", "second", f"batch.{label}", f"batch.pair.{label}", "knobs.margin"))
