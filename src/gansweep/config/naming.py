"""Names of runs, made from what differs from the defaults: `vaegan l1=600 seed=1`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from hydra.core.override_parser.types import Override

from gansweep.config.explain import select, show

# What does not change what is learnt does not belong in a name, nor is it a difference between two runs.
UNNAMED = (
    "tracker",
    "eval",
    "judge",
    "checkpoint",
    "name",
    "note",
    "log_every",
    "sample_every",
    "val_every",
    "checkpoint_every",
    "hydra",
    "runtime.progress",
    "runtime.device",
    "runtime.threads",
    "runtime.reach",
    "data.cache_dir",
    "data.ram_limit_mb",
    "data.workers",
)
_SHORTENED = ("scales.", "optimizer.", "schedule.phases.", "schedule.", "model.", "data.", "runtime.")
MAX_LETTERS = 120


def unnamed(key: str) -> bool:
    """Tell whether a dotted key is one that never shows in names."""
    return any(key == stem or key.startswith(f"{stem}.") for stem in UNNAMED)


def run_name(
    overrides: Sequence[Override],
    values: Mapping[str, Any],
    defaults: Mapping[str, Any],
    choices: Mapping[str, str],
    default_choices: Mapping[str, str],
    swept: Collection[str] = (),
) -> str:
    """Return a run's name: its experiment or model, then every choice and value that differs from the defaults.

    `overrides` are the request's, in order; `values` what they led to; `defaults` what the same group choices
    give without single keys. `choices` maps groups to what was chosen, `default_choices` to what the same experiment
    and model choose by themselves. `swept`: keys that a sweep varies; they stand in every name, and first.
    """
    head = choices.get("experiment") or choices.get("model", "run")
    given = {key: override.key_or_group for override in overrides for key in _keys(override, defaults)}
    keys = sorted(given, key=lambda key: given[key] not in swept)
    parts: list[str] = []
    for group in (key for key in keys if key in choices and not unnamed(key)):
        chosen = choices[group]
        is_head = group == "experiment" or (group == "model" and "experiment" not in choices)
        if not is_head and (group == "model" or chosen != default_choices.get(group)):
            parts.append(f"{group}={chosen}")
    differing = [key for key in keys if key not in choices and (given[key] in swept or _differs(key, values, defaults))]
    short = _short_keys(differing)
    parts += [f"{short[key]}={_value(key, select(values, key.split('.')))}" for key in differing]
    name = " ".join([head, *parts])
    return name if len(name) <= MAX_LETTERS else name[: MAX_LETTERS - 1] + "…"


def _keys(override: Override, defaults: Mapping[str, Any]) -> list[str]:
    """Return the keys that an override sets: those in a table, as in `scales={l1: 3}`, where the defaults have one."""
    value = None if override.is_delete() else override.value()
    return list(_inside(override.key_or_group, value, defaults))


def _inside(key: str, value: Any, defaults: Mapping[str, Any]) -> Iterator[str]:
    default = select(defaults, key.split("."))
    if isinstance(value, Mapping) and value and isinstance(default, Mapping) and default:
        for name, inner in value.items():
            yield from _inside(f"{key}.{name}", inner, defaults)
    else:
        yield key


def _differs(key: str, values: Mapping[str, Any], defaults: Mapping[str, Any]) -> bool:
    if unnamed(key):
        return False
    new, old = select(values, key.split(".")), select(defaults, key.split("."))
    return bool(new != old)


def _short_keys(keys: Sequence[str]) -> dict[str, str]:
    """Drop the group from each key, unless two keys would then read the same."""
    short = {key: next((key[len(stem) :] for stem in _SHORTENED if key.startswith(stem)), key) for key in keys}
    taken = list(short.values())
    return {key: name if taken.count(name) == 1 else key for key, name in short.items()}


def _value(key: str, value: Any) -> str:
    if key == "data.path" and isinstance(value, str):
        return PurePath(value).name
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return "+".join(_value("", inner) for inner in value.values())[:24]
    return show(value, most=24).replace(" ", "")


def slug(name: str, most: int = 60) -> str:
    """Return a name as a part of a path: letters, digits, dots, dashes and underscores only."""
    kept = "".join(letter if (letter.isalnum() and letter.isascii()) or letter in "._" else "-" for letter in name)
    while "--" in kept:
        kept = kept.replace("--", "-")
    return kept[:most].strip("-.") or "run"
