"""A tracker that many share, for tests: `mlflow server` on a PostgreSQL of its own, to be killed and restarted."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gansweep.runs.location import answers
from gansweep.runs.ui import free_port

DEADLINE_S = 120.0
NAME = "mlflow"


def postgres_programs() -> Path | None:
    """Return the folder of PostgreSQL's programs: Debian keeps them out of PATH."""
    folders = [Path(folder) for folder in os.environ.get("PATH", os.defpath).split(os.pathsep)]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        said = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True, check=True)
        folders.append(Path(said.stdout.strip()))
    debian = Path("/usr/lib/postgresql").glob("*/bin")
    folders += sorted(debian, key=lambda path: float(path.parent.name), reverse=True)
    needed = ("initdb", "postgres", "pg_isready", "createdb")
    return next((folder for folder in folders if all((folder / name).is_file() for name in needed)), None)


def _other_than_root() -> dict[str, Any]:
    """Return what makes a child another user's when we are root: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


class Postgres:
    """A cluster of its own that listens on a socket in its folder, and nowhere else."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.programs, self.folder, self.user = programs, folder, _other_than_root()
        self.uri = f"postgresql+psycopg2://{NAME}@/{NAME}?host={folder}"
        self.process: subprocess.Popen[bytes] | None = None
        if self.user:
            os.chown(folder, self.user["user"], self.user["group"])
        self._run("initdb", "-D", folder / "data", "-U", NAME, "-A", "trust", "-N", "-E", "UTF8", "--no-locale")

    def start(self) -> None:
        folder = self.folder
        command = [self.programs / "postgres", "-D", folder / "data", "-k", folder, "-c", "listen_addresses=", "-F"]
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, **self.user)
        deadline = time.monotonic() + DEADLINE_S
        while self._run("pg_isready", "-q", "-h", folder, "-U", NAME, "-d", "postgres", check=False):
            assert time.monotonic() < deadline and self.process.poll() is None, (folder / "log").read_text()
            time.sleep(0.05)
        self._run("createdb", "-h", folder, "-U", NAME, NAME)

    def _run(self, program: str, *words: object, check: bool = True) -> int:
        command = [self.programs / program, *map(str, words)]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, **self.user)
        assert not check or done.returncode == 0, done.stderr
        return done.returncode

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """Answer one line of SQL with its rows."""
        import psycopg2

        with contextlib.closing(psycopg2.connect(host=str(self.folder), user=NAME, dbname=NAME)) as connection:
            cursor = connection.cursor()
            cursor.execute(query)
            return list(cursor.fetchall())

    def end(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)  # at once: nothing of it is needed any more
            self.process.wait(timeout=60)


class MlflowServer:
    """`mlflow server` with two workers, always on the same port of this machine."""

    def __init__(self, database: str, folder: Path) -> None:
        self.port, self.log = free_port(0), folder / "server.log"
        self.uri = f"http://127.0.0.1:{self.port}"
        self._command = [sys.executable, "-P", "-m", "mlflow", "server", "--backend-store-uri", database]
        self._command += ["--artifacts-destination", str(folder / "artifacts"), "--workers", "2"]
        self._command += ["--host", "127.0.0.1", "--port", str(self.port)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, start_new_session=True, env={**os.environ, **quiet}
            )

    def await_answer(self) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not answers(self.uri, timeout_s=1.0):
            assert self._process is not None and self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def kill(self) -> None:
        """End all of its processes as kill -9 does."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    """A cluster in a folder that is short enough for a socket, and that another user may look into."""
    programs = postgres_programs()
    if programs is None:
        pytest.skip("no PostgreSQL here (initdb is neither in PATH nor in /usr/lib/postgresql/*/bin)")
    pytest.importorskip("psycopg2", reason="no psycopg2 here: pip install psycopg2-binary")
    folder = Path(tempfile.mkdtemp(prefix="gansweep-pg-"))
    try:
        cluster = Postgres(programs, folder)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.end()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def server(postgres: Postgres, tmp_path: Path) -> Iterator[MlflowServer]:
    """An MLflow server on that cluster, answering."""
    served = MlflowServer(postgres.uri, tmp_path)
    try:
        served.start()
        served.await_answer()
        yield served
    finally:
        served.kill()
