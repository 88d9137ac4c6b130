"""Times gansweep's VAE-GAN step against pythae 0.1.2's VAEGAN trainer on the same networks, one thread, CPU time.

    python benchmarks/peers.py [--width 0.25] [--rounds 25] [--json FILE]

pythae is no part of gansweep's dependencies. In an environment of its own that sees the project's packages:

    python3 -m venv ../peers
    echo "$PWD"/.venv/lib/python3.*/site-packages > $(echo ../peers/lib/python3.*/site-packages)/project.pth
    ../peers/bin/python -m pip install --no-deps pythae==0.1.2 imageio tqdm
    PYTHONPATH=src ../peers/bin/python benchmarks/peers.py

(without --no-deps it would bring a `dataclasses` that is older than Python's own; PYTHON=../peers/bin/python makes
gpu.sh use it). A step is a user's step, not like for like: pythae's VAEGAN is another algorithm, see pythae_side.py.
All sides start from the same weights and look at the same batches, in turns in one process; ours and the plain loop
must have equal losses first.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import step
import torch
from machine import facts, head, load, spread
from sides import Ours, drawn_batches

VERSION = "0.1.2"
ABSENT = (
    f"peers: pythae {VERSION} is not here; the head of benchmarks/peers.py says how to install it beside the project"
)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; what step.py needs besides is fixed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--width", type=float, default=0.25, help="model.width_factor")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=64, help="side of the pictures, px")
    parser.add_argument("--rounds", type=int, default=25, help="fewer than 15 are no figure to quote")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    args = parser.parse_args(argv)
    fixed = {"device": "cpu", "precision": "fp32", "tuned": False, "broken": 1.0, "overrides": []}
    vars(args).update(fixed)
    return args


def report(times: step.Times, shares: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Print the table and the ratios; denominators are gansweep's own medians."""
    from pythae_side import WHAT_IT_LEAVES_OUT

    figures = {name: {kind: spread(values) for kind, values in by.items()} for name, by in times.items()}
    base = figures["gansweep"]["cpu_ms"]["median"]
    print("\n| side | cpu_ms a step: median (p10, p90) | wall_ms: median (p10, p90) | CPU over gansweep's |")
    print("|---|---|---|---|")
    for name, by in figures.items():
        cells = [f"{v['median']:.1f} ({v['p10']:.1f}, {v['p90']:.1f})" for v in by.values()]
        print(f"| {name} | {' | '.join(cells)} | {by['cpu_ms']['median'] / base:.3f} |")
    ratios = {name: by["cpu_ms"]["median"] / base for name, by in figures.items() if name != "gansweep"}
    print()
    for name, ratio in ratios.items():
        print(f"ratio {ratio:.3f}: the median cpu_ms of {name} over gansweep's")
    print(f"pythae's step is a user's step, not like for like. {WHAT_IT_LEAVES_OUT}")
    for name, by in shares.items():
        print(f"share of the steps of {name} that updated: " + ", ".join(f"{k} {100 * v:.0f} %" for k, v in by.items()))
    return {"ratios": ratios, "ratio_is": "median cpu_ms of each side / gansweep's", "spread": figures}


def main(argv: Sequence[str] | None = None) -> None:
    """Compare, time, print; exit 3 where pythae is not."""
    args = parse(argv)
    try:
        found = importlib.metadata.version("pythae")
        from pythae_side import NO_MARGIN, PythaeSide
    except ImportError as error:
        print(f"{ABSENT} ({error})", file=sys.stderr)
        sys.exit(3)
    if found != VERSION:
        print(f"{ABSENT} (this is {found})", file=sys.stderr)
        sys.exit(3)
    torch.set_num_threads(1)
    args.threads = 1
    print(f"{head()}\n- peer: pythae {found}\n- width {args.width}, {args.size} px, batch {args.batch}, fp32")
    device = torch.device("cpu")
    differences = step.assert_equal_losses(args, device)
    for name, value in differences.items():
        print(f"- losses of gansweep and the plain loop differ at most by {value:.2e} (relative, {name})")
    sides = step.build(args, args.precision, device)
    ours = sides["gansweep"]
    assert isinstance(ours, Ours)
    pictures = drawn_batches(args.batch, args.size, torch.float32, device)
    system = ours.engine.system
    given = (system.nets, pictures, system.noise["eps"].shape[0], ours.settings.optimizer.lr)
    peers = {
        f"pythae {found}": PythaeSide(*given),
        f"pythae {found}, no update left out": PythaeSide(*given, margin=NO_MARGIN),
    }
    sides |= peers
    print(f"- {args.rounds} rounds of 1 step a side, in turns, after {step.WARM_UP['cpu']} steps of warm-up")
    times = step.time_rounds(sides, args.rounds, 1, step.WARM_UP["cpu"], device)
    shares = {name: peer.update_shares() for name, peer in peers.items()}
    table = report(times, shares)
    print(f"load at the end: {load()}")
    if args.json is not None:
        table |= {"updates": shares, "loss_differences": differences, "machine": facts()}
        asked = {name: getattr(args, name) for name in ("width", "batch", "size", "rounds")}
        args.json.write_text(json.dumps({**asked, **table}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
