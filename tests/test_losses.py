"""Loss primitives against closed forms, torch's own, and autograd the slow way."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from gansweep import losses


def test_reductions_on_a_picture_of_known_size() -> None:
    output, target = torch.full((2, 3, 4, 5), 3.0), torch.full((2, 3, 4, 5), 1.0)
    assert losses.l1(output, target, "mean").item() == 2
    assert losses.l1(output, target, "sum").item() == 2 * 60
    assert losses.l1(output, target, "pixel_sum").item() == 2 * 20  # mean over channels, sum over pixels
    assert losses.mse(output, target, "pixel_sum").item() == 4 * 20


def test_predicting_the_mean_of_standardised_pictures_costs_one_a_pixel() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 64, 64, generator=generator, dtype=torch.float64)
    x = (x - x.mean((1, 2, 3), keepdim=True)) / x.std((1, 2, 3), keepdim=True, correction=0)
    assert losses.mse(torch.zeros_like(x), x, "pixel_sum").item() == pytest.approx(64 * 64)


def test_kl_of_a_standard_normal_is_zero_and_of_a_shifted_one_half_its_square() -> None:
    zero = torch.zeros(4, 3)
    assert losses.kld(zero, zero).item() == 0
    assert losses.kld(zero + 2, zero).item() == pytest.approx(3 * 2.0)
    assert losses.kld(zero, zero + math.log(4), "mean").item() == pytest.approx(0.5 * (4 - 1 - math.log(4)))


def test_kl_agrees_with_torchs_distributions() -> None:
    mean, log_variance = torch.randn(5, 7, dtype=torch.float64), torch.randn(5, 7, dtype=torch.float64)
    normal = torch.distributions.Normal
    want = torch.distributions.kl_divergence(normal(mean, (0.5 * log_variance).exp()), normal(0.0, 1.0)).sum(1).mean()
    assert losses.kld(mean, log_variance).item() == pytest.approx(want.item(), rel=1e-12)


@pytest.mark.parametrize("delta", [0.3, torch.tensor(0.3, dtype=torch.float64)])
def test_huber_agrees_with_torchs(delta: float | torch.Tensor) -> None:
    a, b = torch.randn(4, 5, dtype=torch.float64), torch.randn(4, 5, dtype=torch.float64)
    assert losses.huber(a, b, delta).item() == pytest.approx(F.huber_loss(a, b, delta=0.3).item(), rel=1e-12)


@pytest.mark.parametrize("label", [0.0, 1.0, 0.9])
def test_cross_entropy_of_a_label_agrees_with_torchs_and_stays_finite(label: float) -> None:
    logits = torch.tensor([-800.0, -3.0, 0.0, 2.0, 800.0], dtype=torch.float64)
    want = F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))
    assert losses.bce_label(logits, label).item() == pytest.approx(want.item(), rel=1e-12)


def test_gan_losses_at_known_logits() -> None:
    one, zero = torch.tensor(1.0), torch.tensor(0.0)
    at = {
        name: [f(torch.tensor([[2.0], [-0.5]]), one, zero).item() for f in trio]
        for name, trio in losses.GAN_LOSSES.items()
    }
    assert at["hinge"] == pytest.approx([0.75, 1.75, -0.75])
    assert at["wgan"] == pytest.approx([-0.75, 0.75, -0.75])
    assert at["lsgan"] == pytest.approx([(1 + 2.25) / 2, (4 + 0.25) / 2, (1 + 2.25) / 2])
    ends = [math.log1p(math.exp(-2)), math.log1p(math.exp(0.5)), math.log1p(math.exp(2)), math.log1p(math.exp(-0.5))]
    assert at["bce"] == pytest.approx([(ends[0] + ends[1]) / 2, (ends[2] + ends[3]) / 2, (ends[0] + ends[1]) / 2])


def test_the_journals_resting_points_of_the_discriminator() -> None:
    # Weights 1, 1, 1: p = 1/3 and a loss of 1.910; weights 2, 1, 1: p = 1/2 and 2.773 (the document's arithmetic).
    for weights, p, total in (((1, 1, 1), 1 / 3, 1.9095), ((2, 1, 1), 1 / 2, 2.7726)):
        logit = torch.tensor([math.log(p / (1 - p))], dtype=torch.float64)
        loss = weights[0] * losses.bce_label(logit, 1.0) + (weights[1] + weights[2]) * losses.bce_label(logit, 0.0)
        assert loss.item() == pytest.approx(total, abs=1e-4)


def test_penalties_of_a_linear_critic_have_closed_forms() -> None:
    weight = torch.randn(12, dtype=torch.float64, requires_grad=True)

    def critic(x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) @ weight

    x, y = torch.randn(4, 3, 2, 2, dtype=torch.float64), torch.randn(4, 3, 2, 2, dtype=torch.float64)
    squared = weight.detach().square().sum().item()
    assert losses.r1(critic, x).item() == pytest.approx(squared / 2)
    alpha = torch.rand(4, 1, 1, 1, dtype=torch.float64)
    penalty = losses.gradient_penalty(critic, x, y, alpha)
    assert penalty.item() == pytest.approx((squared**0.5 - 1) ** 2)
    (gradient,) = torch.autograd.grad(penalty, weight)
    want = 2 * (squared**0.5 - 1) / squared**0.5 * weight.detach()
    torch.testing.assert_close(gradient, want)


def test_the_penalty_agrees_with_autograd_the_slow_way() -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(16, 1)
    ).double()
    real, fake = torch.randn(5, 3, 4, 4, dtype=torch.float64), torch.randn(5, 3, 4, 4, dtype=torch.float64)
    alpha = torch.rand(5, 1, 1, 1, dtype=torch.float64)
    between = (alpha * real + (1 - alpha) * fake).requires_grad_()
    (slow,) = torch.autograd.grad(net(between).sum(), between, create_graph=True)
    want = (slow.flatten(1).norm(dim=1) - 1).square().mean()
    ours = losses.gradient_penalty(net, real, fake, alpha)
    assert ours.item() == pytest.approx(want.item(), rel=1e-9)
    for a, b in zip(
        torch.autograd.grad(ours, net.parameters(), allow_unused=True),
        torch.autograd.grad(want, net.parameters(), allow_unused=True),
        strict=True,
    ):
        if a is not None and b is not None:
            torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-10)
