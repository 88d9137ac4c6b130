"""A score card in words: its value with its spread, how it was measured, what sets two measures apart."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gansweep.scoring.card import Card

SHORT_ID = 8
NOT_RECORDED = "not recorded"
# What an Inception Score is never told without; other metrics have no splits, and some no judge.
_NEEDED = ("judge", "n", "splits", "mode")
_DIGEST = re.compile(r"[0-9a-f]{32,}")
_DIGEST_LETTERS = (8, 16, 64)
# What people ask for first; a part that is not here follows in the order of the measure.
_FIRST = ("judge", "weights_sha256", "protocol", "n", "splits", "mode", "ema", "precision", "output", "size_px", "seed")
# What the judge and its weights already say, and what is as it always is: `show` and --json tell it.
_DETAILS = ("network", "classes", "bias", "resize", "scaling", "order", "definition", "base", "scales")
_USUAL = {"sampling_precision": "fp32", "output": "image"}
_DIFFERENCES_SHOWN = 5
_MOST_DECIMALS = 6
# (4.1 - 3.9) / 2 is a little less than 0.1.
_ROUNDING = 1e-9


def told_card(card: Card) -> dict[str, Any]:
    """Return a card as JSON types: its fields, and `step`, `std` and `interval` (None where there are none)."""
    plain = dataclasses.asdict(card)
    plain["value"] = card.value if math.isfinite(card.value) else None
    plain["values"] = {name: value for name, value in card.values.items() if math.isfinite(value)}
    interval = card.interval
    return plain | {"step": card.step, "std": std_of(card), "interval": list(interval) if interval else None}


def untold(plain: Mapping[str, Any]) -> Card:
    """Return the card that `told_card` gave as JSON types."""
    fields = {field.name: plain[field.name] for field in dataclasses.fields(Card)}
    return Card(**fields | {"value": math.nan if plain["value"] is None else plain["value"]})


def std_of(card: Card) -> float | None:
    """Return the card's standard deviation over splits, None when it has none."""
    std = card.values.get("std", math.nan)
    return std if math.isfinite(std) else None


def number(value: float, decimals: int | None = None) -> str:
    """Return a value with so many decimals; None: four significant digits."""
    return f"{value:.4g}" if decimals is None or not math.isfinite(value) else f"{value:.{decimals}f}"


