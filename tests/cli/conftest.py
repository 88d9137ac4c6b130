"""A weights cache of its own, and files that stand in for the public weights file, which nobody here has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from cli.weights_files import SMALL, digest, small_state
from gansweep import weights
from gansweep.metrics import inception
from metrics.seeded_inception import seeded_state


@pytest.fixture
def weights_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "cache" / "gansweep" / "weights"


@pytest.fixture(scope="package")
def public_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file in the public layout, as the old torch wrote the public one."""
    path = tmp_path_factory.mktemp("downloads") / "inception.pth"
    torch.save(seeded_state(), path, _use_new_zipfile_serialization=False)
    yield path
    path.unlink()


@pytest.fixture
def small_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of another layout which stands in for the public one; it has 1.2 MB."""
    path = tmp_path / "small.pth"
    torch.save(small_state(), path)
    monkeypatch.setattr(weights, "wanted_entries", lambda: SMALL)
    monkeypatch.setattr(inception, "SHA256_PREFIX", digest(path)[:8])
    return path
