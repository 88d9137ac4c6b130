"""Runs from start to end: what is kept, what goes on exactly, what stops a run and what it leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gansweep.config.settings import Settings
from gansweep.errors import Missing, RunFailed, UserError
from gansweep.runs import checkpoint, spool
from gansweep.train import resume, train

Compose = Callable[..., Settings]
EXACT = ["runtime.ema_decay=0.9", "runtime.accumulate=2", "log_every=3", "sample_every=20", "val_every=10"]
DECAY = "schedule.curves.optimizer.lr={kind:decay,multiply_by:0.5,every_steps:7}"


def _points(run_dir: Path) -> list[tuple[str, int, float]]:
    return sorted((p.key, p.step, p.value) for p in spool.points(run_dir) if not p.key.startswith("perf/"))


def _same(left: Any, right: Any, where: str = "") -> None:
    assert type(left) is type(right), where
    if isinstance(left, torch.Tensor):
        assert left.dtype == right.dtype and torch.equal(left, right), where
    elif isinstance(left, dict):
        assert left.keys() == right.keys(), where
        for key in left:
            if key != "run_id":
                _same(left[key], right[key], f"{where}.{key}")
    elif isinstance(left, list | tuple):
        assert len(left) == len(right), where
        for n, (a, b) in enumerate(zip(left, right, strict=True)):
            _same(a, b, f"{where}[{n}]")
    else:
        assert left == right, where


def test_a_run_keeps_what_a_reader_will_look_for(compose: Compose, tmp_path: Path) -> None:
    settings = compose(
        "model=vaegan", "steps=6", "log_every=2", "sample_every=3", "val_every=3", "checkpoint_every=3", "note=a line"
    )
    outcome = train(settings, tmp_path / "run", ["model=vaegan"])
    run = tmp_path / "run"
    assert outcome.status == "FINISHED" and outcome.step == 6
    record = json.loads((run / "run.json").read_text())
    assert record["status"] == "FINISHED" and record["last_step"] == 6 and record["note"] == "a line"
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == [
        "last.pt",
        "step-00000003.pt",
        "step-00000006.pt",
    ]
    assert sorted(str(p.relative_to(run / "grids")) for p in (run / "grids").rglob("*.png")) == [
        f"{key}/step-{step:08d}.png" for key in ("reconstructions", "samples") for step in (0, 3, 6)
    ]
    keys = {key for key, _, _ in _points(run)}
    assert {"enc/l1", "enc/l1_weighted", "enc/kld", "dec/l1_dec", "dec/adv_prior", "dis/d_real", "dis/p_real"} <= keys
    assert {"grad_norm/enc", "grad_norm/dec", "grad_norm/dis", "lr/dis", "turns/dis_per_step"} <= keys
    assert {"val/enc/l1", "val/dis/d_prior", "val/squared_error"} <= keys
    performance = {p.key for p in spool.points(run) if p.key.startswith("perf/")}
    assert performance == {"perf/step_ms", "perf/images_per_s", "perf/memory_mb"}


def test_a_weighted_loss_is_its_scale_times_the_loss_and_a_scale_moves_both_phases(
    compose: Compose, tmp_path: Path
) -> None:
    train(compose("model=vaegan", "scales.l1=600", "steps=2", "log_every=2"), tmp_path / "run", [])
    last = {key: value for key, _, value in _points(tmp_path / "run")}
    assert last["enc/l1_weighted"] == pytest.approx(600 * last["enc/l1"], rel=1e-6)
    assert last["dec/l1_dec_weighted"] == pytest.approx(600 * last["dec/l1_dec"], rel=1e-6)


ON_CUDA = pytest.param(
    "vaegan",
    ["runtime.device=cuda", "runtime.deterministic=true"],
    marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")],
)


@pytest.mark.parametrize(("model", "machine"), [("vae", []), ("vaegan", []), ON_CUDA])
def test_a_killed_run_goes_on_to_the_last_bit(
    model: str, machine: list[str], compose: Compose, small_overrides: list[str], tmp_path: Path
) -> None:
    overrides = [f"model={model}", "steps=160", "checkpoint_every=25", *EXACT, DECAY, *machine]
    whole = tmp_path / "whole"
    train(compose(*overrides), whole, [])
    killed = tmp_path / "killed"
    code = "import sys; from gansweep.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "train", *small_overrides, *overrides, f"hydra.run.dir={killed}"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        deadline = time.monotonic() + 120
        while not (spool.last_step(killed) or 0) >= 40 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGKILL)
        process.wait()
    finally:
        process.kill()
    stopped_at = spool.last_step(killed)
    assert stopped_at is not None and 40 <= stopped_at < 160
    assert json.loads((killed / "run.json").read_text())["status"] == "RUNNING"
    outcome = resume(str(killed))
    assert outcome.status == "FINISHED" and outcome.step == 160
    assert _points(killed) == _points(whole)
    for name in ("last.pt", "step-00000150.pt"):
        left, right = checkpoint.load(whole / "checkpoints" / name), checkpoint.load(killed / "checkpoints" / name)
        _same(left, right)
    lines = [line for line in (killed / "spool.jsonl").read_text().splitlines() if '"kind":"scalar"' in line]
    keys = [(json.loads(line)["key"], json.loads(line)["step"]) for line in lines]
    assert len(keys) == len(set(keys)), "points were written twice"
    again = resume(str(killed))
    assert "is finished" in again.message and again.status == "FINISHED"


def test_ctrl_c_keeps_the_state_and_resume_goes_on(
    compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gansweep import loop

    settings = compose("model=vae", "steps=12", "log_every=3", "checkpoint_every=100")
    train(settings, tmp_path / "whole", [])
    take = loop.Loop._take

    def interrupted(self: loop.Loop) -> None:
        if self.step == 5:
            os.kill(os.getpid(), signal.SIGINT)
        take(self)

    monkeypatch.setattr(loop.Loop, "_take", interrupted)
    outcome = train(settings, tmp_path / "run", [])
    monkeypatch.undo()
    assert outcome.status == "KILLED" and outcome.step == 6 and "gansweep resume" in outcome.message
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "KILLED"
    assert resume(str(tmp_path / "run")).status == "FINISHED"
    assert _points(tmp_path / "run") == _points(tmp_path / "whole")


class Explode:
    """A loss that is finite for its first calls (the reach check's included), and then is not."""

    calls = 0

    def __call__(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return (output - target).square().mean() * (float("inf") if self.calls > 8 else 1.0)


explode = Explode()


def test_a_loss_that_is_not_finite_stops_the_run_at_once(compose: Compose, tmp_path: Path) -> None:
    own = ["+terms.fit.boom=test_train.explode", "+scales.boom=1.0"]
    settings = compose("model=vae", "steps=200", "checkpoint_every=2", "log_every=50", *own)
    explode.calls = 0
    with pytest.raises(
        RunFailed, match=r"fit/boom is not finite at step 8: .* the last good checkpoint is .*00006\.pt"
    ):
        train(settings, tmp_path / "run", [])
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == "FAILED" and "fit/boom is not finite" in record["reason"]
    kept = checkpoint.load(tmp_path / "run" / "checkpoints" / "last.pt")
    assert all(torch.isfinite(v).all() for net in kept["nets"].values() for v in net.values())
    assert "fit/boom is not finite" in (tmp_path / "run" / "run.log").read_text()


def test_an_exception_marks_the_run_failed_and_leaves_the_traceback(
    compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gansweep.engine.step import EagerEngine

    monkeypatch.setattr(EagerEngine, "step", lambda *a: (_ for _ in ()).throw(RuntimeError("out of luck")))
    with pytest.raises(RunFailed, match=r"failed at step 0: RuntimeError: out of luck; traceback in .*run\.log"):
        train(compose("model=vae", "steps=3"), tmp_path / "run", [])
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "FAILED"
    assert "Traceback" in (tmp_path / "run" / "run.log").read_text()


def test_a_warm_start_takes_the_weights_and_records_its_parent(compose: Compose, tmp_path: Path) -> None:
    parent = train(compose("model=vaegan", "steps=3"), tmp_path / "parent", [])
    frozen = ["model.freeze=[dec.up.*]", "model.freeze_stats=[dec]", f"model.warm_start.from={tmp_path / 'parent'}"]
    train(compose("model=vaegan", "steps=2", "seed=9", *frozen, "model.warm_start.nets=[dec]"), tmp_path / "child", [])
    record = json.loads((tmp_path / "child" / "run.json").read_text())
    assert (record["parent"]["run_id"], record["parent"]["step"]) == (parent.run_id, 3)
    before, after = (
        checkpoint.load(tmp_path / n / "checkpoints" / "last.pt")["nets"]["dec"] for n in ("parent", "child")
    )
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert {name for name in before if name.startswith("up.") or "running" in name} <= same
    assert "project.weight" not in same
    with pytest.raises(UserError, match=r"network 'dec' does not fit: .* is \(.*\) here and \(.*\) there"):
        train(
            compose("model=vaegan", "steps=2", "model.latent=7", *frozen, "model.warm_start.nets=[dec]"),
            tmp_path / "other",
            [],
        )
    with pytest.raises(UserError, match=r"model\.warm_start\.nets=gen: this system has enc, dec, dis"):
        train(compose("model=vaegan", "steps=2", *frozen, "model.warm_start.nets=[gen]"), tmp_path / "other", [])
    assert not (tmp_path / "other").exists()


def test_the_best_checkpoint_is_kept_by_a_metric(compose: Compose, tmp_path: Path) -> None:
    settings = compose(
        "model=vae",
        "steps=8",
        "val_every=2",
        "checkpoint.best_by=val/fit/l1",
        "checkpoint.keep=1",
        "checkpoint_every=4",
    )
    train(settings, tmp_path / "run", [])
    values = {step: value for key, step, value in _points(tmp_path / "run") if key == "val/fit/l1"}
    best = checkpoint.load(tmp_path / "run" / "checkpoints" / "best.pt")
    assert best["step"] == min(values, key=lambda step: values[step])
    with pytest.raises(UserError, match="did you mean 'val/fit/l1'"):
        train(compose("model=vae", "steps=2", "checkpoint.best_by=val/fit/l11"), tmp_path / "other", [])


def test_terms_that_reach_nothing_are_refused_before_anything_is_made(compose: Compose, tmp_path: Path) -> None:
    own = ["+terms.fit.dead=test_train.dead", "+scales.dead=1.0"]
    with pytest.raises(UserError, match="no gradient to what their phase learns: fit/dead"):
        train(compose("model=vae", "steps=2", *own), tmp_path / "run", [])
    assert not (tmp_path / "run").exists()
    train(compose("model=vae", "steps=2", *own, "runtime.reach=warn"), tmp_path / "run", [])


def dead(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (output.detach() - target).abs().mean()


def test_a_device_that_is_not_there_is_missing(compose: Compose, tmp_path: Path) -> None:
    with pytest.raises(Missing, match=r"runtime\.device=cuda:7: not on this machine"):
        train(compose("model=vae", "runtime.device=cuda:7"), tmp_path / "run", [])
    assert not (tmp_path / "run").exists()


def test_bf16_trains_and_stays_finite_with_weights_in_fp32(compose: Compose, tmp_path: Path) -> None:
    settings = compose("model=vaegan", "steps=3", "runtime.precision=bf16", "runtime.fp32_nets=[dis]", "log_every=1")
    train(settings, tmp_path / "run", [])
    saved = checkpoint.load(tmp_path / "run" / "checkpoints" / "last.pt")
    assert {v.dtype for net in saved["nets"].values() for v in net.values()} == {torch.float32, torch.int64}
    exact = train(compose("model=vaegan", "steps=3", "log_every=1"), tmp_path / "exact", [])
    ours = [p.value for p in spool.points(tmp_path / "run") if p.key == "enc/l1"]
    reference = [p.value for p in spool.points(tmp_path / "exact") if p.key == "enc/l1"]
    assert exact.status == "FINISHED" and ours != reference
    assert ours[0] == pytest.approx(reference[0], rel=2e-2)


def test_a_run_on_a_disk_without_room_is_refused_before_the_first_step(
    compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda place: usage._replace(free=1000))
    with pytest.raises(UserError, match="no room for the checkpoints"):
        train(compose("model=vae", "steps=2"), tmp_path / "run", [])
    assert not (tmp_path / "run").exists()


def test_what_the_outputs_cannot_reach_is_said_before_the_run(compose: Compose, tmp_path: Path) -> None:
    def said(name: str, *overrides: str) -> str:
        train(compose("model=vae", "steps=1", *overrides), tmp_path / name, [])
        return (tmp_path / name / "run.log").read_text()

    assert "lie outside" not in said("fits", "model.output=tanh")
    dark = said("dark", "model.output=sigmoid", "data.normalize=zscore")
    assert "lie outside [0, 1], all that the output activation can reach" in dark
    assert "cannot be undone" in dark
    runs_away = said("bce", "model.output=sigmoid", "scales.l1=null", "scales.bce=1", "data.normalize=tanh")
    assert "where fit/bce has no minimum" in runs_away


def test_a_curve_that_fades_to_nothing_is_said_before_the_run(compose: Compose, tmp_path: Path) -> None:
    decay = "schedule.curves.optimizer.lr={kind:decay,multiply_by:0.1,every_steps:1}"
    train(compose("model=vae", "steps=8", decay), tmp_path / "run", [])
    assert (
        "optimizer.enc.lr: 0.0002 at step 0, 2e-11 at step 7; fades to less than a thousandth"
        in (tmp_path / "run" / "run.log").read_text()
    )


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["+model.knobs.nonsense=3"], r"model\.knobs\.nonsense: the system has no such knob"),
        (
            ["model.discriminator.kernel=4"],
            r"model\.discriminator\.kernel=4: convolutions of stride 1 need an odd kernel",
        ),
        (
            ["runtime.accumulate=4"],
            "trial step before the run failed, with 1 pictures: ValueError: Expected more than 1 value",
        ),
        (
            ["terms.enc.mine=os.getcwd", "+scales.mine=1"],
            "trial step before the run failed, with 4 pictures: TypeError",
        ),
        (["model.latent=10000000000000"], r"model: its weights need [\d,]+ GiB to learn"),
        (
            ["schedule.curves.scales.kld={kind:warmup,steps:-5}"],
            r"schedule\.curves\.scales\.kld\.steps=-5: must be greater",
        ),
        (
            ["schedule.curves.optimizer.lr={kind:decay,multiply_by:1e300,every_steps:1}", "steps=9"],
            r"optimizer\.enc\.lr is not a finite number at step 4",
        ),
        (["model.encoder=abc"], r"model\.encoder=abc: must be a group of keys: norm, act, slope, kernel, conv_bias"),
        (["model.single_forward=true"], "schedule: phase 'dec' uses shared forward 'raw' live, but 'enc' was updated"),
        (["checkpoint.best_by=val/enc/l1", "val_every=0"], r"checkpoint\.best_by=val/enc/l1: no such metric"),
        (["model.warm_start.from=nowhere"], "nowhere: no such file, run directory, run id or name"),
        (["batch_size=100"], "batch_size=100 is more than the"),
        (["model.latent=0"], r"model\.latent=0: must be a whole number, at least 1"),
        (["scales.adv_rec=null", "scales.adv_prior=null", "scales.l1_dec=null"], "phase 'dec' charges nothing"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_made(
    compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str], line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=line):
        train(compose("model=vaegan", "steps=2", *overrides), tmp_path / "run", [])
    assert list(tmp_path.iterdir()) == []


def test_a_phase_without_a_turn_needs_no_terms(compose: Compose, tmp_path: Path) -> None:
    adversary = [f"scales.{name}=null" for name in ("adv_rec", "adv_prior", "d_real", "d_rec", "d_prior")]
    outcome = train(compose("model=vaegan", "steps=2", "schedule.phases.dis.until=0", *adversary), tmp_path / "run", [])
    assert outcome.status == "FINISHED"
    assert not any(key.startswith("dis/") or key == "grad_norm/dis" for key, _, _ in _points(tmp_path / "run"))


def test_a_run_killed_behind_its_last_checkpoint_is_finished_by_resume(compose: Compose, tmp_path: Path) -> None:
    train(compose("model=vae", "steps=3"), tmp_path / "run", [])
    path = tmp_path / "run" / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "status": "KILLED"}))
    before = _points(tmp_path / "run")
    assert resume(str(tmp_path / "run")).status == "FINISHED"
    assert json.loads(path.read_text())["status"] == "FINISHED" and _points(tmp_path / "run") == before


