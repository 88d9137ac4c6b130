"""Scoring ten checkpoints of one run in one call of eval-is against ten calls: at most 0.8 times the time.

    python benchmarks/score_many.py [--checkpoints 10] [--n 100] [--rounds 2] [--json FILE]

The run is written without training: a VAE-GAN for the emoji at 32 px whose checkpoints have weights of their own. The
judge is lite0, tracking is off, one thread. Every turn works on a fresh copy, as what was scored is not scored again;
the cards of both ways must be equal to the last bit. Time is CPU time of the calls, imports among it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from machine import facts, head, load
from real_runs import settings_of

from gansweep.runs import checkpoint
from gansweep.scoring.card import cards_of

ALLOWED = 0.8
WIDTH = 0.25
Times = dict[str, dict[str, list[float]]]


def make_run(folder: Path, checkpoints: int, images: int, size_px: int) -> None:
    """Write a finished run with so many step files."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    from tiny_runs import tiny_payload, tiny_run

    lines = ["model=vaegan", "data=emoji", f"data.size={size_px}", f"model.width_factor={WIDTH}", "tracker=none"]
    lines += ["runtime.device=cpu", "runtime.threads=1", "judge=lite0", f"eval.n={images}", "eval.splits=2"]
    settings = settings_of(lines)
    run = tiny_run(folder, settings, checkpoints=False)
    for step in range(1, checkpoints + 1):
        payload = tiny_payload(settings, run.id, step=step, seed=step)
        checkpoint.save(folder / "checkpoints" / f"step-{step:08d}.pt", payload)


def call(target: Path, cwd: Path) -> tuple[float, float]:
    """Call eval-is; return CPU and wall seconds of the whole process."""
    command = [sys.executable, "-m", "gansweep", "eval-is", str(target)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    wall, before = time.perf_counter(), os.times()
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    after = os.times()
    if done.returncode:
        sys.exit(f"score_many: eval-is ended with {done.returncode}: {done.stderr.strip().splitlines()[-1]}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return cpu, time.perf_counter() - wall


def measure(args: argparse.Namespace, folder: Path) -> Times:
    """Return seconds of both ways, one value a round, after holding their cards against each other."""
    make_run(folder / "run", args.checkpoints, args.n, args.size)
    ways = ("one call", f"{args.checkpoints} calls")
    times: Times = {way: {"cpu_s": [], "wall_s": []} for way in ways}
    for number in range(args.rounds):
        values: dict[str, dict[int, float]] = {}
        for way in ways if number % 2 == 0 else reversed(ways):
            copy = folder / f"turn-{number}-{len(values)}" / "run"
            shutil.copytree(folder / "run", copy)
            targets = [copy] if way == "one call" else checkpoint.step_files(copy / "checkpoints")
            spent = [call(target, copy.parent) for target in targets]
            cpu, wall = (sum(of) for of in zip(*spent, strict=True))
            times[way]["cpu_s"].append(cpu)
            times[way]["wall_s"].append(wall)
            values[way] = {card.step: card.value for card in cards_of(copy)}
            print(f"- round {number}: {way}: {cpu:.1f} s (wall {wall:.1f} s), load {load()}", flush=True)
        if len(values[ways[0]]) != args.checkpoints or values[ways[0]] != values[ways[1]]:
            sys.exit(f"score_many: the two ways give other cards: {values}")
    return times


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, exit 1 when one call takes more than 0.8 times the ten."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoints", type=int, default=10)
    parser.add_argument("--n", type=int, default=100, help="samples a checkpoint")
    parser.add_argument("--size", type=int, default=32, help="side of the samples, px")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    print(f"{head()}\n- {args.checkpoints} checkpoints, {args.n} samples of {args.size} px each, judge lite0")
    with tempfile.TemporaryDirectory() as name:
        times = measure(args, Path(name))
    print("\n| way | CPU-s: median | wall-s: median |\n|---|---|---|")
    for way, by in times.items():
        print(f"| {way} | {statistics.median(by['cpu_s']):.1f} | {statistics.median(by['wall_s']):.1f} |")
    one, several = (statistics.median(by["cpu_s"]) for by in times.values())
    kept = one / several <= ALLOWED
    print(f"\nratio {one / several:.3f}: median CPU seconds of one call over those of {args.checkpoints} calls")
    print(f"allowed: at most {ALLOWED}: {'kept' if kept else 'NOT kept'}\nload at the end: {load()}")
    if args.json is not None:
        found = {"ratio": one / several, "seconds": times, "checkpoints": args.checkpoints, "n": args.n}
        args.json.write_text(json.dumps({**found, "machine": facts()}, indent=1) + "\n", encoding="utf-8")
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
