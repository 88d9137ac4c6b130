"""The benchmarks of scoring and the peer check: what they promise to write, and what they refuse to compare."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TOP = Path(__file__).resolve().parents[1]
PEER = TOP / ".venv-peer" / "bin" / "python"
needs_peer = pytest.mark.skipif(not PEER.exists(), reason="no .venv-peer: make peer-check makes it")


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TOP / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)


@pytest.mark.parametrize("script", ["benchmarks/score.py", "tests/peer/check.py"])
def test_without_the_peer_it_says_in_a_line_how_to_get_it(script: str, tmp_path: Path) -> None:
    done = run(script, "--peer", tmp_path / "none")
    assert done.returncode == 3 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "make peer-check makes it" in done.stderr


@pytest.mark.slow
@needs_peer
def test_the_peer_check_keeps_its_gates(tmp_path: Path) -> None:
    done = run("tests/peer/check.py", "--json", tmp_path / "peer.json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "peer.json").read_text(encoding="utf-8"))
    assert found["theirs"]["torch_fidelity"] == "0.4.0"
    assert len(found["rows"]) > 25 and all(row["ok"] for row in found["rows"])


@pytest.mark.slow
@needs_peer
def test_score_writes_what_it_promises(tmp_path: Path) -> None:
    asked = ("--images", 12, "--rounds", 1, "--batches", 4, 16, "--their-batches", 4, 64)
    done = run("benchmarks/score.py", *asked, "--json", tmp_path / "score.json")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "score.json").read_text(encoding="utf-8"))
    assert (found["images"], found["size"], found["rounds"]) == (12, 64, 1)
    assert found["logits_difference"] <= 1e-4 and found["score_difference"] <= 1e-5
    medians = {(row["side"], row["batch"]): row["cpu_s"]["median"] for row in found["rows"]}
    assert {name for name, _ in medians} == {"gansweep", "torch-fidelity"}
    ratio = found["ratios"]["each at its default batch size"]
    assert ratio == pytest.approx(medians["torch-fidelity", 64] / medians["gansweep", 16])
    assert "hardware" in found["machine"] and "goal: at least 1.9, aim 2.2" in done.stdout


@pytest.mark.slow
@needs_peer
def test_score_refuses_to_time_two_networks() -> None:
    done = run("benchmarks/score.py", "--images", 10, "--rounds", 1, "--broken", 1.001)
    assert done.returncode == 1 and "logits differ by" in done.stderr and "not timed" in done.stderr


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    asked = ("--few", 500, "--many", 10_000, "--rounds", 1)
    done = run("benchmarks/score_memory.py", *asked, "--json", tmp_path / "memory.json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "memory.json").read_text(encoding="utf-8"))
    assert found["difference_mb"] <= 10
    # 9,500 rows of 1008 float32 are 36 MB: the measurement sees what it is there to see.
    assert found["every_logit_kept_mb"] > 25


@pytest.mark.slow
def test_many_checkpoints_in_one_call_get_the_cards_of_many_calls(tmp_path: Path) -> None:
    asked = ("--checkpoints", 2, "--n", 6, "--size", 16, "--rounds", 1)
    done = run("benchmarks/score_many.py", *asked, "--json", tmp_path / "many.json")
    assert done.returncode in (0, 1), done.stderr  # two checkpoints are too few for the ratio
    found = json.loads((tmp_path / "many.json").read_text(encoding="utf-8"))
    assert set(found["seconds"]) == {"one call", "2 calls"} and 0 < found["ratio"] < 1


def test_the_gpu_reports_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TOP / "benchmarks"))
    import gpu_score

    def entry(precision: str, seconds: float, shift: float, **more: Any) -> dict[str, Any]:
        line = {"peak_tflops": 494.7, "reached_tflops": 110.0, "share": 110.0 / 494.7}
        return {
            "precision": precision, "batch": 256, "seconds": seconds, "repeats_s": [seconds] * 3, "score": 3.0,
            "images_per_s": 50_000 / seconds, "same_bits": True, "drawing_alone_s": 1.0, "judging_alone_s": 4.0,
            "shift_to_exact": shift, "shift_to_cpu": shift, "waits_per_100_batches": 0.0, "roofline": line,
            "ladder": [{"batch": 256, "images_per_s": 9000.0, "peak_mb": 4000.0}],
        } | more  # fmt: skip

    table = {
        "images": 50_000, "size_px": 64, "flop_per_image": {"judge": 11.4e9, "draw": 1e9}, "ladder_images": 10_240,
        "compared_images": 500,
        "precisions": [entry("exact", 21.0, 0.0), entry("tf32", 4.9, 0.002), entry("bf16", 2.6, -0.02)],
    }  # fmt: skip
    told = "\n".join(gpu_score.lines({"table": table, "figures_of": "gpu", "quick": False}, "ms"))
    assert "goal, exact, 50000 samples on an H100: at most 20 s, aim 14 s: 21.00 s, not kept" in told
    assert "goal, tf32, 50000 samples on an H100: at most 8 s, aim 5 s: 4.90 s, reached the aim" in told
    assert "goal, bf16, 50000 samples on an H100: aim 2.5 s: 2.60 s, not kept" in told
    assert "tf32: the score moves by 0.00200, at most 0.01 is allowed: kept" in told
    assert "bf16: the score moves by 0.02000, at most 0.01 is allowed: not kept" in told
    assert "110.0 TFLOP/s of 494.7 (dense, data sheet): 22 % of the roofline" in told
    assert "goal" not in "\n".join(gpu_score.lines({"table": table, "figures_of": "cpu", "quick": True}, "cpu_ms"))