def test_resume_refuses_other_pictures_and_another_split(compose: Compose, tmp_path: Path) -> None:
    train(compose("model=vae", "steps=2"), tmp_path / "run", [])
    for part in ("fingerprint", "held_out"):
        last = tmp_path / "run" / "checkpoints" / "last.pt"
        payload = checkpoint.load(last)
        changed = {**payload, "data": {**payload["data"], part: "0" * 64}, "step": 1}
        checkpoint.save(last, changed)
        with pytest.raises(UserError, match=f"trained on other data: {part} 000000000000 then"):
            resume(str(tmp_path / "run"))
        checkpoint.save(last, payload)


def test_a_second_resume_of_one_run_is_refused_and_writes_nothing(compose: Compose, tmp_path: Path) -> None:
    from gansweep.runs import rundir

    train(compose("model=vae", "steps=2"), tmp_path / "run", [])
    before = (tmp_path / "run" / "spool.jsonl").read_bytes()
    with rundir.claim(tmp_path / "run"), pytest.raises(UserError, match="another process is training this run"):
        resume(str(tmp_path / "run"))
    assert (tmp_path / "run" / "spool.jsonl").read_bytes() == before


def test_a_stand_in_is_told_and_tagged_and_the_real_set_is_not(compose: Compose, tmp_path: Path) -> None:
    def told(name: str, stands_in_for: str) -> tuple[str, dict[str, str]]:
        train(compose("model=vae", "steps=1", f"+data.stands_in_for={stands_in_for}"), tmp_path / name, [])
        spool = (tmp_path / name / "spool.jsonl").read_text().splitlines()
        start = next(entry for entry in map(json.loads, spool) if entry["kind"] == "start")
        return (tmp_path / name / "run.log").read_text(), start["record"]["tags"]

    used = compose("model=vae").data.name
    log, tags = told("stand_in", f"{{{used}:the real thing}}")
    assert f"{used} stands in for the real thing: results do not transfer" in log
    assert tags["gansweep.stand_in"] == f"{used} stands in for the real thing"
    log, tags = told("itself", "{another:the real thing}")
    assert "stands in" not in log and "gansweep.stand_in" not in tags
