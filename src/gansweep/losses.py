"""Loss primitives: pure functions of tensors, no state, no config.

Shapes: images (B, C, H, W), codes (B, L), logits (B, …). Every function returns a 0-d tensor. `reduction` says what is
done with what is left of one picture or one code after the element-wise part; the batch is always averaged:

- `mean`: mean over all its elements;
- `sum`: sum over all its elements;
- `pixel_sum`: mean over channels, then sum over pixels (the convolutional VAE's; for a code the same as `sum`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

REDUCTIONS = ("mean", "sum", "pixel_sum")


def reduce(values: Tensor, reduction: str) -> Tensor:
    """Reduce element-wise `values` (B, …) to a scalar: `reduction` within one sample, then the mean over the batch."""
    if reduction == "mean":
        return values.mean()
    per_batch = values.sum() / values.shape[0]
    return per_batch / values.shape[1] if reduction == "pixel_sum" and values.dim() > 2 else per_batch


# Reconstruction


def l1(output: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Absolute difference."""
    return reduce((output - target).abs(), reduction)


def mse(output: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Squared difference (no factor one half)."""
    return reduce((output - target).square(), reduction)


def bce(output: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Binary cross-entropy of logits against targets in [0, 1]; outside that range it has no minimum."""
    return reduce(F.binary_cross_entropy_with_logits(output, target, reduction="none"), reduction)


def huber(output: Tensor, target: Tensor, delta: Tensor | float = 1.0, reduction: str = "mean") -> Tensor:
    """Huber's loss: quadratic below `delta` > 0, linear above (Huber 1964). Tensor `delta` without a host read."""
    distance = (output - target).abs()
    quadratic = torch.minimum(distance, torch.as_tensor(delta, dtype=distance.dtype, device=distance.device))
    return reduce(0.5 * quadratic.square() + delta * (distance - quadratic), reduction)


RECONSTRUCTION: dict[str, Callable[..., Tensor]] = {"l1": l1, "mse": mse, "bce": bce, "huber": huber}
"""Reconstruction primitives by the name that the scales use."""


def kld(mean: Tensor, log_variance: Tensor, reduction: str = "sum") -> Tensor:
    """KL divergence of N(mean, exp(log_variance)) from N(0, 1), in nats (Kingma and Welling 2014, appendix B)."""
    return reduce(-0.5 * (1 + log_variance - mean.square() - log_variance.exp()), reduction)


# Adversarial: logits, and the labels that real and fake pictures are given (0-d tensors or numbers)


def bce_label(logits: Tensor, label: Tensor | float) -> Tensor:
    """Cross-entropy of sigmoid(logits) against one label in [0, 1] (Goodfellow et al. 2014)."""
    # softplus(x) - x * label is the cross-entropy, stable for any x, and takes a tensor label without a host read.
    return (F.softplus(logits) - logits * label).mean()


def least_squares_label(logits: Tensor, label: Tensor | float) -> Tensor:
    """Squared distance of the raw output from the label (Mao et al. 2017, equation 2, without the one half)."""
    return (logits - label).square().mean()


def hinge_real(logits: Tensor) -> Tensor:
    """Discriminator's hinge on real pictures, E[max(0, 1 - D)] (Lim and Ye 2017; Miyato et al. 2018)."""
    return F.relu(1 - logits).mean()


def hinge_fake(logits: Tensor) -> Tensor:
    """Discriminator's hinge on fakes, E[max(0, 1 + D)]."""
    return F.relu(1 + logits).mean()


def critic_low(logits: Tensor) -> Tensor:
    """E[D]: what a Wasserstein critic wants low on fakes (Arjovsky et al. 2017)."""
    return logits.mean()


def critic_high(logits: Tensor) -> Tensor:
    """-E[D]: what a Wasserstein critic wants on real pictures, and every generator of hinge or Wasserstein on fakes."""
    return -logits.mean()


# A GAN loss is three functions of (logits, real label, fake label): D on real, D on fake, G on fake.
GAN_LOSSES: dict[str, tuple[Callable[[Tensor, Tensor, Tensor], Tensor], ...]] = {
    "bce": (
        lambda logits, real, fake: bce_label(logits, real),
        lambda logits, real, fake: bce_label(logits, fake),
        lambda logits, real, fake: bce_label(logits, real),
    ),
    "lsgan": (
        lambda logits, real, fake: least_squares_label(logits, real),
        lambda logits, real, fake: least_squares_label(logits, fake),
        lambda logits, real, fake: least_squares_label(logits, real),
    ),
    "hinge": (
        lambda logits, real, fake: hinge_real(logits),
        lambda logits, real, fake: hinge_fake(logits),
        lambda logits, real, fake: critic_high(logits),
    ),
    "wgan": (
        lambda logits, real, fake: critic_high(logits),
        lambda logits, real, fake: critic_low(logits),
        lambda logits, real, fake: critic_high(logits),
    ),
}


# Input gradients: one primitive


def input_gradient(critic: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Gradient of the summed critic output with respect to each picture, same shape as `images`.

    Through the functional API, which works under compile and vmap, where autograd with create_graph does not. The
    critic must not move buffers (`nets.still(name)`).
    """
    return torch.func.grad(lambda x: critic(x).sum())(images)


def r1(critic: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """R1 penalty, E[|grad D(x)|²] / 2 on real pictures (Mescheder et al. 2018, equation 9, with weight 1)."""
    return 0.5 * input_gradient(critic, images).square().flatten(1).sum(1).mean()


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, alpha: Tensor) -> Tensor:
    """WGAN-GP's E[(|grad D| - 1)²] at alpha·real + (1 - alpha)·fake (Gulrajani et al. 2017, equation 3, weight 1).

    `alpha` is (B, 1, 1, 1), uniform in [0, 1].
    """
    between = alpha * real + (1 - alpha) * fake
    squared = input_gradient(critic, between).square().flatten(1).sum(1)
    # The small number keeps the gradient of the root finite where the critic is flat.
    return ((squared + 1e-12).sqrt() - 1).square().mean()
