"""Findings: rules that can come out either way, measures with a closed form, and a command that keeps what is done."""

from __future__ import annotations

import importlib
import json
import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from finding_cases import CASES, FLOOR

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
SUPPORTED, NOT, OPEN = "supported", "not supported", "cannot be told here"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The benchmark's modules by name, importable as they import each other."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return lambda name: importlib.import_module(name)


def _claim(bench: Any, name: str) -> Any:
    return next(claim for claim in bench("finding_more_claims").ALL if claim.name == name)


def test_the_list_is_the_nine_claims(bench: Any) -> None:
    assert [claim.name for claim in bench("finding_more_claims").ALL] == list(CASES)


@pytest.mark.parametrize("name", CASES)
def test_each_rule_can_come_out_either_way(bench: Any, name: str) -> None:
    claim, verdict = _claim(bench, name), bench("finding_rules").verdict
    good, bad, straddling, unfit = CASES[name]
    assert set(good) == {bound.quantity for bound in claim.bounds}
    assert verdict(claim.bounds, good) == SUPPORTED
    assert verdict(claim.bounds, good | bad) == NOT
    assert verdict(claim.bounds, good | straddling) == OPEN
    controls = {bound.quantity for bound in claim.bounds if bound.control}
    assert bool(controls) == bool(unfit) and set(unfit) <= controls
    if unfit:
        assert verdict(claim.bounds, good | unfit) == OPEN
        assert verdict(claim.bounds, good | bad | unfit) == OPEN, "runs that cannot show it do not refute it either"


@pytest.mark.parametrize("name", CASES)
def test_each_sweep_is_a_line_that_the_program_takes(bench: Any, name: str) -> None:
    from gansweep.config.compose import session

    claim = _claim(bench, name)
    with session() as hydra:
        jobs = [hydra.job(0, hydra.normal([*claim.common, *own, "tracker=none"])) for own in claim.arms.values()]
    assert len({json.dumps(job.settings.model_dump(mode="json"), sort_keys=True) for job in jobs}) == len(claim.arms)
    assert {job.settings.data.name for job in jobs} <= {"talking", "emoji", "heads"}
    assert all(job.settings.data.size in (32, 64) for job in jobs)


# Rules


def test_the_interval_is_students(bench: Any) -> None:
    interval = bench("finding_rules").Interval.over([1.0, 2.0, 3.0])
    half = 4.302652729911275 / math.sqrt(3)  # t(0.975; 2) = 4.3027, deviation 1
    assert interval.mean == 2.0
    assert interval.high - 2.0 == pytest.approx(half) and 2.0 - interval.low == pytest.approx(half)


def test_one_seed_and_no_number_tell_nothing(bench: Any) -> None:
    rules = bench("finding_rules")
    bound = rules.Bound("x", "what", low=0.0)
    assert bound.holds([1.0]) is None
    assert bound.holds([1.0, math.nan, 1.0]) is None
    assert rules.verdict([bound], {"x": [1.0]}) == OPEN
    assert bound.holds([1.0, 1.0, 1.0]) is True and bound.holds([-1.0, -1.0, -1.0]) is False


def test_a_range_with_two_ends_fails_on_either_side(bench: Any) -> None:
    bound = bench("finding_rules").Bound("x", "what", low=-0.05, high=0.05)
    assert [bound.holds([at] * 3) for at in (-0.2, 0.0, 0.2)] == [False, True, False]
    assert bound.words() == "between -0.05 and 0.05"


# Measures


def test_floors_of_normal_values_are_the_closed_form(bench: Any) -> None:
    outside = bench("finding_pixels").outside
    values = torch.randn(2_000_000, generator=torch.Generator().manual_seed(0))
    # E[(x - 1)²; x > 1] = 2 Φ(-1) - φ(1), and half of the variance lies below 0.
    beyond = 2 * 0.15865525 - 0.24197072
    assert outside(values, 0.0, 1.0) == pytest.approx(0.5 + beyond, abs=0.003)
    assert outside(values, -1.0, 1.0) == pytest.approx(2 * beyond, abs=0.002)
    assert outside(values.clamp(-1, 1), -1.0, 1.0) == 0.0


