"""Counts the CPU seconds in which 200 points of a sweep are composed and validated, beside Hydra's own composition.

    python benchmarks/sweep_compose.py [--rounds 3] [--json FILE]

Two sweeps: `groups`, every point another choice of groups (100 experiments, two optimizers each), and `values`, one
choice of groups and 200 scales. Each side has a process of its own, in turns; the settings of both are compared first.
`ours` is what `gansweep -m` does: expand, compose, validate, name, refuse twins. `hydra` composes each point with
untouched Hydra, resolves it and validates it, no more. `launch` adds what is checked before a sweep begins: networks on
the meta device, scales against terms, room on the disk (not for `groups`: some experiments ask for data of your own).
Imports are counted apart. Exit code 1 above 30 (groups) or 5 (values) CPU seconds of `ours`, launch included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import machine

_COUNT = 200
_GOALS = {"groups": 30.0, "values": 5.0}


def sweep(kind: str) -> list[str]:
    """Return the overrides of a sweep of 200 points."""
    from gansweep.config import conf_dir

    if kind == "values":
        return ["model=vaegan", f"scales.l1=range(1,{_COUNT + 1})", "steps=1000"]
    top = conf_dir() / "experiment"
    names = sorted(str(path.relative_to(top).with_suffix("")) for path in top.rglob("*.yaml"))
    return ["experiment=" + ",".join(names[: _COUNT // 2]), "optimizer=adam,sgd"]


def ours(kind: str) -> dict[str, Any]:
    """Compose and check as `gansweep -m` does."""
    from gansweep.config.compose import session

    begun = time.process_time()
    with session() as hydra:
        jobs = hydra.jobs(sweep(kind), multirun=True)
        choices = hydra.many.composed
    taken = {"compose_s": time.process_time() - begun}
    if kind == "values":
        from gansweep.sweep import start
        from gansweep.train import check  # noqa: F401 - imports are counted apart

        begun = time.process_time()
        start._check(jobs, True, [])
        taken["launch_s"] = time.process_time() - begun
    settings = [job.settings.model_copy(update={"name": None}).model_dump(mode="json") for job in jobs]
    return {**taken, "choices": choices, "settings": settings}


def hydras(kind: str) -> dict[str, Any]:
    """Compose every point with untouched Hydra, and validate it."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from gansweep.config import conf_dir
    from gansweep.config.compose import session
    from gansweep.config.settings import Settings

    with session() as opened:
        points = opened.expand(opened.normal(sweep(kind)))
    begun = time.process_time()
    found = []
    with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir()), job_name="gansweep"):
        for overrides in points:
            values = OmegaConf.to_container(compose("config", overrides), resolve=True, throw_on_missing=True)
            found.append(Settings.model_validate(values))
    taken = time.process_time() - begun
    return {"compose_s": taken, "settings": [settings.model_dump(mode="json") for settings in found]}


def in_a_process(side: str, kind: str) -> dict[str, Any]:
    """Return what one side found and took, measured in a process of its own."""
    command = [sys.executable, __file__, "--side", side, "--kind", kind]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{side} {kind} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measure(kind: str, rounds: int) -> dict[str, Any]:
    """Return the CPU seconds of both sides, in turns, after their settings were compared."""
    turns = {"ours": [in_a_process("ours", kind)], "hydra": [in_a_process("hydra", kind)]}
    if turns["ours"][0].pop("settings") != turns["hydra"][0].pop("settings"):
        raise SystemExit(f"{kind}: the two sides give other settings; nothing is measured")
    for _ in range(rounds - 1):
        for side, found in turns.items():
            found.append(in_a_process(side, kind))
            del found[-1]["settings"]
    return {
        "ours_s": machine.spread([one["compose_s"] for one in turns["ours"]]),
        "hydra_s": machine.spread([one["compose_s"] for one in turns["hydra"]]),
        "launch_s": machine.spread([one.get("launch_s", 0.0) for one in turns["ours"]]),
        "ratio": machine.spread(
            [b["compose_s"] / a["compose_s"] for a, b in zip(turns["ours"], turns["hydra"], strict=True)]
        ),
        "choices": turns["ours"][0]["choices"],
    }


def in_words(found: dict[str, float]) -> str:
    """Return median (p10 to p90)."""
    return f"{found['median']:.2f} ({found['p10']:.2f} to {found['p90']:.2f})"


def main() -> int:
    """Measure both sweeps and print them as a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--side", choices=("ours", "hydra"), help=argparse.SUPPRESS)
    parser.add_argument("--kind", choices=tuple(_GOALS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps((ours if options.side == "ours" else hydras)(options.kind)))
        return 0
    print(machine.head())
    print("- also:", ", ".join(f"{name} {version(name)}" for name in ("hydra-core", "omegaconf", "pydantic")))
    print(f"\nCPU seconds for {_COUNT} points; median, p10 to p90 of {options.rounds} rounds\n")
    heads = (
        "sweep",
        "choices of groups",
        "ours",
        "checks before the launch",
        "Hydra's own",
        "Hydra's over ours",
        "goal",
    )
    print("| " + " | ".join(heads) + " |")
    print("|---|---|---|---|---|---|---|")
    found, code = {}, 0
    for kind, goal in _GOALS.items():
        found[kind] = one = measure(kind, options.rounds)
        ours_s, launch_s, hydra_s, ratio = (in_words(one[key]) for key in ("ours_s", "launch_s", "hydra_s", "ratio"))
        row = (kind, str(one["choices"]), ours_s, launch_s if kind == "values" else "–", hydra_s, ratio, f"{goal:g}")
        print("| " + " | ".join(row) + " |", flush=True)
        code |= one["ours_s"]["median"] + one["launch_s"]["median"] > goal
    print(f"\nload at the end: {machine.load()}")
    if options.json:
        options.json.write_text(json.dumps({"machine": machine.facts(), "found": found}, indent=1), encoding="utf-8")
    return int(code)


if __name__ == "__main__":
    raise SystemExit(main())
