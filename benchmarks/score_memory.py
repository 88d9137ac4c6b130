"""Memory of the streaming score, fed seeded logits of 1008 classes: N = 50,000 against N = 500, at most 10 MB apart.

    python benchmarks/score_memory.py [--few 500] [--many 50000] [--json FILE]

Every figure is a process of its own, which draws the logits batch by batch and tells its greatest resident size. The
last line of the table keeps all logits instead, as other programs do: what the measurement would see.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from machine import facts, head, load

ALLOWED_MB = 10.0
CLASSES, BATCH = 1008, 100


def peak_mb() -> float:
    """Return the greatest resident size of this process so far, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage tells the parent's as well, if that was greater when it began this process
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


def child(images: int, keep: bool) -> None:
    """Score `images` rows of logits and print the peak and the score."""
    from gansweep.metrics.score import InceptionScore

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    score, kept = InceptionScore(images), []
    for start in range(0, images, BATCH):
        logits = 3.0 * torch.randn(min(BATCH, images - start), CLASSES, generator=generator)
        if keep:
            kept.append(logits)
        score.update(logits)
    mean = score.compute().mean
    print(json.dumps([peak_mb(), mean]))


def peak(images: int, keep: bool) -> float:
    """Return the peak in MB of a fresh process."""
    command = [sys.executable, __file__, "--child", str(images), *(["--keep"] if keep else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"score_memory: a measured process failed: {done.stderr.strip().splitlines()[-1]}")
    return float(json.loads(done.stdout.splitlines()[-1])[0])


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, exit 1 when the two are too far apart."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--few", type=int, default=500)
    parser.add_argument("--many", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    parser.add_argument("--child", type=int, default=None, help=argparse.SUPPRESS)
    parser.add_argument("--keep", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child is not None:
        child(args.child, args.keep)
        return
    torch.set_num_threads(1)
    print(f"{head()}\n- {CLASSES} classes, batches of {BATCH}, {args.rounds} processes a figure")
    cases = {f"N = {args.few}": (args.few, False), f"N = {args.many}": (args.many, False)}
    cases[f"N = {args.many}, every logit kept"] = (args.many, True)
    peaks: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(args.rounds):
        for name, case in cases.items():
            peaks[name].append(peak(*case))
    print("\n| images | greatest resident size, MB: median (least, most) |\n|---|---|")
    for name, values in peaks.items():
        print(f"| {name} | {statistics.median(values):.1f} ({min(values):.1f}, {max(values):.1f}) |")
    few, many, naive = (statistics.median(values) for values in peaks.values())
    kept = many - few <= ALLOWED_MB
    print(f"\n{many - few:+.1f} MB from N = {args.few} to N = {args.many}; with every logit kept {naive - few:+.1f} MB")
    print(f"allowed: at most {ALLOWED_MB:.0f} MB: {'kept' if kept else 'NOT kept'}\nload at the end: {load()}")
    if args.json is not None:
        found = {"difference_mb": many - few, "every_logit_kept_mb": naive - few, "peak_mb": peaks}
        args.json.write_text(json.dumps({**found, "machine": facts()}, indent=1) + "\n", encoding="utf-8")
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
