"""What is worth a look before a sweep starts: points that will not differ, rates that fade, idle numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from gansweep.config.naming import UNNAMED
from gansweep.config.settings import PhaseTiming
from gansweep.runs.record import flatten
from gansweep.sweep.plan_course import FADED, Course

# Optimizers that divide the gradient by its own size: a common factor cancels out of their step but for eps.
SCALE_FREE = ("adam", "adamw", "rmsprop")
_ALWAYS_READ = ("kind", "lr", "weight_decay", "clip_norm")
_READ = {
    "adam": ("betas", "eps"),
    "adamw": ("betas", "eps"),
    "rmsprop": ("eps", "alpha", "momentum"),
    "sgd": ("momentum",),
}


@dataclass(frozen=True)
class Warning:
    """One thing to look at: its `kind` (one word for scripts), which `points`, and the `text` for people."""

    kind: str
    points: tuple[int, ...]
    text: str


def warnings(courses: Sequence[Course], varied: Iterable[str]) -> list[Warning]:
    """Return everything that is worth a second look; `varied`: keys that the sweep varies or a search chooses."""
    swept = {key.lstrip("+") for key in varied}
    found = [*_duplicates(courses), *_same_under_adam(courses)]
    alone: list[Callable[[Course], Iterable[tuple[str, str]]]] = [_fading, _still_curves, _zero_scales, _late_phases]
    if len(courses) == 1:
        alone.append(lambda course: _lone_scales(course, swept))
    merged: dict[tuple[str, str], list[int]] = {}
    for look in alone:
        for course in courses:
            for kind, text in look(course):
                merged.setdefault((kind, text), []).append(course.number)
    return [*found, *(Warning(kind, tuple(numbers), text) for (kind, text), numbers in merged.items())]


# Points that will not differ


def effective(course: Course) -> dict[str, Any]:
    """Return what of a point's settings has an effect on what is learnt, scales apart; as plain containers.

    Left out: names and what is only recorded, keys that the chosen optimizer does not read, optimizers of networks that
    never learn, scales of phases without a turn, numbers that a piecewise curve replaces, times beyond the last step.
    """
    settings = course.settings
    found = settings.model_dump(mode="json")
    for key in (*UNNAMED, "scales", "optimizer", "objective"):
        *parents, last = key.split(".")
        node = found
        for parent in parents:
            node = node.get(parent) or {}
        node.pop(last, None)
    rates = {}
    for net in sorted({net for own in course.learns.values() for net in own}):
        own = settings.optimizer.for_net(net).model_dump(mode="json")
        rates[net] = {key: own[key] for key in (*_ALWAYS_READ, *_READ[own["kind"]])}
        if _replaced(course, f"optimizer.{net}.lr"):
            del rates[net]["lr"]
    own_knobs = course.system.knobs.items()
    found["model"]["knobs"] = {name: number for name, number in own_knobs if not _replaced(course, f"knobs.{name}")}
    names = [f"optimizer.{net}.lr" for net in rates] + [f"scales.{term}" for term in scales(course)]
    names += [f"knobs.{name}" for name in course.system.knobs]
    curves = {name: dict(curve) for name in names if (curve := course.curve(name)) is not None}
    phases = {name: _timing(timing, settings.steps) for name, timing in settings.schedule.phases.items()}
    found["schedule"] |= {"curves": curves, "phases": phases}
    return {**found, "rates": rates}


def scales(course: Course) -> dict[str, float | None]:
    """Return the number of every charged term of a phase that has a turn; None where a curve gives all its values."""
    return {
        term: None if _replaced(course, f"scales.{term}") else course.settings.scales[term]
        for own in course.charged.values()
        for term in own
    }


def _replaced(course: Course, knob: str) -> bool:
    curve = course.curve(knob)
    return curve is not None and curve.get("kind") == "piecewise"


def _timing(timing: PhaseTiming, steps: int) -> dict[str, Any]:
    """Return a phase's timing without what lies behind the run's end."""
    found = timing.model_dump(mode="json")
    for key in ("every", "repeat"):
        if isinstance(found[key], list):
            within = [piece for piece in found[key] if piece[0] < steps]
            found[key] = within[0][1] if len(within) == 1 and isinstance(within[0][1], int) else within
    if found["until"] is not None and found["until"] >= steps:
        found["until"] = None
    return found


def _duplicates(courses: Sequence[Course]) -> list[Warning]:
    groups: dict[str, list[Course]] = {}
    for course in courses:
        groups.setdefault(json.dumps([effective(course), scales(course)], sort_keys=True), []).append(course)
    found = []
    for same in (group for group in groups.values() if len(group) > 1):
        values = [flatten(course.settings.model_dump(mode="json")) for course in same]
        keys = dict.fromkeys(key for own in values for key in own)
        differ = [key for key in keys if key != "name" and len({own.get(key) for own in values}) > 1]
        how = f"they differ in {_some(differ)} alone, which changes nothing of it" if differ else "under several names"
        found.append(Warning("duplicate", tuple(one.number for one in same), f"learn the same: {how}"))
    return found


def _same_under_adam(courses: Sequence[Course]) -> list[Warning]:
    """Return groups of points whose scales differ, in each phase, by a factor that the optimizer's step cancels."""
    groups: dict[str, list[Course]] = {}
    for course in courses:
        rest = {**effective(course), "seed": 0}
        groups.setdefault(json.dumps([rest, _up_to_a_factor(course)], sort_keys=True), []).append(course)
    found = []
    for group in groups.values():
        tables = {json.dumps(scales(course), sort_keys=True): scales(course) for course in group}
        if len(tables) < 2:
            continue
        differ = [term for term in scales(group[0]) if len({own[term] for own in tables.values()}) > 1]
        phases = [name for name, own in group[0].charged.items() if set(own) & set(differ)]
        nets = sorted({net for phase in phases for net in group[0].learns[phase]})
        numbers = {term: " : ".join(f"{own[term]:g}" for own in list(tables.values())[:4]) for term in differ}
        ratio = f"scales.{differ[0]} {numbers[differ[0]]}{'' if len(tables) <= 4 else ' : …'}"
        text = f"{ratio}: {_all_terms(phases, group[0])} by one factor, {_cancels(group[0], nets)}"
        found.append(Warning("no_effect", tuple(course.number for course in group), text))
    return found


