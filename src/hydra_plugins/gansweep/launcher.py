"""The launchers that conf/hydra/launcher/ names. gansweep runs a sweep's jobs itself (gansweep.sweep.engines)."""

from __future__ import annotations

from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher


class Pool(BasicLauncher):
    """Holds the keys of `hydra.launcher`; under another Hydra application it runs jobs one after the other."""

    def __init__(self, **keys: Any) -> None:
        super().__init__()
        self.keys = keys


class Slurm(Pool):
    """The keys of conf/hydra/launcher/slurm.yaml."""


class Ray(Pool):
    """The keys of conf/hydra/launcher/ray.yaml."""
