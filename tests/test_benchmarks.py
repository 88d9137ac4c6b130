"""The benchmarks themselves: what they promise to write, and that they refuse to time two different things."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
TINY = ["--rounds", "2", "--size", "16", "--width", "0.125", "--batch", "4"]


def _step(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / "step.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_step_writes_what_it_promises(tmp_path: Path) -> None:
    done = _step(*TINY, "--tuned", "--json", tmp_path / "step.json")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "step.json").read_text(encoding="utf-8"))
    asked = {"device": "cpu", "width": 0.125, "batch": 4, "size": 16, "threads": 1, "precision": "fp32", "rounds": 2}
    assert {key: found[key] for key in asked} == asked
    assert set(found["medians"]) == {"gansweep", "plain", "tuned"}
    medians = found["medians"]
    assert found["ratio"] == pytest.approx(medians["plain"]["cpu_ms"] / medians["gansweep"]["cpu_ms"])
    assert 0 <= found["loss_differences"]["float64_cpu"] <= 1e-9
    assert {"hardware", "versions", "load", "command", "date"} <= set(found["machine"])
    assert "| plain |" in done.stdout and "hardware:" in done.stdout


def test_step_refuses_to_time_a_loop_whose_losses_differ(tmp_path: Path) -> None:
    done = _step(*TINY, "--broken", "1.0001", "--json", tmp_path / "step.json")
    assert done.returncode == 1
    assert "losses differ" in done.stderr and "not timed" in done.stderr
    assert not (tmp_path / "step.json").exists()


@pytest.mark.slow
def test_our_step_is_faster_than_the_plain_loop(tmp_path: Path) -> None:
    done = _step("--rounds", 7, "--json", tmp_path / "step.json")
    assert done.returncode == 0, done.stderr
    # CPU time, the two in turns: seen between 1.4 and 1.6 on two busy cores.
    assert json.loads((tmp_path / "step.json").read_text(encoding="utf-8"))["ratio"] >= 1.1


@pytest.fixture
def tracking(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import tracking

    return tracking


def test_a_part_inside_another_is_charged_to_itself_alone(tracking: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(tracking.time, "thread_time", lambda: clock[0])
    monkeypatch.setattr(tracking.time, "perf_counter", lambda: 2 * clock[0])

    def spend(seconds: float) -> None:
        clock[0] += seconds

    parts = tracking.Parts()
    parts.thread = threading.get_ident()
    inner = parts.timed(lambda: spend(1.0), "spool")

    def outer_work() -> None:
        spend(0.25)
        inner()
        inner()

    parts.timed(outer_work, "numbers")()
    assert parts.cpu_s == {"spool": 2.0, "numbers": 0.25}
    assert parts.wall_s == {"spool": 4.0, "numbers": 0.5}
    parts.counting = False
    inner()
    assert parts.cpu_s["spool"] == 2.0


def test_turns_alternate_and_end_with_whoever_is_left(tracking: Any) -> None:
    turns = tracking.Turns(["on", "off"], 2)
    seen: list[tuple[str, int]] = []

    def work(name: str, steps: int) -> None:
        turns.wait(name)
        for step in range(1, steps + 1):
            seen.append((name, step))
            turns.after_step(name, step)
        turns.leave(name)

    threads = [threading.Thread(target=work, args=pair, daemon=True) for pair in (("on", 4), ("off", 6))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
        assert not thread.is_alive()
    assert [name for name, _ in seen] == ["on"] * 2 + ["off"] * 2 + ["on"] * 2 + ["off"] * 4
    assert [len(turns.cpu_s[name]) for name in ("on", "off")] == [2, 3]
