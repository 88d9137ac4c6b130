"""Serving MLflow's UI: it answers, and nothing of it is left afterwards."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest

from gansweep.errors import Missing, UserError
from gansweep.runs.ui import free_port, serve
from runs.run_setup import wait_until

_SERVE = """
import sys
from gansweep.runs.ui import serve
sys.exit(serve(sys.argv[1], 0, False, tell=lambda line: print(line, flush=True)))
"""


@pytest.mark.slow
def test_the_ui_answers_until_it_is_stopped_and_leaves_nothing(mlflow_uri: str) -> None:
    command = [sys.executable, "-c", _SERVE, mlflow_uri]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as serving:
        assert serving.stdout is not None
        line = serving.stdout.readline()
        assert line.startswith("MLflow UI: http://127.0.0.1:"), serving.stderr and serving.stderr.read()
        with urllib.request.urlopen(line.split()[2], timeout=30) as page:
            assert b"MLflow" in page.read()
        family = psutil.Process(serving.pid).children(recursive=True)
        assert family
        serving.send_signal(signal.SIGINT)
        assert serving.wait(timeout=60) == 0
    assert [process for process in family if process.is_running()] == []


def test_a_taken_port_gives_the_next_free_one() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) > port


def test_a_store_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no MLflow store at"):
        serve(f"sqlite:///{tmp_path}/mlflow.db", 0, False)
    assert os.listdir(tmp_path) == []


def test_a_server_that_does_not_answer_is_missing() -> None:
    with pytest.raises(Missing, match="cannot be reached"):
        serve("http://127.0.0.1:9", 0, False)


def test_a_server_s_own_ui_is_named() -> None:
    from runs.fake_server import FakeServer

    server, said = FakeServer(), []
    assert serve(server.uri, 0, False, tell=said.append) == 0
    server.close()
    assert said == [f"MLflow UI: {server.uri}"]


def test_a_group_that_ignores_the_polite_signal_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gansweep.runs import ui

    monkeypatch.setattr(ui, "_END_S", 0.2)
    code = (
        "import signal, subprocess, sys\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "if len(sys.argv) == 1: subprocess.Popen([sys.executable, __import__('os').environ['SELF'], 'child'])\n"
        "print('up', flush=True); import time; time.sleep(600)\n"
    )
    script = tmp_path / "stubborn.py"
    script.write_text(code)
    server = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        env={**os.environ, "SELF": str(script)},
        start_new_session=True,
    )
    assert server.stdout is not None
    assert [server.stdout.readline() for _ in range(2)] == [b"up\n", b"up\n"]
    child = psutil.Process(server.pid).children()[0]
    ui.end_group(server)
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the child's end")
    server.stdout.close()
