"""Two real processes (gloo, CPU) that share each batch, against one process with the whole of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gansweep.engine.distributed import SyncedBatchNorm, World, synchronise_norms, world
from gansweep.runs.spool import points

RUN = [
    "model=vaegan",
    "steps=6",
    "log_every=2",
    "val_every=3",  # also between two readings of the metrics, which the leader must not ask for alone
    "sample_every=4",
    "data.flip=true",
    "runtime.precision=fp64",
    "runtime.sync_batchnorm=true",
    "batch_size=8",
]


def _together(overrides: list[str], cwd: Path) -> subprocess.Popen[str]:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "gansweep"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*launch, "train", *overrides], cwd=cwd, env=environment, text=True, stdout=-1, stderr=subprocess.STDOUT
    )


def _alone(overrides: list[str], cwd: Path) -> None:
    subprocess.run([sys.executable, "-m", "gansweep", "train", *overrides], cwd=cwd, check=True, capture_output=True)


def _metrics(run_dir: Path) -> dict[tuple[str, int], float]:
    logged = points(run_dir)
    found = {(point.key, point.step): point.value for point in logged}
    assert len(found) == len(logged), "a point was logged twice"
    return {key: value for key, value in found.items() if not key[0].startswith("perf/")}


@pytest.mark.parametrize("norms", ["layer", "batch"])
def test_two_processes_learn_what_one_does(norms: str, small_overrides: list[str], tmp_path: Path) -> None:
    """Without batch statistics, and with those of the whole batch (runtime.sync_batchnorm)."""
    kinds = [f"model.{part}.norm={norms}" for part in ("encoder", "decoder", "discriminator")]
    given = [*small_overrides, *RUN, *kinds]
    _alone([*given, f"hydra.run.dir={tmp_path}/one"], tmp_path)
    process = _together([*given, f"hydra.run.dir={tmp_path}/two"], tmp_path)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    one, two = _metrics(tmp_path / "one"), _metrics(tmp_path / "two")
    assert set(one) == set(two) and any(key.startswith("val/") for key, _ in one)
    for key, value in one.items():
        assert two[key] == pytest.approx(value, rel=1e-9, abs=1e-12), key
    left, right = (
        torch.load(tmp_path / name / "checkpoints" / "last.pt", weights_only=True)["nets"] for name in ("one", "two")
    )
    for net, state in left.items():
        for name, value in state.items():
            torch.testing.assert_close(right[net][name], value, rtol=1e-9, atol=1e-9, msg=f"{net}.{name}")


def test_both_stop_at_one_step_and_the_run_goes_on_from_there(small_overrides: list[str], tmp_path: Path) -> None:
    given = [*small_overrides, *RUN, "steps=100000", f"hydra.run.dir={tmp_path}/run"]
    process = _together(given, tmp_path)
    spool = tmp_path / "run" / "spool.jsonl"
    while not (spool.exists() and '"scalar"' in spool.read_text()):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
        assert process.poll() is None, process.communicate()[0]
    leader = json.loads((tmp_path / "run" / "run.json").read_text())["pid"]
    os.kill(leader, signal.SIGTERM)
    out, _ = process.communicate(timeout=300)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == "KILLED", out
    step = torch.load(tmp_path / "run" / "checkpoints" / "last.pt", weights_only=True)["step"]
    assert step > 0 and step % 2 == 0


def test_a_sweep_is_not_for_several_processes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gansweep.cli import main

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert main(["-m", "model=vae", "seed=1,2"]) == 2
    assert "single processes" in capsys.readouterr().err


def test_alone_is_the_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert world() == World() and world().alone and world().leads
    monkeypatch.setenv("RANK", "1")
    assert world().alone, "RANK alone, as some clusters set it, makes no group"


def test_synchronised_norms_keep_their_parameters_and_names() -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Sequential(torch.nn.BatchNorm2d(4)))
    weight, names = net[1][0].weight, list(net.state_dict())
    synchronise_norms(net)
    assert isinstance(net[1][0], SyncedBatchNorm) and net[1][0].weight is weight
    assert list(net.state_dict()) == names
    x = torch.randn(2, 4, 5, 5)
    plain = torch.nn.BatchNorm2d(4).eval()
    assert torch.equal(net[1][0].eval()(x), plain(x))
