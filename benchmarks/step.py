"""Times gansweep's VAE-GAN step against a plain eager PyTorch loop of the same networks, side by side in one process.

A step here: batch and networks' forwards, losses, gradients, updates of all three networks, and what each side does to
know its losses (ours: the loop's driver, metrics, gradient norms, the meter, its look for non-finite values and its
reading every 100 steps; the plain loop: three `.item()`). Batches are drawn beforehand for both; noise only for the
plain loop, ours draws it in the step. Memory that is freed is kept by glibc for all sides: ours asks it to, and they
share a process. Losses are compared first, in float64; nothing is timed when they differ.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from hand_loops import PlainLoop, TunedLoop
from machine import facts, head, load, spread
from sides import Ours, drawn_batches, furthest, settings_of

CHECKED_STEPS = 3
WARM_UP = {"cpu": 2, "cuda": 61}
Times = dict[str, dict[str, list[float]]]
# First-step tolerances on the timed device and precision, after the exact comparison in float64.
LOOSE = {"fp64": 1e-9, "fp32": 1e-3, "bf16": 2e-2}


def build(args: argparse.Namespace, precision: str, device: torch.device) -> dict[str, Callable[[int], Any]]:
    """Return every side's step on the same weights, batches and noise."""
    chosen = {
        "model.width_factor": args.width,
        "data.size": args.size,
        "batch_size": args.batch,
        "runtime.device": device,
        "runtime.precision": precision,
    }
    settings = settings_of("vaegan", chosen, args.overrides)
    dtype = torch.float64 if precision == "fp64" else torch.float32
    batches = drawn_batches(args.batch, args.size, dtype, device)
    ours = Ours(settings, batches, device)
    drawn = [noise[0] for noise in ours.noises(len(batches), dtype, device)]
    nets, bf16, lr = ours.engine.system.nets, precision == "bf16", settings.optimizer.lr
    sides: dict[str, Callable[[int], Any]] = {"gansweep": ours}
    loops: dict[str, PlainLoop] = {"plain": PlainLoop(nets, ours.scales, lr, bf16, args.broken)}
    if args.tuned:
        loops["tuned"] = TunedLoop(nets, ours.scales, lr, bf16)
    for name, loop in loops.items():
        layout = torch.channels_last if name == "tuned" else torch.contiguous_format
        own = [x.contiguous(memory_format=layout) for x in batches]
        sides[name] = lambda n, loop=loop, own=own: loop.step(own[n % len(own)], drawn[n % len(drawn)])
    return sides


def largest_difference(sides: dict[str, Callable[[int], Any]], steps: int) -> float:
    """Return the largest relative difference of any side's three losses from the plain loop's, over `steps` steps."""
    worst = 0.0
    for n in range(steps):
        done = {name: side(n) for name, side in sides.items()}
        ours = sides["gansweep"]
        done["gansweep"] = ours.losses() if isinstance(ours, Ours) else {}
        found = {name: {key: float(value) for key, value in losses.items()} for name, losses in done.items()}
        worst = max(worst, *(furthest(losses, found["plain"]) for losses in found.values()))
    return worst


def assert_equal_losses(args: argparse.Namespace, device: torch.device) -> dict[str, float]:
    """Compare before timing: exactly in float64 on the CPU, then loosely at the timed precision and device.

    Three steps: the losses of the first do not depend on any update yet, the later ones do on all of them.
    """
    exact = largest_difference(build(args, "fp64", torch.device("cpu")), CHECKED_STEPS)
    if exact > 1e-9:
        sys.exit(f"step: losses differ by {exact:.3g} relative in float64 (allowed 1e-9): not the same step, not timed")
    loose = largest_difference(build(args, args.precision, device), 1)
    if loose > LOOSE[args.precision]:
        sys.exit(f"step: losses differ by {loose:.3g} relative at {args.precision} on {device}: not timed")
    return {"float64_cpu": exact, f"{args.precision}_{device.type}": loose}


