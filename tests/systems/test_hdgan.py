"""HDGAN as a system: its vows, recording, samples, requests that are refused, and that it learns to read sentences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hdgan_small import batch, hdgan, scales
from torch import Tensor

from engine.tape import Tape
from engine.test_vows import Vows
from gansweep.config.settings import PhaseTiming
from gansweep.engine.drive import Eager
from gansweep.engine.graph import Graph
from gansweep.engine.handle import evaluation
from gansweep.engine.step import EagerEngine
from gansweep.runs.meter import Meter
from small import engine, timetable

REPLAY = {policy: {"capacity": 5, "fraction": 0.5, "policy": policy} for policy in ("lowest", "random", "fifo")}


def _made(options: dict[str, Any] | None = None, **changes: Any) -> Callable[[], EagerEngine]:
    def make() -> EagerEngine:
        torch.manual_seed(0)
        system = hdgan(**changes)
        return engine(system, scales(system), **(options or {}))

    return make


CASES: dict[str, Callable[[], EagerEngine]] = {
    "as published": _made({"ema_decay": 0.9, "optimizer": {"clip_norm": 0.5, "betas": [0.5, 0.999]}}),
    "one output": _made(sizes_px=(16,)),
    "new fakes for G": _made(fresh_fakes=True),
    "accumulating": _made({"micro_batches": 2}),
    "replay, lowest": _made(replay=REPLAY["lowest"]),
    "replay, random": _made(replay=REPLAY["random"]),
    "replay, fifo": _made(replay=REPLAY["fifo"], fresh_fakes=True),
    "several sentences": _made(captions=5, num_emb=2),
    "stages": _made(gen={"arch": "multistage"}),
    "skips": _made(gen={"skip": "upsample"}),
    "short skips, layer norm": _made(gen={"skip": "short", "norm": "layer"}, dis={"norm": "layer", "joint_1x1": False}),
    "shared trunk": _made(dis={"share_trunk": True}),
    "layer norm as coded": _made(gen={"norm": "layer_as_coded"}, dis={"norm": "layer_as_coded"}),
    "spectral": _made(dis={"norm": "spectral"}, gan_loss="hinge"),
    "clipped critic": _made({"optimizer": {"kind": "rmsprop"}}, gan_loss="wgan", clip=0.01),
}
TWICE = {"dis": PhaseTiming(repeat=2)}


def _raws(system: Any, step: int, count: int) -> list[dict[str, Tensor]]:
    return [batch(system, seed=10 * step + n) for n in range(count)]


@pytest.mark.parametrize("case", CASES)
def test_a_step_reads_nothing_back_and_draws_only_from_its_own_streams(case: str) -> None:
    ours = CASES[case]()
    plan = timetable(ours.system, TWICE)
    ours.step(0, plan.at(0), _raws(ours.system, 0, 2))
    with Vows():
        for step in (1, 2):
            metrics = ours.step(step, plan.at(step), _raws(ours.system, step, 2))
    assert all(torch.isfinite(value) for value in metrics.values()), metrics


@pytest.mark.parametrize("case", ["as published", "replay, lowest", "replay, random", "shared trunk"])
def test_replayed_steps_are_the_eager_engines(case: str) -> None:
    ours, theirs = CASES[case](), CASES[case]()
    plan, left, right = timetable(ours.system, TWICE), Meter(), Meter()
    for driver, meter in ((Graph(ours, dict, Tape()), left), (Eager(theirs, dict), right)):
        for step in range(4):
            driver.take(step, plan.at(step), _raws(ours.system, step, 2), meter)
    ours_read, theirs_read = left.read(), right.read()
    assert ours_read == pytest.approx(theirs_read, rel=1e-9, abs=1e-12)
    others = theirs.tensors()
    for name, value in ours.tensors().items():
        torch.testing.assert_close(value, others[name], rtol=1e-9, atol=1e-11, msg=name)


def test_both_phases_use_one_forward_of_the_generator_a_turn_unless_told_otherwise() -> None:
    for fresh, forwards in ((False, 3), (True, 4)):
        ours = _made(fresh_fakes=fresh)()
        seen: list[int] = []
        ours.system.nets["gen"].register_forward_hook(lambda *given, at=seen: at.append(1))
        ours.step(0, timetable(ours.system, {"dis": PhaseTiming(repeat=3)}).at(0), _raws(ours.system, 0, 3))
        assert len(seen) == forwards


def test_samples_are_of_every_size_the_finest_last_and_vary_with_noise_and_sentence() -> None:
    system = hdgan((16, 64))
    ours = engine(system, scales(system))
    x, noise = batch(system), ours.noise.draw(system.noise, 4, 0)
    with evaluation(system.nets) as nets:
        found = system.sample(nets, x, noise)
        again = system.sample(nets, x, noise)
        other = system.sample(nets, {"embedding": -x["embedding"]}, noise)
        redrawn = system.sample(nets, x, ours.noise.draw(system.noise, 4, 1))
        with pytest.raises(ValueError, match="needs a batch with an embedding"):
            system.sample(nets, None, noise)
    assert {name: tuple(picture.shape) for name, picture in found.items()} == {
        "16": (4, 3, 16, 16),
        "64": (4, 3, 64, 64),
    }
    assert list(found)[-1] == "64" and max(p.abs().max() for p in found.values()) <= 1
    for name, picture in found.items():
        assert torch.equal(picture, again[name])
        assert not torch.equal(picture, other[name]) and not torch.equal(picture, redrawn[name])


def test_a_turn_takes_the_mean_of_some_sentences_the_same_for_both_phases_and_a_sample_takes_the_first() -> None:
    system = hdgan((16,), captions=5, num_emb=2)
    ours = engine(system, scales(system))
    seen: dict[str, list[Tensor]] = {"gen": [], "dis": []}
    for name, at in (("gen", 0), ("dis", 1)):
        system.nets[name].register_forward_hook(lambda m, given, out, n=name, a=at: seen[n].append(given[a].clone()))
    assert system.inputs["embedding"].shape == (5, 12)
    batches = _raws(system, 0, 2)
    ours.step(0, timetable(system, TWICE).at(0), batches)
    # Two turns of D, each with one forward of G and three of its own, then G's own look at D.
    assert len(seen["gen"]) == 2 and len(seen["dis"]) == 7
    turns = [seen["dis"][:3], seen["dis"][3:]]
    for of_turn, painted, x in zip(turns, seen["gen"], reversed(batches), strict=True):
        assert all(torch.equal(sentence, painted) for sentence in of_turn)
        pairs = [(a, b) for a in range(5) for b in range(a)]
        means = torch.stack([0.5 * (x["embedding"][:, a] + x["embedding"][:, b]) for a, b in pairs], 1)
        distance = (means - painted[:, None]).abs().amax(2)
        assert distance.amin(1).max() < 1e-12
        assert len(set(distance.argmin(1).tolist())) > 1  # each picture has its own draw
    with evaluation(system.nets) as nets:
        system.sample(nets, batches[0], ours.noise.draw(system.noise, 4, 0))
    assert torch.equal(seen["gen"][-1], batches[0]["embedding"][:, 0])


def test_inputs_are_named_as_the_data_name_them() -> None:
    assert list(hdgan((16, 32, 64)).inputs) == [
        "image",
        "image_32",
        "image_16",
        "embedding",
        "wrong.image",
        "wrong.image_32",
        "wrong.image_16",
    ]
    assert list(hdgan((32,)).inputs) == ["image", "embedding", "wrong.image"]


def test_overfitting_a_handful_of_captioned_pictures() -> None:
    """Eight sentences, each of one colour: D learns to match them, and G, against the D of step 60, to please it."""
    torch.manual_seed(0)
    system = hdgan((16,), gen={"hid_dim": 4}, dis={"hid_dim": 4, "text_code": 8})
    weights = {**scales(system), "d_pair_16": 1.0, "d_img_16": 1.0, "pair_16": 1.0, "img_16": 1.0, "kld": 0.1}
    ours = engine(system, weights, dtype=torch.float32, lr=2e-3, optimizer={"betas": [0.5, 0.999]})
    x = batch(system, 8, dtype=torch.float32)
    colours = torch.linspace(-0.8, 0.8, 8)[torch.tensor([[0, 5, 2, 7, 4, 1, 6, 3], [3, 6, 1, 4, 7, 2, 5, 0]])].T
    x["image"][:, :2] = colours[:, :, None, None] + 0.05 * x["image"][:, :2]
    x["wrong.image"] = x["image"].roll(3, 0)
    plan = timetable(system, {"dis": PhaseTiming(until=60)})
    found = [ours.step(step, plan.at(step), [x]) for step in range(120)]

    def mean(name: str, start: int, end: int) -> float:
        return torch.stack([metrics[name] for metrics in found[start:end]]).mean().item()

    # Without reading the sentence D could not get below 0.5.
    assert mean("dis/d_pair_16", 50, 60) < 0.2 * mean("dis/d_pair_16", 0, 3)
    assert mean("dis/gap_16", 0, 3) < 0.1 < 0.7 < mean("dis/gap_16", 50, 60)
    assert mean("gen/pair_16", 110, 120) < 0.4 * mean("gen/pair_16", 57, 60)
    assert mean("gen/img_16", 110, 120) < 0.4 * mean("gen/img_16", 57, 60)
