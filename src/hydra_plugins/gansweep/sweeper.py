"""The sweeper: Hydra's own, and what became of each job is entered into the sweep's record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.utils import JobReturn, JobStatus


class GansweepSweeper(BasicSweeper):
    """Every combination of the listed values, in Hydra's order. Jobs return how they ended and never raise."""

    def __init__(self, max_batch_size: int | None = None, params: dict[str, str] | None = None) -> None:
        super().__init__(max_batch_size=max_batch_size, params=params)

    def sweep(self, arguments: list[str]) -> Any:
        """Run the sweep; `arguments` are the overrides. Returns Hydra's results, batch by batch."""
        from gansweep.sweep import record
        from gansweep.sweep.job import JobResult

        batches = super().sweep(arguments)
        returns: list[JobReturn] = [one for batch in batches for one in batch]
        ended = [
            (number, one.return_value)
            for number, one in enumerate(returns)
            if one.status == JobStatus.COMPLETED and isinstance(one.return_value, JobResult)
        ]
        assert self.config is not None
        record.note(Path(self.config.hydra.sweep.dir), ended)
        return batches
