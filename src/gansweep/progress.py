"""The live bar of a training run: on stderr, and only when that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from gansweep.config.settings import Settings

# What a bar has room for: a few losses, in the order in which the phases report them.
_MOST_SHOWN = 4


# Metrics that are no losses, by the first part of their name.
_OTHERS = ("lr", "knob", "turns", "grad_norm", "perf", "val")


def losses_among(values: Mapping[str, float]) -> list[str]:
    """Return the names of the unscaled terms and reports among a step's metrics, in their order."""
    return [
        key
        for key in values
        if key.count("/") == 1 and not key.endswith(("_weighted", "/total")) and key.partition("/")[0] not in _OTHERS
    ]


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
            own = [f"{key} {losses[key]:.3g}" for key in losses_among(losses)[:_MOST_SHOWN]]
            progress.update(task, losses=" ".join(own))

        yield (lambda step: progress.update(task, completed=step)), show
