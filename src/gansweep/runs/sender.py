"""The sender: a process beside the trainer (`python -m gansweep.runs.sender RUN_DIR`) that takes the spool to MLflow.

It outlives a trainer that is killed, marks that run KILLED, sends what is left and ends.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import filelock

from gansweep.runs import rundir
from gansweep.runs.launch import LOCK_FILE, read_state, write_state
from gansweep.runs.liveness import alive, mark_dead, this_process
from gansweep.runs.outbox import Outbox
from gansweep.runs.rundir import Run
from gansweep.runs.wire import Doubtful, Unreachable

_POLL_S = 0.2
_LOOK_AT_TRAINER_S = 2.0
_FIRST_BACKOFF_S, _MOST_BACKOFF_S = 0.5, 30.0
# After the trainer's end a tracker that stays away is waited for no longer than this; `gansweep sync` sends the rest.
_LINGER_S = 600.0


class Sender:
    """The loop of one run's sender. The caller holds the sender's lock of the run."""

    def __init__(self, run_dir: Path) -> None:
        self.run = Run(run_dir, rundir.read(run_dir))
        self.box = Outbox(run_dir, told=lambda: self._say("sending"))
        self._me = this_process()
        self._backoff_s = _FIRST_BACKOFF_S
        self._looked_s = time.monotonic()
        self._ended_s: float | None = None
        self._said: dict[str, Any] = {}

    def loop(self) -> None:
        """Send until the run has ended and all of it is sent, or the tracker stays away too long after its end."""
        self._say("sending")
        while True:
            ended = self._ended()
            self.box.read()  # after the look at the status: what was spooled before the end is then seen
            if self.box.due or (ended and not self.box.empty):
                if not self._send() and self._ended_s and time.monotonic() - self._ended_s > _LINGER_S:
                    return
            elif ended:
                self._say("done")
                return
            else:
                time.sleep(_POLL_S)

    def _send(self) -> bool:
        try:
            self.box.send()
        except Doubtful as error:  # it can be reached: nobody need hear of it, nor wait long
            print(f"{rundir.timestamp()} not taken, next try in {_FIRST_BACKOFF_S:g} s: {error}", flush=True)
            time.sleep(_FIRST_BACKOFF_S)
            return False
        except Unreachable as error:
            self._say("unreachable", error=str(error))
            print(f"{rundir.timestamp()} not reachable, next try in {self._backoff_s:g} s: {error}", flush=True)
            self._wait()
            return False
        self._backoff_s = _FIRST_BACKOFF_S
        self._say("sending")
        return True

    def _wait(self) -> None:
        """Sleep for the backoff; a run that ends meanwhile has its trainer waiting: then the next try is now."""
        deadline = time.monotonic() + self._backoff_s
        self._backoff_s = min(2 * self._backoff_s, _MOST_BACKOFF_S)
        running = self._ended_s is None
        while time.monotonic() < deadline and not (running and self._ended()):
            time.sleep(_POLL_S)

    def _ended(self) -> bool:
        """Say whether the run has ended, after marking it when its trainer is gone without a word."""
        self.run.reload()
        ended = self.run.status != "RUNNING"
        if not ended and time.monotonic() - self._looked_s > _LOOK_AT_TRAINER_S:
            self._looked_s = time.monotonic()
            ended = mark_dead(self.run, untold=True)
        if not ended:
            self._ended_s = None
        elif self._ended_s is None:
            self._ended_s = time.monotonic()
        return ended

    def _say(self, state: str, error: str | None = None) -> None:
        said = {**self._me, "state": state, "error": error, "refused": self.box.refused}
        if state == "unreachable" or said != self._said:
            self._said = said
            write_state(self.run.dir, {**said, "tried": time.time()})


def sender_at_work(run_dir: Path) -> dict[str, Any] | None:
    """Return the state of the run's sender when its process lives (on this machine), else None."""
    state = read_state(run_dir)
    return state if state and state.get("state") != "done" and alive(state) else None


def main(arguments: list[str] | None = None) -> int:
    """Run the sender of one run; waits for another sender of the same run to end first."""
    parser = argparse.ArgumentParser(prog="gansweep.runs.sender", description="Send a run's spool to MLflow.")
    parser.add_argument("run_dir", type=Path, help="the run's directory")
    parser.add_argument("--nice", type=int, default=0, help="how much lower a priority to take (0 to 19)")
    options = parser.parse_args(arguments)
    os.nice(options.nice)
    # Who stops a job on a cluster says so to every process of it; this one ends by itself, when all is sent.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    run_dir: Path = options.run_dir.absolute()
    with filelock.FileLock(run_dir / LOCK_FILE):
        Sender(run_dir).loop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
