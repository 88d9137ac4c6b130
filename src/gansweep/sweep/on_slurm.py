"""Jobs on a Slurm cluster: handed over as job arrays through submitit, followed through squeue, stopped by scancel."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gansweep.errors import Missing, UserError
from gansweep.sweep import faults, ledger
from gansweep.sweep.engines import Worker, check_counts
from gansweep.sweep.ledger import WAITING, Row
from gansweep.sweep.slurm_queue import OVER, Queue, cancel, in_queue, largest_array, queue_here
from gansweep.sweep.spawn import frozen_path

FOLDER = "slurm"
_ASK_WAIT_S = 30.0
_AGAIN_S = 30.0
# A job must be missing for so many answers of squeue: between two states it may be in none.
_MISSED = 2


@dataclass
class Queued:
    """A job in Slurm's queue, known by its ticket there: `123_4` for the fifth of array 123."""

    row: Row
    ticket: str
    queue: Queue
    state: str = "PENDING"
    missed: int = 0
    seen: int = 0

    def ended(self) -> int | None:
        """Return a status once Slurm has done with it: 0, or -15 where it was cancelled. None before."""
        states = self.queue.states()
        if states is None or self.seen == self.queue.answers:
            return None
        self.seen = self.queue.answers
        self.state = states.get(self.ticket, self.state if self.state in OVER else "")
        if self.state not in OVER:
            self.missed = 0
            return None
        self.missed += 1
        if self.missed < _MISSED:
            return None
        return -signal.SIGTERM if self.state == "CANCELLED" else 0

    def fault(self, code: int) -> tuple[str, str]:
        """Return class and words for an end of which the job itself said nothing."""
        if self.state == "OUT_OF_MEMORY":
            return faults.OUT_OF_MEMORY, "killed by Slurm: memory ran out (hydra.launcher.memory_gb)"
        told = f" ({self.state})" if self.state else ""
        if self.state == "CANCELLED":
            return faults.STOPPED, f"cancelled: Slurm's job {self.ticket}"
        return faults.GONE, f"Slurm has done with job {self.ticket}{told}, and it said nothing"

    def tell(self, number: signal.Signals) -> None:
        """Ask the job to keep its state and end; one that has not begun, or is to be killed, is cancelled."""
        cancel([self.ticket], gently=self.gently(number))

    def gently(self, number: signal.Signals) -> bool:
        """Say whether the signal leaves the job time to keep its state."""
        return number != signal.SIGKILL and self.state == "RUNNING"