def test_black_and_lost_frames(bench: Any) -> None:
    lost = bench("finding_pixels").lost
    real = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    frames = torch.cat([real, 0.3 + 0.2 * real, 0.1 * real, 1 - real, torch.zeros_like(real), real.flip(-1)])
    black, gone = lost(frames, real.expand(6, -1, -1))
    assert black.tolist() == [False, False, True, False, True, False]
    assert gone.tolist() == [False, False, False, True, True, True]


def test_diversity_is_none_where_all_samples_are_alike(bench: Any) -> None:
    diversity = bench("finding_pixels").diversity
    real = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert diversity(real[:1].expand(4, 5, -1, -1, -1), real) == (0.0, 0.0)
    among, within = diversity(real.expand(4, -1, -1, -1, -1), real)
    assert among == pytest.approx(1.0) and within == 0.0, "a picture for each caption, whatever the noise"


def test_noise_in_the_pixels_is_no_diversity(bench: Any) -> None:
    spread = bench("finding_pixels").spread
    signs = torch.ones(2, 1, 64, 64)
    signs[0, :, ::2], signs[1, :, 1::2] = -1, -1  # two stripe patterns, alike once averaged to 16 px
    assert spread(signs) == 0.0


def test_the_variance_over_lights_is_that_of_the_frontal_pictures(bench: Any) -> None:
    light_variance = bench("finding_pixels").light_variance
    # Two people, poses 0 and 1 (1 is frontal), two lights: the first person's frontal pictures differ by 51 levels.
    levels = {(0, 1): (0, 51), (1, 1): (100, 100), (0, 0): (0, 255), (1, 0): (255, 0)}
    rows = [(person, pose, light) for person in (0, 1) for pose in (0, 1) for light in (0, 1)]
    images = np.stack([np.full((1, 2, 2), levels[person, pose][light], np.uint8) for person, pose, light in rows])
    columns = {"identity": np.array([row[0] for row in rows]), "pose": np.array([row[1] for row in rows])}
    front = {0: 2, 1: 6}
    dataset = SimpleNamespace(
        images=images,
        column=columns.__getitem__,
        related=lambda name, of, seed, index: np.array([front[rows[row][0]] for row in of]),
    )
    first = (51 / 127.5 / 2) ** 2  # two values a half-distance from their mean
    assert light_variance(dataset, [0, 1, 2, 3], 0) == pytest.approx(first)
    assert light_variance(dataset, list(range(8)), 0) == pytest.approx(first / 2)


def test_a_loss_without_a_bound_gets_lower_and_lower(bench: Any) -> None:
    curves = bench("finding_curves")
    falling = -np.exp(np.arange(90) / 10.0)
    assert curves.deepening(falling) == pytest.approx(3.0)  # thirds are 30 steps apart: e³
    falling[80:] = -1.0  # a leap back at the end does not undo how low it has been
    assert curves.deepening(falling) == pytest.approx(2.0)
    assert curves.deepening(np.full(90, -5.0)) == 0.0, "settled below zero"
    assert curves.deepening(np.linspace(1, 0.5, 90)) < -10, "never below zero"
    assert curves.log_of(1.0) == 0.0 and curves.log_of(-3.0) < -10


def test_the_labels_entropy_is_the_floor(bench: Any) -> None:
    curves = bench("finding_curves")
    assert (curves.entropy(0.9) + curves.entropy(0.2)) / 2 == pytest.approx(FLOOR, abs=1e-6)
    assert curves.entropy(1.0) == 0.0 and curves.entropy(0.0) == 0.0
    logits = torch.linspace(-20, 20, 4001, dtype=torch.float64)
    lowest = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, torch.full_like(logits, 0.9), reduction="none"
    )
    assert float(lowest.min()) == pytest.approx(curves.entropy(0.9), abs=1e-6)


