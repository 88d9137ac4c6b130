"""Sweeps that are there: status, stop, retry."""

from __future__ import annotations

import os

from gansweep.errors import UserError, nearest
from gansweep.verbs.line import Parser, print_json

_WORDS = ("status", "stop", "retry")


def sweep(words: list[str]) -> int:
    """Look at a sweep, stop it, or run what failed in it once more."""
    if not words or words[0] not in _WORDS:
        said = words[0] if words else "nothing"
        raise UserError(f"sweep {said}: say status, stop or retry{nearest(said, _WORDS) if words else ''}")
    parser = Parser(f"sweep {words[0]}")
    parser.add_argument("sweep", nargs="?")
    if words[0] == "status":
        parser.add_argument("--json", action="store_true")
    if words[0] == "retry":
        parser.add_argument("jobs", nargs="*", type=int)
    args = parser.parse_args(words[1:])
    from gansweep.sweep import conduct

    directory = conduct.find(args.sweep)
    if words[0] == "stop":
        print(conduct.stop(directory))
        return 0
    if words[0] == "retry":
        from gansweep.sweep.again import retry

        return retry(directory, args.jobs)
    from gansweep.sweep.report import facts, print_status

    if args.json:
        return print_json(facts(directory))
    print_status(directory)
    print(f"in {os.path.relpath(directory)}")
    return 0
