"""The data card: what a set is, and what costs nothing."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from gansweep.data import open_data, verbs

from .conftest import Draw, Settings


class Steps:
    """Twenty flat pictures; even ones are dark and have the bright one after them as target, 51 levels brighter."""

    random_target = False

    def __init__(self, count: int = 20) -> None:
        self.relations = {"target": [number | 1 for number in range(count)]}
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Any:
        return {"image": np.full((3, 8, 8), 100 if number % 2 == 0 else 151, dtype=np.uint8)}


@pytest.fixture
def steps(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    module = ModuleType("mylab")
    module.Steps = Steps  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mylab", module)
    return settings("folder", name="steps", _target_="mylab.Steps", size=8, val_fraction=0)


def baseline(card: str, name: str) -> dict[str, float]:
    line = next(line for line in card.splitlines() if name in line)
    return {key: float(value) for key, value in re.findall(r"(MSE|L1|PSNR) ([\d.]+)", line)}


def test_copying_the_input_and_the_mean_image_are_reckoned_against_the_target(steps: Any) -> None:
    """Half of the copies are right, half 51 levels off, which is 0.4 of the range from -1 to 1; the mean is exact."""
    text = verbs.card(steps)
    assert "on 20 training (none is held out) pictures against their targets" in text
    assert baseline(text, "copy the input") == {"MSE": 0.08, "L1": 0.2, "PSNR": 16.99}
    assert "one mean image    MSE 0.0000  L1 0.0000  PSNR inf dB (of 20 training pictures)" in text
    assert "cannot be told" not in text
    assert "licence      not known to gansweep" in text and "target: listed for it" in text


def test_without_targets_the_mean_image_alone_is_compared(settings: Settings, draw: Draw, pictures: Path) -> None:
    for number in range(12):
        draw(f"{number}.png")
    cfg = settings("folder", path=str(pictures), size=8, val_fraction=0.2)
    text, dataset = verbs.card(cfg), open_data(cfg)
    held_out, train = (dataset.images[dataset.split(side)] / 127.5 for side in ("val", "train"))
    errors = held_out - train.mean(axis=0)
    found = baseline(text, "one mean image")
    assert found["MSE"] == pytest.approx((errors**2).mean(), abs=1e-4)
    assert found["L1"] == pytest.approx(np.abs(errors).mean(), abs=1e-4)
    assert found["PSNR"] == pytest.approx(10 * np.log10(4 / (errors**2).mean()), abs=0.01)
    assert f"on {len(held_out)} held-out pictures against pictures themselves" in text and "copy" not in text
    assert dataset.fingerprint in text and "procedural" not in text


def test_heads_say_that_nobody_is_shown_and_what_no_model_can_tell(settings: Settings) -> None:
    def of(**args: Any) -> str:
        values = {**settings("heads").args, "people": 3, **args}
        return verbs.card(settings("heads", size=16, val_fraction=0.3, include=["frontal"], args=values))

    fixed, random = of(), of(target_light="random")
    for part in ("procedural", "not real people", "licence      made by gansweep", "mask (uint8, 1 x 16 x 16)"):
        assert part in fixed
    assert "cannot be told" not in fixed
    # Of twenty pictures, hence rough: what is drawn has twice the variance as error when two draws are compared.
    floor, copied = baseline(random, "cannot be told")["MSE"], baseline(random, "copy the input")["MSE"]
    assert 0.6 * copied < 2 * floor < 1.6 * copied
