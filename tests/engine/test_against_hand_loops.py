"""The engine against loops written by hand: equal to the last bit in float64, losses, weights and norm statistics."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from gansweep.engine.noise import Noise
from small import (
    DCGAN_SCALES,
    N_CRITIC,
    VAE_SCALES,
    VAEGAN_SCALES,
    WGAN_GP_SCALES,
    dcgan,
    engine,
    pictures,
    timetable,
    vae,
    vaegan,
    wgan_gp,
)

STEPS = 10


def _adam(net: torch.nn.Module, betas: tuple[float, float] = (0.9, 0.999)) -> torch.optim.Adam:
    return torch.optim.Adam(net.parameters(), lr=1e-3, betas=betas, fused=True)


def _same(a: torch.nn.Module, b: torch.nn.Module) -> None:
    for (name, left), right in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
        assert torch.equal(left, right), name


def _bce(logits: torch.Tensor, label: float) -> torch.Tensor:
    # As cross-entropy is written in losses.py: with a bias in front of a norm, whose true gradient is zero, Adam turns
    # the last bit of another form into steps of full size.
    return (F.softplus(logits) - logits * label).mean()


@pytest.mark.parametrize("channels_last", [False, True])
def test_vaegan_equals_the_journals_loop(channels_last: bool) -> None:
    torch.manual_seed(0)
    system = vaegan()
    ours = engine(system, VAEGAN_SCALES)
    if channels_last:
        for net in system.nets.values():
            net.to(memory_format=torch.channels_last)
    enc, dec, dis = (copy.deepcopy(system.nets[name]) for name in ("enc", "dec", "dis"))
    adams = {"enc": _adam(enc), "dec": _adam(dec), "dis": _adam(dis)}
    plan, noise = timetable(system), Noise(0, dtype=torch.float64)
    for step in range(STEPS):
        x = pictures(8, seed=step)
        drawn = noise.draw(system.noise, 8, step)
        mean, log_variance = enc(x)
        z = mean + drawn["eps"] * (0.5 * log_variance).exp()
        l1 = (dec(z).tanh() - x).abs().mean()
        kld = (-0.5 * (1 + log_variance - mean**2 - log_variance.exp())).mean()
        _step(adams["enc"], 2.0 * l1 + 0.5 * kld)
        rec, fake = dec(z.detach()).tanh(), dec(drawn["prior"]).tanh()
        l1_dec = (rec - x).abs().mean()
        # D is the same in both turns, and so is what it says of the decoder's pictures.
        rec_logit, prior_logit = dis(rec), dis(fake)
        adv_rec, adv_prior = _bce(rec_logit, 1.0), _bce(prior_logit, 1.0)
        d_real, d_rec, d_prior = _bce(dis(x), 1.0), _bce(rec_logit, 0.0), _bce(prior_logit, 0.0)
        d_gradients = torch.autograd.grad(
            2.0 * d_real + d_rec + 1.5 * d_prior, list(dis.parameters()), retain_graph=True
        )
        _step(adams["dec"], 3.0 * l1_dec + 0.1 * adv_rec + 0.2 * adv_prior)
        for parameter, gradient in zip(dis.parameters(), d_gradients, strict=True):
            parameter.grad = gradient
        adams["dis"].step()
        metrics = ours.step(step, plan.at(step), [{"image": x}])
        hand = {"enc/l1": l1, "enc/kld": kld, "dec/l1_dec": l1_dec, "dec/adv_rec": adv_rec, "dec/adv_prior": adv_prior}
        hand |= {"dis/d_real": d_real, "dis/d_rec": d_rec, "dis/d_prior": d_prior}
        for name, value in hand.items():
            assert metrics[name].item() == value.item(), (step, name)
    for net, by_hand in (("enc", enc), ("dec", dec), ("dis", dis)):
        _same(system.nets[net], by_hand)


def test_vae_equals_a_hand_loop_to_the_last_bit() -> None:
    torch.manual_seed(0)
    system = vae()
    ours = engine(system, VAE_SCALES)
    enc, dec = copy.deepcopy(system.nets["enc"]), copy.deepcopy(system.nets["dec"])
    adams = [_adam(enc), _adam(dec)]
    plan, noise = timetable(system), Noise(0, dtype=torch.float64)
    for step in range(STEPS):
        x = pictures(4, seed=step)
        drawn = noise.draw(system.noise, 4, step)
        mean, log_variance = enc(x)
        z = mean + drawn["eps"] * (0.5 * log_variance).exp()
        mse = (dec(z) - x).square().sum() / 4 / 3
        kld = (-0.5 * (1 + log_variance - mean.square() - log_variance.exp())).sum() / 4
        for adam in adams:
            adam.zero_grad()
        (1.0 * mse + 2.0 * kld).backward()
        for adam in adams:
            adam.step()
        metrics = ours.step(step, plan.at(step), [{"image": x}])
        assert metrics["fit/mse"].item() == mse.item()
        assert metrics["fit/kld"].item() == kld.item()
        assert metrics["fit/kld_weighted"].item() == 2 * kld.item()
    _same(system.nets["enc"], enc)
    _same(system.nets["dec"], dec)


def test_dcgan_equals_the_examples_loop_to_the_last_bit() -> None:
    torch.manual_seed(0)
    system = dcgan()
    ours = engine(system, DCGAN_SCALES)
    gen, dis = copy.deepcopy(system.nets["gen"]), copy.deepcopy(system.nets["dis"])
    adams = {"gen": _adam(gen), "dis": _adam(dis)}
    plan, noise = timetable(system), Noise(0, dtype=torch.float64)
    for step in range(STEPS):
        x = pictures(8, seed=step)
        d_real = _bce(dis(x), 1.0)
        fake = gen(noise.draw(system.noise, 8, step)["prior"]).tanh()
        d_fake = _bce(dis(fake.detach()), 0.0)
        _step(adams["dis"], 1.0 * d_real + 1.5 * d_fake)
        adv = _bce(dis(fake), 1.0)
        _step(adams["gen"], 2.0 * adv)
        metrics = ours.step(step, plan.at(step), [{"image": x}])
        for name, value in {"dis/d_real": d_real, "dis/d_fake": d_fake, "gen/adv": adv}.items():
            assert metrics[name].item() == value.item(), (step, name)
    _same(system.nets["gen"], gen)
    _same(system.nets["dis"], dis)


def test_wgan_gp_equals_algorithm_1_to_the_last_bit() -> None:
    torch.manual_seed(0)
    system = wgan_gp()
    ours = engine(system, WGAN_GP_SCALES, optimizer={"betas": [0.0, 0.9]})
    gen, dis = copy.deepcopy(system.nets["gen"]), copy.deepcopy(system.nets["dis"])
    adams = {"gen": _adam(gen, (0.0, 0.9)), "dis": _adam(dis, (0.0, 0.9))}
    plan, noise = timetable(system, N_CRITIC), Noise(0, dtype=torch.float64)
    for step in range(STEPS):
        batches = [pictures(8, seed=10 * step + n) for n in range(plan.batches(step))]
        critic: dict[str, list[torch.Tensor]] = {"d_real": [], "d_fake": [], "gp": [], "w_distance": []}
        for turn in reversed(range(5)):  # the turn next to the generator's has draw and batch 0
            x, drawn = batches[turn], noise.draw(system.noise, 8, step, turn)
            with torch.no_grad():
                fake = gen(drawn["prior_dis"]).tanh()
            real_value, fake_value = dis(x).mean(), dis(fake).mean()
            between = (drawn["alpha"] * x + (1 - drawn["alpha"]) * fake).requires_grad_()
            (slope,) = torch.autograd.grad(dis(between).sum(), between, create_graph=True)
            gp = ((slope.square().flatten(1).sum(1) + 1e-12).sqrt() - 1).square().mean()
            _step(adams["dis"], -real_value + fake_value + 10.0 * gp)
            for name, value in zip(critic, (-real_value, fake_value, gp, real_value - fake_value), strict=True):
                critic[name].append(value.detach())
        adv = -dis(gen(noise.draw(system.noise, 8, step)["prior"]).tanh()).mean()
        _step(adams["gen"], adv)
        metrics = ours.step(step, plan.at(step), [{"image": x} for x in batches])
        assert metrics["gen/adv"].item() == adv.item()
        for name, values in critic.items():
            assert metrics[f"dis/{name}"].item() == torch.stack(values).mean().item(), (step, name)
    _same(system.nets["gen"], gen)
    _same(system.nets["dis"], dis)
    assert ours.updates == {"gen": STEPS, "dis": 5 * STEPS}


def _step(adam: torch.optim.Adam, loss: torch.Tensor) -> None:
    adam.zero_grad()
    loss.backward()
    adam.step()


def test_one_forward_in_a_group_gives_the_same_weights_as_two() -> None:
    torch.manual_seed(0)
    two = vaegan(single_forward=False)
    one = vaegan(single_forward=True)
    for name, net in one.nets.items():
        net.load_state_dict(two.nets[name].state_dict())
    engines = engine(two, VAEGAN_SCALES), engine(one, VAEGAN_SCALES)
    plans = timetable(two), timetable(one, groups=[["enc", "dec"], ["dis"]])
    for step in range(3):
        for ours, plan in zip(engines, plans, strict=True):
            ours.step(step, plan.at(step), [{"image": pictures(8, seed=step)}])
    for name, net in one.nets.items():
        for (key, left), (_, right) in zip(net.named_parameters(), two.nets[name].named_parameters(), strict=True):
            torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-11, msg=lambda m, k=key: f"{k}: {m}")


def test_clipped_rmsprop_equals_torchs_own() -> None:
    torch.manual_seed(0)
    scales = {**VAEGAN_SCALES, "gp": None}
    system = vaegan(gan_loss="wgan", clip=0.01)
    before = copy.deepcopy(system.nets["dis"]).double().train()
    ours = engine(system, scales, lr=5e-5, optimizer={"kind": "rmsprop", "momentum": 0.5, "weight_decay": 0.1})
    plan, x = timetable(system), pictures(8)
    reference = torch.optim.RMSprop(before.parameters(), lr=5e-5, momentum=0.5, weight_decay=0.1)
    taken: list[list[torch.Tensor]] = []
    inner = ours.optimizers["dis"].step
    ours.optimizers["dis"].step = lambda: (
        taken.append([p.grad.clone() for p in system.nets["dis"].parameters()]),
        inner(),
    )  # type: ignore[method-assign]
    for step in range(3):
        ours.step(step, plan.at(step), [{"image": x}])
        for parameter, gradient in zip(before.parameters(), taken[-1], strict=True):
            parameter.grad = gradient
        reference.step()
        with torch.no_grad():
            for parameter in before.parameters():
                parameter.clamp_(-0.01, 0.01)
    for left, right in zip(system.nets["dis"].parameters(), before.parameters(), strict=True):
        assert left.abs().max() <= 0.01
        torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-14)