class Slurm:
    """Hands jobs to Slurm; `launcher` are the keys of conf/hydra/launcher/slurm.yaml."""

    queues = lasting = True

    def __init__(self, directory: Path, launcher: Mapping[str, Any]) -> None:
        self.directory, self.launcher = directory, dict(launcher)
        self.queue = Queue(float(launcher.get("poll_s", 5)), directory)
        self._not_before = 0.0
        self._most = largest_array()

    def room(self, taken: int) -> int:
        """Return how many more jobs a search may have in the queue."""
        return max(int(self.launcher["n_jobs"]) - taken, 0) if time.monotonic() >= self._not_before else 0

    def start(self, rows: Sequence[Row]) -> list[Worker]:
        """Hand jobs over as one array, or the first that fit into one; none while Slurm takes none, which is said."""
        import submitit
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        from gansweep.sweep.errand import Errand

        if time.monotonic() < self._not_before:
            return []
        rows = rows[: self._most]
        executor = submitit.SlurmExecutor(
            self.directory / FOLDER,
            max_num_timeout=int(self.launcher["requeues"]),
            python=f"{shlex.quote(sys.executable)} -P",
        )
        executor.update_parameters(**self._parameters())
        threads = str(self.launcher["cpus"])
        told, grace_s = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}, float(self.launcher["grace_s"])
        try:
            with executor.batch():
                jobs = [executor.submit(Errand(self.directory, row.job, told, grace_s)) for row in rows]
            tickets = [job.job_id for job in jobs]
        except (FailedJobError, FailedSubmissionError, subprocess.SubprocessError) as error:
            self._not_before, self._most = time.monotonic() + _AGAIN_S, max(len(rows) // 2, 1)
            first = next(iter(str(error).strip().splitlines()[-1:]), type(error).__name__)
            print(f"gansweep: Slurm took no job ({first}); asked again in {_AGAIN_S:.0f} s", file=sys.stderr)
            return []
        handed = list(zip(rows, tickets, strict=True))
        ledger.append(self.directory, *({"kind": "ticket", "job": row.job, "ticket": ticket} for row, ticket in handed))
        return [Queued(row, ticket, self.queue) for row, ticket in handed]

    def _parameters(self) -> dict[str, Any]:
        """Return what submitit is to ask sbatch for."""
        keys = self.launcher
        asked = {
            "job_name": f"gansweep-{self.directory.name}",
            "time": int(keys["time_min"]),
            "cpus_per_task": int(keys["cpus"]),
            "array_parallelism": int(keys["n_jobs"]),
            "signal_delay_s": int(keys["grace_s"]),
            "stderr_to_stdout": True,
            "setup": [*keys["setup"], f"export PYTHONPATH={shlex.quote(frozen_path(self.directory))}"],
            "additional_parameters": {"requeue": True} | dict(keys["sbatch"]),
        }
        if keys["gpus"]:
            asked["gpus_per_node"] = int(keys["gpus"])
        if keys["memory_gb"]:
            asked["mem"] = f"{int(float(keys['memory_gb']) * 1000)}M"
        return asked | {key: keys[key] for key in ("partition", "account", "qos") if keys[key]}

    def adopt(self, row: Row) -> Worker | None:
        """Return a job that is still in Slurm's queue or runs there."""
        if row.ticket is None or in_queue(row) is False:  # where Slurm gives no answer, nothing is begun twice
            return None
        if row.state == WAITING and queue_here(self.directory).state_of(row.ticket) == "COMPLETING":  # stopped just now
            return None
        return Queued(row, row.ticket, self.queue)

    def tell(self, workers: Sequence[Worker], number: signal.Signals) -> None:
        """Send a signal to several jobs: one command for many, not one for each."""
        jobs = [one for one in workers if isinstance(one, Queued)]
        for gently in (True, False):
            cancel([one.ticket for one in jobs if one.gently(number) is gently], gently)

    def free(self, worker: Worker) -> None:
        """Nothing is held here for a job."""


def refuse(launcher: Mapping[str, Any]) -> None:
    """Raise Missing where submitit or Slurm is not there, UserError for what Slurm would not take."""
    check_counts(launcher, n_jobs=1, cpus=1, gpus=0, time_min=1, requeues=0)
    setup, further = launcher["setup"], launcher["sbatch"]
    if not isinstance(setup, list) or not all(isinstance(line, str) for line in setup):
        raise UserError(f"hydra.launcher.setup={setup}: a list of shell lines, as in '[\"module load cuda\"]'")
    if not isinstance(further, Mapping):
        raise UserError(f"hydra.launcher.sbatch={further}: options of sbatch with values, as in '{{constraint: a100}}'")
    if launcher["poll_s"] < 1:
        raise UserError(
            f"hydra.launcher.poll_s={launcher['poll_s']}: at least 1, for it is Slurm's controller that is asked"
        )
    if importlib.util.find_spec("submitit") is None:
        raise Missing("hydra/launcher=slurm needs submitit: pip install 'gansweep[slurm]'")
    if shutil.which("sbatch") is None or shutil.which("srun") is None:
        raise Missing(
            "hydra/launcher=slurm: no sbatch here; start gansweep on a host of the cluster (Slurm's commands are in "
            "Debian's package slurm-client: apt-get install slurm-client)"
        )
    if launcher["grace_s"] >= 60 * launcher["time_min"]:
        raise UserError(
            f"hydra.launcher.grace_s={launcher['grace_s']}: jobs would be told to end before they begin; they have "
            f"hydra.launcher.time_min={launcher['time_min']} minutes"
        )
    _ask_for_room(launcher)


def _ask_for_room(launcher: Mapping[str, Any]) -> None:
    """Let sbatch say whether it would take such a job, without giving it one."""
    chosen = {"partition": launcher["partition"], "account": launcher["account"], "qos": launcher["qos"]}
    options = [f"--{key}={value}" for key, value in chosen.items() if value]
    options += [f"--time={launcher['time_min']}", f"--cpus-per-task={launcher['cpus']}"]
    options += [f"--gpus-per-node={launcher['gpus']}"] if launcher["gpus"] else []
    options += [f"--mem={int(float(launcher['memory_gb']) * 1000)}M"] if launcher["memory_gb"] else []
    options += [f"--{key}" if value is True else f"--{key}={value}" for key, value in dict(launcher["sbatch"]).items()]
    try:
        said = subprocess.run(
            ["sbatch", "--test-only", *options, "--wrap=true", f"--chdir={os.getcwd()}"],
            capture_output=True,
            text=True,
            timeout=_ASK_WAIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"hydra/launcher=slurm: sbatch gives no answer ({type(error).__name__})") from None
    if said.returncode == 0:
        return
    lines = [line for line in said.stderr.splitlines() if "error" in line or "failure" in line] or [said.stderr]
    words = re.sub(r"^(sbatch: )?(error: |fatal: )?", "", lines[-1].strip())
    if re.search(r"[Uu]nable to contact|Socket timed out|Connection refused|Protocol", said.stderr):
        raise Missing(f"hydra/launcher=slurm: Slurm's controller does not answer ({words}); is slurmctld running?")
    raise UserError(f"hydra/launcher=slurm: Slurm would not take such a job ({words}); see hydra.launcher.* and sinfo")
