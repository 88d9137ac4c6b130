"""The replay buffer: what it shows, what it keeps under each policy, and that a checkpoint brings all of it back."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from hdgan_small import SENTENCE, batch, hdgan, scales
from torch import Tensor

from gansweep.config.settings import PhaseTiming
from gansweep.engine.handle import evaluation
from gansweep.engine.step import EagerEngine
from gansweep.systems.hdgan_replay import POLICIES, Replay
from small import engine, timetable

SIZES = (16,)


class Seen:
    """What the buffer looks at, by hand: memory, noise, and views by name."""

    def __init__(self, replay: Replay, pick: list[float], drop: list[float] | None = None):
        self.memory = replay.memory
        self.noise = {"replay_pick": torch.tensor(pick)} | ({} if drop is None else {"replay_drop": torch.tensor(drop)})
        self.views: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        return self.views[name]


def _buffer(policy: str, capacity: int = 4) -> Replay:
    return Replay({"capacity": capacity, "fraction": 0.5, "policy": policy}, SIZES, 3, SENTENCE)


def _turn(replay: Replay, level: float, scores: list[float], pick: list[float], drop: Any = None) -> Seen:
    """Show four fakes, all of one grey `level` in [-1, 1], with D's `scores`; the buffer takes in what it wants."""
    x = Seen(replay, pick, drop)
    shown = replay.mix((torch.full((4, 3, 16, 16), level),), torch.full((4, SENTENCE), level), x)  # type: ignore[arg-type]
    x.views |= {"shown": shown, "fake_16": (torch.tensor(scores)[:, None], ())}
    x.views["replay_change"] = replay.views["replay_change"](None, x)  # type: ignore[arg-type]
    new = {name: keep(None, x) for name, keep in replay.keeps.items()}  # type: ignore[arg-type]
    for name, value in new.items():
        assert value.dtype == replay.memory[name].dtype and value.shape == replay.memory[name].shape
        replay.memory[name].copy_(value)
    return x


def _levels(replay: Replay) -> list[float]:
    """Return the grey of each place, from the picture; the sentence that came with it must say the same."""
    pictures = replay.memory["replay_image_16"][:, 0, 0, 0].float() / 127.5 - 1
    filled = ~replay.memory["replay_key"].isinf()
    assert (pictures - replay.memory["replay_embedding"][:, 0]).abs()[filled].max() < 1 / 127
    return [round(level, 1) for level in pictures[filled].tolist()]


PICK = [0.1, 0.2, 0.3, 0.4]


def test_an_empty_buffer_shows_nothing_but_fresh_fakes() -> None:
    replay = _buffer("lowest")
    x = _turn(replay, 0.5, [0.4, 0.3, 0.2, 0.1], PICK)
    assert not x["shown"].replayed.any() and (x["shown"].pictures[0] == 0.5).all()
    assert sorted(replay.memory["replay_key"].tolist()) == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_half_a_batch_comes_from_the_buffer_with_its_sentences() -> None:
    replay = _buffer("lowest")
    _turn(replay, 0.5, [0.4, 0.3, 0.2, 0.1], PICK)
    x = _turn(replay, -0.5, [0.9, 0.9, 0.9, 0.9], [0.4, 0.3, 0.2, 0.1])
    shown = x["shown"]
    assert shown.slots.tolist() == [3, 2] and shown.replayed.all()
    assert [round(v, 1) for v in shown.pictures[0][:, 0, 0, 0].tolist()] == [-0.5, -0.5, 0.5, 0.5]
    assert shown.sentence[:, 0].tolist() == [-0.5, -0.5, 0.5, 0.5]


def test_lowest_keeps_what_scored_lowest_and_renews_the_scores_of_what_is_shown() -> None:
    replay = _buffer("lowest")
    _turn(replay, 0.5, [0.4, 0.3, 0.2, 0.1], PICK)
    # Places 0 and 1 hold 0.1 and 0.2. They are shown and now score 0.7 and 0.15; the fresh ones score 0.35 and 0.05.
    order = replay.memory["replay_key"].argsort().tolist()
    pick = [0.0] * 4
    for rank, place in enumerate(order):
        pick[place] = rank / 4
    _turn(replay, -0.5, [0.35, 0.05, 0.7, 0.15], pick)
    # 0.3 and 0.4 were not shown: of 0.7, 0.15, 0.3, 0.4 and the fresh 0.35, 0.05 the four lowest stay.
    assert sorted(replay.memory["replay_key"].tolist()) == pytest.approx([0.05, 0.15, 0.3, 0.35])
    assert sorted(_levels(replay)) == [-0.5, -0.5, 0.5, 0.5]
    before = replay.memory["replay_key"].clone()
    _turn(replay, 0.9, [0.99, 0.98, *before[[0, 1]].tolist()], PICK)
    assert torch.equal(replay.memory["replay_key"], before) and 0.9 not in _levels(replay)


