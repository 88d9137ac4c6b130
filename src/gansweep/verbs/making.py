"""Making something, beside train: resume, sample, data."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from gansweep.errors import UserError, nearest
from gansweep.verbs.line import Parser, say_log_lines, settings_of

DATA_VERBS = ("build", "inspect", "check", "card")


def resume(words: list[str]) -> int:
    """Go on with a run; exit status 1 when it failed, 130 when it was stopped."""
    parser = Parser("resume")
    parser.add_argument("run", metavar="RUN")
    run = parser.parse(words).run
    say_log_lines()
    from gansweep.look import losses_of
    from gansweep.train import resume

    outcome = resume(run)
    if outcome.status == "KILLED":
        print(f"gansweep: {outcome.message or 'stopped'}", file=sys.stderr)
        return 130
    if outcome.message:
        print(outcome.message)
    else:
        from gansweep.tables import values

        print(f"{outcome.status}: {values(losses_of(outcome.run_dir))}")
        print(f"run {outcome.run_id[:8]} in {os.path.relpath(outcome.run_dir)}")
    return 0 if outcome.status == "FINISHED" else 1


def sample(words: list[str]) -> int:
    """Draw pictures from a checkpoint."""
    parser = Parser("sample")
    parser.add_argument("target", metavar="TARGET")
    parser.add_argument("--n", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-ema", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--reconstruct", action="store_true")
    # n=16 as DESIGN's other verbs write their numbers, and --n 16 as a shell user would: both are taken.
    args = parser.parse([f"--{word}" if word.partition("=")[0] in ("n", "seed", "out") else word for word in words])
    if args.n < 1:
        raise UserError(f"sample: n={args.n}: must be at least 1")
    if args.seed < 0:
        raise UserError(f"sample: seed={args.seed}: must be at least 0")
    say_log_lines()
    from gansweep.sample import sample

    print(sample(args.target, args.n, args.seed, not args.no_ema, args.out, args.reconstruct))
    return 0


def data(words: list[str]) -> int:
    """Make, look at or check a data set."""
    parser = Parser("data")
    parser.add_argument("what", metavar="|".join(DATA_VERBS))
    parser.add_argument("overrides", nargs="*", default=[])
    parser.add_argument("--out", type=Path, default=Path("contact-sheet.png"))
    parser.add_argument("-cd", "--config-dir")
    args = parser.parse(words)
    if args.what not in DATA_VERBS:
        raise UserError(f"data {args.what}: no such verb{nearest(args.what, DATA_VERBS)}")
    settings = settings_of(args.overrides, args.config_dir)
    say_log_lines()
    from gansweep.data import verbs as data_verbs

    if args.what == "inspect":
        print(data_verbs.inspect(settings.data, args.out))
    elif args.what == "card":
        from gansweep.data.card import card

        print(card(settings.data))
    else:
        print(getattr(data_verbs, args.what)(settings.data))
    return 0
