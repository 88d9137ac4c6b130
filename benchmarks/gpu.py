"""The GPU list: the ladder, the peers, the profile, the score. benchmarks/gpu.sh runs it; see benchmarks/README.md.

Needs the checkout (PYTHONPATH=src), Python 3.11 or 3.12, PyTorch 2.11 to 2.13 and the wheels named in WHEELS. Each part
is given 450 seconds and writes one JSON and one Markdown report. Exit 3, in one line, where there is no GPU or a wheel
is missing. `--device cpu --quick` rehearses the same code on the CPU, tiny; its times are the CPU's.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Module → what pip calls it.
WHEELS = {
    "torch": "torch",
    "numpy": "numpy",
    "PIL": "pillow",
    "hydra": "hydra-core==1.3.*",
    "omegaconf": "omegaconf==2.3.*",
    "antlr4": "antlr4-python3-runtime==4.9.*",
    "yaml": "pyyaml",
    "pydantic": "pydantic==2.*",
    "filelock": "filelock",
    "psutil": "psutil",
    "rich": "rich",
}
PART_SECONDS = 450.0
PARTS = ("step", "peers", "profile", "score")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="gpu.sh", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--part", choices=PARTS, required=True)
    parser.add_argument("--quick", action="store_true", help="tiny sizes and few steps: only to see that it runs")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu goes with --quick only")
    parser.add_argument("--only", choices=("vaegan", "dcgan", "wgan_gp"), default=None, help="one model of the list")
    parser.add_argument("--out", type=Path, default=None, help="where the reports go; default: benchmarks/reports")
    args = parser.parse_args(argv)
    if args.device == "cpu" and not args.quick:
        parser.error("--device cpu is a rehearsal: say --quick too")
    return args


def stop(text: str) -> None:
    """End with exit code 3 and one line."""
    print(f"gpu.sh: {text}", file=sys.stderr)
    sys.exit(3)


def require(device: str) -> None:
    """Stop where a wheel or the GPU is missing."""
    missing = [wheel for module, wheel in WHEELS.items() if importlib.util.find_spec(module) is None]
    if missing:
        stop(f"missing here: {', '.join(missing)}; get them: python -m pip install {shlex.join(missing)}")
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        stop(f"no GPU that this PyTorch ({torch.__version__}) can use: nothing measured")


def machine_facts(args: argparse.Namespace, words: Sequence[str]) -> dict[str, Any]:
    """Return hardware, driver, versions, clocks, date and command."""
    import torch
    from clocks import gpu_state
    from machine import facts

    table = facts(args.device) | {"command": shlex.join(["benchmarks/gpu.sh", *words])}
    if args.device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        table["gpu"] = properties.name
        table["gpu_memory"] = f"{properties.total_memory / 2**30:.0f} GiB"
        table["cuda"] = f"{torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
        table["at the start"] = gpu_state()
    return table


def measure(args: argparse.Namespace, say: Any) -> dict[str, Any]:
    """Return the part's table."""
    import gpu_peers
    import gpu_profile
    import gpu_step
    import torch
    from clocks import Deadline
    from rungs import FULL, QUICK, WORKLOADS

    device = torch.device("cuda", 0) if args.device == "cuda" else torch.device("cpu")
    size, deadline = QUICK if args.quick else FULL, Deadline(PART_SECONDS)
    if args.part == "step":
        return gpu_step.measure(size, device, deadline, args.only, say)
    if args.part == "peers":
        return gpu_peers.measure(size, device, deadline, say)
    if args.part == "score":
        import gpu_score

        return gpu_score.measure(size, device, deadline, say)
    loads = [load for load in WORKLOADS if args.only in (None, load.name)]
    return gpu_profile.measure(size, device, deadline, loads, say)


def free_name(folder: Path, stem: str) -> Path:
    """Return a path without suffix that no report of an earlier run has."""
    path, number = folder / stem, 1
    while path.with_suffix(".json").exists() or path.with_suffix(".md").exists():
        number += 1
        path = folder / f"{stem}-{number}"
    return path


def main(argv: Sequence[str] | None = None) -> None:
    """Measure one part and write its reports."""
    words = list(sys.argv[1:] if argv is None else argv)
    args = parse(words)
    require(args.device)
    begun = time.monotonic()
    import torch
    from clocks import gpu_state, why
    from gpu_report import render

    if args.device == "cpu":
        torch.set_num_threads(1)
    machine = machine_facts(args, words)
    try:
        table = measure(args, lambda text: print(text, file=sys.stderr, flush=True))
    except Exception as error:  # a report says what failed, too
        table = {"failed": why(error)}
    if args.device == "cuda":
        machine["at the end"] = gpu_state()
    found = {
        "part": args.part,
        "figures_of": "gpu" if args.device == "cuda" else "cpu",
        "quick": args.quick,
        "seconds": time.monotonic() - begun,
        "machine": machine,
        "table": table,
    }
    folder = args.out or Path(__file__).resolve().parent / "reports"
    folder.mkdir(parents=True, exist_ok=True)
    kind = "gpu" if args.device == "cuda" else "cpu"
    path = free_name(folder, f"{machine['date'][:10]}-{kind}-{args.part}{'-quick' if args.quick else ''}")
    path.with_suffix(".json").write_text(json.dumps(found, indent=1, default=str) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(render(found), encoding="utf-8")
    print(path.with_suffix(".md").read_text(encoding="utf-8"))
    print(f"written: {path.with_suffix('.json')} {path.with_suffix('.md')}")
    sys.exit(1 if "failed" in table else 0)


if __name__ == "__main__":
    main()
