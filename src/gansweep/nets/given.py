"""What the keys of `model` may hold: small checks, put together by each system as `takes`, its first act.

A check is called with a dotted key and its value, and raises ConfigError naming both. So a wrong type is told before a
layer is made of it, and by the key that was typed, not by the layer that met it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gansweep.errors import nearest
from gansweep.nets.blocks import ACTIVATIONS, NORMS, ConfigError

Check = Callable[[str, Any], None]


def whole(key: str, value: Any) -> None:
    """Refuse what is not a whole number of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{key}={shown(value)}: must be a whole number, at least 1")


def number(key: str, value: Any) -> None:
    """Refuse what is not a finite number of at least 0."""
    if not _is_number(value) or value < 0:
        raise ConfigError(f"{key}={shown(value)}: must be a number, at least 0")


def positive(key: str, value: Any) -> None:
    """Refuse what is not a finite number greater than 0."""
    if not _is_number(value) or value <= 0:
        raise ConfigError(f"{key}={shown(value)}: must be a number greater than 0")


def flag(key: str, value: Any) -> None:
    """Refuse what is neither true nor false."""
    if not isinstance(value, bool):
        raise ConfigError(f"{key}={shown(value)}: must be true or false")


def one_of(choices: Iterable[str]) -> Check:
    """Return a check that refuses what is not one of `choices`."""
    names = list(choices)

    def check(key: str, value: Any) -> None:
        if value not in names:
            raise ConfigError(f"{key}={shown(value)}: no such choice{nearest(str(value), names)}")

    return check


def table(**keys: Check) -> Check:
    """Return a check of a group of keys: all of these, none else, and each by its own check."""

    def check(key: str, value: Any) -> None:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{key}={shown(value)}: must be a group of keys: {', '.join(keys)}")
        for name in value:
            if name not in keys:
                raise ConfigError(f"{key}.{name}: no such key{nearest(str(name), keys.keys() - value.keys() or keys)}")
        for name, own in keys.items():
            if name not in value:
                raise ConfigError(f"{key}.{name}: missing, and it has no default")
            own(f"{key}.{name}", value[name])

    return check


def listed(each: Check, least: int = 1) -> Check:
    """Return a check of a list of at least `least` entries, `each` by itself."""

    def check(key: str, value: Any) -> None:
        if not isinstance(value, list | tuple) or len(value) < least:
            at_least = f" of at least {least}" if least else ""
            raise ConfigError(f"{key}={shown(value)}: must be a list{at_least}")
        for n, entry in enumerate(value):
            each(f"{key}[{n}]", entry)

    return check


def maybe(check: Check) -> Check:
    """Return a check that also takes null."""
    return lambda key, value: None if value is None else check(key, value)


def shown(value: Any, most: int = 40) -> str:
    """Return a value as the command line writes it, cut to `most` letters."""
    if value is None:
        return "null"
    text = str(value).lower() if isinstance(value, bool) else "''" if value == "" else str(value)
    return text if len(text) <= most else text[: most - 1] + "…"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


# In place, a leak below 0 has no gradient: LeakyReLU refuses it in the backward pass.
LAYER: dict[str, Check] = {"norm": one_of(NORMS), "act": one_of(ACTIVATIONS), "slope": number}
"""What every network's layers are made of."""
