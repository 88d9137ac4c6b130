"""Times several ways of taking a step in turns, on a GPU by its own events; counts waits and memory; keeps the time."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from rungs import Rung, Size

COUNTED_STEPS = 100
WAITED = "called a synchronizing CUDA operation"


class OutOfTime(Exception):
    """The part's minutes are over."""


class Deadline:
    """The end of a part: `within` stops Python work that goes on too long, and says what it was."""

    def __init__(self, seconds: float):
        self.end = time.monotonic() + seconds

    def left(self) -> float:
        return self.end - time.monotonic()

    @contextmanager
    def within(self, seconds: float, what: str) -> Iterator[None]:
        """Raise OutOfTime once the block has taken `seconds`, or what is left if that is less."""
        allowed = min(seconds, self.left())
        if allowed <= 0:
            raise OutOfTime(f"no time was left for {what}")

        def stop(number: int, frame: Any) -> None:
            raise OutOfTime(f"{what} took more than {allowed:.0f} s")

        before = signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, allowed)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


def why(error: BaseException) -> str:
    """Return an error in one line of at most 200 characters."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    name = type(error).__name__
    return (text if name in ("UserError", "OutOfTime") else f"{name}: {text}")[:200]


def compilations() -> int:
    """Return a number that grows whenever torch compiles something in this process."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    counters = getattr(dynamo, "counters", {})
    return sum(sum(counters[kind].values()) for kind in ("stats", "inductor") if kind in counters)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def timed(run: Callable[[int, int], None], start: int, count: int, device: torch.device) -> float:
    """Return milliseconds a step: between two events on the GPU, with one wait at the end; CPU time on the CPU."""
    if device.type != "cuda":
        before = time.process_time()
        run(start, count)
        return 1000 * (time.process_time() - before) / count
    first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    first.record()
    run(start, count)
    last.record()
    last.synchronize()
    return float(first.elapsed_time(last)) / count


def in_turns(rungs: Sequence[Rung], size: Size, start: int, device: torch.device) -> int:
    """Time each rung `size.repeats` times, all of them once a round, every second round backwards; the next step."""
    for number in range(size.repeats):
        for rung in rungs if number % 2 == 0 else list(reversed(rungs)):
            wait(device)
            rung.times_ms.append(timed(rung.run, start, size.steps, device))
        start += size.steps
    return start


def host_waits(run: Callable[[int, int], None], start: int, count: int, device: torch.device) -> float | None:
    """Return how often the host waits for the GPU in 100 steps, as torch notices it; None on the CPU."""
    if device.type != "cuda":
        run(start, count)
        return None
    wait(device)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            run(start, count)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return 100 * sum(WAITED in str(one.message) for one in seen) / count


@contextmanager
def peak_memory(facts: dict[str, Any], device: torch.device) -> Iterator[None]:
    """Put into `facts` the most memory in MB that the block held beyond what was there before it; CUDA only."""
    gc.collect()
    if device.type != "cuda":
        facts["peak_mb"] = None
        yield
        return
    wait(device)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device), torch.cuda.memory_reserved(device)
    yield
    wait(device)
    facts["peak_mb"] = (torch.cuda.max_memory_allocated(device) - before[0]) / 2**20
    # A recording's own pool counts as reserved for as long as the recording lives.
    facts["reserved_mb"] = (torch.cuda.max_memory_reserved(device) - before[1]) / 2**20


def gpu_state() -> str:
    """Return name, driver, clocks, temperature and power as nvidia-smi tells them now, in one line."""
    asked = "name,driver_version,clocks.sm,clocks.mem,clocks.max.sm,temperature.gpu,power.draw"
    command = ["nvidia-smi", f"--query-gpu={asked}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "nvidia-smi did not answer"
    if done.returncode:
        return "nvidia-smi did not answer"
    return f"{asked}: {done.stdout.strip().splitlines()[0]}"
