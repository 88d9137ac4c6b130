"""What a figure was taken on: hardware, versions, load and command line, printed at the head of every report."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from gansweep.runs import provenance


def facts(device: str = "cpu") -> dict[str, Any]:
    """Return the machine and the moment as a flat table; `device` adds the GPU when it is one."""
    gpu = torch.cuda.get_device_name() if device.startswith("cuda") else None
    found = provenance.collect(gpu=gpu)
    packages = [f"{name} {found.versions[name]}" for name in ("torch", "numpy", "mlflow") if name in found.versions]
    table: dict[str, Any] = {
        "command": shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "date": datetime.now().astimezone().isoformat(timespec="minutes"),
        "hardware": ", ".join(f"{name} {value}" for name, value in found.hardware.items() if value and name != "host"),
        "platform": platform.platform(),
        "python": found.python,
        "versions": ", ".join(packages),
        "commit": (found.commit or "none")[:12] + (" and uncommitted changes" if found.dirty else ""),
        "load": load(),
        "threads": torch.get_num_threads(),
    }
    if gpu is not None:
        tf32 = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
        table["tf32"] = f"convolutions {tf32[0]}, matmul {tf32[1]}"
    return table


def load() -> str:
    """Return the load averages over 1, 5 and 15 minutes, in words: other work makes wall times unsafe."""
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


def head(device: str = "cpu") -> str:
    """Return the facts as lines of a report."""
    return "\n".join(f"- {name}: {value}" for name, value in facts(device).items())


def spread(values: list[float]) -> dict[str, float]:
    """Return median, p10 and p90 of a list of times, in the unit they came in."""
    times = torch.tensor(values, dtype=torch.float64)
    p10, median, p90 = torch.quantile(times, torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)).tolist()
    return {"median": median, "p10": p10, "p90": p90}
