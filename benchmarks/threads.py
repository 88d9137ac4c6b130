"""What libgomp's spinning costs: the demo's step with two threads, its default against GOMP_SPINCOUNT=30000.

Two OpenMP threads wait for each other after every operation, by spinning. The variable is read when the library is
loaded, so every figure is a process of its own: some steps of the engine of `experiment=demo` on drawn pictures. The
two take turns, by themselves and beside processes that only count; each round goes through all of that.

    python benchmarks/threads.py [--rounds 5] [--busy 2] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from machine import facts, head, load, spread
from sides import Ours, drawn_batches, settings_of

WAYS: dict[str, dict[str, str]] = {
    "libgomp's default": {},
    "GOMP_SPINCOUNT=30000": {"GOMP_SPINCOUNT": "30000"},
}
WARM_UP = 3
# Ends with the process that began it.
COUNTING = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"
Figures = dict[str, dict[str, list[float]]]


def child(steps: int, threads: int) -> None:
    """Print wall and CPU seconds a step, and the number of threads that there were."""
    torch.set_num_threads(threads)
    settings = settings_of("vaegan", {"runtime.device": "cpu"}, ["experiment=demo", "data.size=32"])
    ours = Ours(
        settings, drawn_batches(settings.batch_size, 32, torch.float32, torch.device("cpu"), 2), torch.device("cpu")
    )
    for n in range(WARM_UP):
        ours(n)
    wall, cpu = time.perf_counter(), time.process_time()
    for n in range(WARM_UP, WARM_UP + steps):
        ours(n)
    print(json.dumps([(time.perf_counter() - wall) / steps, (time.process_time() - cpu) / steps]))


def one(way: dict[str, str], args: argparse.Namespace) -> tuple[float, float]:
    """Return wall and CPU seconds a step of a fresh process that waits in this way."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("GOMP_", "OMP_"))}
    command = [sys.executable, __file__, "--child", f"--steps={args.steps}", f"--threads={args.threads}"]
    done = subprocess.run(command, env={**environment, **way}, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"threads: a measured process failed: {done.stderr.strip().splitlines()[-1]}")
    wall, cpu = json.loads(done.stdout.splitlines()[-1])
    return wall, cpu


def measure(args: argparse.Namespace) -> Figures:
    """Return seconds a step by "way, place": one value a round."""
    found: Figures = {}
    for number in range(args.rounds):
        for busy in (0, args.busy):
            others = [subprocess.Popen([sys.executable, "-c", COUNTING]) for _ in range(busy)]
            try:
                for name in list(WAYS)[:: 1 if number % 2 == 0 else -1]:
                    wall, cpu = one(WAYS[name], args)
                    kept = found.setdefault(f"{name}, {place(busy)}", {"wall_s": [], "cpu_s": []})
                    kept["wall_s"].append(wall)
                    kept["cpu_s"].append(cpu)
                    print(
                        f"- round {number}: {name}, {place(busy)}: {wall:.3f} s (CPU {cpu:.3f}), load {load()}",
                        flush=True,
                    )
            finally:
                for other in others:
                    other.kill()
                    other.wait()
    return found


def place(busy: int) -> str:
    return f"beside {busy} counting" if busy else "beside none of ours"


def report(args: argparse.Namespace, found: Figures) -> dict[str, float]:
    """Print the table; returns default over 30,000 in each place, medians of wall seconds."""
    print("\n| seconds a step | wall: median (p10, p90) | CPU: median (p10, p90) |\n|---|---|---|")
    for name, by in found.items():
        cells = [spread(by[kind]) for kind in ("wall_s", "cpu_s")]
        print(f"| {name} | " + " | ".join(f"{c['median']:.3f} ({c['p10']:.3f}, {c['p90']:.3f})" for c in cells) + " |")
    ratios = {}
    default, ours = WAYS
    print()
    for busy in (0, args.busy):
        slow, fast = (spread(found[f"{way}, {place(busy)}"]["wall_s"])["median"] for way in (default, ours))
        ratios[place(busy)] = slow / fast
        print(f"ratio {slow / fast:.2f}, {place(busy)}: median wall time of {default} over that of {ours}")
    return ratios


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, write JSON when asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10, help="timed steps of each process, after 3")
    parser.add_argument("--threads", type=int, default=2, help="of torch")
    parser.add_argument("--busy", type=int, default=2, help="processes that only count, beside every second turn")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        child(args.steps, args.threads)
        return
    print(head())
    print(
        f"- {args.rounds} rounds, a process a figure, {args.steps} steps each after {WARM_UP}, {args.threads} threads"
    )
    found = measure(args)
    ratios = report(args, found)
    print(f"load at the end: {load()}")
    if args.json is not None:
        table = {"seconds_per_step": found, "ratios": ratios, "machine": facts()}
        args.json.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
