"""The talking face against loops written by hand, in float64, to the last bit; the vows; windows of adversaries."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from test_talkingface import (
    BY_FRAME,
    FRAMES,
    GEN,
    ID,
    ONE_FRAME,
    SCALES,
    SEQ,
    SIZE_PX,
    SPEECH,
    SYNC,
    clips,
    talkingface,
)
from torch.utils._python_dispatch import TorchDispatchMode

from gansweep.config.settings import PhaseTiming
from gansweep.engine.noise import Noise
from small import engine, timetable

STEPS = 4
Batch = dict[str, torch.Tensor]
# Norms with statistics, so that these are compared too.
BATCH_SPEECH = {**SPEECH, "conv": [{**entry, "norm": "batch"} for entry in SPEECH["conv"]]}  # type: ignore[attr-defined]
NORMED = {"gen": {**GEN, "speech": BATCH_SPEECH}, "id": {**ID, "norm": "batch"}, "seq": {**SEQ, "norm": "batch"}}


def _bce(logits: torch.Tensor, label: float) -> torch.Tensor:
    return (F.softplus(logits) - logits * label).mean()


def _update(adam: torch.optim.Adam, loss: torch.Tensor) -> None:
    adam.zero_grad()
    loss.backward()
    adam.step()


def _ears(audio: torch.Tensor, first: int, last: int) -> torch.Tensor:
    """Speech of frames first … last, silence outside of the clip, end to end."""
    silence = torch.zeros_like(audio[0])
    return torch.cat([audio[n] if 0 <= n < len(audio) else silence for n in range(first, last + 1)])


def _clip_losses(nets: Any, made: torch.Tensor, x: Batch) -> dict[str, Callable[[], torch.Tensor]]:
    """Everything that a step by clip charges, sample by sample and frame by frame."""
    stills = torch.stack([still for still in x["still"] for _ in range(FRAMES)])
    speech, wrong = (torch.stack([_ears(a, -1, 2) for a in x[name]]) for name in ("audio", "wrong.audio"))
    lips = lambda frames: frames[:, :2, :, SIZE_PX // 2 :]  # noqa: E731
    cut, face = made.detach(), made.flatten(0, 1)
    return {
        "id/d_id_real": lambda: _bce(nets["id"](x["frames"].flatten(0, 1), stills), 1.0),
        "id/d_id_fake": lambda: _bce(nets["id"](cut.flatten(0, 1), stills), 0.0),
        "sync/d_sync_real": lambda: _bce(nets["sync"](lips(x["frames"]), speech), 1.0),
        "sync/d_sync_fake": lambda: _bce(nets["sync"](lips(cut), speech), 0.0),
        "sync/d_sync_wrong": lambda: _bce(nets["sync"](lips(x["frames"]), wrong), 0.0),
        "seq/d_seq_real": lambda: _bce(nets["seq"](x["frames"]), 1.0),
        "seq/d_seq_fake": lambda: _bce(nets["seq"](cut), 0.0),
        "gen/id": lambda: _bce(nets["id"](face, stills), 1.0),
        "gen/sync": lambda: _bce(nets["sync"](lips(made), speech), 1.0),
        "gen/seq": lambda: _bce(nets["seq"](made), 1.0),
        "gen/l1": lambda: (face - x["frames"].flatten(0, 1)).abs().mean(),
    }


def _frame_losses(nets: Any, made: torch.Tensor, x: Batch, frames: list[int]) -> dict[str, Callable[[], torch.Tensor]]:
    """Everything that a step by frame charges; `made` are the two frames that end at each of `frames`."""
    starts = [max(frame - 1, 0) for frame in frames]
    run = torch.stack([clip[s : s + 2] for clip, s in zip(x["frames"], starts, strict=True)])
    drawn = lambda clips: torch.stack([c[f - s] for c, f, s in zip(clips, frames, starts, strict=True)])  # noqa: E731
    speech, wrong = (
        torch.stack([_ears(a, f - 1, f + 1) for a, f in zip(x[name], frames, strict=True)])
        for name in ("audio", "wrong.audio")
    )
    lips = lambda pictures: pictures[:, None, :, SIZE_PX // 2 :]  # noqa: E731
    cut, still, real, face = made.detach(), x["still"], drawn(run), drawn(made)
    return {
        "id/d_id_real": lambda: _bce(nets["id"](real, still), 1.0),
        "id/d_id_fake": lambda: _bce(nets["id"](drawn(cut), still), 0.0),
        "sync/d_sync_real": lambda: _bce(nets["sync"](lips(real), speech), 1.0),
        "sync/d_sync_fake": lambda: _bce(nets["sync"](lips(drawn(cut)), speech), 0.0),
        "sync/d_sync_wrong": lambda: _bce(nets["sync"](lips(real), wrong), 0.0),
        "seq/d_seq_real": lambda: _bce(nets["seq"](run), 1.0),
        "seq/d_seq_fake": lambda: _bce(nets["seq"](cut), 0.0),
        "gen/id": lambda: _bce(nets["id"](face, still), 1.0),
        "gen/sync": lambda: _bce(nets["sync"](lips(drawn(made)), speech), 1.0),
        "gen/seq": lambda: _bce(nets["seq"](made), 1.0),
        "gen/l1": lambda: (face - real).abs().mean(),
    }


def _make(nets: Any, x: Batch, eps: torch.Tensor, starts: list[int], count: int) -> torch.Tensor:
    """The frames from each start on, one call of the generator."""
    speech = [
        torch.stack([_ears(a, n - 1, n + 1) for n in range(s, s + count)])
        for a, s in zip(x["audio"], starts, strict=True)
    ]
    drawn = [e[s : s + count] for e, s in zip(eps, starts, strict=True)]
    return nets["gen"](x["still"], torch.stack(speech), torch.stack(drawn)).tanh()


@pytest.mark.parametrize("case", ["clip", "frame"])
def test_the_talking_face_equals_the_journals_loop(case: str) -> None:
    system = talkingface(**(NORMED if case == "clip" else {**NORMED, **BY_FRAME, **ONE_FRAME}))
    ours = engine(system, SCALES)
    nets = copy.deepcopy(system.nets)
    adams = {
        name: torch.optim.Adam(net.parameters(), lr=1e-3, betas=(0.9, 0.999), fused=True) for name, net in nets.items()
    }
    plan, noise = timetable(system), Noise(0, dtype=torch.float64)
    for step in range(STEPS):
        x = clips(4, seed=step)
        drawn = noise.draw(system.noise, 4, step)
        if case == "clip":
            losses = _clip_losses(nets, _make(nets, x, drawn["eps"], [0] * 4, FRAMES), x)
        else:
            frames = [int(u * FRAMES) for u in drawn["at"]]
            made = _make(nets, x, drawn["eps"], [max(f - 1, 0) for f in frames], 2)
            losses = _frame_losses(nets, made, x, frames)
        by_hand: dict[str, float] = {}
        for phase in ("id", "sync", "seq", "gen"):
            total: Any = 0.0
            for name in [name for name in losses if name.startswith(phase + "/")]:
                value = losses[name]()
                by_hand[name] = value.item()
                total = total + SCALES[name.split("/")[1]] * value  # type: ignore[operator]
            _update(adams[phase], total)
        metrics = ours.step(step, plan.at(step), [x])
        assert {name: metrics[name].item() for name in by_hand} == by_hand, step
    for name, net in system.nets.items():
        for (key, left), right in zip(net.state_dict().items(), nets[name].state_dict().values(), strict=True):
            assert torch.equal(left, right), (name, key)


# Vows


class Vows(TorchDispatchMode):
    """Refuses host reads, data-dependent shapes and global random draws (see tests/engine/test_vows.py)."""

    READS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero")
    DRAWS = (
        "rand",
        "randn",
        "randint",
        "randperm",
        "bernoulli",
        "bernoulli_",
        "normal",
        "normal_",
        "uniform_",
        "dropout",
    )

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        assert name not in self.READS, f"host read: {func}"
        if name == "index":
            assert all(t is None or t.dtype not in (torch.bool, torch.uint8) for t in args[1]), f"boolean index: {func}"
        assert name not in self.DRAWS or (kwargs or {}).get("generator") is not None, f"global draw: {func}"
        return func(*args, **(kwargs or {}))


VOWED: dict[str, Callable[[], Any]] = {
    "clip": lambda: engine(talkingface(**NORMED), SCALES, ema_decay=0.9, optimizer={"clip_norm": 0.5}),
    "clip, accumulating, remade": lambda: engine(talkingface(remake=True), SCALES, micro_batches=2),
    "clip, cosine, leaks, detached": lambda: engine(
        talkingface(sync={**SYNC, "kind": "cosine"}, detached=["seq"]),
        {**SCALES, "d_sync_leak": 1.0, "d_seq_leak": 1.0},
    ),
    "frame, gru": lambda: engine(talkingface(**BY_FRAME, **ONE_FRAME, seq={**SEQ, "kind": "gru"}), SCALES),
    "frame, accumulating": lambda: engine(talkingface(**BY_FRAME, noise_per="clip"), SCALES, micro_batches=2),
    "clip, hinge, spectral": lambda: engine(talkingface(gan_loss="hinge", id={**ID, "norm": "spectral"}), SCALES),
}


@pytest.mark.parametrize("name", VOWED)
def test_a_step_reads_nothing_back_and_draws_only_from_its_own_streams(name: str) -> None:
    ours = VOWED[name]()
    plan, before = timetable(ours.system), torch.get_rng_state()
    ours.step(0, plan.at(0), [clips(4)])
    with Vows():
        for step in (1, 2):
            metrics = ours.step(step, plan.at(step), [clips(4)])
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.isfinite(value) for value in metrics.values()), metrics


def test_an_adversary_has_its_window() -> None:
    ours = engine(talkingface(), SCALES, curves={"scales.seq": {"kind": "switch", "at_step": 2}})
    plan = timetable(ours.system, {"seq": PhaseTiming(**{"from": 2}), "sync": PhaseTiming(until=1)})
    heard = []
    for step in range(3):
        metrics = ours.step(step, plan.at(step), [clips(2)])
        heard.append(metrics["gen/seq_weighted"].item() > 0)
    assert ours.updates == {"gen": 3, "id": 3, "sync": 1, "seq": 1} and heard == [False, False, True]
