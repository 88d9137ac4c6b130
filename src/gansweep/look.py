"""What is known of a run from its own directory: config, status, losses, scores, checkpoints. No tracker is asked.

Reads run.json, config.yaml, spool.jsonl and scores.jsonl; `gansweep.tables` prints it for `runs`, `show` and `diff`.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gansweep.errors import UserError
from gansweep.runs.record import flatten
from gansweep.runs.spool import SPOOL_FILE, last_step, last_values, lines
from gansweep.runs.store import Run, all_runs, find, reconcile
from gansweep.scoring.card import cards_of
from gansweep.scoring.pair import Compared, compare
from gansweep.scoring.words import order_of_keys, told_card, untold

CONFIG_FILE = "config.yaml"
# What a run says beside its losses, by the first part of the metric's name.
_NOT_LOSSES = ("perf", "grad_norm", "val", "lr", "knob", "turns")


def config_of(run_dir: Path) -> dict[str, Any]:
    """Return the resolved config that a run recorded; empty when it has none (it died before its first step)."""
    import yaml  # type: ignore[import-untyped]

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster, where it was built
    try:
        content = yaml.load((run_dir / CONFIG_FILE).read_text(encoding="utf-8"), Loader=loader)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def losses_of(run_dir: Path) -> dict[str, float]:
    """Return the last unscaled value of every charged term, as `phase/term`, in the order of the run's `scales`."""
    scales = config_of(run_dir).get("scales") or {}
    weighed = [name for name, scale in scales.items() if scale is not None]
    found: dict[str, float] = {}
    for key, (value, _) in last_values(run_dir).items():
        phase, slash, term = key.rpartition("/")
        if slash and phase.partition("/")[0] not in _NOT_LOSSES and term in weighed:
            found[key] = value
    return dict(sorted(found.items(), key=lambda item: weighed.index(item[0].rpartition("/")[2])))


def held_out_of(run_dir: Path) -> dict[str, float]:
    """Return the last held-out losses (`val/...`)."""
    return {key: value for key, (value, _) in _all_last(run_dir).items() if key.startswith("val/")}


def _all_last(run_dir: Path) -> dict[str, tuple[float, int]]:
    """Return metric -> (last value, step) over the whole spool: the last look may lie far before its end."""
    found: dict[str, tuple[float, int]] = {}
    for _, entry in lines(run_dir / SPOOL_FILE):
        if entry and entry["kind"] == "scalar":
            found[entry["key"]] = (float(entry["value"]), int(entry["step"]))
    return found


def scores_of(run_dir: Path) -> dict[str, list[dict[str, Any]]]:
    """Return metric -> the run's score cards as JSON types, by rising step; of one step, the last taken is the last."""
    cards = sorted(cards_of(run_dir), key=lambda card: card.step)
    keys = order_of_keys(card.key for card in cards)
    return {key: [told_card(card) for card in cards if card.key == key] for key in keys}


def start_record(run_dir: Path) -> dict[str, Any]:
    """Return what the run told its tracker at the start (data set, tags, parent); empty when it never did."""
    for _, entry in lines(run_dir / SPOOL_FILE):
        if entry and entry["kind"] == "start":
            record = entry.get("record")
            return record if isinstance(record, dict) else {}
    return {}


def last_grids(run_dir: Path) -> list[Path]:
    """Return the newest picture grid of each kind, and the newest film of clips, samples first."""
    newest: dict[tuple[str, str], Path] = {}
    for path in [*sorted(run_dir.glob("**/step-*.png")), *sorted(run_dir.glob("clips/step-*.mp4"))]:
        newest[path.parent.name, path.suffix] = path
    return [newest[kind] for kind in sorted(newest, key=lambda kind: (not kind[0].startswith("samples"), kind))]


def facts(run: Run, brief: bool = False) -> dict[str, Any]:
    """Return everything that is told of one run, as JSON types; `brief` is what a table of runs shows."""
    record = run.record
    told: dict[str, Any] = {
        "id": run.id,
        "name": run.name,
        "status": run.status,
        "step": record.get("last_step") if record.get("last_step") is not None else last_step(run.dir),
        "steps": record.get("steps"),
        "losses": losses_of(run.dir),
        "scores": scores_of(run.dir),
        "created": record.get("created"),
        "dir": str(run.dir),
        "sweep": record.get("sweep"),
    }
    if brief:
        return told
    start = start_record(run.dir)
    return told | {
        "held_out": held_out_of(run.dir),
        "finished": record.get("finished"),
        "reason": record.get("reason"),
        "note": record.get("note"),
        "overrides": _overrides_of(record),
        "parent": record.get("parent"),
        "commit": record.get("commit"),
        "dirty": record.get("dirty"),
        "dataset": start.get("dataset"),
        "mlflow_run_id": run.mlflow_run_id,
        "tracking": record.get("tracking"),
        "checkpoints": [str(path) for path in run.checkpoints()],
        "grids": [str(path) for path in last_grids(run.dir)],
        "tags": start.get("tags") or {},
    }


def _overrides_of(record: Mapping[str, Any]) -> list[str]:
    """Return the command line's overrides; none where run.json, which people may edit, has something else there."""
    found = record.get("overrides")
    return [line for line in found if isinstance(line, str)] if isinstance(found, list) else []