def decimals_of(cards: Iterable[Card]) -> int | None:
    """Return the decimals that show two digits of the intervals' middle one; None when no card has an interval."""
    halves = [(high - low) / 2 for low, high in (card.interval or (0.0, 0.0) for card in cards)]
    known = sorted(half for half in halves if 0 < half < math.inf)
    if not known:
        return None
    digits = math.floor(math.log10(known[len(known) // 2]) + _ROUNDING)
    return min(max(1 - digits, 0), _MOST_DECIMALS)


def with_interval(card: Card, decimals: int | None = None) -> str:
    """Return `value [low, high]`, or the bare value of a card without an interval."""
    if card.interval is None:
        return number(card.value, decimals)
    low, high = (number(end, decimals) for end in card.interval)
    return f"{number(card.value, decimals)} [{low}, {high}]"


def quote(card: Card) -> str:
    """Return a score with its interval, its spread and its conditions."""
    return f"{with_spread(card, interval=True)} ({conditions(card)})"


def with_spread(card: Card, interval: bool = False) -> str:
    """Return `value [low, high] ±std`, without what the card has not; the interval only if it is asked for."""
    decimals, std = decimals_of([card]), std_of(card)
    value = with_interval(card, decimals) if interval else number(card.value, decimals)
    return value if std is None else f"{value} ±{number(std, decimals)}"


def conditions(card: Card) -> str:
    """Return the number of the card's samples, their seed and the step of its checkpoint."""
    n, seed = card.measure.get("n"), card.measure.get("seed")
    return f"{f'n={n}' if n else f'n {NOT_RECORDED}'}, seed {seed or NOT_RECORDED}, step {card.step}"


def measure_in_words(key: str, measure: Mapping[str, str], seeds: Iterable[str] = (), full: bool = False) -> str:
    """Return a measure in one line, what matters most first; `seeds`: those of the cards it stands for.

    Without `full`, what the judge's name and weights say already is left out.
    """
    hidden = () if full else (*_DETAILS, *(part for part, text in _USUAL.items() if measure.get(part) == text))
    parts = {part: str(text) for part, text in measure.items() if part != "seed" and part not in hidden}
    if key == "inception_score" or key.startswith(("inception_score_", "is_")):
        parts = dict.fromkeys(_NEEDED, NOT_RECORDED) | parts
    said = [_said(part, parts) for part in _ordered(parts)]
    drawn = sorted(set(seeds) or ({str(measure["seed"])} if "seed" in measure else set()), key=_by_number)
    if drawn:
        shown = ", ".join(drawn) if len(drawn) <= 6 else f"{', '.join(drawn[:5])}, … ({len(drawn)} in all)"
        said.append(f"seed{'s' * (len(drawn) > 1)} {shown}")
    return "; ".join(text for text in said if text)


def _said(part: str, parts: Mapping[str, str]) -> str:
    """Return one part of a measure in words; empty for what another part says along with its own."""
    text = parts[part]
    if part == "weights_sha256" and "judge" in parts:
        return ""
    if part == "judge" and "weights_sha256" in parts:
        return f"judge {text} (weights {short(parts['weights_sha256'])})"
    if part == "ema" and text in ("true", "false"):
        return "EMA weights" if text == "true" else "no EMA"
    if text != NOT_RECORDED:
        if part == "splits":
            return f"{text} split{'s' * (text != '1')}"
        if part == "mode":
            return f"{text} mode"
        if part == "size_px":
            return f"{text} px"
    return f"{_name(part)} {short(text)}"


def _ordered(parts: Iterable[str]) -> list[str]:
    given = list(parts)
    return [part for part in _FIRST if part in given] + [part for part in given if part not in _FIRST]


def _name(part: str) -> str:
    return {"n": "N", "weights_sha256": "weights", "ema": "EMA"}.get(part, part.replace("_", " "))


def _by_number(text: str) -> tuple[int, str]:
    return (int(text), "") if text.isdecimal() and len(text) < 20 else (2**63, text)


def one_line(text: str) -> str:
    """Return a text, which people gave, without line breaks and runs of blanks."""
    return " ".join(text.split())


def cut(text: str, most: int) -> str:
    """Return a text in at most `most` letters (>= 3), with its beginning and its end, where names differ."""
    if len(text) <= most:
        return text
    head = (most - 1) * 2 // 3
    return f"{text[:head]}…{text[len(text) - (most - 1 - head) :]}"


def own_file(card: Card) -> bool:
    """Say whether the checkpoint is its step's own file, whose name says nothing that the step does not."""
    return card.subject.get("checkpoint") == f"step-{card.step:08d}.pt"


def short(text: str, letters: int = _DIGEST_LETTERS[0]) -> str:
    """Return a digest's first letters, any other text whole."""
    return text[:letters] if _DIGEST.fullmatch(text) else text


def differences(own: Mapping[str, str], others: Mapping[str, str]) -> dict[str, tuple[str | None, str | None]]:
    """Return part -> (own, others') for every part in which two measures differ; None where a side has no such."""
    parts = _ordered(dict.fromkeys([*own, *others]))
    return {part: (own.get(part), others.get(part)) for part in parts if own.get(part) != others.get(part)}


def differences_in_words(differs: Mapping[str, Sequence[str | None]], between: str = "instead of") -> str:
    """Return what differs in one line: `n 500 instead of 5000`; of many parts the first five."""
    said = []
    for part, (own, other) in differs.items():
        sides = [NOT_RECORDED if text is None else text for text in (own, other)]
        cut = [[short(text, letters) for text in sides] for letters in _DIGEST_LETTERS]
        one, two = next((pair for pair in cut if pair[0] != pair[1]), sides)
        said.append(f"{part.removesuffix('_sha256').replace('_', ' ')} {one} {between} {two}")
    left = len(said) - _DIFFERENCES_SHOWN
    return ", ".join(said[:_DIFFERENCES_SHOWN]) + (f" and {left} more" if left > 0 else "")


def order_of_keys(keys: Iterable[str]) -> list[str]:
    """Return metrics' names in the order in which they are shown: Inception Scores, FID, KID, the others."""
    heads = ("inception_score", "is_", "fid", "kid")

    def place(key: str) -> tuple[int, str]:
        return next((turn for turn, head in enumerate(heads) if key.startswith(head)), len(heads)), key

    return sorted(set(keys), key=place)
