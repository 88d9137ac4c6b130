"""Part `profile` of the GPU list: 200 steps of the real loop, and where their time goes by name.

The run is gansweep.train's own (tracker none, pictures drawn beforehand and kept where the feed puts them), looked at
after every step: first timed as it is, then recorded by torch's profiler.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from clocks import Deadline, compilations, why
from real_runs import looked_at, run, settings_of
from roofline import against
from rungs import Size, Workload
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

MOST_NAMES = 25
# What is profiled: model, its `runtime`.
CASES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("vaegan", "TF32", ("runtime.precision=fp32",)),
    ("vaegan", "bf16", ("runtime.precision=bf16",)),
    ("dcgan", "bf16", ("runtime.precision=bf16",)),
    ("wgan_gp", "bf16", ("runtime.precision=bf16",)),
    ("vaegan", "bf16, compiled", ("runtime.precision=bf16", "runtime.compile=true")),  # may take minutes: last
)


class Pictures:
    """Seeded pictures as a data set of a user's own: `data._target_=gpu_profile.Pictures`."""

    def __init__(self, count: int, size: int):
        self.pixels = np.random.default_rng(0).integers(0, 256, (count, 3, size, size), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {"image": self.pixels[number]}


class Looker:
    """Called after each step of the loop: times some steps, then has the profiler record as many."""

    def __init__(self, size: Size, device: torch.device):
        self.size, self.cuda = size, device.type == "cuda"
        self.profiler = profile(activities=[ProfilerActivity.CUDA if self.cuda else ProfilerActivity.CPU])
        self.facts: dict[str, float] = {}
        self.ends: list[float] = []

    @property
    def last(self) -> int:
        return self.size.warm_up + 2 * self.size.steps + 1

    def __call__(self, step: int) -> None:
        steps, timed_from = self.size.steps, self.size.warm_up
        if step == timed_from:
            self.wait()
            self.ends = [time.perf_counter()]
        elif timed_from < step <= timed_from + steps:
            self.ends.append(time.perf_counter())
        if step == timed_from + steps:
            self.wait()
            self.facts["step_ms"] = 1000 * (time.perf_counter() - self.ends[0]) / steps
            # The shortest of the host's own turns: when it need not wait for room in the queue of launches.
            gaps = [later - earlier for earlier, later in pairwise(self.ends)]
            self.facts["host_ms_p10"] = 1000 * statistics.quantiles(gaps, n=10)[0]
            self.profiler.start()
        elif step == timed_from + 2 * steps:
            self.wait()
            self.profiler.stop()

    def wait(self) -> None:
        if self.cuda:
            torch.cuda.synchronize()


def settings_for(load: Workload, overrides: Iterable[str], size: Size, device: torch.device, last: int) -> Any:
    """Return the run's settings: everything that is kept or looked at is off, losses are read every 100 steps."""
    batch = size.batch or load.batch
    pictures = max(8192 // batch, 8) * batch if size.batch is None else 8 * batch
    lines = [
        f"model={load.name}",
        *load.overrides,
        *overrides,
        f"data.size={size.size_px}",
        f"model.width_factor={size.width}",
        f"batch_size={batch}",
        f"runtime.device={device}",
        "runtime.progress=false",
        "data.name=drawn",
        "data._target_=gpu_profile.Pictures",
        f"+data.args.count={pictures}",
        f"+data.args.size={size.size_px}",
        "data.val_fraction=0",
        "tracker=none",
        f"steps={last}",
        "log_every=100",
        "sample_every=0",
        "val_every=0",
        "checkpoint_every=0",
    ]
    return settings_of(lines), lines


def measure(
    size: Size, device: torch.device, deadline: Deadline, loads: Iterable[Workload], say: Callable[[str], None]
) -> dict[str, Any]:
    """Return the part's table: one entry a case."""
    found = []
    by_name = {load.name: load for load in loads}
    for model, what, overrides in CASES:
        if model not in by_name:
            continue
        entry: dict[str, Any] = {"model": model, "what": what, "overrides": list(overrides)}
        try:
            with deadline.within(deadline.left(), f"profiling {model}, {what}"):
                entry |= _case(by_name[model], overrides, size, device)
        except Exception as error:
            entry["failed"] = why(error)
        say(f"  {model}, {what}: {entry.get('failed') or format(entry['step_ms'], '.3f') + ' ms'}")
        found.append(entry)
    return {"protocol": (__doc__ or "").split("\n\n", 1)[1].strip().replace("\n", " "), "cases": found}


def _case(load: Workload, overrides: Iterable[str], size: Size, device: torch.device) -> dict[str, Any]:
    looker = Looker(size, device)
    settings, lines = settings_for(load, overrides, size, device, looker.last)
    compiled = compilations()
    with tempfile.TemporaryDirectory() as folder, looked_at(lambda settings: looker):
        run(settings, Path(folder) / "run", lines)
        said = (Path(folder) / "run" / "run.log").read_text(encoding="utf-8")
    if settings.runtime.compile and compilations() == compiled:
        raise RuntimeError("runtime.compile=true compiled nothing")
    engine = [line for line in said.splitlines() if "engine:" in line]
    events = looker.profiler.events() or []
    table = on_device(events, size.steps) if device.type == "cuda" else on_host(events, size.steps)
    precision = "bf16" if settings.runtime.precision == "bf16" else "tf32"
    known = (
        against(load.name, precision, looker.facts["step_ms"]) if device.type == "cuda" and size.batch is None else None
    )
    return {**looker.facts, "steps": size.steps, "said": engine, **table, "roofline": known}


def on_device(events: Iterable[Any], steps: int) -> dict[str, Any]:
    """Return kernels by name, the share of time the GPU was busy, and what the host did between replays."""
    spans: list[tuple[float, float]] = []
    by_name: dict[str, list[float]] = defaultdict(list)
    launches: list[tuple[float, float]] = []
    waits = 0
    for event in events:
        start, end = event.time_range.start, event.time_range.end
        if event.device_type == DeviceType.CUDA and not getattr(event, "is_user_annotation", False):
            spans.append((start, end))
            by_name[event.name].append(end - start)
        elif event.name == "cudaGraphLaunch":
            launches.append((start, end))
        elif "Synchronize" in event.name:
            waits += 1
    copies = {name for name in by_name if name.startswith(("Memcpy", "Memset"))}
    launches.sort()
    gaps = [later[0] - earlier[1] for earlier, later in pairwise(launches)]
    return {
        "kernels_per_step": sum(len(v) for k, v in by_name.items() if k not in copies) / steps,
        "copies_per_step": sum(len(by_name[name]) for name in copies) / steps,
        "busy_share": busy_share(spans),
        "graph_launches_per_step": len(launches) / steps,
        "graph_launch_ms": statistics.median(b - a for a, b in launches) / 1000 if launches else None,
        "host_between_replays_ms": statistics.median(gaps) / 1000 if gaps else None,
        "waits_per_step": waits / steps,
        "names": ranked(by_name, steps),
    }


def on_host(events: Iterable[Any], steps: int) -> dict[str, Any]:
    """Return operations by name, their own CPU time alone: what there is to see without a GPU."""
    by_name: dict[str, list[float]] = defaultdict(list)
    for event in events:
        by_name[event.name].append(event.self_cpu_time_total)
    absent = ("kernels_per_step", "copies_per_step", "busy_share", "host_between_replays_ms", "waits_per_step")
    return {**dict.fromkeys(absent), "names": ranked(by_name, steps)}


def busy_share(spans: list[tuple[float, float]]) -> float | None:
    """Return the share of the time from the first start to the last end in which anything ran."""
    if not spans:
        return None
    spans = sorted(spans)
    busy, (begun, ended) = 0.0, spans[0]
    for start, end in spans[1:]:
        if start > ended:
            busy, begun, ended = busy + ended - begun, start, end
        else:
            ended = max(ended, end)
    whole = max(end for _, end in spans) - spans[0][0]
    return (busy + ended - begun) / whole if whole > 0 else None


def ranked(by_name: dict[str, list[float]], steps: int) -> list[dict[str, Any]]:
    """Return the costliest names: microseconds in, milliseconds a step out, and what all the others come to."""
    whole = sum(sum(times) for times in by_name.values()) or 1.0
    order = sorted(by_name, key=lambda name: -sum(by_name[name]))
    rows = [(name, sum(by_name[name]), len(by_name[name])) for name in order[:MOST_NAMES]]
    rest = order[MOST_NAMES:]
    if rest:
        times = [t for name in rest for t in by_name[name]]
        rows.append((f"{len(rest)} other names", sum(times), len(times)))
    return [
        {"name": name, "ms_per_step": us / 1000 / steps, "share": us / whole, "per_step": count / steps}
        for name, us, count in rows
    ]
