"""Scores while training: every `eval.every_steps` the networks at hand are scored as eval-is would score them later."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from gansweep import describe
from gansweep.config.settings import Settings
from gansweep.data import Dataset
from gansweep.drawing import Drawer
from gansweep.engine.handle import Nets, evaluation
from gansweep.engine.step import EagerEngine
from gansweep.measure import Bench, Measuring, Subject, weights_digest
from gansweep.scoring.card import Card, append, cards_of
from gansweep.take import take

log = logging.getLogger("gansweep")


@dataclass
class Scored:
    """What a score says: `points` for the curves, `tags` for the run, and how long it took."""

    points: dict[str, float]
    tags: dict[str, str]
    took_s: float


@dataclass
class LiveScorer:
    """Scores one engine's networks: their running means when there are any and `eval.ema`, always in eval mode.

    It draws from streams of its own, so that a run is the same with and without it. Made before the first step: a judge
    whose weights are missing stops the run before it begins (Missing).
    """

    settings: Settings
    dataset: Dataset
    engine: EagerEngine
    device: torch.device
    bench: Bench = field(default_factory=Bench)

    def __post_init__(self) -> None:
        self._identity = describe.data_identity(self.dataset)
        with evaluation(self._modules) as nets:
            self._measuring(nets, Subject("", "", "", 0, "", False, self._identity))

    @property
    def _modules(self) -> dict[str, nn.Module]:
        return self.engine.evaluation_modules(self.settings.eval.ema)

    def score(self, step: int, run_dir: Path, run_id: str) -> Scored:
        """Score the networks as they are after `step` steps, and leave the cards in the run's directory."""
        begun = time.perf_counter()
        modules, ema = self._modules, self.engine.ema is not None and self.settings.eval.ema
        name, checkpoint = self.settings.name or run_id[:8], f"step-{step:08d}.pt"
        subject = Subject(run_id, name, checkpoint, step, weights_digest(modules), ema, self._identity)
        with evaluation(modules) as nets:
            taken = take(self._measuring(nets, subject), {card.id: card for card in cards_of(run_dir)})
        for card in taken.fresh:
            append(run_dir, card)
        points = {name: value for card in taken.cards for name, value in card.points().items()}
        tags = {name: text for card in taken.cards for name, text in card.tags().items()}
        took_s = time.perf_counter() - begun
        log.info(f"scored at step {step} in {took_s:.1f} s: {', '.join(_told(card) for card in taken.cards)}")
        return Scored(points, tags, took_s)

    def _measuring(self, nets: Nets, subject: Subject) -> Measuring:
        dtype, where = self.engine.noise.dtype, f"step {subject.step}"
        drawer = Drawer(self.engine.system, self.settings, nets, self.device, dtype, where, self.dataset)
        return Measuring(drawer, subject, self.bench)


def _told(card: Card) -> str:
    interval = " [{:.4g}, {:.4g}]".format(*card.interval) if card.interval else ""
    return f"{card.key} {card.value:.4g}{interval}"
