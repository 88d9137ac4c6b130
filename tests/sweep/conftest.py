"""Fixtures of the tests of sweeps: one prepared MLflow store, in which each test has an experiment of its own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from runs.conftest import mlflow_uri
from sweep.agreement import Ask, sqlite_store

__all__ = ["mlflow_uri"]


@pytest.fixture
def tracked_overrides(small_overrides: list[str], mlflow_uri: str, request: pytest.FixtureRequest) -> list[str]:
    """Return the overrides of small runs, as `small_overrides`, whose record is in MLflow too."""
    small = [word for word in small_overrides if word != "tracker=none"]
    experiment = re.sub(r"\W+", "_", request.node.name)[:60]
    return [*small, "tracker=mlflow", f"tracker.uri={mlflow_uri}", f"tracker.experiment={experiment}"]


@pytest.fixture
def ask(mlflow_uri: str) -> Ask:
    """Return what answers SQL about that store."""
    return sqlite_store(Path(mlflow_uri.removeprefix("sqlite:///")))
