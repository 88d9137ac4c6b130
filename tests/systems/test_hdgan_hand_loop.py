"""HDGAN against loops written by hand: equal to the last bit in float64, losses, weights and norm statistics."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hdgan_small import SENTENCE, batch, hdgan, scales
from torch import Tensor

from gansweep.config.settings import PhaseTiming
from gansweep.engine.noise import Noise
from small import engine, timetable

STEPS = 4
SIZES = (16, 32)
COLUMNS = {16: "image_16", 32: "image"}


def _adam(net: torch.nn.Module) -> torch.optim.Adam:
    return torch.optim.Adam(net.parameters(), lr=1e-3, betas=(0.5, 0.999), fused=True)


def _same(a: torch.nn.Module, b: torch.nn.Module) -> None:
    for (name, left), right in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
        assert torch.equal(left, right), name


def _square(scores: Tensor, label: float) -> Tensor:
    return (scores - label).square().mean()


def _discriminate(dis: Any, x: dict[str, Tensor], made: list[Tensor], sentence: Tensor) -> dict[str, Tensor]:
    """Return D's losses by name: real with its sentence, a wrong picture with that sentence, a fake with its own."""
    losses: dict[str, Tensor] = {}
    for size, fake in zip(SIZES, made, strict=True):
        right_pair, (right_image,) = dis(x[COLUMNS[size]], x["embedding"], size)
        wrong_pair, (wrong_image,) = dis(x[f"wrong.{COLUMNS[size]}"], x["embedding"], size)
        fake_pair, (fake_image,) = dis(fake, sentence, size)
        losses[f"d_pair_{size}"] = _square(right_pair, 1) + 0.5 * (_square(wrong_pair, 0) + _square(fake_pair, 0))
        losses[f"d_img_{size}"] = _square(fake_image, 0) + 0.5 * (_square(right_image, 1) + _square(wrong_image, 1))
        losses[f"fake_{size}"] = fake_pair
    return losses


def _generate(dis: Any, painted: tuple[tuple[Tensor, ...], Tensor, Tensor], sentence: Tensor) -> dict[str, Tensor]:
    pictures, mean, log_deviation = painted
    losses: dict[str, Tensor] = {}
    for size, picture in zip(SIZES, pictures, strict=True):
        pair, (image,) = dis(picture, sentence, size)
        losses |= {f"pair_{size}": _square(pair, 1), f"img_{size}": _square(image, 1)}
    variance = (2 * log_deviation).exp()
    losses["kld"] = (-0.5 * (1 + 2.0 * log_deviation - mean.square() - variance)).mean()
    return losses


def _step(adam: torch.optim.Adam, losses: dict[str, Tensor], weights: dict[str, float | None]) -> None:
    adam.zero_grad()
    total: Any = None
    for name, weight in weights.items():
        if name in losses and weight is not None:
            total = weight * losses[name] if total is None else total + weight * losses[name]
    total.backward()
    adam.step()


def _told(ours: dict[str, Tensor], phase: str, turns: list[dict[str, Tensor]]) -> None:
    for name in turns[0]:
        if not name.startswith("fake"):
            by_hand = torch.stack([losses[name].detach() for losses in turns]).mean()
            assert ours[f"{phase}/{name}"].item() == by_hand.item(), name


@pytest.mark.parametrize("fresh", [False, True])
def test_hdgan_equals_the_published_loop(fresh: bool) -> None:
    """Two turns of D a step; G learns from the fakes of D's last turn, or from new ones on the same sentences."""
    torch.manual_seed(0)
    system = hdgan(SIZES, fresh_fakes=fresh)
    weights = scales(system)
    ours = engine(system, weights, optimizer={"betas": [0.5, 0.999]})
    gen, dis = copy.deepcopy(system.nets["gen"]), copy.deepcopy(system.nets["dis"])
    adams = {"gen": _adam(gen), "dis": _adam(dis)}
    plan, noise = timetable(system, {"dis": PhaseTiming(repeat=2)}), Noise(0, dtype=torch.float64)
    for step in range(STEPS):
        batches = [batch(system, seed=2 * step + n) for n in range(2)]
        turns = []
        for draw in (1, 0):  # the turn next to the generator's has batch and draw 0
            x, drawn = batches[draw], noise.draw(system.noise, 4, step, draw)
            suffix = "_dis" if fresh else ""
            painted = gen(x["embedding"], drawn[f"z{suffix}"], drawn[f"eps{suffix}"])
            turns.append(_discriminate(dis, x, [p.detach() for p in painted[0]], x["embedding"]))
            _step(adams["dis"], turns[-1], weights)
        if fresh:
            painted = gen(x["embedding"], drawn["z"], drawn["eps"])
        losses = _generate(dis, painted, x["embedding"])
        _step(adams["gen"], losses, weights)
        metrics = ours.step(step, plan.at(step), batches)
        _told(metrics, "dis", turns)
        _told(metrics, "gen", [losses])
    _same(system.nets["gen"], gen)
    _same(system.nets["dis"], dis)
    assert ours.updates == {"gen": STEPS, "dis": 2 * STEPS}


