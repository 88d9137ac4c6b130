"""The ladder: the workloads of the GPU list, and every way of taking their step, from the plain loop to all we have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from gan_loops import DcganLoop, WganGpLoop
from hand_loops import PlainLoop
from sides import Ours, drawn_batches, furthest, settings_of
from torch import Tensor

# Largest relative difference of the first step's losses from the plain loop's, by precision.
LOOSE = {"fp64": 1e-9, "tf32": 1e-3, "bf16": 2e-2}
EXACT_STEPS = 3
EXACT_BATCH = 8


@dataclass(frozen=True)
class Size:
    """How large and how long: the real thing, or a rehearsal that only shows that everything runs."""

    size_px: int = 64
    width: float = 1.0
    batch: int | None = None
    warm_up: int = 11 + 50
    steps: int = 200
    repeats: int = 5


FULL, QUICK = Size(), Size(size_px=16, width=0.125, batch=4, warm_up=2, steps=3, repeats=2)


@dataclass(frozen=True)
class Workload:
    """One model of the list.

    `slack` widens the tolerance where updates come before the losses that are compared; `weight` is its share of a
    part's time beside the others'.
    """

    name: str
    what: str
    batch: int
    overrides: tuple[str, ...] = ()
    slack: float = 1.0
    weight: float = 1.0

    def settings(self, size: Size, device: torch.device, **runtime: Any) -> Any:
        """Return gansweep's settings with these of `runtime`."""
        chosen = {
            "data.size": size.size_px,
            "model.width_factor": size.width,
            "batch_size": size.batch or self.batch,
            "runtime.device": device,
            **{f"runtime.{key}": value for key, value in runtime.items()},
        }
        return settings_of(self.name, chosen, self.overrides)


WORKLOADS = (
    Workload("vaegan", "VAE-GAN, 64 px, batch 64", 64, weight=2.0),
    Workload("dcgan", "DCGAN, 64 px, batch 128", 128, ("experiment=dcgan",), slack=3.0),
    Workload("wgan_gp", "WGAN-GP, n-critic 5, 64 px, batch 64", 64, ("experiment=wgan_gp",), slack=10.0),
)


@dataclass
class Rung:
    """One way of taking a step: `run(start, count)` takes some, `losses()` tells those of the last one taken."""

    name: str
    what: str
    precision: str
    run: Callable[[int, int], None]
    losses: Callable[[], Mapping[str, float]]
    ours: Ours | None = None
    times_ms: list[float] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


# Ours: name, what it is, settings.runtime.
OURS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("eager", "gansweep, eager, TF32", {"engine": "eager", "precision": "fp32"}),
    ("graph", "gansweep, graph, TF32", {"engine": "graph", "precision": "fp32"}),
    ("graph_bf16", "gansweep, graph, bf16", {"engine": "graph", "precision": "bf16"}),
    (
        "graph_bf16_compile",
        "gansweep, graph, bf16, compiled",
        {"engine": "graph", "precision": "bf16", "compile": "true"},
    ),
)
PLAIN = (("plain", "plain eager loop, TF32", False), ("plain_bf16", "plain eager loop, bf16 autocast", True))


def our_rung(
    name: str, what: str, runtime: Mapping[str, Any], load: Workload, size: Size, device: torch.device
) -> Rung:
    """Build gansweep's side; what its settings ask for and cannot have is an error of the first step at the latest."""
    settings = load.settings(size, device, **runtime)
    dtype = torch.float64 if runtime["precision"] == "fp64" else torch.float32
    ours = Ours(settings, drawn_batches(settings.batch_size, size.size_px, dtype, device), device)

    def run(start: int, count: int) -> None:
        for n in range(start, start + count):
            ours(n)

    precision = {"fp32": "tf32"}.get(runtime["precision"], runtime["precision"])
    return Rung(name, what, precision, run, ours.losses, ours)


def plain_rung(
    name: str, what: str, bf16: bool, ours: Ours, dtype: torch.dtype, size: Size, device: torch.device
) -> Rung:
    """Build the hand-written loop on copies of the weights that `ours` has now."""
    settings, per_step = ours.settings, ours.plan.batches(0)
    pictures = [x.contiguous() for x in drawn_batches(settings.batch_size, size.size_px, dtype, device)]
    draws = ours.noises(len(pictures), dtype, device)
    step = _hand_step(ours, bf16)
    last: dict[str, float] = {}

    def run(start: int, count: int) -> None:
        for n in range(start, start + count):
            batches = [pictures[(n * per_step + k) % len(pictures)] for k in range(per_step)]
            last.update(step(batches, draws[n % len(draws)]))

    return Rung(name, what, "fp64" if dtype == torch.float64 else "bf16" if bf16 else "tf32", run, lambda: dict(last))


def _hand_step(ours: Ours, bf16: bool) -> Callable[[Sequence[Tensor], Mapping[int, Mapping[str, Tensor]]], Any]:
    nets, optimizer = ours.engine.system.nets, ours.settings.optimizer
    rates = {name: optimizer.for_net(name) for name in nets}
    lrs = {name: rate.lr for name, rate in rates.items()}
    if "enc" in nets:
        loop = PlainLoop(nets, ours.scales, lrs["enc"], bf16)
        return lambda batches, draws: loop.step(batches[0], draws[0])
    first, second = rates["gen"].betas
    kind = WganGpLoop if "gp" in ours.scales else DcganLoop
    return kind(nets, lrs, (float(first), float(second)), bf16).step


def exact_difference(load: Workload, size: Size, device: torch.device, engine: str) -> float:
    """Return how far ours and the plain loop are apart in float64 over three steps, relative; a small batch."""
    small = Size(size.size_px, size.width, min(size.batch or load.batch, EXACT_BATCH))
    ours = our_rung("exact", "", {"engine": engine, "precision": "fp64"}, load, small, device)
    assert ours.ours is not None
    plain = plain_rung("plain", "", False, ours.ours, torch.float64, small, device)
    worst = 0.0
    for n in range(EXACT_STEPS):
        plain.run(n, 1)
        ours.run(n, 1)
        worst = max(worst, furthest(ours.losses(), plain.losses()))
    return worst
