"""The benchmarks of sweeps: what they promise to write, and what they refuse to time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def measured(tmp_path: Path, name: str, *arguments: object) -> tuple[dict[str, Any], str]:
    command = [sys.executable, str(BENCHMARKS / name), *map(str, arguments), "--json", str(tmp_path / "found.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode in (0, 1), done.stderr  # 1: a figure is not kept, on a busy machine
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert {"hardware", "versions", "load", "command", "date"} <= set(found["machine"])
    return found, done.stdout


def test_status_is_timed_on_a_sweep_of_its_size(tmp_path: Path) -> None:
    found, said = measured(tmp_path, "sweep_status.py", "--points", 40, "--rounds", 2)
    assert found["points"] == 40 and set(found["seconds"]) == {"table", "--json"}
    assert all(len(of) == 2 for by in found["seconds"].values() for of in by.values())
    assert "status of 40 points: " in said and said.count("- round ") == 4


def test_an_answer_of_another_sweep_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import sweep_status

    with pytest.raises(SystemExit, match="not of this sweep"):
        sweep_status._look("table", "2 running, 10 waiting", 40)


@pytest.mark.slow
def test_overhead_counts_every_process_of_a_sweep_and_of_a_run(tmp_path: Path) -> None:
    words = ["--part", "overhead", "--jobs", 1, "--rounds", 1, "--steps", 2]
    found, said = measured(tmp_path, "sweep_jobs.py", *words)
    alone, untracked = found["cpu_s"]["alone"], found["cpu_s"]["alone, tracker=none"]
    assert alone[0] > untracked[0] + 1  # the sender imports MLflow: it was counted, though it outlives its run
    assert found["overhead_cpu_s"]["alone"] == pytest.approx(found["cpu_s"]["in the sweep"][0] - alone[0])
    assert "| in the sweep, more than alone |" in said and "ratio" not in found