def _all_terms(phases: Sequence[str], course: Course) -> str:
    if all(len(course.charged[phase]) == 1 for phase in phases):
        return f"the only term of phase {_some(phases)} changes"
    return f"all terms of phase {_some(phases)} change"


def _cancels(course: Course, nets: Sequence[str]) -> str:
    rates = [course.settings.optimizer.for_net(net) for net in nets]
    kinds = dict.fromkeys(own.kind for own in rates)
    sees = [f"weight_decay={own.weight_decay:g}" for own in rates if own.weight_decay and own.kind != "adamw"]
    sees += [f"clip_norm={own.clip_norm:g}" for own in rates if own.clip_norm is not None]
    left = f", but {_some(dict.fromkeys(sees))} does not: it sees the gradient's size" if sees else ""
    return f"which {_some(kinds)} cancels but for eps (and rounding){left}"


def _up_to_a_factor(course: Course) -> dict[str, str | None]:
    """Return the scales, those of phases that learn by scale-free optimizers divided by the first that is not zero."""
    known = scales(course)
    found: dict[str, str | None] = {term: None if value is None else repr(value) for term, value in known.items()}
    for phases in _together(course):
        terms = sorted(term for phase in phases for term in course.charged[phase])
        values = [known[term] for term in terms]
        first = next((abs(value) for value in values if value), None)
        if first is None or None in values or not _scale_free(course, phases):
            continue
        found |= {term: f"{value / first:.12g}" for term, value in zip(terms, values, strict=True) if value is not None}
    return found


def _together(course: Course) -> list[set[str]]:
    """Return the phases in sets that share learnt networks: one optimizer's moments see the gradients of them all."""
    found: list[set[str]] = []
    for phase, nets in course.learns.items():
        joined = [own for own in found if any(set(course.learns[other]) & set(nets) for other in own)]
        found = [own for own in found if own not in joined] + [{phase}.union(*joined)]
    return found


def _scale_free(course: Course, phases: Iterable[str]) -> bool:
    nets = {net for phase in phases for net in course.learns[phase]}
    return all(course.settings.optimizer.for_net(net).kind in SCALE_FREE for net in nets)


# What one point tells by itself


def _lone_scales(course: Course, varied: set[str]) -> Iterable[tuple[str, str]]:
    """Yield scales that were given although they are their phase's only one, and its optimizer cancels them."""
    given = {line.lstrip("+").partition("=")[0] for line in course.typed} | varied
    known = scales(course)
    for phases in _together(course):
        weighing = [term for phase in phases for term in course.charged[phase] if known[term] != 0]
        if len(weighing) == 1 and f"scales.{weighing[0]}" in given and _scale_free(course, phases):
            nets = sorted({net for phase in phases for net in course.learns[phase]})
            text = f"scales.{weighing[0]}: the only term of phase {_some(sorted(phases))}: its number is a factor, "
            yield "no_effect", text + _cancels(course, nets)


def _fading(course: Course) -> Iterable[tuple[str, str]]:
    steps = course.settings.steps
    fading: dict[tuple[int, float], list[str]] = {}
    for net in sorted({net for own in course.learns.values() for net in own}):
        knob = f"optimizer.{net}.lr"
        step = course.fades(knob)
        if step is not None:
            fading.setdefault((step, course.knobs.value(knob, steps - 1)), []).append(net)
    for (step, last), nets in fading.items():
        yield (
            "fading_rate",
            f"the rate of {_some(nets)} is below {FADED:.0%} of its start from step {step:,} on, of {steps:,}; "
            f"{last:.3g} at the end",
        )


def _still_curves(course: Course) -> Iterable[tuple[str, str]]:
    steps = course.settings.steps
    stride = max(steps // 1000, 1)
    for name in course.settings.schedule.curves:
        knob = name.removeprefix("model.")
        knobs = [knob] if knob != "optimizer.lr" else [one for one in course.knobs.curves if one.endswith(".lr")]
        looked = [*range(0, steps, stride), steps - 1]
        if all(len({course.knobs.value(one, step) for step in looked}) == 1 for one in knobs):
            yield "still_curve", f"schedule.curves.{name} never changes in {steps:,} steps"


def _zero_scales(course: Course) -> Iterable[tuple[str, str]]:
    zero = [term for term, value in scales(course).items() if value == 0]
    if zero:
        names = _some([f"scales.{term}" for term in zero])
        yield "zero_scale", f"{names} {'is' if len(zero) == 1 else 'are'} 0: computed, never learnt; null removes"


def _late_phases(course: Course) -> Iterable[tuple[str, str]]:
    steps = course.settings.steps
    for name, timing in course.settings.schedule.phases.items():
        if name not in course.charged and timing.until != 0:
            yield "late_phase", f"phase {name} has no turn: it begins at step {timing.start:,}, the run has {steps:,}"


def _some(names: Iterable[str], most: int = 4) -> str:
    known = list(names)
    shown = known[:most]
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return (", ".join(shown) if more or len(shown) < 2 else ", ".join(shown[:-1]) + " and " + shown[-1]) + more
