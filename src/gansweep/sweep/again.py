"""`gansweep sweep retry`: once more what failed; a search is told how that ended."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from gansweep.sweep import ledger
from gansweep.sweep.conduct import lead, to_retry
from gansweep.sweep.freeze import FIRST, POINTS_DIR, changed_since, frozen_conf, frozen_point


def retry(directory: Path, numbers: Sequence[int]) -> int:
    """Run the jobs that failed once more (all, or those of `numbers`), each going on from its last checkpoint.

    Returns the exit status. UserError for a number that is no job, or of one that did not fail.
    """
    wanted = to_retry(directory, numbers)
    files = changed_since(directory)
    if files:
        names = ", ".join(files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")
        told = "its jobs run what was there then; a mended file needs a new sweep"
        print(f"gansweep: {names} changed since this sweep began: {told}", file=sys.stderr)
    if not (directory / POINTS_DIR / f"{FIRST}.json").is_file():
        return lead(directory, frozen_point(directory, min(wanted)), lambda row: row.job in wanted)
    from gansweep.config.compose import session
    from gansweep.sweep.seeking import Seeker

    given = ledger.load(directory).overrides
    shipped, own = frozen_conf(directory)
    with session(own, shipped) as hydra:
        seeker = Seeker(hydra, given, hydra.plugin("sweeper", given))
        return lead(directory, frozen_point(directory, FIRST), lambda row: row.job in wanted, seeker)
