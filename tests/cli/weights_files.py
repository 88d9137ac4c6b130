"""What the tests of weights share: a small layout, digests, and what is in the cache."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

NAME = "pt_inception-2015-12-05-6726825d.pth"
BOTH_WAYS = ("gansweep weights get", "gansweep weights add FILE")
# A layout as small as the least file that is taken, for what does not hang on the real one.
SMALL = {"conv.weight": (300, 1000), "fc.weight": (10, 20)}


def small_state() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return {name: torch.randn(shape, generator=generator) for name, shape in SMALL.items()}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def in_cache(cache: Path) -> list[str]:
    return sorted(os.listdir(cache)) if cache.is_dir() else []


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    told = capsys.readouterr()
    assert told.out == "" and told.err.startswith("gansweep: ") and told.err.count("\n") == 1, told
    return told.err
