"""The live bar of a training run: on stderr, and only when that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from gansweep.config.settings import Settings

# What a bar has room for: a few losses, in the order in which the phases report them.
_MOST_SHOWN = 4


@contextmanager
def training_bar(
    settings: Settings, done: int
) -> Iterator[tuple[Callable[[int], None], Callable[[Mapping[str, float]], None]]]:
    """Yield (advance to a step, show losses); both do nothing when there is no terminal or runtime.progress=false."""
    if not (settings.runtime.progress and sys.stderr.isatty()):
        yield (lambda step: None), (lambda losses: None)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("training"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[losses]}"),
    )
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=4) as progress:
        task = progress.add_task("training", total=settings.steps, completed=done, losses="")

        def show(losses: Mapping[str, float]) -> None:
            own = [
                f"{k} {v:.3g}"
                for k, v in losses.items()
                if k.count("/") == 1 and not k.endswith(("_weighted", "/total"))
            ]
            progress.update(task, losses=" ".join(own[:_MOST_SHOWN]))

        yield (lambda step: progress.update(task, completed=step)), show
