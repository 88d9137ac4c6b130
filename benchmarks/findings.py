"""Nine claims of the journals as small sweeps on the embedded data: claim, quantity, interval, verdict.

    python benchmarks/findings.py [--only NAME ...] [--seeds N] [--out FILE] [--keep DIR] [--jobs N]

Every claim can come out as supported, not supported, or cannot be told here. --keep keeps runs and finished claims in a
folder, and goes on from there: what is finished under the same settings and rule is not run again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from datetime import datetime
from pathlib import Path

from finding_more_claims import ALL
from finding_report import Result, judged, report, spread_in_words, table
from finding_rules import Claim
from finding_runs import Arms, Sweep, SweepFailed, commit
from machine import head, load

REPORTS = Path(__file__).resolve().parent / "reports"
LEAST_SEEDS = 3


def mark(claim: Claim, seeds: Sequence[int]) -> str:
    """Return what tells this claim's settings, rule and seeds apart from others."""
    told = repr((claim.common, dict(claim.arms), claim.bounds, tuple(seeds)))
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def sweeps_of(claim: Claim, folder: Path, seeds: Sequence[int]) -> dict[str, Sweep]:
    """Return the claim's sweeps by arm, each with a folder of its own."""

    def place(arm: str) -> Path:
        return folder / re.sub(r"[^0-9A-Za-z]+", "_", arm)

    return {arm: Sweep(place(arm), (*claim.common, *own), tuple(seeds)) for arm, own in claim.arms.items()}


def run(claim: Claim, folder: Path, seeds: Sequence[int], tell: Callable[[str], None]) -> Result:
    """Run a claim's sweeps, one after the other; a failure is part of the result. Nothing is measured yet."""
    sweeps = sweeps_of(claim, folder, seeds)
    commands = {arm: sweep.command() for arm, sweep in sweeps.items()}
    found = Result(claim.name, mark(claim, seeds), list(seeds), {}, commands, 0.0, 0.0, "", "", commit())
    for arm, sweep in sweeps.items():
        try:
            taken = sweep.run(claim.may_stop)
        except SweepFailed as error:
            found.failed = f"{arm}: {error}"
            break
        found.cpu_s, found.wall_s = found.cpu_s + taken.cpu_s, found.wall_s + taken.wall_s
        found.taken, found.commit = found.taken or taken.date, taken.commit or found.commit
        tell(f"{claim.name}: {arm}, {taken.cpu_s:.0f} CPU s")
    found.load = load()
    return found


def finish(claim: Claim, result: Result, folder: Path) -> Result:
    """Measure the finished runs, draw the picture, and keep the result beside them."""
    if result.failed is None:
        arms = Arms(sweeps_of(claim, folder, result.seeds))
        result.values = claim.measure(arms)
        if claim.picture is not None:
            claim.picture(arms, folder / "picture.png")
        (folder / "result.json").write_text(json.dumps(result.plain(), indent=1), encoding="utf-8")
    return result


def kept(claim: Claim, folder: Path, seeds: Sequence[int]) -> Result | None:
    """Return the claim's finished result from an earlier call, if it was taken under the same settings and rule."""
    try:
        result = Result(**json.loads((folder / "result.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return result if result.mark == mark(claim, seeds) else None


class Progress:
    """Tells of finished sweeps: a bar where stderr is a terminal, lines elsewhere."""

    def __init__(self, total: int):
        self.total, self.done, self.bar = total, 0, None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress as Bar

            self.bar = Bar(console=Console(stderr=True))
            self.task = self.bar.add_task("sweeps", total=total)
            self.bar.start()

    def __call__(self, line: str) -> None:
        self.done += 1
        if self.bar is not None:
            self.bar.console.print(line)
            self.bar.update(self.task, completed=self.done)
        else:
            print(f"[{self.done}/{self.total}] {line}", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.stop()


def collect(claims: Sequence[Claim], work: Path, count: int, jobs: int) -> dict[str, Result]:
    """Run what is not kept, with at least `count` seeds, `jobs` claims at a time; measure each as it ends."""
    seeds = {claim.name: [claim.first_seed + n for n in range(max(count, claim.seeds))] for claim in claims}
    found = {claim.name: kept(claim, work / claim.name, seeds[claim.name]) for claim in claims}
    wanted = [claim for claim in claims if found[claim.name] is None]
    progress = Progress(sum(len(claim.arms) for claim in wanted))
    try:
        with ThreadPoolExecutor(jobs) as pool:
            going: dict[Future[Result], Claim] = {
                pool.submit(run, claim, work / claim.name, seeds[claim.name], progress): claim for claim in wanted
            }
            for future in as_completed(going):
                claim = going[future]
                result = finish(claim, future.result(), work / claim.name)
                found[claim.name] = result
                print(f"{claim.name}: {judged(claim, result)}", file=sys.stderr, flush=True)
    finally:
        progress.close()
    return {name: result for name, result in found.items() if result is not None}


def publish(claims: Sequence[Claim], results: dict[str, Result], work: Path, out: Path) -> None:
    """Write the report, with the pictures in a folder beside it that bears its name."""
    folder = out.parent / out.stem
    pictures: dict[str, Path] = {}
    for claim in claims:
        drawn = work / claim.name / "picture.png"
        if drawn.exists():
            folder.mkdir(parents=True, exist_ok=True)
            pictures[claim.name] = Path(shutil.copyfile(drawn, folder / f"{claim.name}.png"))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(report(claims, results, head(), pictures, out), encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print, write. Returns 1 when a sweep failed."""
    names = [claim.name for claim in ALL]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument(
        "--seeds", type=int, default=LEAST_SEEDS, help=f"how many, at least {LEAST_SEEDS}; a claim may ask for more"
    )
    parser.add_argument("--out", type=Path, help="the report; its pictures go into a folder beside it")
    parser.add_argument("--keep", type=Path, help="keep runs and finished claims here, and go on from what is here")
    parser.add_argument("--jobs", type=int, default=2, help="claims run at a time, one core each")
    args = parser.parse_args(argv)
    if args.seeds < LEAST_SEEDS or args.jobs < 1:
        parser.error(f"--seeds is {LEAST_SEEDS} or more, --jobs 1 or more")
    claims = [claim for claim in ALL if args.only is None or claim.name in args.only]
    out = args.out or REPORTS / f"{datetime.now():%Y-%m-%d}-findings.md"
    with tempfile.TemporaryDirectory(prefix="gansweep-findings-") as temporary:
        work = (args.keep or Path(temporary)).absolute()
        results = collect(claims, work, args.seeds, args.jobs)
        publish(claims, results, work, out)
    print(table(claims, results))
    for claim in claims:
        result = results[claim.name]
        print(f"\n{claim.name} ({claim.journal}): {claim.says}\n  {judged(claim, result)}")
        for bound in () if result.failed else claim.bounds:
            print(f"  {bound.what}: {spread_in_words(result.values[bound.quantity])} (must be {bound.words()})")
        if result.failed:
            print(f"  a sweep failed: {result.failed}")
    print(f"\nreport: {out}")
    return 1 if any(result.failed for result in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
