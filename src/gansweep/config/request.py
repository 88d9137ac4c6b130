"""What a new request is held to beyond its settings: this machine's bounds, and keys that mean nothing alone.

A recorded config is not: it was a request on another machine, or to an older version.
"""

from __future__ import annotations

import os

from gansweep.config.settings import Settings
from gansweep.errors import UserError

# More threads than this never help, and the thread library ends the process when it cannot start them.
THREADS_PER_CPU = 4


def check_request(settings: Settings) -> None:
    """Raise UserError, one line, for more threads than the machine can use, a blank name, a warm start from nowhere."""
    check_threads(settings)
    if settings.name is not None and not settings.name.strip():
        raise UserError(f"name='{settings.name}': must be text that is not blank; name=null makes one of what differs")
    start = settings.model.warm_start
    if start.nets and start.source is None:
        raise UserError("model.warm_start.nets: needs model.warm_start.from=RUN, the run whose weights they take")


def check_threads(settings: Settings) -> None:
    """Raise UserError when `runtime.threads` is above THREADS_PER_CPU times the CPUs of this machine."""
    threads, cpus = settings.runtime.threads, os.cpu_count() or 1
    most = THREADS_PER_CPU * cpus
    if threads is not None and threads > most:
        raise UserError(
            f"runtime.threads={threads}: must be at most {most} ({THREADS_PER_CPU} for each of this machine's"
            f" {cpus} CPUs)"
        )
