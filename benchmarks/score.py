"""Pictures judged per CPU-second on one thread: our FID Inception against torch-fidelity 0.4.0's, in one sitting.

    python benchmarks/score.py [--images 100] [--rounds 3] [--json FILE]

Each side is a process of its own (score_side.py), torch-fidelity's in the environment that `make peer-check` makes; all
wait while one works, and take turns. Weights and pictures are the seeded ones of tests/metrics. Logits (1e-4) and score
(1e-5) are compared first; nothing is timed when they differ. Exit 3, in one line, without the peer's environment.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import facts, head, load, spread

TOP = Path(__file__).resolve().parents[1]
PEER = TOP / ".venv-peer" / "bin" / "python"
# Batch sizes that each side has when nobody asks for another.
DEFAULT = {"gansweep": 16, "torch-fidelity": 64}
ASKED, AIM = 1.9, 2.2
LOGITS, SCORE = 1e-4, 1e-5
# (side, batch size) -> seconds a picture, by clock, one value a round.
Times = dict[tuple[str, int], dict[str, list[float]]]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--size", type=int, default=64, help="side of the pictures, px")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", type=int, nargs="+", default=[4, 8, 16, 32], help="ours; 16 is the default")
    parser.add_argument("--their-batches", type=int, nargs="+", default=[4, 16, 64], help="64 is its default")
    parser.add_argument("--peer", type=Path, default=PEER, help="Python of the environment with torch-fidelity")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    parser.add_argument("--broken", type=float, default=1.0, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


class Side:
    """A process that judges when told to."""

    def __init__(self, name: str, python: Path, path: Path, folder: Path) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(path)}
        command = [str(python), str(Path(__file__).with_name("score_side.py")), name, str(folder)]
        self.name = name
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
        )
        if self._answer() != "ready":
            sys.exit(f"score: {name} did not come up; its own words stand above")

    def _answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def judge(self, batch: int) -> dict[str, float]:
        """Have it judge all pictures; return CPU and wall seconds and the score."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{batch}\n")
        self.process.stdin.flush()
        answer = self._answer()
        if not answer:
            sys.exit(f"score: {self.name} ended at batch {batch}; its own words stand above")
        return json.loads(answer)

    def end(self) -> None:
        """Let the process go."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)


def prepare(args: argparse.Namespace, folder: Path) -> None:
    """Write weights and pictures."""
    sys.path.insert(0, str(TOP / "tests" / "metrics"))
    from seeded_inception import MEAN_FEATURE_FILE, pictures, seeded_state

    torch.save(seeded_state(np.load(MEAN_FEATURE_FILE)), folder / "seeded.pth")
    np.save(folder / "pictures.npy", pictures(args.images, args.size).numpy())


def assert_equal(folder: Path, broken: float) -> float:
    """Return how far our logits are from theirs, of the largest; exit when they are not the same network's."""
    theirs = np.load(folder / "torch-fidelity.npy")
    difference = float(np.abs(np.load(folder / "gansweep.npy") * broken - theirs).max() / np.abs(theirs).max())
    if not difference <= LOGITS:
        sys.exit(f"score: logits differ by {difference:.3g} of the largest (allowed {LOGITS:g}): not timed")
    return difference


def time_rounds(sides: Sequence[Side], args: argparse.Namespace) -> tuple[Times, float]:
    """Time every side at every batch size, in turns; return seconds a picture and how far the scores differ."""
    turns = [
        (side, batch)
        for side in sides
        for batch in (args.their_batches if side.name == "torch-fidelity" else args.batches)
    ]
    times: Times = {(side.name, batch): {"cpu_s": [], "wall_s": []} for side, batch in turns}
    scores: dict[str, float] = {}
    for number in range(args.rounds):
        for side, batch in turns if number % 2 == 0 else list(reversed(turns)):
            found = side.judge(batch)
            scores[side.name] = found.pop("score")
            for clock, seconds in found.items():
                times[side.name, batch][clock].append(seconds / args.images)
            print(f"- round {number}: {side.name}, batch {batch}: {found['cpu_s']:.2f} s, load {load()}", flush=True)
    off = max(abs(value / scores["torch-fidelity"] - 1) for value in scores.values())
    if not off <= SCORE:
        sys.exit(f"score: the scores differ by {off:.3g} relative (allowed {SCORE:g}): {scores}")
    return times, off


