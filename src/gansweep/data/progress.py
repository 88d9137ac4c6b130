"""The bar that is shown on stderr while a set is packed; nothing at all when stderr is not a terminal."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

_LARGE = 10_000


class _Rate(ProgressColumn):
    """Pictures per second, once there is something to divide."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")


def packing_bar(wanted: bool) -> Progress:
    """Return a bar of done and all, rate and time to go, which leaves no trace when it is closed."""
    console = Console(file=sys.stderr)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not (wanted and console.is_terminal))


def say_without_a_bar(wanted: bool, count: int, name: str) -> None:
    """Say once that a large set is being packed, where there is no terminal for a bar."""
    if wanted and count >= _LARGE and not sys.stderr.isatty():
        print(f"gansweep: packing {count:,} pictures of {name} (once, some minutes)", file=sys.stderr, flush=True)
