"""The GPU list's own reckoning, on events and figures made up: what only a GPU would show otherwise."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.autograd import DeviceType

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


class _Event:
    def __init__(self, name: str, start: float, end: float, device: DeviceType = DeviceType.CUDA) -> None:
        self.name, self.device_type = name, device
        self.time_range = SimpleNamespace(start=start, end=end)


def test_the_profile_counts_kernels_time_in_which_anything_ran_and_gaps_between_replays() -> None:
    import gpu_profile

    host = DeviceType.CPU
    events = [
        _Event("conv", 0, 10),
        _Event("conv", 5, 20),  # beside the first one
        _Event("relu", 20, 30),
        _Event("Memcpy DtoD", 50, 60),
        _Event("cudaGraphLaunch", 0, 4, host),
        _Event("cudaGraphLaunch", 7, 9, host),
        _Event("cudaStreamSynchronize", 9, 11, host),
    ]
    found = gpu_profile.on_device(events, 2)
    assert found["kernels_per_step"] == 1.5 and found["copies_per_step"] == 0.5
    assert found["busy_share"] == pytest.approx(40 / 60)
    assert found["host_between_replays_ms"] == pytest.approx(0.003)
    assert found["graph_launches_per_step"] == 1 and found["waits_per_step"] == 0.5
    assert [row["name"] for row in found["names"]] == ["conv", "relu", "Memcpy DtoD"]
    assert found["names"][0]["ms_per_step"] == pytest.approx(0.0125)


def test_each_wait_is_counted_though_it_comes_from_the_same_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import clocks

    modes: list[str] = []
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)

    def run(start: int, count: int) -> None:
        for _ in range(count):
            warnings.warn(f"{clocks.WAITED} (Triggered internally)", UserWarning, stacklevel=1)

    assert clocks.host_waits(run, 0, 50, torch.device("cuda")) == 100
    assert modes == ["warn", "default"]


def test_what_takes_too_long_is_stopped_and_named() -> None:
    import clocks

    deadline = clocks.Deadline(60)
    with pytest.raises(clocks.OutOfTime, match="compiling took more than 0 s"), deadline.within(0.05, "compiling"):
        time.sleep(5)
    with (
        pytest.raises(clocks.OutOfTime, match="no time was left for the rest"),
        clocks.Deadline(-1).within(9, "the rest"),
    ):
        raise AssertionError("this must not run")


def test_a_rung_whose_first_losses_are_others_is_not_timed() -> None:
    import gpu_step
    import rungs

    def rung(loss: float) -> Any:
        return rungs.Rung("r", "r", "tf32", lambda start, count: None, lambda: {"dis": loss})

    plain = rung(1.0)
    gpu_step._compare(plain, plain, rungs.WORKLOADS[0])
    gpu_step._compare(rung(1.0005), plain, rungs.WORKLOADS[0])
    for wrong in (1.002, float("nan")):
        with pytest.raises(RuntimeError, match="first losses differ"):
            gpu_step._compare(rung(wrong), plain, rungs.WORKLOADS[0])


def test_a_report_from_a_gpu_holds_goals_against_the_plain_loop_and_names_what_failed() -> None:
    import gpu_report
    import gpu_step

    def row(name: str, ms: float) -> dict[str, Any]:
        spread = {"median": ms, "p10": ms, "p90": ms}
        extra = {"loss_difference": 0.0, "syncs_per_100_steps": 1.0, "peak_mb": 1.0}
        return {"name": name, "what": f"way {name}", "precision": "tf32", "ms": spread, **extra}

    rows = [row("plain", 10.0), row("graph", 4.0)]
    failed = {"name": "graph_bf16", "what": "way bf16", "ms": None, "reason": "it | broke"}
    load = {"name": "vaegan", "what": "VAE-GAN", "exact_difference": {"eager": 0.0}, "rungs": [*rows, failed]}
    load["note"] = ""
    load["ratios"] = gpu_step.ratios({one["name"]: one for one in rows})
    table = {"protocol": "p", "workloads": [load, {"name": "dcgan", "what": "DCGAN", "failed": "it fell"}]}
    machine = {"date": "2001-01-01T00:00+00:00", "gpu": "Some GPU"}
    text = gpu_report.render(
        {"part": "step", "figures_of": "gpu", "quick": False, "seconds": 1.0, "machine": machine, "table": table}
    )
    assert text.startswith("# The GPU list, part step: Some GPU, 2001-01-01")
    assert "- 2.50: median of way plain over median of way graph\n" in text
    over = "the plain TF32 loop's time over ours: 2.50 (graph)"
    assert f"any recorded precision of ours: at least 3, aim 4, {over}, not kept" in text
    assert f"the same precision (TF32): at least 1.5, aim 2, {over}, reached the aim" in text
    assert "| way bf16 | not measured: it / broke |" in text and "Not measured: it fell" in text
