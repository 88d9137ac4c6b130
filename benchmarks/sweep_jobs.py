"""What a sweep's pool costs and gives: CPU seconds a job beyond `gansweep train`, and two jobs at once against one.

    python benchmarks/sweep_jobs.py [--part overhead,pair] [--rounds 3] [--jobs 8] [--pair-jobs 16] [--json FILE]

overhead: a sweep of short jobs, and single `gansweep train` of the same points, in turns; CPU seconds (user and system)
of all their processes, the tracker's senders among them, which outlive their jobs: this process takes them over and
waits for them. Said twice: above the same command alone, and above one that records nothing in MLflow.

pair: sixteen short jobs on two cores, one thread a job: hydra.launcher.n_jobs=2 against n_jobs=1, in turns; wall time
of the whole command. Other work on the machine spoils it: the load is printed beside every figure.

Data and tracking store are made before anything is timed.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from machine import facts, head, load
from PIL import Image

ALLOWED_CPU_S, LEAST_RATIO = 2.5, 1.7
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)
COMMON = ["model=vae", "model.latent=8", "data=folder", "data.size=32", "data.val_fraction=0.2", "batch_size=16"]
COMMON += ["runtime.device=cpu", "runtime.threads=1", "runtime.progress=false", "log_every=10"]
Times = dict[str, list[float]]


def take_over_orphans() -> None:
    """Become the parent of processes whose own parent ends before them: only so are their CPU seconds known here."""
    if ctypes.CDLL(None, use_errno=True).prctl(_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def spent(words: Sequence[str], folder: Path) -> tuple[float, float]:
    """Run `gansweep WORDS` to the end of all that it starts; returns CPU seconds of all, and wall seconds of itself."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    begun, wall = _children_s(), time.perf_counter()
    command = [sys.executable, "-m", "gansweep", *words]
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    said, _ = process.communicate()
    wall = time.perf_counter() - wall
    if process.returncode:
        sys.exit(f"sweep_jobs: gansweep {' '.join(words)} ended with {process.returncode}:\n{said}")
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        pass
    return _children_s() - begun, wall


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def prepare(folder: Path, steps: int) -> list[str]:
    """Make pictures, and with one short run the packed data and the store; returns the overrides of all runs."""
    rng = np.random.default_rng(0)
    pictures = folder / "pictures"
    pictures.mkdir()
    for n in range(200):
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(pictures / f"{n:03d}.png")
    common = [*COMMON, f"data.path={pictures}", f"data.cache_dir={folder / 'cache'}"]
    spent(["train", *common, "steps=2", "seed=999"], folder)
    return [*common, f"steps={steps}"]


def overhead(folder: Path, common: list[str], jobs: int, rounds: int) -> Times:
    """Return CPU seconds a job, one value a round: in the sweep, alone, and alone without MLflow."""
    times: Times = {"in the sweep": [], "alone": [], "alone, tracker=none": []}
    seeds = ",".join(str(seed) for seed in range(1, jobs + 1))
    for number in range(rounds):
        seed = f"seed={number % jobs + 1}"
        turns = [
            ("alone", ["train", *common, seed], 1),
            ("in the sweep", ["-m", *common, f"seed={seeds}", "hydra.launcher.n_jobs=1"], jobs),
            ("alone, tracker=none", ["train", *common, seed, "tracker=none"], 1),
        ]
        for name, words, count in turns if number % 2 == 0 else reversed(turns):
            cpu, wall = spent(words, folder)
            times[name].append(cpu / count)
            print(
                f"- round {number}: {name}: {cpu / count:.2f} CPU s a job (wall {wall:.1f} s), load {load()}",
                flush=True,
            )
    return times


def pair(folder: Path, common: list[str], jobs: int, rounds: int) -> Times:
    """Return wall seconds of the sweep with one job at a time and with two, one value a round."""
    times: Times = {"n_jobs=1": [], "n_jobs=2": []}
    seeds = ",".join(str(seed) for seed in range(1, jobs + 1))
    for number in range(rounds):
        for name in times if number % 2 == 0 else reversed(times):
            cpu, wall = spent(["-m", *common, f"seed={seeds}", f"hydra.launcher.{name}"], folder)
            times[name].append(wall)
            print(f"- round {number}: {name}: wall {wall:.1f} s ({cpu:.1f} CPU s), load {load()}", flush=True)
    return times


def _line(name: str, values: Sequence[float]) -> str:
    return f"| {name} | {statistics.median(values):.2f} | {min(values):.2f} to {max(values):.2f} |"


def tell_overhead(times: Times, jobs: int) -> dict[str, float]:
    print(f"\n{jobs} jobs a sweep, one at a time\n\n| CPU s a job | median | range |\n|---|---|---|")
    for name, values in times.items():
        print(_line(name, values))
    found = {}
    for name in ("alone", "alone, tracker=none"):
        more = [sweep - bare for sweep, bare in zip(times["in the sweep"], times[name], strict=True)]
        print(_line(f"in the sweep, more than {name}", more))
        found[name] = statistics.median(more)
    kept = "kept" if found["alone"] <= ALLOWED_CPU_S else "NOT kept"
    print(f"\noverhead of a job {found['alone']:.2f} CPU s above gansweep train (allowed {ALLOWED_CPU_S}): {kept}")
    return found


def tell_pair(times: Times, jobs: int) -> float:
    print(
        f"\n{jobs} jobs on {len(os.sched_getaffinity(0))} cores, one thread each\n\n"
        "| wall s | median | range |\n|---|---|---|"
    )
    for name, values in times.items():
        print(_line(name, values))
    ratios = [one / two for one, two in zip(times["n_jobs=1"], times["n_jobs=2"], strict=True)]
    print(_line("ratio", ratios))
    ratio = statistics.median(ratios)
    print(f"\nthroughput ratio {ratio:.2f} (at least {LEAST_RATIO}): {'kept' if ratio >= LEAST_RATIO else 'NOT kept'}")
    return ratio


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, exit 1 when a figure is not kept."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--part", default="overhead,pair", help="overhead, pair or both")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=8, help="of the sweep whose overhead is taken")
    parser.add_argument("--pair-jobs", type=int, default=16)
    parser.add_argument("--steps", type=int, default=20, help="of an overhead's job")
    parser.add_argument("--pair-steps", type=int, default=300)
    parser.add_argument("--tracker", choices=("mlflow", "none"), default="mlflow", help="of the pair's jobs")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    args = parser.parse_args(argv)
    parts = args.part.split(",")
    take_over_orphans()
    print(f"{head()}\n- {args.steps} and {args.pair_steps} steps a job, {args.rounds} rounds", flush=True)
    found: dict[str, object] = {}
    kept = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        common = prepare(folder, args.steps)
        if "overhead" in parts:
            times = overhead(folder, common, args.jobs, args.rounds)
            more = tell_overhead(times, args.jobs)
            found |= {"overhead_cpu_s": more, "cpu_s": times}
            kept = more["alone"] <= ALLOWED_CPU_S
        if "pair" in parts:
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
            long = [*common[:-1], f"steps={args.pair_steps}", f"tracker={args.tracker}"]
            times = pair(folder, long, args.pair_jobs, args.rounds)
            ratio = tell_pair(times, args.pair_jobs)
            found |= {"ratio": ratio, "wall_s": times}
            kept = kept and ratio >= LEAST_RATIO
    print(f"load at the end: {load()}")
    if args.json is not None:
        args.json.write_text(json.dumps({**found, "machine": facts()}, indent=1) + "\n", encoding="utf-8")
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
