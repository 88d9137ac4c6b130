"""What the siamese journal's two systems share: contrastive and class terms, pixel terms under a contour, reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gansweep.losses import l1, mse
from gansweep.nets.blocks import ACTIVATIONS, OUTPUTS
from gansweep.nets.given import LAYER, Check, flag, maybe, one_of, table
from gansweep.nets.siamese import UPSAMPLES
from gansweep.system import Term

CONTOURS = ("none", "error", "pictures")
"""What a contour mask weighs: nothing, each pixel's error, or (as run) both pictures before their error is taken."""

ENCODER: dict[str, Check] = {**LAYER, "conv_bias": flag}
DECODER: Check = table(**LAYER, conv_bias=flag, upsample=one_of(UPSAMPLES), output=one_of(OUTPUTS))
DISCRIMINATOR: dict[str, Check] = {**LAYER, "act": maybe(one_of(ACTIVATIONS)), "conv_bias": flag}

# The small number keeps the root's gradient finite where two codes are equal.
_TINY = 1e-12


def contrastive(first: Tensor, second: Tensor, same: Tensor, margin: Tensor | float) -> Tensor:
    """Mean of y d² + (1 - y) max(0, margin - d)², y = 1 where `same` (Hadsell et al. 2006, eq. 4, without the halves).

    `first` and `second` are (B, L), `same` is (B) of booleans, d the Euclidean distance of two rows.
    """
    squared = (first - second).square().sum(1)
    apart = F.relu(margin - (squared + _TINY).sqrt()).square()
    return torch.where(same, squared, apart).mean()


def class_error(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of softmax(logits), (B, classes), with whole labels (B), in nats; chance is ln(classes)."""
    return F.cross_entropy(logits, labels)


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Share of rows whose largest logit is the label's."""
    return (logits.argmax(1) == labels).to(logits.dtype).mean()


def share_taken_as_real(logits: Tensor) -> Tensor:
    """Share of pictures that a discriminator gives a probability above 0.5."""
    return (logits > 0).to(logits.dtype).mean()


def share_taken_as_fake(logits: Tensor) -> Tensor:
    """Share of pictures that a discriminator gives a probability below 0.5."""
    return (logits < 0).to(logits.dtype).mean()


def diversity(output: Tensor, target: Tensor) -> Tensor:
    """Spread of the outputs over the batch ÷ that of their targets, pictures (B, C, H, W): near 0 after a collapse.

    The root of the mean variance of a pixel over the batch, which is the root of half the mean squared distance of two
    pictures drawn from it. A batch whose targets are all the same counts as spread 0.001.
    """
    spread, wanted = (pictures.var(0, correction=0).mean() for pictures in (output, target))
    return (spread / wanted.clamp(min=1e-6)).sqrt()


def one_hot(labels: Tensor, count: int, dtype: torch.dtype) -> Tensor:
    """Return labels (B) as rows (B, count) with a one each; torch's own reads its input on the host."""
    return (labels[:, None] == torch.arange(count, device=labels.device)).to(dtype)


def contour_weight(mask: Tensor, strength: Tensor | float) -> Tensor:
    """Return the mask's weights (1 off the contour, above 1 on it) at strength 1; 1 everywhere at strength 0."""
    return 1 + strength * (mask - 1)


def pixel_terms(contour: str, picture: str) -> dict[str, Term]:
    """Return the terms l1 and mse of view `picture` against the target, weighted by the contour mask.

    With w the mask's weight (see `contour_weight`; knob `contour_strength`): `error` charges w |o - t| and w (o - t)²;
    `pictures`, the journal's way, charges |w o - w t| and (w o - w t)², so that the same mask weighs w under l1 and w²
    under mse: 25, not 5.
    """
    plain = (picture, "batch.target.image")
    if contour == "none":
        return {"l1": Term(l1, plain), "mse": Term(mse, plain)}
    reads = (*plain, "batch.mask", "knobs.contour_strength")
    if contour == "pictures":

        def masked(primitive: Callable[..., Tensor]) -> Term:
            def charge(output: Tensor, target: Tensor, mask: Tensor, strength: Tensor) -> Tensor:
                weight = contour_weight(mask.to(output.dtype), strength)
                return primitive(weight * output, weight * target)

            return Term(charge, reads)

        return {"l1": masked(l1), "mse": masked(mse)}

    def weighted(pixel: Callable[[Tensor], Tensor]) -> Term:
        def charge(output: Tensor, target: Tensor, mask: Tensor, strength: Tensor) -> Tensor:
            return (contour_weight(mask.to(output.dtype), strength) * pixel(output - target)).mean()

        return Term(charge, reads)

    return {"l1": weighted(torch.abs), "mse": weighted(torch.square)}


def contour_reports(contour: str, picture: str) -> dict[str, Term]:
    """Return reports of the mean absolute error on the contour (mask above 1) and off it; none without a mask."""
    if contour == "none":
        return {}

    def within(output: Tensor, target: Tensor, part: Tensor) -> Tensor:
        part = part.to(output.dtype).expand_as(output)
        return (part * (output - target).abs()).sum() / part.sum().clamp(min=1)

    reads = (picture, "batch.target.image", "batch.mask")
    return {
        "l1_contour": Term(lambda output, target, mask: within(output, target, mask > 1), reads),
        "l1_inside": Term(lambda output, target, mask: within(output, target, mask <= 1), reads),
    }


def judging_reports(gan_loss: str, real: Any, fake: Any, views: tuple[str, str]) -> Mapping[str, Term]:
    """Return what is reported of D's verdicts: shares that it gets right, or a Wasserstein critic's gap.

    `views` name the verdicts on real and fake pictures; `real` and `fake` take the logits out of them.
    """
    if gan_loss == "wgan":
        return {"w_distance": Term(lambda r, f: real(r).mean() - fake(f).mean(), views)}
    return {
        "p_real": Term(lambda r: torch.sigmoid(real(r)).mean(), views[:1]),
        "p_fake": Term(lambda f: torch.sigmoid(fake(f)).mean(), views[1:]),
        "acc_real": Term(lambda r: share_taken_as_real(real(r)), views[:1]),
        "acc_fake": Term(lambda f: share_taken_as_fake(fake(f)), views[1:]),
    }