def runs_here(cwd: Path | None = None) -> list[dict[str, Any]]:
    """Return the facts of every run under the working directory, newest first; dead RUNNING ones are set to KILLED."""
    found = [facts(reconcile(run), brief=True) for run in all_runs(cwd)]
    return sorted(found, key=lambda told: str(told["created"]), reverse=True)


def show_facts(target: str, cwd: Path | None = None) -> dict[str, Any]:
    """Return the facts of one run and where its config leaves the defaults. Raises UserError when there is none."""
    run = reconcile(find(target, cwd))
    config = config_of(run.dir)
    changed = differences(defaults_for(_overrides_of(run.record)), config)
    return facts(run) | {"changed": {key: value[1] for key, value in changed.items() if key != "name"}}


def defaults_for(overrides: Iterable[str]) -> dict[str, Any]:
    """Return the config that the same experiment and model give by themselves; empty when that no longer composes."""
    from gansweep.config.compose import session, user_dirs
    from gansweep.config.explain import validate

    heads = [line for line in overrides if line.partition("=")[0] in ("experiment", "model")]
    try:
        with session(user_dirs()) as hydra:
            values = hydra.raw(heads)
            return validate(values).model_dump(mode="json") if values else {}
    except UserError:
        return {}


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[str | None, str | None]]:
    """Return dotted key -> (old, new) for every key whose value differs; None where a side has no such key."""
    if not old or not new:
        return {}
    before, after = flatten(old), flatten(new)
    keys = [*before, *(key for key in after if key not in before)]
    return {key: (before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)}


def diff_facts(first: str, second: str, cwd: Path | None = None) -> dict[str, Any]:
    """Return what sets two runs apart: what was changed, what follows from that, results, and their circumstances."""
    from gansweep.config.naming import unnamed

    runs = [reconcile(find(target, cwd)) for target in (first, second)]
    told = [facts(run) for run in runs]
    config = differences(config_of(runs[0].dir), config_of(runs[1].dir))
    config = {
        key: pair for key, pair in config.items() if key not in ("name", "note") and not key.endswith(".progress")
    }
    changed = [key for key in causes(told[0]["overrides"], told[1]["overrides"], list(config)) if not unnamed(key)]
    sides = [{key: [untold(card) for card in cards] for key, cards in side["scores"].items()} for side in told]
    scores = {key: compare(sides[0][key], sides[1][key]) for key in sides[0] if key in sides[1]}
    return {
        "runs": told,
        "config": {key: list(pair) for key, pair in config.items()},
        "changed": changed,
        "scores": scores,
        "circumstances": _circumstances(runs, told) | _measures(scores),
    }


def causes(first: Iterable[str], second: Iterable[str], differing: list[str]) -> list[str]:
    """Return the keys that somebody changed, out of those that differ: others follow them by interpolation.

    A key counts when the two command lines give it different values. Differing keys that no command line explains
    (the defaults were edited between the runs) count each for itself.
    """
    given = [dict(line.lstrip("+~").partition("=")[::2] for line in side) for side in (first, second)]
    keys = [key for key in dict.fromkeys([*given[0], *given[1]]) if given[0].get(key) != given[1].get(key)]
    real = [
        key
        for key in keys
        if key in ("experiment", "scale_down") or any(k == key or k.startswith(f"{key}.") for k in differing)
    ]
    return real or differing


def _circumstances(runs: list[Run], told: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Return what surrounded the two runs where it differs: code, data, hardware, versions."""
    sides: list[dict[str, Any]] = []
    for run, known in zip(runs, told, strict=True):
        patch = run.dir / "diff.patch"
        side = {"commit": known["commit"], "uncommitted changes": known["dirty"]}
        if known["dirty"] and patch.is_file():
            import hashlib

            side["uncommitted changes"] = "diff " + hashlib.sha256(patch.read_bytes()).hexdigest()[:12]
        side["data fingerprint"] = ((known["dataset"] or {}).get("fingerprint") or "")[:16] or None
        skipped = ("gansweep.run_id", "gansweep.run_dir", "gansweep.sweep", "gansweep.job")
        side |= {key: value for key, value in known["tags"].items() if key not in skipped}
        sides.append(side)
    keys = list(dict.fromkeys([*sides[0], *sides[1]]))
    return {key: [side.get(key) for side in sides] for key in keys if sides[0].get(key) != sides[1].get(key)}


def _measures(scores: Mapping[str, Compared]) -> dict[str, list[Any]]:
    """Return `<score>.<part>` -> its two values, for every part of the scores' measures that differs."""
    return {f"{key}.{part}": list(pair) for key, told in scores.items() for part, pair in told["differs"].items()}


def age(created: str | None, now: datetime.datetime | None = None) -> str:
    """Return how long ago an ISO time was, in its largest unit: 5 s, 12 min, 3 h, 4 d; `?` for none."""
    try:
        then = datetime.datetime.fromisoformat(str(created))
    except ValueError:
        return "?"
    moment = now or datetime.datetime.now(datetime.UTC)
    seconds = max(0.0, (moment - then).total_seconds())
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
