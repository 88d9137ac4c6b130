"""A real Slurm on this machine: munged, slurmctld and slurmd from Debian's packages, on loopback, in one folder.

Needs root (slurmd starts jobs for their users) and the packages munge, slurmctld, slurmd and slurm-client.
"""

from __future__ import annotations

import contextlib
import os
import platform
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")
_DEADLINE_S = 60.0
_CONF = """
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A job that is queued again may begin once its old credential has expired.
AuthInfo=socket={folder}/munge.socket,cred_expire=10
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldPort={controller}
SlurmdPort={node}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2,bf_interval=2
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
MpiDefault=none
KillWait=5
MinJobAge=300
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=4000 State=UNKNOWN
PartitionName=usual Nodes={host} Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=20
PartitionName=urgent Nodes={host} Default=NO MaxTime=INFINITE State=UP PriorityTier=2 PreemptMode=OFF
"""


def lacking() -> str:
    """Return why no Slurm can be started here; empty when it can."""
    if os.geteuid() != 0:
        return "slurmd needs root"
    missing = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    return f"no {', '.join(missing)} (apt-get install munge slurmctld slurmd slurm-client)" if missing else ""


@contextlib.contextmanager
def slurm(folder: Path, cpus: int = 2) -> Iterator[dict[str, str]]:
    """Start Slurm with one node of `cpus` cores in `folder`; yields the environment that its commands need."""
    folder.mkdir(parents=True)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(128))
    conf = folder / "slurm.conf"
    ports = dict(zip(("controller", "node"), _ports(2), strict=True))
    conf.write_text(_CONF.format(folder=folder, host=platform.node(), cpus=cpus, **ports))
    environment = {"SLURM_CONF": str(conf), "PATH": _path()}
    with contextlib.ExitStack() as stack:
        munge = ["--foreground", "--force", f"--socket={folder}/munge.socket", f"--key-file={key}"]
        munge += [f"--{name}-file={folder}/munge.{name}" for name in ("log", "pid", "seed")]
        stack.enter_context(_daemon(folder, "munged", munge, environment))
        _until(lambda: (folder / "munge.socket").exists())
        stack.enter_context(_daemon(folder, "slurmctld", ["-D", "-c"], environment))
        stack.enter_context(_daemon(folder, "slurmd", ["-D"], environment))
        _until(lambda: "idle" in _ask(["sinfo", "--noheader", "--format=%t"], environment))
        try:
            yield environment
        finally:
            _ask(["scancel", "--user=root"], environment)
            with contextlib.suppress(AssertionError):
                _until(lambda: not _ask(["squeue", "--noheader"], environment).strip())


@contextlib.contextmanager
def _daemon(folder: Path, name: str, words: list[str], environment: dict[str, str]) -> Iterator[None]:
    program = shutil.which(name, path=_path())
    assert program is not None
    with (folder / f"{name}.out").open("wb") as out:
        process = subprocess.Popen(
            [program, *words], env={**os.environ, **environment}, stdout=out, stderr=out, start_new_session=True
        )
    try:
        yield
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()


def _ask(words: list[str], environment: dict[str, str]) -> str:
    said = subprocess.run(words, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    return said.stdout


def _until(happened: object) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while not happened():  # type: ignore[operator]
        assert time.monotonic() < deadline, "Slurm did not come up or go down; see the logs in its folder"
        time.sleep(0.2)


def _ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _path() -> str:
    """Return PATH with the folders of daemons, which an ordinary one lacks."""
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
