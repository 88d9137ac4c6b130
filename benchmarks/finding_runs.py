"""Runs of a finding's sweeps: started as a user starts them, read as the program reads its own runs."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import facts
from omegaconf import OmegaConf
from torch import Tensor

from gansweep.data import Dataset
from gansweep.describe import CONFIG_FILE
from gansweep.restore import Restored, recorded, restore
from gansweep.runs import spool, store
from gansweep.runs.rundir import Run

TAKEN_FILE = "taken.json"
# One thread a sweep: two of them side by side then do not wait for each other.
ALWAYS = ("tracker=none", "runtime.threads=1", "runtime.device=cpu", "runtime.progress=false")


def commit() -> str:
    """Return the commit of the program that is run."""
    return str(facts()["commit"])


class SweepFailed(Exception):
    """A sweep did not finish; the message is what it said last."""


@dataclass(frozen=True)
class Taken:
    """When and at which commit a sweep was run and what it cost; `asked` is what it was asked to run."""

    cpu_s: float
    wall_s: float
    date: str
    asked: str
    commit: str = ""


@dataclass(frozen=True)
class Sweep:
    """One arm: a sweep over the seeds in a folder of its own."""

    folder: Path
    overrides: tuple[str, ...]
    seeds: tuple[int, ...]

    def command(self) -> str:
        """Return the command as a user would type it, without what only keeps it small and quiet."""
        return shlex.join(["gansweep", "-m", *self.overrides, self._seeds()])

    def run(self, may_stop: bool = False) -> Taken:
        """Run it in a process of its own, unless it is there already; raises SweepFailed.

        `may_stop`: runs that the program stopped, because a loss was not finite, count as runs.
        """
        if (known := self._taken()) is not None:
            return known
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        line = [sys.executable, "-m", "gansweep", "-m", *self.overrides, *ALWAYS, self._seeds(), "hydra.sweep.dir=runs"]
        date = datetime.now().astimezone().isoformat(timespec="minutes")
        began = time.perf_counter()
        with (self.folder / "log.txt").open("wb") as log:
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            process = subprocess.Popen(line, cwd=self.folder, stdout=log, stderr=log, env=environment)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0 and not (may_stop and process.returncode == 1 and self.read()):
            said = (self.folder / "log.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise SweepFailed(f"exit {process.returncode}: {said[-1] if said else 'no output'}")
        found = Taken(usage.ru_utime + usage.ru_stime, time.perf_counter() - began, date, repr(self._asked()), commit())
        (self.folder / TAKEN_FILE).write_text(json.dumps(asdict(found)), encoding="utf-8")
        return found

    def _taken(self) -> Taken | None:
        try:
            found = Taken(**json.loads((self.folder / TAKEN_FILE).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return found if found.asked == repr(self._asked()) else None

    def _asked(self) -> tuple[tuple[str, ...], tuple[int, ...]]:
        return self.overrides, self.seeds

    def _seeds(self) -> str:
        return "seed=" + ",".join(map(str, self.seeds))

    def read(self) -> list[Seen]:
        """Return its runs in the order of the seeds."""
        found = store.find_many(str(self.folder / "runs"))
        if len(found) != len(self.seeds):
            raise SweepFailed(f"{len(found)} runs for {len(self.seeds)} seeds")
        return [Seen(run) for run in found]


class Seen:
    """A finished run: its curves, and its networks at a checkpoint."""

    def __init__(self, run: Run):
        self.run = run

    @cached_property
    def _points(self) -> dict[str, list[tuple[int, float]]]:
        found: dict[str, list[tuple[int, float]]] = {}
        for point in spool.points(self.run.dir):
            found.setdefault(point.key, []).append((point.step, point.value))
        return found

    def curve(self, key: str) -> tuple[np.ndarray, np.ndarray]:
        """Return (steps, values) of a metric; KeyError for one that was not logged."""
        steps, values = zip(*self._points[key], strict=True)
        return np.asarray(steps), np.asarray(values, dtype=np.float64)

    def last(self, key: str, share: float = 0.0) -> float:
        """Return a metric's last value, or its mean over the last `share` of the run."""
        steps, values = self.curve(key)
        return float(values[steps > (1 - share) * steps[-1]].mean()) if share else float(values[-1])

    @property
    def stopped(self) -> bool:
        """Whether the program ended the run before its last step."""
        return self.run.status != "FINISHED"

    def setting(self, key: str) -> Any:
        """Return one of the run's settings by its dotted key."""
        return OmegaConf.select(OmegaConf.load(self.run.dir / CONFIG_FILE), key)

    def networks(self, step: int | None = None) -> Restored:
        """Return the run's networks as they were at a step (its checkpoint must be there), or at its end."""
        name = "last.pt" if step is None else f"step-{step:08d}.pt"
        return restore(self.run.checkpoint_dir / name, self.run, recorded)

    def weights(self, net: str, step: int | None = None) -> Tensor:
        """Return all parameters of a network at a step as one float64 vector; no buffers."""
        parameters = self.networks(step).system.nets[net].parameters()
        return torch.cat([parameter.detach().flatten().double() for parameter in parameters])


class Arms:
    """The runs of a claim, arms["name"] a list by seed."""

    def __init__(self, sweeps: dict[str, Sweep]):
        self._runs = {name: sweep.read() for name, sweep in sweeps.items()}

    def __getitem__(self, name: str) -> list[Seen]:
        return self._runs[name]

    def names(self) -> Sequence[str]:
        """Return the arms in their order."""
        return list(self._runs)


def data_of(seen: Seen) -> Dataset:
    """Return the data set that a run was trained on."""
    return seen.networks().drawer.data


def held_out_pictures(seen: Seen, count: int) -> Any:
    """Return up to `count` held-out samples as the run's networks see them: name -> tensor."""
    drawer = seen.networks().drawer
    return drawer.pictures(range(min(count, len(drawer.held_out[1]))))
