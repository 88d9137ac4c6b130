"""How long `gansweep sweep status` takes on a sweep of 1,000 recorded points: the whole process, as one waits for it.

    python benchmarks/sweep_status.py [--points 1000] [--rounds 10] [--json FILE]

The record is written without training, through the functions that a sweep writes it with: most points finished, some
failed with their reason, one killed, two running (this process holds what their processes would), some waiting. Each
round asks for the table and for --json. CPU seconds are user and system of the process; the wall time is beside them,
with the load.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from machine import facts, head, load

from gansweep.runs import rundir
from gansweep.runs.liveness import this_process
from gansweep.runs.record import RunRecord
from gansweep.runs.spool import Spool
from gansweep.sweep import ledger

ALLOWED_S = 1.0
LOSSES = ("fit/l1", "fit/kld", "val/l1", "val/squared_error")
Times = dict[str, dict[str, list[float]]]


def write_sweep(folder: Path, points: int) -> Path:
    """Write the record of a sweep of so many points, its logs, and the runs of two that run; returns its directory."""
    sweep = folder / "multirun" / "2026-11-22" / "12-00-00"
    (sweep / "logs").mkdir(parents=True)
    rates = [f"scales.l1={n}" for n in range(points)]
    given = [
        SimpleNamespace(number=n, overrides=["model=vae", rate, "seed=1"], name=f"vae {rate}")
        for n, rate in enumerate(rates)
    ]
    ledger.begin(sweep, "20261122-120000-abcd", ["model=vae", f"scales.l1=range({points})", "seed=1"], given, {})
    entries: list[dict[str, Any]] = [{"kind": "owner", "owner": this_process()}]
    for n in range(points):
        (sweep / "logs" / f"{n}.log").touch()
        entries += _life(n, points)
    ledger.append(sweep, *entries)
    for n in (points - 12, points - 11):
        _write_run(sweep, n)
    return sweep


def _life(job: int, points: int) -> list[dict[str, Any]]:
    """Return the lines that tell of one job: the last ten wait, two run, one was killed, of the others some failed."""
    if job >= points - 10:
        return []
    about = {"kind": "state", "job": job}
    begun = [
        {**about, "state": "RUNNING", "attempt": 1, "memory_halvings": 0, "place": job % 2},
        {**about, "state": "RUNNING", "owner": this_process()},
    ]
    if job >= points - 12:
        return begun
    ended: dict[str, Any] = {**about, "state": "FINISHED", "reason": None, "fault": None, "run_id": f"{job:032x}"}
    ended["losses"] = {name: 1 / (job + place + 1) for place, name in enumerate(LOSSES)}
    if job == points - 13:
        ended |= {"state": "KILLED", "reason": "its process was killed (SIGKILL)", "fault": "killed"}
    elif job % 50 == 7:
        ended |= {"state": "FAILED", "reason": f"the run failed at step {job}: loss fit/l1 is nan", "fault": "error"}
    return [*begun, ended]


def _write_run(sweep: Path, job: int) -> None:
    run_dir = sweep / str(job)
    run_dir.mkdir()
    rundir.create(run_dir, RunRecord(f"{job:032x}", f"job {job}", run_dir, {}, steps=20_000))
    spool = Spool(run_dir)
    for step in range(0, 10_000, 50):
        spool.scalars({name: 1 / (step + 1) for name in LOSSES}, step)
    spool.close()


@contextlib.contextmanager
def running(sweep: Path, jobs: Sequence[int]) -> Iterator[None]:
    """Hold what the processes of `jobs` would hold, so that they count as running."""
    files = [os.open(sweep / "logs" / f"{job}.running", os.O_RDWR | os.O_CREAT, 0o644) for job in jobs]
    try:
        for file in files:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        for file in files:
            os.close(file)


def ask(words: Sequence[str], folder: Path) -> tuple[float, float, str]:
    """Run `gansweep sweep status WORDS`; returns its CPU and wall seconds, and what it printed."""
    command = [sys.executable, "-m", "gansweep", "sweep", "status", *words]
    before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    wall, after = time.perf_counter() - wall, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"sweep_status: it ended with {done.returncode}: {done.stderr}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall, done.stdout


def measure(points: int, rounds: int) -> Times:
    """Return CPU and wall seconds of both ways of asking, one value a round, after a look at what they answer."""
    times: Times = {way: {"cpu_s": [], "wall_s": []} for way in ("table", "--json")}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sweep = write_sweep(folder, points)
        with running(sweep, (points - 12, points - 11)):
            for number in range(rounds + 1):
                for way in times if number % 2 else reversed(times):
                    cpu, wall, said = ask([str(sweep), *(["--json"] if way == "--json" else [])], folder)
                    _look(way, said, points)
                    if number:  # the first reads the files from the disk, and compiles
                        times[way]["cpu_s"].append(cpu)
                        times[way]["wall_s"].append(wall)
                        print(f"- round {number}: {way}: {cpu:.2f} CPU s, wall {wall:.2f} s, load {load()}", flush=True)
    return times


def _look(way: str, said: str, points: int) -> None:
    """End when the answer is not of this sweep: what is timed must be the whole of it."""
    if way == "--json":
        states = [job["state"] for job in json.loads(said)["jobs"]]
        right = len(states) == points and states.count("RUNNING") == 2 and states.count("WAITING") == 10
    else:
        right = "2 running" in said and "10 waiting" in said and f"scales.l1={points - 1}" in said
    if not right:
        sys.exit(f"sweep_status: the answer is not of this sweep: {said[-2000:]}")


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, exit 1 when the table's median wall time is above a second."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    args = parser.parse_args(argv)
    if args.points < 20:
        parser.error("--points: at least 20")
    print(f"{head()}\n- {args.points} recorded points", flush=True)
    times = measure(args.points, args.rounds)
    print("\n| gansweep sweep status | CPU s: median (range) | wall s: median (range) |\n|---|---|---|")
    for way, by in times.items():
        cells = [f"{statistics.median(of):.2f} ({min(of):.2f} to {max(of):.2f})" for of in by.values()]
        print(f"| {way} | {' | '.join(cells)} |")
    worst = max(statistics.median(by["wall_s"]) for by in times.values())
    kept = worst <= ALLOWED_S
    print(f"\nstatus of {args.points} points: {worst:.2f} s (allowed {ALLOWED_S:g}): {'kept' if kept else 'NOT kept'}")
    print(f"load at the end: {load()}")
    if args.json is not None:
        found = {"points": args.points, "seconds": times, "worst_s": worst}
        args.json.write_text(json.dumps({**found, "machine": facts()}, indent=1) + "\n", encoding="utf-8")
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
