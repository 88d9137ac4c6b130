"""The objective: terms and scales held against each other. A number weighs, null removes."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

from gansweep.errors import UserError, nearest
from gansweep.system import System, Term, term_names


def charged_terms(
    system: System,
    scales: Mapping[str, float | None],
    own: Mapping[str, Mapping[str, str]],
    active: Collection[str] | None = None,
) -> dict[str, dict[str, Term]]:
    """Return each phase's terms that have a number in `scales`, a user's `own` (phase → name → dotted path) included.

    UserError for a term without a scale, a scale without a term, an unknown phase, and a phase that charges nothing
    although it is `active` (None: all are).
    """
    table = {phase.name: dict(phase.terms) for phase in system.phases}
    owner = term_names(system)
    for phase_name, given in own.items():
        phase = next((phase for phase in system.phases if phase.name == phase_name), None)
        if phase is None:
            raise UserError(f"terms.{phase_name}: the system has no such phase{nearest(phase_name, table)}")
        for name, path in given.items():
            if name in owner:
                raise UserError(f"terms.{phase_name}.{name}: a term '{name}' stands in phase '{owner[name]}' already")
            if phase.pair is None:
                raise UserError(
                    f"terms.{phase_name}.{name}: phase '{phase_name}' names no pair for a user's loss to read"
                )
            table[phase_name][name] = Term(locate(path, f"terms.{phase_name}.{name}"), phase.pair)
            owner[name] = phase_name
    _compare(set(owner), set(scales))
    charged = {
        name: {term: at for term, at in terms.items() if scales[term] is not None} for name, terms in table.items()
    }
    idle = [name for name, left in charged.items() if not left and (active is None or name in active)]
    if idle:
        raise UserError(f"scales: phase '{idle[0]}' charges nothing; give one of {', '.join(table[idle[0]])} a number")
    return charged


def _compare(terms: set[str], scales: set[str]) -> None:
    without_scale, without_term = sorted(terms - scales), sorted(scales - terms)
    if without_scale or without_term:
        parts = []
        if without_scale:
            parts.append(f"terms without a scale: {', '.join(without_scale)} (say +scales.{without_scale[0]}=NUMBER)")
        if without_term:
            offer = nearest(without_term[0], terms)
            parts.append(f"scales without a term: {', '.join(without_term)}{offer}")
        raise UserError("; ".join(parts))


def locate(path: str, where: str) -> Callable[..., Any]:
    """Return the class or function at the dotted `path`; UserError that names `where` it was asked for."""
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{where}={path}: cannot be imported ({str(error).splitlines()[0]})") from None
    if not callable(found):
        raise UserError(f"{where}={path}: is not a class or function")
    return found