def test_curves_apart(bench: Any) -> None:
    apart = bench("finding_curves").apart
    one = np.array([1.0, 2.0, 3.0])
    assert apart(one, one) == 0.0
    assert apart(one, 3 * one) == pytest.approx(1.0), "the difference, 2, over the mean of 1 and 3"


# The command


def _tiny(bench: Any, **changes: Any) -> Any:
    rules = bench("finding_rules")
    common = (
        "model=vae",
        "data=emoji",
        "data.size=8",
        "data.limit=64",
        "model.width_factor=0.05",
        "model.latent=2",
        "batch_size=4",
        "steps=2",
        "val_every=0",
        "sample_every=0",
    )
    settings: dict[str, Any] = {
        "name": "tiny",
        "journal": "nobody's, never",
        "says": "It is finite.",
        "common": common,
        "arms": {"a 1": ("scales.l1=1",), "b": ("scales.l1=2",)},
        "measure": lambda arms: {"x": [seen.last("fit/l1") for arm in arms.names() for seen in arms[arm]][:3]},
        "bounds": (rules.Bound("x", "the loss", low=0.0),),
        "read": "No more than that.",
    }
    return rules.Claim(**{**settings, **changes})


@pytest.mark.slow
def test_a_finding_from_sweep_to_report(
    bench: Any, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    findings = bench("findings")
    monkeypatch.setattr(findings, "ALL", (_tiny(bench),))
    line = ["--keep", str(tmp_path / "kept"), "--out", str(tmp_path / "report.md")]
    assert findings.main(line) == 0
    first = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "## tiny: supported" in first and "hardware:" in first and "seed=1,2,3" in first
    assert len(list((tmp_path / "kept" / "tiny" / "a_1" / "runs").glob("[0-9]*/spool.jsonl"))) == 3
    told = capsys.readouterr()
    assert "the loss:" in told.out and re.search(r"\[2/2\] tiny: b, \d+ CPU s", told.err)

    def never(self: Any, may_stop: bool = False) -> Any:
        raise AssertionError("what is kept is not run again")

    monkeypatch.setattr(bench("finding_runs").Sweep, "run", never)
    assert findings.main(line) == 0
    assert "## tiny: supported" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_a_sweep_that_fails_tells_nothing_and_says_so(
    bench: Any, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    findings, runs = bench("findings"), bench("finding_runs")

    def fails(self: Any, may_stop: bool = False) -> Any:
        raise runs.SweepFailed("exit 1: the disk is full")

    monkeypatch.setattr(findings, "ALL", (_tiny(bench),))
    monkeypatch.setattr(runs.Sweep, "run", fails)
    assert findings.main(["--keep", str(tmp_path), "--out", str(tmp_path / "report.md")]) == 1
    assert "cannot be told here" in capsys.readouterr().out
    assert "A sweep failed: a 1: exit 1: the disk is full" in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert not (tmp_path / "tiny" / "result.json").exists()


def test_another_rule_is_another_finding(bench: Any) -> None:
    findings, rules = bench("findings"), bench("finding_rules")
    other = _tiny(bench, bounds=(rules.Bound("x", "the loss", low=1.0),))
    marks = {findings.mark(_tiny(bench), (1, 2, 3)), findings.mark(other, (1, 2, 3)), findings.mark(other, (1, 2, 4))}
    assert len(marks) == 3


@pytest.mark.parametrize("line", [["--seeds", "2"], ["--only", "nothing"], ["--jobs", "0"]])
def test_a_wrong_line_is_refused(bench: Any, line: list[str], capsys: Any) -> None:
    with pytest.raises(SystemExit) as refused:
        bench("findings").main(line)
    assert refused.value.code == 2 and "error:" in capsys.readouterr().err
