"""The siamese journal's last model, of 27 July: no second tower; the discriminator knows people, poses and lights.

After DR-GAN (Tran et al. 2017): the generator takes noise and the pose and light to paint beside the picture's own
code; the discriminator says who it is, from where, in which light, and whether it is real. Phases dis, gen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from gansweep.losses import GAN_LOSSES, l1, mse
from gansweep.nets.blocks import INITIALISERS, OUTPUT_RANGES, OUTPUTS, initialise
from gansweep.nets.given import Check, maybe, one_of, positive, table, whole
from gansweep.nets.siamese_codes import CodesDiscriminator, CodesGenerator
from gansweep.system import Phase, Shared, Spec, Term
from gansweep.systems.dcgan import PRIORS
from gansweep.systems.siamese_parts import (
    DECODER,
    DISCRIMINATOR,
    ENCODER,
    accuracy,
    class_error,
    diversity,
    judging_reports,
    one_hot,
    share_taken_as_real,
)
from gansweep.systems.vaegan import clip_weights

CLASSES = ("identity", "pose", "light")
LABELS = {"real": "batch.real.", "input": "batch."}
"""Whose labels D learns from on a real picture: that picture's own, or (as run) those of the generator's input."""


class Verdict(NamedTuple):
    """What D says of a picture: logits (B, classes) of identity, pose and light, and (B, 1) of real or fake."""

    identity: Tensor
    pose: Tensor
    light: Tensor
    real: Tensor


class SiameseCodes:
    """Networks gen, dis; phases dis (learns dis), gen (learns gen).

    Pictures are (B, channels, size_px, size_px), size_px a multiple of 16; `width_factor` multiplies every width.
    `class_labels`: the public script showed D the target and taught it the input's light (`input`): where the two
    differ, its light head can only reach chance, ln(20) = 3.00. Raises ConfigError for sizes that cannot be.
    """

    counts = "gen"
    reconstructs = "target.image"
    positive_knobs = ("clip",)
    takes: ClassVar[dict[str, Check]] = {
        "latent": whole,
        "prior": one_of(PRIORS),
        "identities": whole,
        "poses": whole,
        "lights": whole,
        "encoder": table(**ENCODER),
        "decoder": DECODER,
        "discriminator": table(**DISCRIMINATOR),
        "class_labels": one_of(LABELS),
        "init": one_of(INITIALISERS),
        "init_dense": one_of(INITIALISERS),
        "gan_loss": one_of(GAN_LOSSES),
        "clip": maybe(positive),
    }

    def __init__(
        self,
        size_px: int,
        channels: int,
        latent: int,
        prior: str,
        identities: int,
        poses: int,
        lights: int,
        encoder: Mapping[str, Any],
        decoder: Mapping[str, Any],
        discriminator: Mapping[str, Any],
        class_labels: str,
        init: str,
        init_dense: str,
        gan_loss: str,
        clip: float | None = None,
        width_factor: float = 1.0,
    ):
        judge = {**discriminator, "act": discriminator["act"] or "elu"}
        codes = (latent, poses, lights)
        self.nets: dict[str, nn.Module] = {
            "gen": CodesGenerator(size_px, channels, codes, width_factor, encoder, decoder),
            "dis": CodesDiscriminator(size_px, channels, identities, poses, lights, width_factor, judge),
        }
        for part, net in zip((encoder, discriminator), self.nets.values(), strict=True):
            initialise(net, init, part["slope"], init_dense)
        self.prior, self.codes = PRIORS[prior], (poses, lights)
        self.output = OUTPUTS[decoder["output"]]
        self.output_range = OUTPUT_RANGES.get(decoder["output"])
        self.inputs = dict.fromkeys(("image", "target.image", "real.image"), Spec((channels, size_px, size_px)))
        taught = [f"{LABELS[class_labels]}{name}".removeprefix("batch.") for name in CLASSES]
        self.inputs |= dict.fromkeys(("identity", "target.pose", "target.light", *taught), Spec((), "label"))
        self.noise = {"prior": Spec((latent,), prior)}
        self.knobs = {"real_label": 1.0, "fake_label": 0.0, "fool_label": 1.0}
        if clip is not None:
            self.knobs["clip"] = float(clip)
        self.memory: dict[str, Tensor] = {}
        # One forward for both phases: D looks at the pictures that the generator then learns from.
        painted = Shared(lambda nets, x: self._paint(nets, x.batch, x.noise), live=("gen",), stale=("dis",))
        self.shared = {"painted": painted}
        self.phases = (self._dis(gan_loss, LABELS[class_labels], clip is not None), self._gen(gan_loss))

    def _paint(self, nets: Any, batch: Mapping[str, Tensor], noise: Mapping[str, Tensor]) -> Tensor:
        """Return the batch's people in the target's pose and light."""
        pictures = batch["image"]
        labels = (batch["target.pose"], batch["target.light"])
        wanted = [one_hot(own, count, pictures.dtype) for own, count in zip(labels, self.codes, strict=True)]
        return self.output(nets.gen(pictures, self.prior(noise["prior"]), *wanted))

    def _dis(self, gan_loss: str, labels: str, clipped: bool) -> Phase:
        real, fake, _ = GAN_LOSSES[gan_loss]
        asked = ("knobs.real_label", "knobs.fake_label")
        taught = {name: labels + name for name in CLASSES}
        return Phase(
            name="dis",
            learns=("dis",),
            views={
                "real": lambda nets, x: Verdict(*nets.dis(x.batch["real.image"])),
                "fake": lambda nets, x: Verdict(*nets.dis(x["painted"])),
            },
            terms={
                "d_real": Term(lambda verdict, *labels: real(verdict.real, *labels), ("real", *asked)),
                "d_fake": Term(lambda verdict, *labels: fake(verdict.real, *labels), ("fake", *asked)),
                "d_id": _classified("identity", "real", taught["identity"]),
                "d_pose": _classified("pose", "real", taught["pose"]),
                "d_light": _classified("light", "real", taught["light"]),
            },
            reports={
                **judging_reports(gan_loss, _real, _real, ("real", "fake")),
                **_accuracies("real", taught),
            },
            after=(clip_weights,) if clipped else (),
        )

    def _gen(self, gan_loss: str) -> Phase:
        fools = GAN_LOSSES[gan_loss][2]
        wanted = {"identity": "batch.identity", "pose": "batch.target.pose", "light": "batch.target.light"}
        return Phase(
            name="gen",
            learns=("gen",),
            views={
                "rec": lambda nets, x: x["painted"],
                "verdict": lambda nets, x: Verdict(*nets.dis(x["rec"])),
            },
            terms={
                "l1": Term(l1, ("rec", "batch.target.image")),
                "mse": Term(mse, ("rec", "batch.target.image")),
                "adv": Term(
                    lambda verdict, *labels: fools(verdict.real, *labels),
                    ("verdict", "knobs.fool_label", "knobs.fake_label"),
                ),
                "class_id": _classified("identity", "verdict", wanted["identity"]),
                "class_pose": _classified("pose", "verdict", wanted["pose"]),
                "class_light": _classified("light", "verdict", wanted["light"]),
            },
            reports={
                **_accuracies("verdict", wanted),
                "fooled": Term(lambda verdict: share_taken_as_real(verdict.real), ("verdict",)),
                "diversity": Term(diversity, ("rec", "batch.target.image")),
            },
            pair=("rec", "batch.target.image"),
        )

    def sample(self, nets: Any, batch: Mapping[str, Tensor] | None, noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return {"image": the batch's people in the target's pose and light}, (B, C, S, S)."""
        if batch is None:
            raise ValueError("a frontalised picture needs a picture to begin with")
        return self.reconstruct(nets, batch, noise)

    def reconstruct(self, nets: Any, batch: Mapping[str, Tensor], noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return {"image": the batch's people in the target's pose and light}; it should be `target.image`."""
        return {"image": self._paint(nets, batch, noise)}


def _real(verdict: Verdict) -> Tensor:
    return verdict.real


def _classified(name: str, view: str, labels: str) -> Term:
    """Return the class term of one of D's heads."""
    return Term(lambda verdict, label: class_error(getattr(verdict, name), label), (view, labels))


def _accuracies(view: str, labels: Mapping[str, str]) -> dict[str, Term]:
    """Return a report for each of D's class heads: a head that stays at chance is being taught the wrong labels."""

    def of(name: str) -> Term:
        return Term(lambda verdict, label: accuracy(getattr(verdict, name), label), (view, labels[name]))

    return {"acc_id": of("identity"), "acc_pose": of("pose"), "acc_light": of("light")}
