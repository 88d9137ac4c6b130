"""What a search looks for: metrics that its runs log, and which way is better."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gansweep.errors import UserError, nearest
from gansweep.measure import score_names
from gansweep.scoring.card import lower_is_better
from gansweep.sweep.logged import series
from gansweep.sweep.outcome import Objective

if TYPE_CHECKING:
    from gansweep.config.settings import Settings
    from gansweep.system import System

__all__ = ["Objective", "objectives", "refuse_unlogged", "series"]

_WAYS = {"minimize": False, "maximize": True}


def objectives(names: Sequence[str]) -> list[Objective]:
    """Return what `objective=[...]` names; `maximize:NAME` and `minimize:NAME` say it of metrics that are not known.

    Scores know which way is better; everything else is a loss, which is to become small.
    """
    found = []
    for text in names:
        way, colon, name = text.partition(":")
        if colon and way not in _WAYS:
            raise UserError(f"objective={text}: say minimize:{name} or maximize:{name}")
        if not colon:
            name = text
        is_score = "/" not in name
        found.append(Objective(name, _WAYS[way] if colon else is_score and not lower_is_better(name)))
    if len({one.name for one in found}) < len(found):
        raise UserError(f"objective={','.join(names)}: names a metric twice")
    return found


def refuse_unlogged(wanted: Sequence[Objective], settings: Settings, system: System) -> None:
    """Raise UserError, naming the nearest, for an objective that no run with these settings logs."""
    logged = {f"{phase.name}/{term}" for phase in system.phases for term in phase.terms if _charged(settings, term)}
    held_out = {f"val/{name}" for name in logged}
    held_out |= {"val/squared_error"} if hasattr(system, "reconstruct") else set()
    scores = set(score_names(settings))
    there = logged | (held_out if settings.val_every and settings.data.val_fraction else set())
    there |= scores if settings.eval.every_steps else set()
    for one in wanted:
        if one.name in there:
            continue
        if one.name in scores:
            raise UserError(f"objective={one.name}: nobody scores these runs; eval.every_steps=N does while they train")
        if one.name in held_out:
            raise UserError(f"objective={one.name}: nothing is held out; val_every=N and data.val_fraction=0.1 do")
        if "/" not in one.name:
            raise UserError(
                f"objective={one.name}: no score that eval.metrics and judge give{nearest(one.name, scores)}"
            )
        raise UserError(f"objective={one.name}: no run of this sweep logs it{nearest(one.name, logged | held_out)}")


def _charged(settings: Settings, term: str) -> bool:
    return settings.scales.get(term) is not None
