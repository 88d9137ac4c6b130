"""Code that a checkpoint's config names: never run on the word of the checkpoint alone.

A config reaches classes and functions by dotted path, and importing one is running it. A checkpoint may come from
anywhere; the config.yaml of the run directory that a user asks for is the user's own word.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from gansweep.describe import CONFIG_FILE
from gansweep.errors import UserError

_OURS = "gansweep."


def foreign_code(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the dotted paths outside of gansweep that a recorded config would import, by their keys."""
    found: dict[str, str] = {}
    for group in ("model", "data", "judge"):
        node = config.get(group)
        found[f"{group}._target_"] = str(node.get("_target_") or _OURS) if isinstance(node, Mapping) else _OURS
    for phase, terms in _items(config.get("terms")):
        found |= {f"terms.{phase}.{name}": str(path) for name, path in _items(terms)}
    schedule = config.get("schedule")
    for knob, curve in _items(schedule.get("curves") if isinstance(schedule, Mapping) else None):
        if isinstance(curve, Mapping) and "path" in curve:
            found[f"schedule.curves.{knob}.path"] = str(curve["path"])
    return {key: path for key, path in found.items() if not path.startswith(_OURS)}


def refuse_foreign_code(config: Mapping[str, Any], run_dir: Path | None, source: Path) -> None:
    """Refuse (UserError) a checkpoint whose config names code that the run's own config.yaml does not name alike."""
    named = foreign_code(config)
    if not named:
        return
    try:
        own = OmegaConf.to_container(OmegaConf.load(run_dir / CONFIG_FILE)) if run_dir is not None else {}
    except Exception:  # whatever is wrong with that file, it names nothing
        own = {}
    allowed = foreign_code({str(key): value for key, value in own.items()}) if isinstance(own, dict) else {}
    for key, path in named.items():
        if allowed.get(key) != path:
            raise UserError(
                f"{source}: its config names code to run ({key}={path}) and was refused; "
                f"such a checkpoint is used in its run's directory, whose {CONFIG_FILE} names the same"
            )


def _items(node: object) -> list[tuple[Any, Any]]:
    return list(node.items()) if isinstance(node, Mapping) else []
