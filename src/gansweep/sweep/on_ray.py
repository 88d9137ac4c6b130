"""Jobs on a Ray cluster, or on a Ray of this machine: each a task that starts the job's own process."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gansweep.errors import Missing, UserError
from gansweep.sweep import faults
from gansweep.sweep.engines import Worker, check_counts, is_number
from gansweep.sweep.ledger import Row
from gansweep.sweep.slots import cuda_devices
from gansweep.sweep.spawn import frozen_path

_ASK_WAIT_S = 10.0
_ASK_EVERY_S = 0.5


@dataclass
class Task:
    """A job that Ray has: `ref` is what its task will return to the `engine` that handed it over."""

    row: Row
    ref: Any
    engine: Ray
    why: str = ""
    out_of_memory: bool = False

    def ended(self) -> int | None:
        """Return a status once its task ended: 0, -15 where it was cancelled, -9 where its worker died; None before."""
        import ray

        if self.ref not in self.engine.done():
            return None
        try:
            ray.get(self.ref)
        except ray.exceptions.TaskCancelledError:
            return -signal.SIGTERM
        except Exception as error:
            self.why = f"Ray lost it ({type(error).__name__})"
            self.out_of_memory = isinstance(error, ray.exceptions.OutOfMemoryError)
            return -signal.SIGKILL
        return 0

    def fault(self, code: int) -> tuple[str, str]:
        """Return class and words for an end of which the job itself said nothing."""
        if self.out_of_memory:
            return faults.OUT_OF_MEMORY, "killed by Ray: memory ran out on its node"
        return faults.GONE, self.why or "its task was cancelled"

    def tell(self, number: signal.Signals) -> None:
        """Ask the job to keep its state and end; SIGKILL ends its worker, and with that the job is asked again."""
        import ray

        with contextlib.suppress(Exception):  # it may have ended just now
            ray.cancel(self.ref, force=number == signal.SIGKILL)


class Ray:
    """Hands jobs to Ray; `launcher` are the keys of conf/hydra/launcher/ray.yaml."""

    queues, lasting = True, False

    def __init__(self, directory: Path, launcher: Mapping[str, Any]) -> None:
        self.directory, self.launcher = directory, dict(launcher)
        self._tasks, self._done, self._asked_at = list[Task](), set[Any](), 0.0
        self._run = self._task()  # now, for Ray takes SIGTERM for itself: who leads the sweep has the last word on it

    def room(self, taken: int) -> int:
        """Return how many more jobs a search may have at once."""
        return max(int(self.launcher["n_jobs"]) - taken, 0)

    def start(self, rows: Sequence[Row]) -> list[Worker]:
        """Hand jobs over; Ray starts each where there is room for it."""
        from gansweep.sweep.errand import Errand

        keys = self.launcher
        threads = str(keys["cpus"])
        told = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        grace_s = float(keys["grace_s"])
        # A node knows nothing of what was exported where the sweep was started.
        told |= {key: value for key, value in os.environ.items() if key.startswith("MLFLOW_")}
        errands = [(row, Errand(self.directory, row.job, told, grace_s)) for row in rows]
        started = [Task(row, self._run.remote(errand), self) for row, errand in errands]
        self._tasks += started
        return list(started)

    def done(self) -> set[Any]:
        """Return what has ended of the tasks that were handed over, as it was half a second ago or later."""
        import ray

        if self._tasks and time.monotonic() - self._asked_at > _ASK_EVERY_S:
            refs = [task.ref for task in self._tasks]
            self._done = set(ray.wait(refs, num_returns=len(refs), timeout=0)[0])
            self._asked_at = time.monotonic()
        return self._done

    def _task(self) -> Any:
        """Return the remote function that runs an errand, on a Ray that is started or joined now."""
        import ray

        keys = self.launcher
        told = {"PYTHONPATH": frozen_path(self.directory)}
        ray.init(
            address=keys["address"] or "local",  # without a word Ray would join whatever it finds
            runtime_env={"env_vars": told, "working_dir": None},
            include_dashboard=False if keys["address"] is None else None,
            log_to_driver=False,
            logging_level="warning",
            configure_logging=False,
        )
        asked: dict[str, Any] = {"num_cpus": int(keys["cpus"]), "num_gpus": float(keys["gpus"]), "max_retries": 0}
        if keys["memory_gb"]:
            asked["memory"] = int(float(keys["memory_gb"]) * 1e9)
        # A worker of its own for each job: what the last one left behind is nobody's.
        return ray.remote(**asked, max_calls=1)(_run)

    def adopt(self, row: Row) -> Worker | None:
        """Return None: Ray ends what it ran for a leader that is gone."""
        return None

    def tell(self, workers: Sequence[Worker], number: signal.Signals) -> None:
        """Send a signal to several jobs."""
        for worker in workers:
            worker.tell(number)

    def free(self, worker: Worker) -> None:
        """Forget a job that is over."""
        self._tasks = [task for task in self._tasks if task is not worker]


def _run(errand: Any) -> str:
    return str(errand())


def refuse(launcher: Mapping[str, Any]) -> None:
    """Raise Missing where Ray is not installed or the cluster named does not answer, UserError for wrong settings."""
    check_counts(launcher, n_jobs=1, cpus=1)
    gpus = launcher["gpus"]
    if not is_number(gpus) or gpus < 0:
        raise UserError(f"hydra.launcher.gpus={gpus}: a number of GPUs, 0 or more")
    if importlib.util.find_spec("ray") is None:
        raise Missing("hydra/launcher=ray needs Ray, best in an environment of its own: pip install 'gansweep[ray]'")
    address = launcher["address"]
    if address is None:
        for key, here in (("cpus", os.cpu_count() or 1), ("gpus", len(cuda_devices()) if gpus else 0)):
            if launcher[key] > here:
                raise UserError(
                    f"hydra.launcher.{key}={launcher[key]}: this machine has {here}; address=auto joins a cluster"
                )
    else:
        _refuse_silence(str(address))


def _refuse_silence(address: str) -> None:
    """Raise Missing where no Ray cluster can be joined at `auto` or HOST:PORT."""
    import ray

    nobody = f"hydra.launcher.address={address}: no Ray answers there; ray start --head begins one on a host"
    host, colon, port = address.rpartition(":")
    try:
        if colon and "://" not in address:  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), timeout=_ASK_WAIT_S).close()
        ray.init(address=address, log_to_driver=False, configure_logging=False)
        ray.shutdown()
    except Exception as error:
        if "uthenticat" in f"{type(error).__name__} {error}":
            raise Missing(
                f"hydra.launcher.address={address}: Ray there asks who we are; export RAY_AUTH_MODE=token here, with "
                "the cluster's ~/.ray/auth_token, or start all of it with RAY_AUTH_MODE=disabled"
            ) from None
        raise Missing(nobody) from None
