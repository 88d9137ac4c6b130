"""The record of a run and the flat form of its config."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gansweep.runs.record import flatten
from runs.run_setup import a_record


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (600.0, "600"),
        (600, "600"),
        (1e-4, "0.0001"),
        (0.1, "0.1"),
        (1e300, "1e+300"),
        (None, "null"),
        (True, "true"),
        (False, "false"),
        ("l1", "l1"),
        ([0.5, 0.999], "[0.5, 0.999]"),
        ({}, "{}"),
        (float("inf"), "inf"),
    ],
)
def test_values_read_as_one_would_type_them(value: object, text: str) -> None:
    assert flatten({"key": value}) == {"key": text}


def test_nested_keys_are_dotted_and_keep_their_order() -> None:
    flat = flatten({"scales": {"l1": 600.0, "mse": None}, "optimizer": {"enc": {"lr": 2e-4}}, "seed": 1})
    assert list(flat.items()) == [
        ("scales.l1", "600"),
        ("scales.mse", "null"),
        ("optimizer.enc.lr", "0.0002"),
        ("seed", "1"),
    ]


def test_the_plain_record_is_json(tmp_path: Path) -> None:
    record = a_record(tmp_path, files=[tmp_path / "config.yaml"], sweep={"id": "s", "job": 3}, note="why")
    plain = json.loads(json.dumps(record.to_plain()))
    assert plain["dataset"] == {
        "name": "emoji",
        "fingerprint": "ab" * 32,
        "source": record.dataset.source,
        "count": 3985,
    }
    assert plain["files"] == [str(tmp_path / "config.yaml")]
    assert plain["params"] == {"scales.l1": "600", "seed": "1"}
    assert plain["sweep"] == {"id": "s", "job": 3}