def test_fifo_keeps_the_newest() -> None:
    replay = _buffer("fifo")
    for turn, level in enumerate((0.5, -0.5, 0.9)):
        _turn(replay, level, [0.0, 0.0, 0.0, 0.0], PICK)
        expected = [[0.5] * 4, [-0.5, -0.5, 0.5, 0.5], [-0.5, -0.5, 0.9, 0.9]][turn]
        assert sorted(_levels(replay)) == expected
    assert sorted(replay.memory["replay_key"].tolist()) == [0, 0, 1, 1]


def test_random_drops_the_places_that_are_drawn() -> None:
    replay = _buffer("random")
    _turn(replay, 0.5, [0.0] * 4, PICK, [0.1, 0.2, 0.3, 0.4])
    _turn(replay, -0.5, [0.0] * 4, PICK, [0.1, 0.9, 0.8, 0.2])
    assert _levels(replay) == [0.5, -0.5, -0.5, 0.5]
    _turn(replay, 0.9, [0.0] * 4, PICK, [0.7, 0.9, 0.1, 0.2])
    assert _levels(replay) == [0.9, 0.9, -0.5, 0.5]


def test_a_batch_larger_than_the_buffer_replays_no_more_than_there_is() -> None:
    replay = _buffer("lowest", capacity=1)
    _turn(replay, 0.5, [0.4, 0.3, 0.2, 0.1], [0.5])
    x = _turn(replay, -0.5, [0.9, 0.9, 0.9, 0.2], [0.5])
    assert x["shown"].pictures[0][:, 0, 0, 0].tolist() == pytest.approx([-0.5, -0.5, -0.5, 0.5], abs=0.01)
    assert replay.memory["replay_key"].tolist() == pytest.approx([0.2])


def _run(ours: EagerEngine, steps: range) -> dict[str, Tensor]:
    plan = timetable(ours.system, {"dis": PhaseTiming(repeat=2)})
    metrics: dict[str, Tensor] = {}
    for step in steps:
        batches = [batch(ours.system, seed=2 * step + n) for n in range(2)]  # type: ignore[arg-type]
        metrics = ours.step(step, plan.at(step), batches)
    return metrics


def _engine(policy: str) -> EagerEngine:
    torch.manual_seed(0)
    system = hdgan((16, 32), replay={"capacity": 9, "fraction": 0.5, "policy": policy})
    return engine(system, scales(system))


@pytest.mark.parametrize("policy", POLICIES)
def test_a_checkpoint_brings_the_buffer_back_and_the_run_goes_on_alike(policy: str) -> None:
    whole, first, second = (_engine(policy) for _ in range(3))
    _run(whole, range(6))
    _run(first, range(3))
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    for name, tensor in first.system.memory.items():
        assert torch.equal(second.system.memory[name], tensor)
    metrics = _run(second, range(3, 6))
    for name, tensor in whole.system.memory.items():
        assert torch.equal(second.system.memory[name], tensor), name
    for net, module in whole.system.nets.items():
        for (key, left), right in zip(
            module.state_dict().items(), second.system.nets[net].state_dict().values(), strict=True
        ):
            assert torch.equal(left, right), key
    assert metrics["dis/replay_filled"] == 1 and metrics["dis/score_replayed"] != 0


def test_looking_at_held_out_samples_leaves_the_buffer_alone() -> None:
    from gansweep.engine.look import Looker, StepContext
    from gansweep.engine.schedule import Entry

    ours = _engine("lowest")
    _run(ours, range(2))
    before = {name: tensor.clone() for name, tensor in ours.system.memory.items()}
    context = StepContext([(Entry("dis", 0, 0, watch=True),)], ours.system.shared, ours.updates)
    x = batch(ours.system, 3)  # type: ignore[arg-type]
    with evaluation(ours.system.nets) as nets:
        noise = ours.noise.draw(ours.system.noise, 3, 0)
        look = Looker(nets, ours.phases["dis"], context, 0, 0, x, noise, ours.knobs.group("knobs"), ours.system.memory)
        assert all(torch.isfinite(value) for value in ours.terms(ours.phases["dis"], look).values())
    assert all(torch.equal(tensor, before[name]) for name, tensor in ours.system.memory.items())
