"""Real runs through gansweep.train.train, with a look after every step: what tracking.py and memory.py share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from gansweep import progress
from gansweep.config.compose import session
from gansweep.config.settings import Settings
from gansweep.runs.tracker import prepare_store
from gansweep.train import Outcome, train


def settings_of(overrides: Sequence[str]) -> Settings:
    """Compose and check one run's settings, as the command line does."""
    with session() as hydra:
        return hydra.job(0, hydra.normal(list(overrides))).settings


@contextmanager
def _bar(after_step: Callable[[int], None]) -> Iterator[tuple[Callable[[int], None], Callable[..., None]]]:
    yield after_step, lambda losses: None


@contextmanager
def looked_at(choose: Callable[[Settings], Callable[[int], None]]) -> Iterator[None]:
    """Call `choose(settings)(step)` after every step of every run begun inside: in the live bar's place."""
    with mock.patch.object(progress, "training_bar", lambda settings, done: _bar(choose(settings))):
        yield


def run(settings: Settings, run_dir: Path, overrides: Sequence[str]) -> Outcome:
    """Train one run from step 0, with its MLflow store made beforehand, as the command line does."""
    prepare_store(settings.tracker)
    return train(settings, run_dir, list(overrides))
