"""A system out of the settings of `model`: its class by `_target_`, every key that it is given checked first."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from gansweep.config.settings import Settings
from gansweep.engine.objective import locate
from gansweep.errors import UserError, nearest
from gansweep.nets.blocks import ConfigError
from gansweep.system import System

# Keys of `model` that are the run's matter, not the class's.
_OF_THE_RUN = ("_target_", "knobs", "freeze", "freeze_stats", "warm_start", "scaled_down_size_px")


def build_system(settings: Settings) -> System:
    """Return the system that `model._target_` names, built from the rest of `model`; works on the meta device.

    UserError for a class that cannot be imported, a key it does not take or a value that it refuses, and sizes its
    layers cannot produce.
    """
    make = locate(settings.model.target, "model._target_")
    given = _given(settings, inspect.signature(make).parameters)
    try:
        for key, refuse in getattr(make, "takes", {}).items():
            if key in given:
                refuse(f"model.{key}", given[key])
        system: System = make(**given)
    except ConfigError as error:
        raise UserError(str(error)) from None
    except (TypeError, KeyError, AttributeError, IndexError, ValueError) as error:
        raise UserError(f"model: {settings.model.target} cannot be built: {str(error).splitlines()[0]}") from None
    for name in settings.model.knobs:
        if name not in system.knobs:
            raise UserError(f"model.knobs.{name}: the system has no such knob{nearest(name, system.knobs)}")
    system.knobs.update(settings.model.knobs)
    for name in positive_knobs(system):
        if system.knobs[name] <= 0:
            raise UserError(f"model.knobs.{name}={system.knobs[name]:g}: must be greater than 0")
    return system


def _given(settings: Settings, takes: Mapping[str, inspect.Parameter]) -> dict[str, Any]:
    """Return the keys of `model` that go to the class; UserError for one it does not take, and one that it lacks."""
    given = {k: v for k, v in settings.model.model_dump(by_alias=True).items() if k not in _OF_THE_RUN}
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in takes.values()):
        for key in given:
            if key not in takes and key != "width_factor":  # offered to every system; one without it does without
                raise UserError(f"model.{key}: {settings.model.target} takes no such key{nearest(key, takes)}")
        given = {key: value for key, value in given.items() if key in takes}
    for key, parameter in takes.items():
        needed = parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        if needed and key not in given:
            raise UserError(f"model.{key}: missing, and it has no default")
    return given


def positive_knobs(system: System) -> list[str]:
    """Return the knobs that must stay greater than 0."""
    return [name for name in getattr(system, "positive_knobs", ()) if name in system.knobs]
