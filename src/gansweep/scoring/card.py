"""The score card: one score with everything that must be known to defend it, a line of scores.jsonl in its run.

A card is never changed: a retraction is a further line that names it and says why.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gansweep.errors import UserError
from gansweep.runs import rundir

CARDS_FILE = "scores.jsonl"
ID_LETTERS = 12
# Raised when a formula changes: cards of two definitions are not comparable.
DEFINITION = "1"
# Another seed draws other samples of the same thing: it tells two cards apart and keeps none from being compared.
_NOT_COMPARED = ("seed",)
_LOWER_IS_BETTER = ("fid", "kid")
# What a card tells and no curve needs.
_NO_CURVE = ("single", "bias_slope", "infinity_line", "line_slope", "slope")


@dataclass(frozen=True)
class Card:
    """One score.

    `key`: the metric's name in the run; `value`: what is compared; `values`: its further numbers (`std`, `ci95_low`,
    `ci95_high`, ...; nan when there is none). `measure`: how it was taken, part -> text (judge and digest, protocol, n,
    splits, seed, output, mode, ema, precision, reference, ...). `subject`: what was scored (run, checkpoint, step,
    weights_sha256). `context`: where and when (device, data fingerprint, code, versions, time, seconds), which decides
    nothing. `retracted`: why the card no longer counts, or None.
    """

    id: str
    key: str
    value: float
    values: Mapping[str, float]
    measure: Mapping[str, str]
    subject: Mapping[str, str]
    context: Mapping[str, str] = field(default_factory=dict)
    retracted: str | None = None

    @property
    def step(self) -> int:
        """The scored checkpoint's step (generator optimiser steps)."""
        return int(self.subject["step"])

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of `value`, None when the card has none."""
        low, high = self.values.get("ci95_low", math.nan), self.values.get("ci95_high", math.nan)
        return None if math.isnan(low) or math.isnan(high) else (low, high)

    def compared(self) -> dict[str, str]:
        """Return the parts of the measure that must agree for two cards to be comparable."""
        return {part: text for part, text in self.measure.items() if part not in _NOT_COMPARED}

    def points(self) -> dict[str, float]:
        """Return what a tracker gets: the value under the key, further numbers worth a curve under `<key>_<name>`."""
        curves = {name: value for name, value in self.values.items() if name not in _NO_CURVE}
        return {self.key: self.value} | {
            f"{self.key}_{name}": value for name, value in curves.items() if not math.isnan(value)
        }

    def tags(self) -> dict[str, str]:
        """Return what a tracker is told of how the score was taken, as tags `gansweep.<key>.<part>`."""
        of = {name: self.subject[name] for name in ("checkpoint", "step")}
        told = {**self.measure, **of, "device": self.context.get("device", "?"), "card": self.id}
        return {f"gansweep.{self.key}.{part}": text for part, text in told.items()}


def card_id(key: str, measure: Mapping[str, str], subject: Mapping[str, str], device: str, attempt: int = 0) -> str:
    """Return the id of the score that this request leads to: known before it is computed, 12 hex digits.

    `device`: cpu or cuda, whose last bits differ. `attempt`: how often the same was scored before on purpose.
    """
    told = [key, dict(measure), subject["run"], subject["step"], subject["weights_sha256"], device, attempt]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:ID_LETTERS]


def lower_is_better(key: str) -> bool:
    """Say whether a smaller value under `key` is better (FID, KID)."""
    return key.startswith(_LOWER_IS_BETTER)


def append(run_dir: Path, card: Card) -> None:
    """Add a card to its run's file."""
    line = dataclasses.asdict(card)
    del line["retracted"]
    _append(run_dir, {"kind": "card", **line})


def retract(run_dir: Path, card: Card, why: str) -> None:
    """Take a card out of every ranking, for a reason (not blank); UserError when it is out already."""
    if not why.strip():
        raise UserError("scores retract: --why needs a reason: it is all that will be known of it later")
    if card.retracted is not None:
        raise UserError(f"card {card.id} is retracted already: {card.retracted}")
    _append(run_dir, {"kind": "retraction", "id": card.id, "why": why.strip(), "time": rundir.timestamp()})


def _append(run_dir: Path, line: Mapping[str, Any]) -> None:
    text = json.dumps(line, ensure_ascii=False)
    with rundir.locked(run_dir), (run_dir / CARDS_FILE).open("a+b") as file:
        # A line that was torn by a kill or a full disk must not swallow this one.
        file.seek(0, 2)
        torn = False
        if file.tell():
            file.seek(-1, 2)
            torn = file.read(1) != b"\n"
        file.write(b"\n" * torn + text.encode() + b"\n")
        file.flush()


def cards_of(run_dir: Path) -> list[Card]:
    """Return the run's cards in the order they were taken, retracted ones too; torn and damaged lines are left out."""
    found: dict[str, Card] = {}
    path = run_dir / CARDS_FILE
    if not path.is_file():
        return []
    # Not splitlines: a name or a reason may hold U+2028, which ends no line of JSON.
    for text in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            line = json.loads(text)
            if line.pop("kind") == "card":
                card = _checked(Card(**line))
                found[card.id] = card
            elif line["id"] in found:
                found[line["id"]] = dataclasses.replace(found[line["id"]], retracted=str(line["why"]))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            continue
    return list(found.values())


def _checked(card: Card) -> Card:
    """Return the card; TypeError or ValueError when its line, which people may edit, has something else in a field."""
    texts: tuple[object, ...] = (card.id, card.key, card.subject["run"], card.subject["checkpoint"])
    for named in (card.measure, card.subject, card.context):
        texts += (*named.keys(), *named.values())
    if not all(isinstance(text, str) for text in texts) or card.retracted is not None:
        raise TypeError(f"card {card.id}: a text was expected")
    if not all(isinstance(value, int | float) for value in (card.value, *card.values.values())):
        raise TypeError(f"card {card.id}: a number was expected")
    int(card.subject["step"])
    return card
