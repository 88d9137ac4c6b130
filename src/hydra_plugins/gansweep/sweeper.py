"""The sweeper that conf/hydra/sweeper/gansweep.yaml names. gansweep leads a sweep itself (gansweep.sweep.conduct)."""

from __future__ import annotations

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper


class GansweepSweeper(BasicSweeper):
    """Every combination of the listed values, in Hydra's order."""

    def __init__(self, max_batch_size: int | None = None, params: dict[str, str] | None = None) -> None:
        super().__init__(max_batch_size=max_batch_size, params=params)
