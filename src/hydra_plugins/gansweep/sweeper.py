"""The sweeper that conf/hydra/sweeper/gansweep.yaml names. gansweep leads a sweep itself (gansweep.sweep.conduct)."""

from __future__ import annotations

from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper


class GansweepSweeper(BasicSweeper):
    """Every combination of the listed values, in Hydra's order."""

    def __init__(self, params: dict[str, str] | None = None) -> None:
        super().__init__(max_batch_size=None, params=params)


class Search(BasicSweeper):
    """Holds the keys of conf/hydra/sweeper/search.yaml; only gansweep can search (gansweep.sweep.seeking)."""

    def __init__(self, params: dict[str, str] | None = None, **keys: Any) -> None:
        super().__init__(max_batch_size=None, params=params)
        self.keys = keys

    def sweep(self, arguments: list[str]) -> Any:
        """Refuse: another Hydra application has no record of a search."""
        raise NotImplementedError("hydra/sweeper=search is gansweep's own: gansweep -m hydra/sweeper=search ...")
