"""Golden losses are unchanged: float64, CPU, to 1e-9 (see losses.py for how they were made)."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

_SPEC = importlib.util.spec_from_file_location("golden_losses", Path(__file__).with_name("losses.py"))
assert _SPEC is not None and _SPEC.loader is not None
golden_losses = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(golden_losses)


def test_the_first_steps_of_every_system_are_as_recorded() -> None:
    recorded = json.loads(golden_losses.FILE.read_text())["losses"]
    now = golden_losses.golden()
    assert set(now) == set(recorded)
    for case, steps in recorded.items():
        for n, (was, is_) in enumerate(zip(steps, now[case], strict=True)):
            assert set(was) == set(is_), (case, n)
            for key, value in was.items():
                assert is_[key] == pytest.approx(value, rel=1e-9, abs=1e-12), (case, n, key)
