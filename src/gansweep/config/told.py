"""What Hydra's and OmegaConf's errors mean, each in one line with the nearest valid choice."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gansweep.config.explain import keys_below, select
from gansweep.errors import nearest

if TYPE_CHECKING:
    from gansweep.config.compose import Session


# Keys of Hydra's own that a request may set.
_HYDRAS = ("launcher", "sweeper", "run", "sweep", "job", "searchpath", "verbose", "hydra_logging", "job_logging")


def unreadable(text: str) -> str:
    """Tell that one override does not parse: an equals sign is missing, or something wants quoting."""
    if "=" not in text or text.startswith("="):
        return f"'{text}': expected KEY=VALUE, as in scales.l1=600"
    key = text.partition("=")[0]
    if not re.fullmatch(r"[~+]*[\w./@$-]+", key):
        return f"'{text}': '{key}' cannot be a key; expected KEY=VALUE, as in scales.l1=600"
    if "~" in text.partition("=")[2]:
        return f"'{text}': ~ is the shell's word for your home; write the whole path, or quote it: \"{key}='~/…'\""
    return (
        f"'{text}': the value cannot be read; close its brackets and quotes, and quote special letters: \"{key}='…'\""
    )


def job_prefix(number: int, own: Sequence[str], every: Sequence[Sequence[str]]) -> str:
    """Return `job 3 (seed=1): `: of a job's overrides those that its sweep varies, i.e. not every job of it has."""
    swept = " ".join(line for line in own if not all(line in other for other in every))
    return f"job {number} ({swept}): " if swept else f"job {number}: "


def composition(error: Exception, overrides: Sequence[str], session: Session) -> str:
    """Tell in one line what Hydra or OmegaConf found wrong with `overrides`."""
    message = str(error)
    mark = getattr(error, "problem_mark", None)
    if mark is not None:  # YAML that does not parse, in one of the user's own files
        return f"{mark.name}, line {mark.line + 1}: not YAML: {getattr(error, 'problem', None) or 'cannot be read'}"
    missing = getattr(error, "missing_cfg_file", None)
    if missing:
        return _missing_choice(str(missing), message, overrides, session)
    if match := re.search(r"Could not override '([^']+)'", message):
        if "No match in the defaults list" in message:
            return f"{match[1]}: has no default to replace; write +{match[1]}=…"
        return _unknown_key(match[1], overrides, session) or _first(message)
    if match := re.search(r"An item is already at '([^']+)'", message):
        return f"+{match[1]}: this key is already there; leave out the +"
    if match := re.search(r"Multiple values for (\S+?)\.", message):
        return f"+{match[1]}: this group already has a choice; leave out the +"
    if match := re.search(r"Could not delete(?: from config)?\. '([^']+)' does not exist", message):
        return _unknown_key(match[1], overrides, session) or _first(message)
    if match := re.search(r"(?:Ambiguous value for argument|Sweep parameters) '([^']+)'", message):
        return f"{match[1]}: several values; add -m to sweep over them, or quote them to mean text"
    if match := re.search(r"Interpolation key '([^']+)' not found", message):
        if f"~{match[1]}" in (line.partition("=")[0] for line in overrides):
            return f"~{match[1]}: other keys refer to it; write {match[1]}=null to remove what it weighs"
        return f"${{{match[1]}}}: no such key to refer to{_near_key(match[1], session)}"
    if match := re.search(r"Error merging override (.+)", message):
        key = match[1].partition("=")[0]
        return f"{match[1]}: {key} is a group of keys, or a list of such; set its keys one by one, as in {key}.KEY=…"
    if "Config group override must be" in message:
        groups = [line for line in overrides if session.is_group(line.partition("=")[0])]
        wrong = [line for line in groups if line.partition("=")[2].strip().lower() in ("null", "")] or groups
        group = wrong[0].partition("=")[0].lstrip("+") if wrong else "group"
        return f"{group}=null: a group needs a choice{nearest('', session.options(group))}"
    if match := re.search(r"Missing mandatory value: (\S+)", message):
        return f"{match[1]}: needs a value; give {match[1]}=…"
    full_key = getattr(error, "full_key", None) or getattr(error.__cause__, "full_key", None)
    first = _first(message) or type(error).__name__
    return f"{full_key}: {first}" if full_key and full_key not in first else first


def _first(message: str) -> str:
    return next((line.strip() for line in message.splitlines() if line.strip()), "")


def _missing_choice(missing: str, message: str, overrides: Sequence[str], session: Session) -> str:
    group, _, name = missing.rpartition("/")
    if not group:
        return f"{missing}.yaml: not found among the configuration files"
    top, _, rest = missing.partition("/")
    if top in session.groups():  # hydra's own groups are two words long, ours one
        group, name = top, rest
    options = [option for option in session.options(group) if option != name]
    given = [line.lstrip("+").partition("=") for line in overrides]
    if not any(key == group for key, _, _ in given) and any(
        key == "model" and value == name for key, _, value in given
    ):
        return f"{group}={name}: not found, and {group} follows the model: write conf/{missing}.yaml or choose one" + (
            nearest("", options)
        )
    if not options and group not in session.groups():
        return f"{group}: no such group{nearest(group, session.groups())}"
    inside = [option for option in options if option.startswith(f"{name}/") or option.endswith(f"/{name}")]
    return f"{group}={name}: no such choice{nearest('', inside) if inside else nearest(name, options)}"


def _unknown_key(key: str, overrides: Sequence[str], session: Session) -> str:
    # What the rest of the request would have given tells which keys stand beside the unknown one.
    rest = [line for line in overrides if line.lstrip("+~").partition("=")[0] != key]
    base = session.raw(rest) or session.raw([]) or {}
    path = key.split(".")
    if path[0] == "hydra" and len(path) > 1 and path[1] not in _HYDRAS:
        return f"hydra.{path[1]}: no such key{nearest(path[1], _HYDRAS)}"
    if path[0] == "hydra" and len(path) == 3 and path[1] in ("launcher", "sweeper"):
        return f"{key}: no such key{nearest(path[2], set(session.plugin(path[1], rest)) - {'_target_'})}"
    for depth in range(1, len(path) + 1):
        parent = select(base, path[: depth - 1]) if depth > 1 else base
        if not isinstance(parent, Mapping):
            above = ".".join(path[: depth - 1])
            return f"{key}: {above} is one value and has no keys; give {above}=…"
        if path[depth - 1] not in parent:
            choices = _beside(path[: depth - 1], base, session)
            return f"{'.'.join(path[:depth])}: no such key{nearest(path[depth - 1], choices)}"
    return ""


def _beside(parents: Sequence[str], base: Mapping[str, Any], session: Session) -> list[str]:
    if parents:
        node = select(base, parents)
        return [str(name) for name in node] if isinstance(node, Mapping) else []
    return [*keys_below([], base), *session.groups()]


def _near_key(key: str, session: Session) -> str:
    path = key.split(".")
    return nearest(path[-1], _beside(path[:-1], session.raw([]) or {}, session))
