"""Knobs that stay the same tensors, state that goes on exactly, running means, freezing, accumulation."""

from __future__ import annotations

import copy

import pytest
import torch

from gansweep.config.settings import PhaseTiming
from gansweep.engine.freeze import keep_statistics, learnt_parameters
from gansweep.engine.knobs import Knobs
from gansweep.engine.noise import Noise, mix
from gansweep.engine.schedule import build_curve
from gansweep.errors import UserError
from gansweep.system import Spec
from small import VAE_SCALES, VAEGAN_SCALES, engine, pictures, timetable, vae, vaegan

DECAY = {"optimizer.lr": {"kind": "decay", "multiply_by": 0.5, "every_steps": 2}}


def test_a_curve_on_the_shared_rate_moves_all_but_those_with_their_own() -> None:
    half = build_curve("optimizer.lr", {"kind": "decay", "multiply_by": 0.5, "every_steps": 1})
    tenth = build_curve("optimizer.dis.lr", {"kind": "decay", "multiply_by": 0.1, "every_steps": 1})
    knobs = Knobs({"optimizer.gen.lr": 1.0, "optimizer.dis.lr": 1.0}, {"optimizer.lr": half, "optimizer.dis.lr": tenth})
    tensor = knobs.tensors["optimizer.gen.lr"]
    knobs.advance(1)
    assert tensor is knobs.tensors["optimizer.gen.lr"] and tensor.item() == 0.5
    assert knobs.tensors["optimizer.dis.lr"].item() == pytest.approx(0.1)


def test_a_curve_on_no_knob_is_refused() -> None:
    with pytest.raises(UserError, match=r"did you mean 'scales\.kld'"):
        Knobs({"scales.kld": 1.0}, {"scales.kldd": lambda step, base: base})


@pytest.mark.parametrize("kind", ["adam", "adamw", "rmsprop", "sgd"])
def test_state_goes_on_to_the_last_bit_with_a_decaying_rate(kind: str) -> None:
    torch.manual_seed(0)
    first = vaegan()
    other = copy.deepcopy(first)
    options = {"ema_decay": 0.9, "micro_batches": 2, "curves": DECAY, "optimizer": {"kind": kind, "momentum": 0.5}}
    whole = engine(first, VAEGAN_SCALES, **options)
    plan = timetable(first)
    for step in range(3):
        whole.step(step, plan.at(step), [{"image": pictures(4, seed=step)}])
    state = copy.deepcopy(whole.state_dict())
    resumed = engine(other, VAEGAN_SCALES, **options)
    resumed.load_state_dict(state)
    for step in range(3, 6):
        left = whole.step(step, plan.at(step), [{"image": pictures(4, seed=step)}])
        right = resumed.step(step, plan.at(step), [{"image": pictures(4, seed=step)}])
        assert {k: v.item() for k, v in left.items()} == {k: v.item() for k, v in right.items()}
    for net, tensors in whole.state_dict()["ema"].items():
        for key, tensor in tensors.items():
            assert torch.equal(tensor, resumed.state_dict()["ema"][net][key])


def test_loading_puts_the_rate_tensor_back_into_the_optimizer() -> None:
    ours = engine(vaegan(), VAEGAN_SCALES, curves=DECAY)
    plan = timetable(ours.system)
    ours.step(0, plan.at(0), [{"image": pictures(4)}])
    ours.load_state_dict(copy.deepcopy(ours.state_dict()))
    for net, optimizer in ours.optimizers.items():
        assert optimizer.param_groups[0]["lr"] is ours.knobs.tensors[f"optimizer.{net}.lr"]


def test_running_means_follow_the_formula_and_copy_buffers() -> None:
    torch.manual_seed(0)
    ours = engine(vaegan(), VAEGAN_SCALES, ema_decay=0.75)
    plan = timetable(ours.system)
    before = copy.deepcopy(ours.ema.nets["dec"].state_dict())  # type: ignore[union-attr]
    ours.step(0, plan.at(0), [{"image": pictures(4)}])
    live, mean = ours.system.nets["dec"].state_dict(), ours.ema.nets["dec"].state_dict()  # type: ignore[union-attr]
    names = dict(ours.system.nets["dec"].named_parameters())
    for key in live:
        expected = 0.75 * before[key] + 0.25 * live[key] if key in names else live[key]
        torch.testing.assert_close(mean[key], expected, rtol=1e-12, atol=0)


def test_accumulation_equals_the_large_batch_without_batch_statistics() -> None:
    torch.manual_seed(0)
    whole, cut = vae(), None
    cut = copy.deepcopy(whole)
    engines = engine(whole, VAE_SCALES, lr=1e-2), engine(cut, VAE_SCALES, lr=1e-2, micro_batches=4)
    plan = timetable(whole)
    for step in range(3):
        left, right = (e.step(step, plan.at(step), [{"image": pictures(8, seed=step)}]) for e in engines)
        assert left["fit/mse"].item() == pytest.approx(right["fit/mse"].item(), rel=1e-10)
    for a, b in zip(whole.nets["dec"].parameters(), cut.nets["dec"].parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)


