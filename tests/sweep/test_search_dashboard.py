"""Optuna's own dashboard opens the study of a search: the real one, as a process, over HTTP."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from gansweep.sweep.outcome import Objective
from gansweep.sweep.search import Search
from gansweep.sweep.space import Axis
from gansweep.sweep.study import STUDY_FILE

DEADLINE_S = 60.0
# The installed command, without its file, which may lie anywhere.
COMMAND = (
    "from importlib.metadata import entry_points; "
    "entry_points(group='console_scripts', name='optuna-dashboard')['optuna-dashboard'].load()()"
)


def study(directory: Path) -> None:
    """Leave the study of a search with a finished, a pruned, a failed and a running point."""
    along = [Axis("optimizer", choices=("adam", "rmsprop")), Axis("scales.l1", 1.0, 100.0, log=True)]
    settings = {"n_trials": 9, "sampler": "random", "seed": 0, "pruner": "median", "min_steps": 1}
    settings["reduction_factor"] = 3
    search = Search(directory, "20261122-120000-abcd", along, [Objective("val/squared_error", False)], settings, 10)
    for value in (1.0, 2.0, 3.0, 4.0):
        number, _ = search.ask({})
        assert search.report(number, 2, value) is None
        search.tell(number, [value])
    number, _ = search.ask({})
    assert search.report(number, 2, 99.0) == "val/squared_error 99 at step 2: given up by median"
    search.tell(number, None, pruned=True)
    search.tell(search.ask({})[0], None)
    search.ask({})


def fetch(url: str, process: subprocess.Popen[bytes]) -> str:
    """Return what is at an address, as soon as somebody answers there."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return str(answer.read().decode())
        except urllib.error.URLError as error:
            assert not isinstance(error, urllib.error.HTTPError), error
            assert process.poll() is None and time.monotonic() < deadline, error
            time.sleep(0.1)


def test_optunas_dashboard_opens_the_study(tmp_path: Path) -> None:
    pytest.importorskip("optuna_dashboard", reason="pip install optuna-dashboard")
    study(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-c", COMMAND, str(tmp_path / STUDY_FILE), "--host", "127.0.0.1", "--port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log)
    try:
        base = f"http://127.0.0.1:{port}"
        told: Any = json.loads(fetch(f"{base}/api/studies", process))
        (summary,) = told["study_summaries"]
        assert summary["study_name"] == "20261122-120000-abcd" and summary["directions"] == ["minimize"]
        whole: Any = json.loads(fetch(f"{base}/api/studies/{summary['study_id']}", process))
        states = ["Complete"] * 4 + ["Pruned", "Fail", "Running"]
        assert [trial["state"] for trial in whole["trials"]] == states
        assert whole["objective_names"] == ["val/squared_error"]
        assert {param["name"] for param in whole["trials"][0]["params"]} == {"optimizer", "scales.l1"}
        (reason,) = whole["trials"][4]["user_attrs"]
        assert reason["key"] == "given up" and "given up by median" in reason["value"]
        assert "<title>Optuna Dashboard</title>" in fetch(f"{base}/dashboard/", process)
    finally:
        process.kill()
        process.wait()
