"""DCGAN and WGAN-GP: who shares which fakes, what a prior gives, and that both learn something."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gansweep.config.settings import PhaseTiming
from gansweep.engine.handle import evaluation
from gansweep.system import System
from small import DCGAN_SCALES, N_CRITIC, WGAN_GP_SCALES, dcgan, engine, pictures, timetable, wgan_gp


def _calls(system: System) -> dict[str, list[torch.Tensor]]:
    """Return what each network is called with from now on, in order."""
    seen: dict[str, list[torch.Tensor]] = {name: [] for name in system.nets}
    for name, net in system.nets.items():
        net.register_forward_hook(lambda m, given, out, n=name: seen[n].append(given[0].detach().clone()))
    return seen


def test_both_phases_of_the_dcgan_look_at_the_same_fakes_made_once() -> None:
    ours = engine(dcgan(), DCGAN_SCALES)
    seen = _calls(ours.system)
    ours.step(0, timetable(ours.system).at(0), [{"image": pictures(4)}])
    assert {name: len(calls) for name, calls in seen.items()} == {"gen": 1, "dis": 3}
    assert torch.equal(seen["dis"][1], seen["dis"][2])


def test_a_dcgan_with_several_turns_of_d_makes_fakes_for_each() -> None:
    ours = engine(dcgan(), DCGAN_SCALES)
    seen = _calls(ours.system)
    plan = timetable(ours.system, {"dis": PhaseTiming(repeat=3)})
    ours.step(0, plan.at(0), [{"image": pictures(4, seed=n)} for n in range(3)])
    assert {name: len(calls) for name, calls in seen.items()} == {"gen": 3, "dis": 7}


def test_generator_first_is_a_matter_of_the_schedule() -> None:
    ours = engine(dcgan(), DCGAN_SCALES)
    plan = timetable(ours.system, groups=[["gen"], ["dis"]])
    seen = _calls(ours.system)
    ours.step(0, plan.at(0), [{"image": pictures(4)}])
    assert len(seen["gen"]) == 1 and ours.updates == {"gen": 1, "dis": 1}


def test_each_turn_of_the_critic_has_its_own_pictures_codes_and_places_and_the_generator_its_own_codes() -> None:
    ours = engine(wgan_gp(), WGAN_GP_SCALES)
    seen = _calls(ours.system)
    plan = timetable(ours.system, N_CRITIC)
    batches = [{"image": pictures(4, seed=n)} for n in range(plan.batches(0))]
    assert len(batches) == 5
    ours.step(0, plan.at(0), batches)
    codes, judged = seen["gen"], seen["dis"]
    assert len(codes) == 6 and len({tuple(code.flatten().tolist()) for code in codes}) == 6
    # Three looks a turn (pictures, fakes, between), and the generator's one.
    assert len(judged) == 16
    shown = [judged[3 * turn] for turn in range(5)]
    assert all(any(torch.equal(x, batch["image"]) for x in shown) for batch in batches)


def test_the_critics_report_is_the_distance_of_its_two_means() -> None:
    ours = engine(wgan_gp(), WGAN_GP_SCALES)
    metrics = ours.step(0, timetable(ours.system).at(0), [{"image": pictures(4)}])
    assert metrics["dis/w_distance"].item() == pytest.approx(-(metrics["dis/d_real"] + metrics["dis/d_fake"]).item())


def test_verdicts_are_reported_before_and_after_d_has_learnt() -> None:
    ours = engine(dcgan(), DCGAN_SCALES)
    metrics = ours.step(0, timetable(ours.system).at(0), [{"image": pictures(4)}])
    assert metrics["gen/p_fake"] != metrics["dis/p_fake"] and 0 < metrics["dis/p_real"] < 1


def test_a_uniform_prior_lies_between_minus_one_and_one() -> None:
    system = dcgan(prior="uniform")
    seen = _calls(system)
    noise = engine(system, DCGAN_SCALES).noise.draw(system.noise, 2000, 0)
    with evaluation(system.nets) as nets:
        system.sample(nets, None, noise)
    (code,) = seen["gen"]
    assert -1 <= code.min() < -0.99 and 0.99 < code.max() <= 1
    assert code.mean().abs() < 0.02


@pytest.mark.parametrize(
    ("make", "base_width", "scales", "turns"),
    [(dcgan, 8, DCGAN_SCALES, {}), (wgan_gp, 4, WGAN_GP_SCALES, {"dis": PhaseTiming(repeat=2)})],
)
def test_samples_come_to_have_the_colour_of_the_pictures(make: Any, base_width: int, scales: Any, turns: Any) -> None:
    torch.manual_seed(0)
    system = make(base_width=base_width)
    ours = engine(system, scales, dtype=torch.float32, optimizer={"betas": [0.5, 0.9]}, lr=2e-3)
    plan = timetable(system, turns)
    colour = torch.tensor([0.6, -0.4, 0.1])
    x = (colour[:, None, None] + 0.2 * pictures(64, dtype=torch.float32)).clamp(-1, 1)
    for step in range(90):
        batches = [{"image": x[torch.arange(16) + 16 * ((step + n) % 4)]} for n in range(plan.batches(step))]
        ours.step(step, plan.at(step), batches)
    with evaluation(system.nets) as nets:
        found = system.sample(nets, None, ours.noise.draw(system.noise, 64, 0))["image"]
    assert (found.mean((0, 2, 3)) - colour).abs().max() < 0.15
