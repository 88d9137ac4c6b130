"""The files of fitted judges: weights in the user's cache, a choice in conf/judge; and the list of all judges."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import importlib.util
import json
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from gansweep import weights
from gansweep.config import conf_dir
from gansweep.config.compose import user_dirs
from gansweep.errors import UserError
from gansweep.metrics import inception, lite0
from gansweep.metrics.fitted import BASES, TARGET, Payload, file_name, judges_folder, payload_bytes, told_of
from gansweep.metrics.weights import Weights

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
# What Hydra reads as a value, so that judge=NAME would not be a choice.
_VALUES = ("null", "true", "false", "nan", "inf")
# A score's key with one of these behind it is another number of that score, or the score under another protocol.
_ENDINGS = ("_std", "_improved_gan", "_stackgan", "_torchmetrics")


def judge_file(name: str) -> Path:
    """Return where a judge's choice is written: conf/judge where the user stands."""
    return Path.cwd() / "conf" / "judge" / f"{name}.yaml"


def check_name(name: str | None, known: Collection[str], replace: bool) -> None:
    """Refuse (UserError) a name that cannot be a judge's, and one that is taken unless it is to be replaced.

    `known` are the judges that Hydra finds from here.
    """
    if name is None:
        raise UserError("judge fit: name=NAME is missing: the judge is used as judge=NAME, its score is is_NAME")
    if not _NAME.fullmatch(name) or name.lower() in _VALUES:
        raise UserError(f"name={name}: a judge's name is a letter, then letters, digits, _ and -, at most 64")
    ending = next((ending for ending in _ENDINGS if name.lower().endswith(ending)), None)
    if ending is not None:
        raise UserError(f"name={name}: a name that ends in {ending} would be taken for a part of another judge's score")
    file = judge_file(name)
    if name in BASES:
        raise UserError(f"name={name}: that judge is built in; choose another name")
    if file.exists():
        if not replace:
            raise UserError(f"name={name}: {file} is there already; choose another name, or add replace=true")
        if _read(file).get("_target_") != TARGET:
            raise UserError(f"name={name}: {file} is no fitted judge's and is not replaced; choose another name")
    elif name in known:
        raise UserError(f"name={name}: another folder of configurations has a judge of that name; choose another")


def store(name: str, payload: Payload, date: datetime.date) -> tuple[Path, Weights]:
    """Write the weights to the cache and then the choice to conf/judge, each whole or not at all; returns both."""
    content = payload_bytes(payload)
    sha256 = hashlib.sha256(content).hexdigest()
    weights = Weights(judges_folder() / file_name(name, sha256), sha256)
    _write(weights.path, content)
    file = judge_file(name)
    _write(file, _choice(name, payload, sha256, date).encode())
    return file, weights


def _choice(name: str, payload: Payload, sha256: str, date: datetime.date) -> str:
    told = told_of(payload)
    recipe = ", ".join(f"{key} {value}" for key, value in payload["recipe"].items())
    lines = [
        f"# A judge fitted by gansweep judge fit: use it as judge={name}. Writes is_{name}, which can be compared with",
        f"# other is_{name} of the same sha256 only. What follows batch_size is told by the weights, and checked.",
        f"# fitted with: {recipe}",
        f"# classes: {_in_yaml(payload['classes'])}",
        f"_target_: {TARGET}",
        f"name: {_in_yaml(name)}",
        "weights: null              # file; null: the user's cache folder, gansweep/judges",
        f"sha256: {_in_yaml(sha256)}",
        "batch_size: null           # images per forward; null: 16 on a CPU, 256 on CUDA",
        *(f"{key}: {_in_yaml(value)}" for key, value in told.items()),
        f"date: {_in_yaml(date.isoformat())}",
    ]
    return "\n".join(lines) + "\n"


def _in_yaml(value: object) -> str:
    """Return a value as YAML in one line: a class may be named after a folder, and that may hold any letter."""
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(value)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def listed(config_dir: str | None = None) -> str:
    """Return the judges that `judge=` finds from here, a line each: what they are, how good, and if they can judge.

    UserError when `config_dir` is not a folder.
    """
    rows = [("judge", "what", "classes", "accuracy", "sha256", "weights")]
    rows.append(("inception", "built in", str(inception.CLASSES), "", inception.SHA256_PREFIX, _here(_has_inception())))
    rows.append(("lite0", "built in", str(lite0.CLASSES), "", lite0.SHA256_PREFIX, _here(_has_lite0())))
    seen = set(BASES)
    for folder in [conf_dir(), *user_dirs(config_dir)]:
        for file in sorted((folder / "judge").glob("*.yaml")):
            if file.stem not in seen:
                seen.add(file.stem)
                rows.append(_row(file))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _row(file: Path) -> tuple[str, str, str, str, str, str]:
    settings = _read(file)
    if settings.get("_target_") != TARGET:
        what = str(settings.get("_target_") or f"cannot be read: {file}")
        return file.stem, what, "", "", "", ""
    sha256, explicit = str(settings.get("sha256") or ""), settings.get("weights")
    path = Path(str(explicit)).expanduser() if explicit else judges_folder() / file_name(file.stem, sha256)
    classes = f"{'1 + ' if settings.get('background') else ''}{settings.get('classes', '')}"
    what = f"{settings.get('base', '')} on {settings.get('data', '')}"
    accuracy = settings.get("accuracy")
    shown = f"{accuracy:.4f}" if isinstance(accuracy, float) else ""
    return file.stem, what, classes, shown, sha256[:8], _here(path.is_file())


def _read(file: Path) -> Mapping[str, Any]:
    """Return what a judge's file says, nothing when it cannot be read."""
    try:
        settings = OmegaConf.to_container(OmegaConf.load(file))
    except Exception:  # whatever is wrong with that file, it tells nothing
        return {}
    return {str(key): value for key, value in settings.items()} if isinstance(settings, dict) else {}


def _here(found: bool) -> str:
    return "here" if found else "not here"


def _has_inception() -> bool:
    found = weights.cached()
    return found is not None and weights.is_right(found)


def _has_lite0() -> bool:
    return all(importlib.util.find_spec(name) is not None for name in (lite0.NETWORK_MODULE, lite0.WEIGHTS_MODULE))
