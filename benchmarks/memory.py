"""How the resident size of a real run grows from step 200 to step 2,000: less than 50 MB is allowed.

The run goes through gansweep.train.train with everything on: MLflow, grids, held-out losses, checkpoints.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import psutil
import torch
from machine import facts, head, load
from real_runs import looked_at, run, settings_of

ALLOWED_MB = 50.0


def main(argv: Sequence[str] | None = None) -> None:
    """Train, print the resident size on the way, and exit 1 when it grew too much."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--first", type=int, default=200, help="step from which growth counts")
    parser.add_argument("--last", type=int, default=2000, help="last step")
    parser.add_argument("--every", type=int, default=200, help="steps between two lines of the table")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    parser.add_argument("overrides", nargs="*", default=[], help="gansweep overrides; default: experiment=demo")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    print(head())
    overrides = [*(args.overrides or ["experiment=demo"]), f"steps={args.last}", "runtime.threads=1"]
    process, sizes = psutil.Process(), {}

    def look(step: int) -> None:
        if step % 10 == 0 or step in (args.first, args.last):
            sizes[step] = process.memory_info().rss / 2**20

    with tempfile.TemporaryDirectory() as folder:
        store = f"tracker.uri=sqlite:///{Path(folder) / 'mlflow.db'}"
        overrides += ["runtime.progress=false", "tracker=mlflow", store]
        with looked_at(lambda settings: look):
            run(settings_of(overrides), Path(folder) / "run", overrides)
    print("\n| step | resident MB |\n|---|---|")
    for step, size in sizes.items():
        if step % args.every == 0 or step in (args.first, args.last):
            print(f"| {step} | {size:.1f} |")
    growth = sizes[args.last] - sizes[args.first]
    most = max(size for step, size in sizes.items() if step >= args.first) - sizes[args.first]
    kept = growth < ALLOWED_MB
    print(f"\ngrowth {growth:+.1f} MB from step {args.first} to {args.last}, at most {most:+.1f} MB on the way")
    print(f"allowed: less than {ALLOWED_MB:.0f} MB: {'kept' if kept else 'NOT kept'}\nload at the end: {load()}")
    if args.json is not None:
        found = {"growth_mb": growth, "most_mb": most, "resident_mb": sizes, "overrides": args.overrides}
        args.json.write_text(json.dumps({**found, "machine": facts()}, indent=1) + "\n", encoding="utf-8")
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
