"""Every term with a weight moves exactly the networks it should and no other; impossible systems are refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gansweep.engine.look import Looker, StepContext
from gansweep.engine.objective import charged_terms
from gansweep.engine.reach import unreached
from gansweep.engine.schedule import Entry
from gansweep.engine.step import EagerEngine
from gansweep.errors import UserError
from gansweep.nets.blocks import ConfigError
from small import (
    DCGAN_SCALES,
    DIS,
    PART,
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

EVERY_TERM = {name: 1.0 for name in VAEGAN_SCALES}
# What a term's gradient reaches, whoever learns: reconstruction passes through the decoder, the adversary through D.
REACHES = {
    **{name: {"enc", "dec"} for name in ("l1", "mse", "bce", "huber")},
    "feature": {"enc", "dec", "dis"},
    "kld": {"enc"},
    **{f"{name}_dec": {"dec"} for name in ("l1", "mse", "bce", "huber")},
    "feature_dec": {"dec", "dis"},
    "adv_rec": {"dec", "dis"},
    "adv_prior": {"dec", "dis"},
    **{name: {"dis"} for name in ("d_real", "d_rec", "d_prior", "r1", "gp")},
}


def _reached(ours: EagerEngine) -> dict[str, set[str]]:
    system = ours.system
    found: dict[str, set[str]] = {}
    for phase in system.phases:
        context = StepContext([(Entry(phase.name, 0, 0),)], system.shared, ours.updates)
        noise = ours.noise.draw(system.noise, 4, 0)
        look = Looker(
            ours.nets, phase, context, 0, 0, {"image": pictures(4)}, noise, ours.knobs.group("knobs"), system.memory
        )
        for term, value in ours.terms(phase, look).items():
            nets = {}
            for name, net in system.nets.items():
                grads = torch.autograd.grad(value, list(net.parameters()), retain_graph=True, allow_unused=True)
                nets[name] = any(g is not None and g.count_nonzero() for g in grads)
            found[term] = {name for name, hit in nets.items() if hit}
    return found


@pytest.mark.parametrize("joint", [False, True])
def test_each_term_of_the_vaegan_reaches_exactly_its_networks(joint: bool) -> None:
    torch.manual_seed(0)
    ours = engine(vaegan(discriminator={**DIS, "joint_batch": joint}), EVERY_TERM)
    assert _reached(ours) == REACHES


def test_each_term_of_the_vae_reaches_exactly_its_networks() -> None:
    torch.manual_seed(0)
    found = _reached(engine(vae(), {name: 1.0 for name in VAE_SCALES}))
    assert found == {**{name: {"enc", "dec"} for name in ("l1", "mse", "bce", "huber")}, "kld": {"enc"}}


@pytest.mark.parametrize("gan_loss", ["bce", "hinge", "lsgan", "wgan"])
def test_each_term_of_the_dcgan_reaches_exactly_its_networks(gan_loss: str) -> None:
    torch.manual_seed(0)
    found = _reached(engine(dcgan(gan_loss=gan_loss), {name: 1.0 for name in DCGAN_SCALES}))
    assert found == {**{name: {"dis"} for name in ("d_real", "d_fake", "r1")}, "adv": {"gen", "dis"}}


def test_each_term_of_wgan_gp_reaches_exactly_its_networks() -> None:
    torch.manual_seed(0)
    found = _reached(engine(wgan_gp(), WGAN_GP_SCALES))
    assert found == {**{name: {"dis"} for name in ("d_real", "d_fake", "gp")}, "adv": {"gen", "dis"}}


@pytest.mark.parametrize(
    ("make", "scales", "phase", "learns"),
    [
        (vaegan, VAEGAN_SCALES, "enc", "enc"),
        (vaegan, VAEGAN_SCALES, "dec", "dec"),
        (vaegan, VAEGAN_SCALES, "dis", "dis"),
        (dcgan, DCGAN_SCALES, "dis", "dis"),
        (dcgan, DCGAN_SCALES, "gen", "gen"),
        (wgan_gp, WGAN_GP_SCALES, "dis", "dis"),
        (wgan_gp, WGAN_GP_SCALES, "gen", "gen"),
    ],
)
def test_a_phase_changes_the_weights_of_exactly_what_it_learns(
    make: Any, scales: dict[str, float | None], phase: str, learns: str
) -> None:
    torch.manual_seed(0)
    ours = engine(make(), scales)
    before = {net: [p.clone() for p in module.parameters()] for net, module in ours.system.nets.items()}
    ours.step(0, [(Entry(phase, 0, 0),)], [{"image": pictures(4)}])
    changed = {
        net
        for net, module in ours.system.nets.items()
        if any(not torch.equal(a, b) for a, b in zip(module.parameters(), before[net], strict=True))
    }
    assert changed == {learns}


def test_a_term_that_reaches_nothing_is_found_and_the_state_is_put_back() -> None:
    torch.manual_seed(0)
    system = vaegan()
    ours = engine(system, VAEGAN_SCALES)
    assert unreached(ours, {"image": pictures(8)}, [timetable(system).at(0)]) == []
    buffers = {net: {k: v.clone() for k, v in module.state_dict().items()} for net, module in system.nets.items()}
    enc = system.phases[0]
    views: dict[str, Any] = dict(enc.views)
    views["rec"] = lambda nets, x: system.output(x["enc_raw"]).detach()  # the fault that cost a journal weeks
    object.__setattr__(enc, "views", views)
    assert unreached(ours, {"image": pictures(8)}, [timetable(system).at(0)]) == ["enc/l1"]
    for net, module in system.nets.items():
        assert all(torch.equal(v, buffers[net][k]) for k, v in module.state_dict().items())


def test_scales_and_terms_must_name_each_other() -> None:
    system = vae()
    with pytest.raises(
        UserError, match=r"terms without a scale: kld .*; scales without a term: kldd; did you mean 'kld'"
    ):
        charged_terms(system, {**{k: v for k, v in VAE_SCALES.items() if k != "kld"}, "kldd": 1.0}, {})
    with pytest.raises(UserError, match="phase 'fit' charges nothing"):
        charged_terms(system, dict.fromkeys(VAE_SCALES), {})


def test_zero_computes_and_logs_and_null_removes() -> None:
    ours = engine(vae(), {**VAE_SCALES, "l1": 0.0})
    metrics = ours.step(0, timetable(ours.system).at(0), [{"image": pictures(4)}])
    assert metrics["fit/l1"] > 0 and metrics["fit/l1_weighted"] == 0
    assert "fit/huber" not in metrics


def own_loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (output - target).abs().amax()


def test_a_users_own_loss_reads_the_phases_pair() -> None:
    system = vae()
    charged = charged_terms(system, {**VAE_SCALES, "worst": 2.0}, {"fit": {"worst": "test_terms.own_loss"}})
    assert charged["fit"]["worst"].reads == ("rec", "batch.image")
    for terms, word in (
        ({"fti": {"worst": "test_terms.own_loss"}}, r"terms\.fti: the system has no such phase; did you mean 'fit'"),
        ({"fit": {"kld": "test_terms.own_loss"}}, "stands in phase 'fit' already"),
        ({"fit": {"worst": "test_terms.nothing"}}, "cannot be imported"),
    ):
        with pytest.raises(UserError, match=word):
            charged_terms(system, {**VAE_SCALES, "worst": 2.0}, terms)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"size_px": 48}, "nearest: 32 or 64"),
        ({"discriminator": {**DIS, "feature_block": 9}}, "not one of the blocks 1 to 2"),
        ({"discriminator": {**DIS, "blocks": [{"channels": 4, "convs": 1}] * 5}}, r"data\.size=16"),
    ],
)
def test_a_vaegan_that_cannot_be_is_refused(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        vaegan(**changes)


@pytest.mark.parametrize(
    ("make", "changes", "word"),
    [
        (dcgan, {"size_px": 48}, "nearest: 32 or 64"),
        (wgan_gp, {"size_px": 4}, "nearest: 8"),
        (wgan_gp, {"discriminator": {**PART, "conv_bias": False}}, r"model\.discriminator\.norm=batch: .* layer"),
    ],
)
def test_a_dcgan_that_cannot_be_is_refused(make: Any, changes: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        make(**changes)


def test_a_vae_whose_stride_does_not_divide_the_size_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.size=100: .* nearest: 96 or 104"):
        vae(size_px=100)


def test_overfitting_a_handful_of_pictures() -> None:
    torch.manual_seed(0)
    for system, scales, key in (
        (vaegan(latent=16, base_width=8), {**VAEGAN_SCALES, "l1": 100.0, "l1_dec": 100.0, "kld": 0.001}, "enc/l1"),
        (vae(latent=16, width_factor=0.5), {**VAE_SCALES, "kld": 0.001}, "fit/mse"),
    ):
        ours = engine(system, scales, dtype=torch.float32, lr=2e-3)
        plan, batch = timetable(system), {"image": pictures(4, dtype=torch.float32)}
        losses = [ours.step(step, plan.at(step), [batch])[key].item() for step in range(150)]
        assert losses[-1] < 0.6 * losses[0], (key, losses[0], losses[-1])


def test_a_decoder_without_norms_has_biases_but_for_its_last_layer() -> None:
    system = vaegan(decoder={**PART, "conv_bias": False, "output": "tanh", "norm": "none"})
    names = {name for name, _ in system.nets["dec"].named_parameters() if name.endswith("bias")}
    assert names == {"project.bias", "up.0.conv.bias"}


def test_clipping_leaves_frozen_weights_alone() -> None:
    from gansweep.engine.freeze import learnt_parameters

    system = vaegan(gan_loss="wgan", clip=0.001)
    learnt = learnt_parameters(system.nets, system.phases, ["dis.head.*"])
    ours = engine(system, VAEGAN_SCALES)
    ours.learnt = learnt
    before = [p.clone() for p in system.nets["dis"].head.parameters()]  # type: ignore[union-attr, operator]
    ours.step(0, [(Entry("dis", 0, 0),)], [{"image": pictures(4)}])
    after = list(system.nets["dis"].head.parameters())  # type: ignore[union-attr, operator]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert max(p.abs().max().item() for p in system.nets["dis"].blocks.parameters()) <= 0.001  # type: ignore[union-attr, operator]
