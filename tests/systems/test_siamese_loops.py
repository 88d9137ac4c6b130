"""The siamese systems against loops written by hand, equal to the last bit in float64; and the vows of a step."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.tape import Tape
from engine.test_vows import Vows
from gansweep.config.settings import PhaseTiming
from gansweep.engine.drive import Eager
from gansweep.engine.graph import Graph
from gansweep.engine.noise import Noise
from gansweep.runs.meter import Meter
from small import engine, timetable
from systems.test_siamese import CODES_SCALES, SCALES, SHARED, batch, codes, siamese

STEPS = 5
# D steps one in two, later one in three, and is looked at in the steps between.
SLOWER = {"dis": PhaseTiming(every=[[0, 2], [2, 3]], watch=True)}
TURNS = [0, 3]


def _adam(net: nn.Module) -> torch.optim.Adam:
    return torch.optim.Adam(net.parameters(), lr=1e-3, betas=(0.5, 0.999), fused=True)


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def _bce(logits: Tensor, label: float) -> Tensor:
    return (F.softplus(logits) - logits * label).mean()


def _pull(first: Tensor, second: Tensor, same: Tensor) -> Tensor:
    squared = (first - second).square().sum(1)
    return torch.where(same, squared, F.relu(2.0 - (squared + 1e-12).sqrt()).square()).mean()


def _compare(metrics: dict[str, Tensor], by_hand: dict[str, Tensor], step: int) -> None:
    for name, value in by_hand.items():
        assert metrics[name].item() == value.item(), (step, name)


def _same(system: Any, by_hand: dict[str, nn.Module]) -> None:
    for net, other in by_hand.items():
        for (name, left), right in zip(system.nets[net].state_dict().items(), other.state_dict().values(), strict=True):
            assert torch.equal(left, right), name


@pytest.mark.parametrize(("trunk", "kind"), [("plain", "linear"), ("residual", "conv_elu"), ("plain", "sr")])
def test_siamese_equals_the_journals_loop(trunk: str, kind: str) -> None:
    system = siamese(trunk=trunk, kind=kind)
    ours = engine(system, SCALES, optimizer={"betas": [0.5, 0.999]})
    nets: dict[str, Any] = copy.deepcopy(system.nets)
    gen, dis = nets["gen"], nets["dis"]
    adams, plan = {name: _adam(net) for name, net in nets.items()}, timetable(system, SLOWER)
    for step in range(STEPS):
        x = batch(system, seed=step)
        d_real = _bce(dis(x["real.image"]), 1.0)
        raw, identity, pose, light = gen(x["image"])
        picture = raw.tanh()
        d_fake = _bce(dis(picture.detach()), 0.0)
        if step in TURNS:
            _step(adams["dis"], 1.0 * d_real + 1.5 * d_fake)
        others = gen(x["pair.image"], decode=False)
        logit = dis(picture)
        found = {
            f"contra_{term}": _pull(own, other, x[name] == x[f"pair.{name}"])
            for term, name, own, other in zip(
                ("id", "pose", "light"), ("identity", "pose", "light"), (identity, pose, light), others, strict=True
            )
        }
        found |= {"class_pose": F.cross_entropy(pose, x["pose"]), "class_light": F.cross_entropy(light, x["light"])}
        apart = picture - x["target.image"]
        found |= {"l1": apart.abs().mean(), "mse": (picture - x["target.image"]).square().mean()}
        found["adv"] = _bce(logit, 1.0)
        total = torch.zeros((), dtype=torch.float64)
        for name, value in found.items():
            total = total + SCALES[name] * value
        _step(adams["gen"], total)
        metrics = ours.step(step, plan.at(step), [x])
        _compare(
            metrics, {f"gen/{k}": v for k, v in found.items()} | {"dis/d_real": d_real, "dis/d_fake": d_fake}, step
        )
        for name, value in {"acc_real": d_real, "fooled": logit, "diversity": logit}.items():
            assert metrics[f"{'dis' if name == 'acc_real' else 'gen'}/{name}"].item() >= 0 and value.isfinite().all()
    _same(system, nets)
    assert ours.updates == {"gen": STEPS, "dis": len(TURNS)}


def test_the_wasserstein_variant_equals_a_loop_that_clamps() -> None:
    """D at the real minus D at the fake, every weight of D within 0.01 after its turns, the contour under mse."""
    system = siamese(kind="sr", gan_loss="wgan", clip=0.01, contour="pictures")
    scales = {**dict.fromkeys(SCALES), "d_real": 1.0, "d_fake": 1.0, "adv": 1.0, "mse": 5.0}
    given = {"kind": "rmsprop", "alpha": 0.99}
    ours = engine(system, scales, lr=5e-5, optimizer=given)
    nets: dict[str, Any] = copy.deepcopy(system.nets)
    rms = {name: torch.optim.RMSprop(net.parameters(), lr=5e-5, alpha=0.99) for name, net in nets.items()}
    plan = timetable(system, {"dis": PhaseTiming(repeat=2)})
    for step in range(STEPS):
        batches = [batch(system, seed=10 * step + n) for n in range(plan.batches(step))]
        gaps = []
        for turn in (1, 0):
            x = batches[turn]
            real = nets["dis"](x["real.image"]).mean()
            picture = nets["gen"](x["image"])[0].tanh()
            fake = nets["dis"](picture.detach()).mean()
            _step(rms["dis"], fake - real)
            with torch.no_grad():
                for parameter in nets["dis"].parameters():
                    parameter.clamp_(-0.01, 0.01)
            gaps.append((real - fake).detach())
        mse = (x["mask"] * picture - x["mask"] * x["target.image"]).square().mean()
        adv = -nets["dis"](picture).mean()
        _step(rms["gen"], 5 * mse + adv)
        metrics = ours.step(step, plan.at(step), batches)
        for name, value in {"gen/mse": mse, "gen/adv": adv, "dis/w_distance": torch.stack(gaps).mean()}.items():
            torch.testing.assert_close(metrics[name], value.detach().reshape(1), rtol=1e-7, atol=1e-12)
    assert max(p.abs().max().item() for p in system.nets["dis"].parameters()) <= 0.01
    for left, right in zip(system.nets["dis"].parameters(), nets["dis"].parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("labels", ["real", "input"])
def test_27_july_equals_a_loop_by_hand(labels: str) -> None:
    system = codes(class_labels=labels)
    ours = engine(system, CODES_SCALES, optimizer={"betas": [0.5, 0.999]})
    nets: dict[str, Any] = copy.deepcopy(system.nets)
    gen, dis = nets["gen"], nets["dis"]
    adams, plan = {name: _adam(net) for name, net in nets.items()}, timetable(system, SLOWER)
    noise, whose = Noise(0, dtype=torch.float64), "real." if labels == "real" else ""
    for step in range(STEPS):
        x = batch(system, seed=step)
        of_real = dis(x["real.image"])
        z = 2 * noise.draw(system.noise, 6, step)["prior"] - 1
        pose, light = (F.one_hot(x[f"target.{name}"], n).double() for name, n in (("pose", 9), ("light", 20)))
        picture = gen(x["image"], z, pose, light).tanh()
        d = {"d_real": _bce(of_real[3], 1.0), "d_fake": _bce(dis(picture.detach())[3], 0.0)}
        for n, (term, name) in enumerate((("id", "identity"), ("pose", "pose"), ("light", "light"))):
            d[f"d_{term}"] = F.cross_entropy(of_real[n], x[whose + name])
        if step in TURNS:
            _step(adams["dis"], sum((CODES_SCALES[k] * v for k, v in d.items()), torch.zeros((), dtype=torch.float64)))
        said = dis(picture)
        g = {"l1": (picture - x["target.image"]).abs().mean(), "mse": (picture - x["target.image"]).square().mean()}
        g["adv"] = _bce(said[3], 1.0)
        g["class_id"] = F.cross_entropy(said[0], x["identity"])
        g["class_pose"] = F.cross_entropy(said[1], x["target.pose"])
        g["class_light"] = F.cross_entropy(said[2], x["target.light"])
        _step(adams["gen"], sum((CODES_SCALES[k] * v for k, v in g.items()), torch.zeros((), dtype=torch.float64)))
        metrics = ours.step(step, plan.at(step), [x])
        _compare(metrics, {f"dis/{k}": v for k, v in d.items()} | {f"gen/{k}": v for k, v in g.items()}, step)
    _same(system, nets)


EVERY = dict.fromkeys(SCALES, 1.0)
CASES: dict[str, Callable[[], Any]] = {
    "all terms, contour": lambda: engine(siamese(contour="error"), EVERY, ema_decay=0.9, optimizer={"clip_norm": 0.5}),
    "residual, bilinear, accumulating": lambda: engine(
        siamese(trunk="residual", contour="pictures", decoder={**SHARED["decoder"], "upsample": "bilinear"}),
        {**EVERY, "gp": None, "r1": None},
        micro_batches=2,
    ),
    "clipped critic": lambda: engine(
        siamese(kind="sr", gan_loss="wgan", clip=0.01), {**EVERY, "gp": None}, optimizer={"kind": "rmsprop"}
    ),
    "27 July": lambda: engine(codes(), CODES_SCALES, ema_decay=0.9),
    "27 July, input's labels, clipped": lambda: engine(
        codes(gan_loss="wgan", clip=0.01, class_labels="input", prior="normal"), CODES_SCALES
    ),
}


@pytest.mark.parametrize("name", list(CASES))
def test_a_step_reads_nothing_back_and_draws_only_from_its_own_streams(name: str) -> None:
    ours = CASES[name]()
    plan = timetable(ours.system, {"dis": PhaseTiming(every=2, watch=ours.micro_batches == 1)})
    x = batch(ours.system)
    before = torch.get_rng_state()
    ours.step(0, plan.at(0), [x])  # optimizers make their state in the first step, once
    with Vows():
        for step in (1, 2):
            metrics = ours.step(step, plan.at(step), [x])
    assert all(torch.isfinite(value) for value in metrics.values()), metrics
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", ["all terms, contour", "clipped critic", "27 July"])
def test_recorded_steps_are_the_eager_ones_learning_and_watching(name: str) -> None:
    tape, runs = Tape(), []
    for wrap in (lambda ours: Graph(ours, dict, tape), lambda ours: Eager(ours, dict)):
        torch.manual_seed(0)
        ours = CASES[name]()
        plan, meter, driver = timetable(ours.system, SLOWER), Meter(), wrap(ours)
        for step in range(STEPS):
            driver.take(step, plan.at(step), [batch(ours.system, seed=step)], meter)
        runs.append((ours.tensors(), meter.read()))
    assert tape.recordings == 2  # a step in which D learns, and one in which it is looked at
    (left, told), (right, asked) = runs
    assert told == pytest.approx(asked, rel=1e-9, abs=1e-12)
    for key, value in left.items():
        torch.testing.assert_close(value, right[key], rtol=1e-9, atol=1e-11, msg=key)