def time_rounds(
    sides: dict[str, Callable[[int], Any]], rounds: int, per_round: int, warm_up: int, device: torch.device
) -> Times:
    """Return each side's milliseconds a step, CPU and wall, one value a round; sides take turns within every round."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    times: Times = {name: {"cpu_ms": [], "wall_ms": []} for name in sides}
    for side in sides.values():
        for n in range(warm_up):
            side(n)
    for number in range(rounds):
        # Every other round backwards, so that no side always runs behind the same neighbour's caches.
        order = list(sides) if number % 2 == 0 else list(reversed(sides))
        for name in order:
            wait()
            wall, cpu = time.perf_counter(), time.process_time()
            for n in range(per_round):
                sides[name](warm_up + number * per_round + n)
            wait()
            times[name]["cpu_ms"].append(1000 * (time.process_time() - cpu) / per_round)
            times[name]["wall_ms"].append(1000 * (time.perf_counter() - wall) / per_round)
    return times


def report(args: argparse.Namespace, times: Times, differences: dict[str, float]) -> dict[str, Any]:
    """Print the table and return it as plain values. The ratio's denominator is gansweep's own time."""
    clock, other = ("wall_ms", "cpu_ms") if args.device.startswith("cuda") else ("cpu_ms", "wall_ms")
    figures = {name: {kind: spread(values) for kind, values in by.items()} for name, by in times.items()}
    base = figures["gansweep"]
    print(f"\n| side | {clock} a step: median (p10, p90) | {other}: median (p10, p90) | over gansweep's | {other} |")
    print("|---|---|---|---|---|")
    for name, by in figures.items():
        cells = [f"{by[c]['median']:.1f} ({by[c]['p10']:.1f}, {by[c]['p90']:.1f})" for c in (clock, other)]
        over = [f"{by[c]['median'] / base[c]['median']:.3f}" for c in (clock, other)]
        print(f"| {name} | {' | '.join([*cells, *over])} |")
    ratio = figures["plain"][clock]["median"] / base[clock]["median"]
    print(f"\nratio {ratio:.3f}: the plain loop's median {clock} over gansweep's")
    asked = ("device", "width", "batch", "size", "threads", "precision", "rounds", "overrides")
    return {
        **{name: getattr(args, name) for name in asked},
        "ratio": ratio,
        "ratio_is": f"plain median {clock} / gansweep median {clock}",
        "medians": {name: {kind: value["median"] for kind, value in by.items()} for name, by in figures.items()},
        "spread": figures,
        "loss_differences": differences,
    }


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--width", type=float, default=0.25, help="model.width_factor")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=64, help="side of the pictures, px")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", choices=sorted(LOOSE), default="fp32", help="of both sides")
    parser.add_argument("--rounds", type=int, default=25, help="after warm-up; fewer than 15 are no figure to quote")
    parser.add_argument("--steps-per-round", type=int, default=None, help="default: 1 on the CPU, 20 on a GPU")
    parser.add_argument("--tuned", action="store_true", help="also time the best hand-written loop")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    parser.add_argument("--broken", type=float, default=1.0, help=argparse.SUPPRESS)
    parser.add_argument("overrides", nargs="*", help="our side's, such as runtime.channels_last=false")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Compare, time, print; write JSON when asked."""
    args = parse(argv)
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit("step: no CUDA device that this torch can use")
    print(head(args.device))
    differences = assert_equal_losses(args, device)
    for name, value in differences.items():
        print(f"- losses differ at most by {value:.2e} (relative, {name})")
    sides = build(args, args.precision, device)
    per_round = args.steps_per_round or (20 if device.type == "cuda" else 1)
    warm_up = min(WARM_UP[device.type], max(args.rounds, 2) * per_round)
    print(f"- {args.rounds} rounds of {per_round} step(s) a side, in turns, after {warm_up} steps of warm-up")
    times = time_rounds(sides, args.rounds, per_round, warm_up, device)
    found = report(args, times, differences)
    print(f"load at the end: {load()}")
    if args.json is not None:
        args.json.write_text(json.dumps({**found, "machine": facts(args.device)}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
