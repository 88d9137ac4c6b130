"""Profiles 200 steps of the real loop on the CPU: where a step's time goes by name, and what the loop itself takes.

    python benchmarks/profile_cpu.py [--steps 200] [--width 0.25]

The run is gansweep.train's own (tracker none, one thread). It is taken twice: once with a clock around the engine's
work alone, whose difference from the whole is the loop's own share; once under torch's profiler. The GPU's profile is
`benchmarks/gpu.sh --part profile`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from machine import head, load
from real_runs import looked_at, run, settings_of
from torch.profiler import ProfilerActivity, profile

from gansweep.engine.step import EagerEngine

WARM_UP_STEPS = 10
MOST_NAMES = 20


class Clock:
    """Adds up what the engine's work takes, from the warm-up on."""

    def __init__(self) -> None:
        self.engine_s, self.started, self.ended = 0.0, 0.0, 0.0
        self._step = EagerEngine.step

    def __call__(self, engine: EagerEngine, step: int, *rest: Any) -> Any:
        began = time.perf_counter()
        result = self._step(engine, step, *rest)
        if step >= WARM_UP_STEPS:
            self.engine_s += time.perf_counter() - began
        return result

    def after(self, step: int) -> None:
        """Note when the steps that count begin and end."""
        self.started = time.perf_counter() if step == WARM_UP_STEPS else self.started
        self.ended = time.perf_counter()


def settings_for(steps: int, width: str) -> Any:
    """Return the run's settings: 64 px, batch 16, logged every 100 steps, nothing written."""
    quiet = ["tracker=none", "sample_every=0", "val_every=0", "checkpoint_every=0", "log_every=100"]
    model = ["model=vaegan", f"model.width_factor={width}", "data.size=64", "batch_size=16"]
    return settings_of([*model, *quiet, f"steps={steps + WARM_UP_STEPS}", "runtime.threads=1", "runtime.device=cpu"])


def main(words: list[str] | None = None) -> int:
    """Print both tables; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--width", default="0.25")
    args = parser.parse_args(words)
    settings, clock = settings_for(args.steps, args.width), Clock()
    with tempfile.TemporaryDirectory() as folder:
        with (
            looked_at(lambda _: clock.after),
            mock.patch.object(EagerEngine, "step", lambda *given: clock(*given)),
        ):
            run(settings, Path(folder) / "timed", [])
        profiler = profile(activities=[ProfilerActivity.CPU])

        def watch(step: int) -> None:
            if step == WARM_UP_STEPS:
                profiler.start()
            if step == WARM_UP_STEPS + args.steps:
                profiler.stop()

        with looked_at(lambda _: watch):
            run(settings, Path(folder) / "profiled", [])
    whole_ms = 1000 * (clock.ended - clock.started) / args.steps
    engine_ms = 1000 * clock.engine_s / args.steps
    print(head())
    print(f"- VAE-GAN, width {args.width}, 64 px, batch 16, {args.steps} steps of the real loop, one thread\n")
    own = 100 * (1 - engine_ms / whole_ms)
    print(f"a step {whole_ms:.1f} ms, the engine's work {engine_ms:.1f} ms: the loop {own:.2f} %")
    print("(batches made, metrics kept and read, the look for values that are not finite)\n")
    _print_names(profiler, args.steps)
    print(f"\nload at the end: {load()}; torch {torch.__version__}")
    return 0


def _print_names(profiler: Any, steps: int) -> None:
    events = sorted(profiler.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    print("| name | ms a step | share | calls a step |")
    print("|---|---|---|---|")
    for event in events[:MOST_NAMES]:
        ms = event.self_cpu_time_total / 1000 / steps
        share = 100 * event.self_cpu_time_total / total
        print(f"| {event.key} | {ms:.2f} | {share:.1f} % | {event.count / steps:.1f} |")


if __name__ == "__main__":
    sys.exit(main())
