"""Telling in one line what is wrong with a composed configuration: the key, its value, and what may stand there."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from gansweep.config.settings import Settings
from gansweep.errors import UserError, nearest

Offer = Callable[[str, Iterable[str]], str]
_KINDS = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "a group of keys",
    "model_type": "a group of keys",
    "none_required": "null",
}
_BOUNDS = {
    "greater_than": ("gt", "greater than {:g}"),
    "greater_than_equal": ("ge", "at least {:g}"),
    "less_than": ("lt", "less than {:g}"),
    "less_than_equal": ("le", "at most {:g}"),
}


def validate(values: Mapping[str, Any], typed: Sequence[str] = (), offers: bool = True) -> Settings:
    """Check a plain configuration (a composed one, or one that a run recorded) and return its settings.

    Raises UserError: one line about the first key that is wrong, or about the first of the `typed` ones, since a wrong
    `data.size` shows in every key that refers to it. `offers` adds what could be written instead.
    """
    try:
        return Settings.model_validate(dict(values))
    except ValidationError as error:
        raise UserError(_line(error, values, typed, nearest if offers else _no_offer)) from None


def _no_offer(name: str, choices: Iterable[str]) -> str:
    return ""


def _line(error: ValidationError, values: Mapping[str, Any], typed: Sequence[str], offer: Offer) -> str:
    found = error.errors(include_url=False)
    keys = [_key(item["loc"], values) for item in found]
    first = next((key for key in keys if ".".join(key) in typed), keys[0])
    # The branches of a union report one by one: what is wanted is any of them.
    same = [item for item in found if _key(item["loc"], values) == first]
    return _about(first, same, values, offer)


def _key(loc: tuple[int | str, ...], values: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the part of a pydantic location that the configuration has; what follows are names of union branches."""
    here: Any = values
    key: list[str] = []
    for part in loc:
        inside = part in here if isinstance(here, Mapping) else isinstance(here, list) and isinstance(part, int)
        if not inside:
            if isinstance(here, Mapping) and not any(mark in str(part) for mark in "[-"):
                key.append(str(part))
            break
        here = here[part]
        key.append(str(part))
    return tuple(key)


def _about(key: tuple[str, ...], items: list[Any], values: Mapping[str, Any], offer: Offer) -> str:
    dotted = ".".join(key)
    kind, context = items[0]["type"], items[0].get("ctx", {})
    if kind == "extra_forbidden" or (kind == "model_type" and _is_net_slot(key)):
        return f"{dotted}: no such key{offer(key[-1], set(keys_below(key[:-1], values)) - {key[-1]})}"
    if kind == "missing":
        return f"{dotted}: missing, and it has no default"
    if kind == "value_error":
        return f"{dotted}: {context['error']}" if dotted else str(context["error"])
    said = f"{dotted}={show(select(values, key))}"
    wanted = list(dict.fromkeys(_wanted(item) for item in items))
    if kind == "literal_error" and len(items) == 1:
        choices = [choice.strip("'") for choice in context["expected"].replace(" or ", ", ").split(", ")]
        return f"{said}: no such choice{offer(str(select(values, key)), choices)}"
    return f"{said}: must be {' or '.join(wanted)}"


def _wanted(item: Mapping[str, Any]) -> str:
    kind, context = item["type"], item.get("ctx", {})
    if kind in _KINDS:
        return _KINDS[kind]
    if kind in _BOUNDS:
        field, words = _BOUNDS[kind]
        return words.format(context[field])
    if kind == "literal_error":
        return str(context["expected"]).replace("'", "")
    if kind == "string_pattern_mismatch":
        return "auto, cpu, cuda or cuda:N" if "cuda" in context["pattern"] else "text that is not blank"
    if kind in ("too_short", "too_long"):
        least, most = context.get("min_length"), context.get("max_length")
        return f"a list of {least if least is not None else most} numbers"
    if kind in ("string_too_short", "string_too_long"):
        return "text that is not empty" if kind == "string_too_short" else f"at most {context['max_length']} letters"
    message = str(item["msg"])
    return message[:1].lower() + message[1:]


def _is_net_slot(key: tuple[str, ...]) -> bool:
    """Tell whether a key stands where `optimizer` has one node per network."""
    return len(key) == 2 and key[0] == "optimizer"


def keys_below(key: Iterable[str], values: Mapping[str, Any]) -> list[str]:
    """Return the keys that may stand below `key`: those that are there and those that the settings know."""
    path = list(key)
    node = select(values, path)
    present = [str(name) for name in node] if isinstance(node, Mapping) else []
    model: type[BaseModel] | None = Settings
    for part in path:
        model = _model_of(model, part)
    known = [field.alias or name for name, field in model.model_fields.items()] if model else []
    return sorted({name for name in [*present, *known] if path or name in known})


def _model_of(model: type[BaseModel] | None, part: str) -> type[BaseModel] | None:
    for name, field in (model.model_fields if model else {}).items():
        if part in (name, field.alias):
            return _first_model(field.annotation)
    return None


def _first_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None
    return next((found for arg in typing.get_args(annotation) if (found := _first_model(arg))), None)


def select(values: Any, key: Iterable[str]) -> Any:
    """Return the value under a dotted path of a plain configuration, or None when there is none."""
    for part in key:
        if isinstance(values, Mapping):
            values = values.get(part)
        elif isinstance(values, list) and part.isdigit() and int(part) < len(values):
            values = values[int(part)]
        else:
            return None
    return values


def show(value: Any, most: int = 40) -> str:
    """Return a value as the command line writes it, cut to `most` letters."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    text = "''" if value == "" else str(value)
    return text if len(text) <= most else text[: most - 1] + "…"
