"""The score puts pictures in the order that eyes do: the fewer kinds and the noisier, the lower.

With judges fitted here: on Fashion-MNIST where its package is installed, on drawings everywhere.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from gansweep.config.compose import session, user_dirs
from gansweep.data import Dataset, fashion_mnist, open_data
from gansweep.judge_fit import fit
from gansweep.metrics.fitted import FittedJudge
from gansweep.metrics.judges import open_judge
from gansweep.metrics.score import InceptionScore

Pixels = NDArray[np.uint8]


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def opened(*overrides: str) -> tuple[Dataset, FittedJudge]:
    """Return the data set and the judge that the overrides name."""
    with session(user_dirs()) as hydra:
        settings = hydra.jobs(overrides, multirun=False)[0].settings
    judge = open_judge(settings.judge.model_dump(mode="json"), "cpu")
    assert isinstance(judge, FittedJudge)
    return open_data(settings.data), judge


def score(judge: FittedJudge, images: Pixels, splits: int = 10) -> float:
    """Return the mean over splits, as eval-is gives it."""
    metric = InceptionScore(len(images), splits)
    for part in torch.tensor(images).split(250):
        metric.update(judge.logits(part))
    return metric.compute().mean


def noisy(images: Pixels, sigma: float) -> Pixels:
    """Add normal noise of `sigma` levels of grey to every pixel and channel."""
    noise = np.random.default_rng(0).normal(0, sigma, images.shape)
    return np.clip(np.rint(images + noise), 0, 255).astype(np.uint8)


def assert_falls(scores: dict[str, float], margin: float) -> None:
    """Each score is above the next by at least `margin` of it."""
    for (first, high), (second, low) in itertools.pairwise(scores.items()):
        assert high > low * (1 + margin), f"{first} must score above {second}: {scores}"


@pytest.mark.slow
@pytest.mark.skipif(not fashion_mnist.DEBIAN_PLACE.is_dir(), reason="needs the package dataset-fashion-mnist")
def test_fashion_mnist() -> None:
    data = ["data=fashion_mnist", "data.size=28"]
    fit([*data, "name=clothes", "data.limit=12000", "steps=400", "runtime.threads=1", "runtime.device=cpu"])
    dataset, judge = opened(*data, "data.part=test", "data.limit=3000", "judge=clothes")
    assert judge.accuracy > 0.8
    images, labels = dataset.images, dataset.column("label")
    scores = {
        "real": score(judge, images),
        "mild noise": score(judge, noisy(images, 10)),
        "heavy noise": score(judge, noisy(images, 30)),
        "half the classes dropped": score(judge, images[labels < 5]),
        "one class": score(judge, images[labels == 3]),
    }
    assert_falls(scores, margin=0.02)
    assert 5.5 < scores["real"] < 10 and scores["one class"] < 2


def test_drawings() -> None:
    """Flags, people, faces and signs: four kinds that can be told apart; all halves of them, and each one alone."""
    data = [
        "data=emoji",
        "data.size=24",
        "data.flags=true",
        "data.val_fraction=0.4",
        "data.include=[flags,people,symbols,emoticons]",
        "data.exclude=[pictographs,supplemental,extended,transport]",
    ]
    fit([*data, "name=drawings", "steps=250", "runtime.threads=1", "runtime.device=cpu"])
    dataset, judge = opened(*data, "judge=drawings")
    assert len(judge.class_names) == 4 and judge.accuracy > 0.85
    rows = dataset.split("val")
    images, labels = dataset.images[rows], dataset.column("label")[rows]
    kinds = np.unique(labels).tolist()
    halves = [score(judge, images[np.isin(labels, half)]) for half in itertools.combinations(kinds, 2)]
    scores = {
        "real": score(judge, images),
        "mild noise": score(judge, noisy(images, 30)),
        "heavy noise": score(judge, noisy(images, 45)),
        "half the classes dropped, at best": max(halves),
    }
    assert_falls(scores, margin=0.02)
    assert min(halves) > max(score(judge, images[labels == kind]) for kind in kinds), "one class is the least"
