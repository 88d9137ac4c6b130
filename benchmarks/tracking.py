"""What tracking, grids, held-out losses and checkpoints cost as a share of the step: real runs, all on and all off.

Two runs of the same settings and seed go through gansweep.train.train in one process, in turns of some steps: one with
the default cadences and MLflow (spool, and the sender process into sqlite), one with all of it off. Each is timed on
its own thread's CPU clock (one torch thread: all of a run's work is done there), so what else the machine does counts
little. Inside the first run every part is timed by itself. The weights of both
must end equal to the last bit.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import torch
from machine import facts, head, load
from real_runs import looked_at, run, settings_of

from gansweep.gallery import Gallery
from gansweep.loop import Loop
from gansweep.observe import Observer
from gansweep.runs.checkpoint import Keeper
from gansweep.runs.tracker import SpoolTracker

ALLOWED_PERCENT = 5.0
MODELS = {
    "demo": ["experiment=demo"],
    "quarter": ["model=vaegan", "model.width_factor=0.25", "batch_size=16"],
}
DEFAULTS = ["log_every=50", "sample_every=500", "val_every=500", "checkpoint_every=1000", "tracker=mlflow"]
OFF = ["log_every=1000000", "sample_every=0", "val_every=0", "checkpoint_every=0", "tracker=none"]
# Where each part's time is spent; a part called inside another is charged to itself alone.
PARTS: list[tuple[type, str, str]] = [
    (Loop, "_log", "numbers"),
    (SpoolTracker, "scalars", "spool"),
    (SpoolTracker, "image", "spool"),
    (SpoolTracker, "file", "spool"),
    (SpoolTracker, "forget", "spool"),
    (Observer, "grids", "grids"),
    (Gallery, "hang", "grids"),
    (Observer, "clips", "films"),
    (Gallery, "play", "films"),
    (Observer, "held_out", "held-out losses"),
    (Loop, "state_dict", "checkpoints"),
    (Keeper, "save", "checkpoints"),
]


class Turns:
    """Lets one of several threads work at a time, each for `length` steps, and times each on its own CPU clock."""

    def __init__(self, names: Sequence[str], length: int):
        self.names, self.length = list(names), length
        self.active = self.names[0]
        self.changed = threading.Condition()
        self.cpu_s: dict[str, list[float]] = defaultdict(list)
        self.wall_s: dict[str, list[float]] = defaultdict(list)
        self._begun: dict[str, tuple[float, float]] = {}

    def wait(self, name: str) -> None:
        with self.changed:
            self.changed.wait_for(lambda: self.active == name)
        self.begin(name)

    def begin(self, name: str) -> None:
        """Start this run's clock: when its turn comes, and again when it is made and takes its first step."""
        self._begun[name] = time.thread_time(), time.perf_counter()

    def give(self, name: str) -> None:
        """Hand on to the next thread that is still there."""
        with self.changed:
            following = self.names[self.names.index(name) + 1 :] + self.names[: self.names.index(name) + 1]
            self.active = following[0]
            self.changed.notify_all()

    def leave(self, name: str) -> None:
        with self.changed:
            if self.active == name:
                self.give(name)
            self.names.remove(name)

    def after_step(self, name: str, step: int) -> None:
        if step % self.length:
            return
        cpu, wall = self._begun[name]
        self.cpu_s[name].append(time.thread_time() - cpu)
        self.wall_s[name].append(time.perf_counter() - wall)
        self.give(name)
        self.wait(name)


