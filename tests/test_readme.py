"""The examples of README.md do what is said of them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

README = (Path(__file__).parents[1] / "README.md").read_text()


@pytest.mark.slow
def test_a_data_set_and_a_judge_of_ones_own(tmp_path: Path) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    (tmp_path / "mylab.py").write_text(block)
    net = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 7))
    torch.jit.script(net).save(str(tmp_path / "net.pt"))  # type: ignore[no-untyped-call]

    def gansweep(*words: str) -> str:
        command = [sys.executable, "-m", "gansweep", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    things = "data._target_=mylab.Things data.name=things"
    judge = "judge._target_=mylab.Judge judge.name=mine judge.weights=FILE"
    assert f"`{things}`" in README and f"`{judge}`" in README
    small = (
        "tracker=none runtime.device=cpu steps=2 model.width_factor=0.05 data.size=64 hydra.run.dir=run batch_size=4"
    )
    gansweep("train", *things.split(), *small.split(), "sample_every=0")
    few = "eval.n=40 eval.splits=2"
    assert gansweep("eval-is", "run", *judge.replace("FILE", "net.pt").split(), *few.split()).startswith("is_mine ")
    assert json.loads(gansweep("show", "run", "--json"))["dataset"] | {"fingerprint": ""} == {
        "name": "things",
        "fingerprint": "",
        "source": "mylab.Things (500 items)",
        "count": 500,
    }