def report(times: Times) -> dict[str, Any]:
    """Print the table and the ratios; numerators are torch-fidelity's CPU seconds, denominators ours."""
    figures = {key: {clock: spread(values) for clock, values in by.items()} for key, by in times.items()}
    print("\n| side | batch | CPU-s a picture: median (p10, p90) | pictures per CPU-s | wall-s: median |")
    print("|---|---|---|---|---|")
    for (name, batch), by in figures.items():
        cpu, wall = by["cpu_s"], by["wall_s"]
        cells = [f"{cpu['median']:.4f} ({cpu['p10']:.4f}, {cpu['p90']:.4f})", f"{1 / cpu['median']:.2f}"]
        print(f"| {name} | {batch} | {' | '.join(cells)} | {wall['median']:.4f} |")
    medians = {key: by["cpu_s"]["median"] for key, by in figures.items()}
    best = {name: min((key for key in medians if key[0] == name), key=lambda key: medians[key]) for name in DEFAULT}
    ratios: dict[str, float] = {}
    print()
    theirs_at = [batch for name, batch in medians if name == "torch-fidelity"]
    pairs = [("each at its default batch size", None, None), ("each at its best", "best", "best")]
    pairs += [(f"both at batch {batch}", batch, batch) for batch in theirs_at]
    for words, ours_at, their_batch in pairs:
        keys = [
            best[side] if asked == "best" else (side, asked or DEFAULT[side])
            for side, asked in (("torch-fidelity", their_batch), ("gansweep", ours_at))
        ]
        if all(key in medians for key in keys):
            ratios[words] = medians[keys[0]] / medians[keys[1]]
            print(f"ratio {ratios[words]:.3f}, {words}: median CPU-s of torch-fidelity over gansweep's")
    rows = [{"side": name, "batch": batch, **by} for (name, batch), by in figures.items()]
    return {"rows": rows, "ratios": ratios, "best": {name: key[1] for name, key in best.items()}}


def main(argv: Sequence[str] | None = None) -> None:
    """Compare, time, print."""
    args = parse(argv)
    if not args.peer.exists():
        print(f"score: {args.peer} is not there: make peer-check makes it", file=sys.stderr)
        sys.exit(3)
    torch.set_num_threads(1)
    print(f"{head()}\n- {args.images} pictures of {args.size} px, one thread a side, {args.rounds} rounds")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(args, folder)
        stub, src = TOP / "tests" / "peer" / "stub", TOP / "src"
        places = {"torch-fidelity": (args.peer, stub)}
        sides = [Side(side, *places.get(side, (Path(sys.executable), src)), folder) for side in DEFAULT]
        try:
            difference = assert_equal(folder, args.broken)
            print(f"- logits differ by {difference:.1e} of the largest")
            times, off = time_rounds(sides, args)
        finally:
            for side in sides:
                side.end()
    print(f"- scores differ by {off:.1e} (relative)")
    table = report(times)
    ratio = table["ratios"].get("each at its default batch size")
    if ratio is not None:
        verdict = "reached the aim" if ratio >= AIM else "kept" if ratio >= ASKED else "NOT kept"
        print(f"\ngoal: at least {ASKED}, aim {AIM}, each at its default batch size: {ratio:.3f}, {verdict}")
    print(f"load at the end: {load()}")
    if args.json is not None:
        asked = {name: getattr(args, name) for name in ("images", "size", "rounds")}
        table |= {"logits_difference": difference, "score_difference": off, "machine": facts()}
        args.json.write_text(json.dumps({**asked, **table}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