class Buffer:
    """The journal's buffer as one would write it with lists: the lowest scores stay, pictures as bytes."""

    def __init__(self, capacity: int):
        self.places: list[tuple[float, list[Tensor], Tensor] | None] = [None] * capacity

    def pick(self, drawn: Tensor, count: int) -> list[int]:
        filled = [n for n in drawn.argsort().tolist() if self.places[n] is not None]
        empty = [n for n in drawn.argsort().tolist() if self.places[n] is None]
        return (filled + empty)[:count]

    def score(self, place: int) -> float:
        at = self.places[place]
        return float("inf") if at is None else at[0]

    def put(self, new: list[tuple[float, list[Tensor], Tensor]]) -> None:
        for entry in sorted(new, key=lambda entry: entry[0]):
            place = max(range(len(self.places)), key=self.score)
            if entry[0] < self.score(place):
                self.places[place] = entry


def _stored(picture: Tensor) -> Tensor:
    return ((picture + 1.0) * 127.5).round() / 127.5 - 1.0


def test_the_replay_buffer_of_lowest_scores_equals_one_made_of_lists() -> None:
    torch.manual_seed(0)
    capacity, half, count = 7, 2, 4
    system = hdgan(SIZES, replay={"capacity": capacity, "fraction": 0.5, "policy": "lowest"})
    weights = scales(system)
    ours = engine(system, weights, optimizer={"betas": [0.5, 0.999]})
    gen, dis = copy.deepcopy(system.nets["gen"]), copy.deepcopy(system.nets["dis"])
    adams, buffer = {"gen": _adam(gen), "dis": _adam(dis)}, Buffer(capacity)
    plan, noise = timetable(system), Noise(0, dtype=torch.float64)
    for step in range(8):
        x, drawn = batch(system, seed=step), noise.draw(system.noise, count, step)
        painted = gen(x["embedding"], drawn["z"], drawn["eps"])
        made = [[p[n].detach() for p in painted[0]] for n in range(count)]
        sentences = list(x["embedding"])
        taken = buffer.pick(drawn["replay_pick"], half)
        came_from: dict[int, int] = {}
        for row, place in zip(range(half, count), taken, strict=True):
            at = buffer.places[place]
            if at is not None:
                made[row], sentences[row], came_from[row] = at[1], at[2], place
        shown = [torch.stack([m[n] for m in made]) for n in range(len(SIZES))]
        losses = _discriminate(dis, x, shown, torch.stack(sentences))
        _step(adams["dis"], losses, weights)
        score = torch.stack([losses[f"fake_{size}"].flatten() for size in SIZES]).mean(0).float().tolist()
        for row, place in came_from.items():
            buffer.places[place] = (score[row], made[row], sentences[row])
        fresh = [row for row in range(count) if row not in came_from]
        # Sentences are kept as single floats.
        buffer.put([(score[r], [_stored(p) for p in made[r]], sentences[r].float().double()) for r in fresh])
        generated = _generate(dis, painted, x["embedding"])
        _step(adams["gen"], generated, weights)
        metrics = ours.step(step, plan.at(step), [x])
        _told(metrics, "dis", [losses])
        _told(metrics, "gen", [generated])
        kept = sorted(buffer.score(n) for n in range(capacity))
        assert sorted(system.memory["replay_key"].tolist()) == kept, step
    _same(system.nets["gen"], gen)
    _same(system.nets["dis"], dis)
    assert system.memory["replay_embedding"].shape == (capacity, SENTENCE)
