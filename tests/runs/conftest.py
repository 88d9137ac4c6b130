"""Fixtures of the tests of runs: no tracker from outside, and one prepared MLflow store."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gansweep.runs.tracker import prepare_store
from runs.run_setup import tracker_settings


@pytest.fixture(autouse=True)
def _no_tracker_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("GANSWEEP_UNREACHABLE_TOLD", raising=False)


@pytest.fixture(scope="session")
def mlflow_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A sqlite store with the experiment `tests`, made once for all tests and all their workers."""
    base: Path = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "mlflow"
    folder.mkdir(exist_ok=True)
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    prepare_store(tracker_settings(kind="mlflow", uri=uri), report=lambda line: None)
    return uri
