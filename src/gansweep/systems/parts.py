"""What systems share: the code and its draw, the table of reconstruction terms, a discriminator's verdict."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from gansweep.losses import RECONSTRUCTION, REDUCTIONS, kld
from gansweep.nets.given import one_of, table
from gansweep.system import Look, Term

REDUCTION = table(rec=one_of(REDUCTIONS), kld=one_of(REDUCTIONS))
"""What `model.reduction` may hold: how the terms of a system with a code are reduced."""


class Code(NamedTuple):
    """An encoder's answer and one draw from it, each (B, latent)."""

    mean: Tensor
    log_variance: Tensor
    z: Tensor


def encode(nets: Any, x: Look) -> Code:
    """Encode the batch's pictures and draw z = mean + eps · exp(log_variance / 2) (Kingma and Welling 2014, eq. 10)."""
    mean, log_variance = nets.enc(x.batch["image"])
    return Code(mean, log_variance, mean + x.noise["eps"] * (0.5 * log_variance).exp())


def reconstruction_terms(reduction: str, raw: str, picture: str, suffix: str = "") -> dict[str, Term]:
    """Return one term for each reconstruction primitive, named after it plus `suffix`.

    `raw` and `picture` name the views before and after the output activation: cross-entropy reads logits, the others
    read pictures. `huber` reads its threshold from the knob `huber_delta`.
    """

    def charge(name: str) -> Term:
        primitive = RECONSTRUCTION[name]
        if name == "huber":
            reads = (picture, "batch.image", "knobs.huber_delta")
            return Term(lambda output, target, delta: primitive(output, target, delta, reduction=reduction), reads)
        view = raw if name == "bce" else picture
        return Term(lambda output, target: primitive(output, target, reduction=reduction), (view, "batch.image"))

    return {name + suffix: charge(name) for name in RECONSTRUCTION}


def kld_term(reduction: str) -> Term:
    """Return the KL term on the view or shared forward named `code`; its journal writes the scale as b."""
    return Term(lambda code: kld(code.mean, code.log_variance, reduction), ("code",))


def probability(logits: Tensor) -> Tensor:
    """Return the mean of a discriminator's verdicts as probabilities."""
    return torch.sigmoid(logits).mean()