class Parts:
    """Times the parts of one thread's run, each without the parts called inside it."""

    def __init__(self) -> None:
        self.cpu_s: dict[str, float] = defaultdict(float)
        self.wall_s: dict[str, float] = defaultdict(float)
        self.thread: int | None = None
        self.counting = True
        self._inside: list[list[float]] = []

    def timed(self, inner: Callable[..., Any], part: str) -> Callable[..., Any]:
        def outer(*args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() != self.thread or not self.counting:
                return inner(*args, **kwargs)
            self._inside.append([0.0, 0.0])
            cpu, wall = time.thread_time(), time.perf_counter()
            try:
                return inner(*args, **kwargs)
            finally:
                spent = time.thread_time() - cpu, time.perf_counter() - wall
                within = self._inside.pop()
                self.cpu_s[part] += spent[0] - within[0]
                self.wall_s[part] += spent[1] - within[1]
                if self._inside:
                    self._inside[-1][0] += spent[0]
                    self._inside[-1][1] += spent[1]

        return outer


def sender_cpu_s() -> float:
    """Return the CPU seconds of the processes this one has started and that still live: the sender."""
    total = 0.0
    for child in psutil.Process().children(recursive=True):
        try:
            times = child.cpu_times()
            total += times.user + times.system
        except psutil.NoSuchProcess:
            continue
    return total


def measure(args: argparse.Namespace, folder: Path) -> tuple[Turns, Parts, float]:
    """Run both in turns; returns their times, the parts' and the sender's CPU seconds.

    One step more is run than is counted: what ends a run (its last grids and checkpoint) is no part of the share.
    """
    common = [*MODELS[args.model], f"steps={args.steps + 1}", "runtime.threads=1", "runtime.progress=false"]
    asked = {
        "on": [*common, *DEFAULTS, f"tracker.uri=sqlite:///{folder / 'mlflow.db'}", *args.overrides],
        "off": [*common, *args.overrides, *OFF],
    }
    runs = {name: settings_of(overrides) for name, overrides in asked.items()}
    names = {settings.tracker.kind: name for name, settings in runs.items()}
    turns, parts, sender = Turns(list(runs), args.turn), Parts(), [0.0]
    done: set[str] = set()

    def begin(name: str) -> Callable[[int], None]:
        turns.begin(name)

        def look(step: int) -> None:
            if name == "on" and step % args.turn == 0:
                sender.append(sender_cpu_s())
                parts.counting = step < args.steps
            if step <= args.steps:
                turns.after_step(name, step)

        return look

    def work(name: str) -> None:
        try:
            turns.wait(name)
            if name == "on":
                parts.thread = threading.get_ident()
            run(runs[name], folder / name, asked[name])
            done.add(name)
        finally:
            turns.leave(name)

    with ExitStack() as patches:
        for owner, method, part in PARTS:
            patches.enter_context(mock.patch.object(owner, method, parts.timed(getattr(owner, method), part)))
        patches.enter_context(looked_at(lambda settings: begin(names[settings.tracker.kind])))
        threads = [threading.Thread(target=work, args=(name,)) for name in runs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if done != set(runs):
        sys.exit("tracking: a run failed; see above")
    last = [torch.load(folder / name / "checkpoints" / "last.pt", weights_only=True) for name in runs]
    if not same(last[0]["nets"], last[1]["nets"]):
        sys.exit("tracking: the two runs' weights differ: looking has changed what was learnt")
    return turns, parts, max(sender)


def same(one: Any, other: Any) -> bool:
    """Tell whether two tables of tensors are equal to the last bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return torch.equal(one, other)


def report(args: argparse.Namespace, turns: Turns, parts: Parts, sender_s: float) -> dict[str, Any]:
    """Print the table and return it as plain values. The shares' denominator is the run with all of it off."""
    # Without each run's first turn: who goes first pays for the process's warm-up. Then as if for all steps.
    whole = args.steps / (args.steps - args.turn)
    cpu = {name: whole * sum(values[1:]) for name, values in turns.cpu_s.items()}
    wall = {name: whole * sum(values[1:]) for name, values in turns.wall_s.items()}
    named = sum(parts.cpu_s.values())
    percent = {part: 100 * seconds / cpu["off"] for part, seconds in sorted(parts.cpu_s.items())}
    print("\n| part | CPU s | wall s | share of the step's CPU time |")
    print("|---|---|---|---|")
    for part, share in percent.items():
        print(f"| {part} | {parts.cpu_s[part]:.3f} | {parts.wall_s[part]:.3f} | {share:.2f} % |")
    share = 100 * named / cpu["off"]
    print(f"| all parts | {named:.3f} | {sum(parts.wall_s.values()):.3f} | {share:.2f} % |")
    step_ms = {name: 1000 * seconds / args.steps for name, seconds in cpu.items()}
    pairs = zip(turns.cpu_s["on"][1:], turns.cpu_s["off"][1:], strict=True)
    turn_off = cpu["off"] * args.turn / args.steps
    off_by = torch.tensor([100 * (on - off) / turn_off for on, off in pairs], dtype=torch.float64)
    difference, error = off_by.mean().item(), off_by.std().item() / len(off_by) ** 0.5
    print(f"\nstep, all off: {step_ms['off']:.1f} ms CPU ({1000 * wall['off'] / args.steps:.1f} ms wall)")
    print(f"step, all on: {step_ms['on']:.1f} ms CPU ({1000 * wall['on'] / args.steps:.1f} ms wall)")
    print(f"difference: {difference:+.1f} % of the step's CPU time, standard error {error:.1f}")
    print(f"beside them, the sender process: {sender_s:.1f} CPU s from its start to the last turn")
    print(f"share {share:.2f} % (allowed {ALLOWED_PERCENT} %): {'kept' if share <= ALLOWED_PERCENT else 'NOT kept'}")
    print(f"load at the end: {load()}")
    return {
        "model": args.model,
        "steps": args.steps,
        "share_percent": share,
        "parts_percent": percent,
        "difference_percent": difference,
        "difference_error": error,
        "step_cpu_ms": step_ms,
        "sender_cpu_s": sender_s,
        "turns_cpu_s": dict(turns.cpu_s),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, write JSON when asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", choices=sorted(MODELS), default="quarter", help="whose step it is held against")
    parser.add_argument("--steps", type=int, default=1000, help="counted steps; the default cadences need 1000")
    parser.add_argument("--turn", type=int, default=20, help="steps a run takes before the other's turn")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    parser.add_argument("overrides", nargs="*", help="gansweep overrides for both runs")
    args = parser.parse_args(argv)
    if args.steps % args.turn or args.steps < 2 * args.turn:
        parser.error("--steps must be a multiple of --turn, twice it at least")
    torch.set_num_threads(1)
    print(head())
    with tempfile.TemporaryDirectory() as folder:
        turns, parts, sender_s = measure(args, Path(folder))
    found = report(args, turns, parts, sender_s)
    if args.json is not None:
        args.json.write_text(json.dumps({**found, "machine": facts()}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