def test_clipping_bounds_each_networks_own_norm() -> None:
    torch.manual_seed(0)
    free, clipped = vae(), None
    clipped = copy.deepcopy(free)
    sgd = {"kind": "sgd"}
    engines = (
        engine(free, VAE_SCALES, lr=1.0, optimizer=sgd),
        engine(clipped, VAE_SCALES, lr=1.0, optimizer={**sgd, "clip_norm": 0.5}),
    )
    before = copy.deepcopy(clipped.nets["dec"])
    plan = timetable(free)
    norms = [e.step(0, plan.at(0), [{"image": pictures(4)}])["grad_norm/dec"].item() for e in engines]
    assert norms[0] == pytest.approx(norms[1]) and norms[0] > 0.5  # what is logged is the norm before clipping
    moved = [(a - b).flatten() for a, b in zip(before.parameters(), clipped.nets["dec"].parameters(), strict=True)]
    assert torch.cat(moved).norm().item() == pytest.approx(0.5, rel=1e-4)


def test_a_watched_phase_reports_and_learns_nothing() -> None:
    ours = engine(vaegan(), VAEGAN_SCALES)
    plan = timetable(ours.system, {"dis": PhaseTiming(every=2, watch=True)})
    before = copy.deepcopy(dict(ours.system.nets["dis"].named_parameters()))
    metrics = ours.step(1, plan.at(1), [{"image": pictures(4)}])
    assert "dis/d_real" in metrics and "dis/p_real" in metrics and "grad_norm/dis" not in metrics
    for name, parameter in ours.system.nets["dis"].named_parameters():
        assert torch.equal(parameter, before[name])


def test_frozen_parameters_do_not_learn_and_patterns_must_match() -> None:
    system = vaegan()
    learnt = learnt_parameters(system.nets, system.phases, ["dec.up.0.*", "enc.mean.bias"])
    kept = {id(p) for p in learnt["dec"]}
    assert not any(id(p) in kept for p in system.nets["dec"].up[0].parameters())  # type: ignore[index, union-attr]
    assert any(id(p) in kept for p in system.nets["dec"].up[1].parameters())  # type: ignore[index, union-attr]
    with pytest.raises(UserError, match=r"model\.freeze=dex\.\*: matches no parameter"):
        learnt_parameters(system.nets, system.phases, ["dex.*"])
    with pytest.raises(UserError, match="phase 'enc' is left with nothing to learn"):
        learnt_parameters(system.nets, system.phases, ["enc.*"])


def test_norm_statistics_are_frozen_by_a_switch_of_their_own() -> None:
    ours = engine(vaegan(), VAEGAN_SCALES)
    keep_statistics(ours.system.nets, ["enc", "dec.up.0.norm"])
    frozen = {name for name, p in ours.system.nets["dec"].named_modules() if not p.training}
    assert frozen == {"up.0.norm"}
    before = copy.deepcopy(ours.system.nets["enc"].state_dict())
    weights = copy.deepcopy(dict(ours.system.nets["enc"].named_parameters()))
    ours.step(0, timetable(ours.system).at(0), [{"image": pictures(4)}])
    for name, buffer in ours.system.nets["enc"].named_buffers():
        assert torch.equal(buffer, before[name]), name
    assert any(not torch.equal(p, weights[name]) for name, p in ours.system.nets["enc"].named_parameters())
    with pytest.raises(UserError, match="matches no norm layer"):
        keep_statistics(ours.system.nets, ["enc.mean"])


def test_noise_is_a_pure_function_of_its_arguments() -> None:
    specs = {"a": Spec((3,), "normal"), "b": Spec((3,), "uniform"), "whole": Spec((2,), "normal", batched=False)}
    first, again = Noise(5).draw(specs, 4, 7, 1), Noise(5).draw(specs, 4, 7, 1)
    assert all(torch.equal(first[name], again[name]) for name in specs)
    assert first["whole"].shape == (2,) and first["b"].min() >= 0 and first["b"].max() < 1
    others = [Noise(6).draw(specs, 4, 7, 1), Noise(5).draw(specs, 4, 8, 1), Noise(5).draw(specs, 4, 7, 0)]
    assert all(not torch.equal(first["a"], other["a"]) for other in others)
    double = Noise(5, dtype=torch.float64).draw(specs, 4, 7, 1)["a"]
    assert torch.equal(double.float(), first["a"])  # drawn in float32 whatever the precision
    assert len({mix(a, b) for a in range(50) for b in range(50)}) == 2500
