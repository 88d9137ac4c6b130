"""`gansweep ui`: MLflow's own server on the right store, in a process group that ends with the command."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator
from types import FrameType
from typing import IO

from gansweep.errors import Missing, UserError
from gansweep.runs.location import answers, artifact_root, artifact_uri, sqlite_path
from gansweep.runs.view import share

_HOST = "127.0.0.1"
_START_S = 120.0
_END_S = 10.0


def _tell(line: str) -> None:
    print(line, flush=True)  # who reads this through a pipe waits for it


def serve(
    uri: str,
    port: int = 5000,
    open_browser: bool = True,
    experiment: str = "gansweep",
    *,
    tell: Callable[[str], None] = _tell,
) -> int:
    """Serve the UI of the store at `uri` until Ctrl-C or SIGTERM; returns the exit status (0).

    `port`: the next free one above is taken when it is in use (0: any). `tell` gets the line with the address once the
    server answers: the page of `experiment` with the grids first. For an http(s) `uri` that server has a UI of its own:
    its address is told and nothing is started.
    UserError when the sqlite file is not there; Missing when the server ends or does not answer in two minutes.
    """
    if uri.startswith(("http:", "https:")):
        if not answers(uri):
            raise Missing(f"tracker {uri} cannot be reached; start it, or choose another store: tracker.uri=…")
        tell(f"MLflow UI: {uri}")
        if open_browser:
            webbrowser.open(uri)
        return 0
    database = sqlite_path(uri)
    if database is not None and not database.is_file():
        raise UserError(f"no MLflow store at {database}; train first, or name one: tracker.uri=sqlite:///PATH.db")
    chosen = free_port(port)
    address = f"http://{_HOST}:{chosen}"
    with _stopping() as stop, tempfile.TemporaryFile() as said:
        server = subprocess.Popen(
            _command(uri, chosen), env=_environment(), stdout=said, stderr=said, start_new_session=True
        )
        try:
            _await_answer(server, address, stop, said)
            if not stop.is_set():
                page = share(address, experiment)
                busy = f"port {port} is taken; " if port not in (0, chosen) else ""
                tell(f"{busy}MLflow UI: {page}  (Ctrl-C ends it)")
                if open_browser:
                    webbrowser.open(page)
            while not stop.wait(0.5):
                if server.poll() is not None:
                    raise Missing(f"the MLflow server on port {chosen} ended: {_last_line(said)}")
        finally:
            end_group(server)
    return 0


def free_port(wanted: int, tries: int = 100) -> int:
    """Return the first free TCP port on this machine from `wanted` on; 0 asks for any. UserError when none is free."""
    for port in [0] if wanted == 0 else range(wanted, min(wanted + tries, 65536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((_HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise UserError(f"port={wanted}: no free port from there on; give another")


def end_group(server: subprocess.Popen[bytes]) -> None:
    """End the process group that `server` leads and wait until no process of it is left."""
    _signal_group(server.pid, signal.SIGTERM)
    deadline = time.monotonic() + _END_S
    while _group_lives(server) and time.monotonic() < deadline:
        time.sleep(0.05)
    _signal_group(server.pid, signal.SIGKILL)
    server.wait()


def _command(uri: str, port: int) -> list[str]:
    root = artifact_root(uri)
    place = ["--default-artifact-root", artifact_uri(root)] if root else []
    return [
        *(sys.executable, "-P", "-m", "mlflow", "server", "--backend-store-uri", uri, *place),
        *("--host", _HOST, "--port", str(port), "--workers", "1"),
    ]


def _environment() -> dict[str, str]:
    """Return the server's environment: no job runner (nine more processes), no telemetry, warnings only."""
    quiet = {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "UVICORN_LOG_LEVEL": "warning",
    }
    return {**os.environ, **quiet}


def _await_answer(server: subprocess.Popen[bytes], address: str, stop: threading.Event, said: IO[bytes]) -> None:
    deadline = time.monotonic() + _START_S
    while not stop.wait(0.2) and not answers(address, timeout_s=1.0):
        if server.poll() is not None:
            raise Missing(f"the MLflow server ended before it answered: {_last_line(said)}")
        if time.monotonic() > deadline:
            raise Missing(f"the MLflow server does not answer at {address} after {_START_S:.0f} s")


@contextlib.contextmanager
def _stopping() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C and SIGTERM set, while the block runs."""
    stop = threading.Event()

    def set_it(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, set_it) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _last_line(said: IO[bytes]) -> str:
    said.seek(0)
    lines = said.read().decode("utf-8", errors="replace").split("\n")
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "without a word")


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _group_lives(server: subprocess.Popen[bytes]) -> bool:
    server.poll()  # reap it, so that a dead leader does not count
    try:
        os.killpg(server.pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True
