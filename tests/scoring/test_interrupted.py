"""A scoring that was killed and run again, on one process or two, gives what the plain one gives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gansweep.data import open_data
from gansweep.runs import checkpoint
from gansweep.runs.rundir import Run
from gansweep.scoring.card import Card, cards_of
from tiny_runs import tiny_payload, tiny_run, tiny_settings

TESTS = Path(__file__).parents[1]
EVERYTHING = ["eval.metrics=[is,fid,kid,prdc]", "eval.kid_subset_size=20", "eval.kid_subsets=5", "eval.prdc_nearest=3"]
REQUEST = ["eval-is", "run", "judge._target_=tiny_judge.DyingJudge", "eval.n=203", *EVERYTHING, "runtime.threads=1"]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    settings = tiny_settings("data=emoji", "data.limit=60", "data.val_fraction=0.2")
    made = tiny_run(tmp_path / "run", settings)
    payload = tiny_payload(settings, made.id)
    payload["data"]["fingerprint"] = open_data(settings.data, progress=False).fingerprint
    checkpoint.save(made.checkpoint_dir / "last.pt", payload)
    return made


def score(run: Run, *, processes: int = 1, dies_at: int | None = None) -> subprocess.CompletedProcess[str]:
    """Score the run in a process (or several, by torchrun) of its own, which may kill itself."""
    many = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}", "--standalone"]
    command = [sys.executable, *(many if processes > 1 else []), "-m", "gansweep", *REQUEST]
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"}
    if dies_at is not None:
        environment["GANSWEEP_TEST_DIES_AT"] = str(dies_at)
    return subprocess.run(
        command, cwd=run.dir.parent, env=environment, capture_output=True, text=True, timeout=240, check=False
    )


def taken(run: Run) -> dict[str, Card]:
    """Return the run's cards by key, and forget them, so that the next scoring begins anew."""
    found = {card.key: card for card in cards_of(run.dir)}
    (run.dir / "scores.jsonl").unlink()
    return found


def judged(done: subprocess.CompletedProcess[str]) -> int:
    return done.stderr.count("judged 16") * 16


def test_killed_and_run_again_equals_the_plain_scoring_to_the_last_bit(run: Run) -> None:
    plain = score(run)
    assert plain.returncode == 0, plain.stderr
    expected = taken(run)
    assert len(expected) == 7 and not list((run.dir / ".scoring").glob("*.pt"))
    killed = score(run, dies_at=150)
    assert killed.returncode == -9 and not cards_of(run.dir)
    assert list((run.dir / ".scoring").glob("*.pt"))
    again = score(run)
    assert again.returncode == 0, again.stderr
    assert 0 < judged(again) < judged(plain) - 100, "what was judged before the kill is not judged again"
    found = taken(run)
    assert {key: (card.value, card.values) for key, card in found.items()} == {
        key: (card.value, card.values) for key, card in expected.items()
    }


@pytest.mark.slow
def test_two_processes_killed_and_run_again_equal_one(run: Run) -> None:
    assert score(run).returncode == 0
    expected = taken(run)
    plain = score(run, processes=2)
    assert plain.returncode == 0, plain.stderr
    assert plain.stdout.count("is_tiny ") == 1, "one process tells"
    found = taken(run)
    assert set(found) == set(expected)
    assert found["is_tiny"].value == expected["is_tiny"].value, "whole blocks on one process: the same bits"
    for key, card in expected.items():
        assert found[key].value == pytest.approx(card.value, rel=1e-9), key
        assert found[key].id == card.id
    killed = score(run, processes=2, dies_at=100)
    assert killed.returncode != 0 and not cards_of(run.dir)
    again = score(run, processes=2)
    assert again.returncode == 0, again.stderr
    assert 0 < judged(again) < judged(plain)
    assert {key: (card.value, card.values) for key, card in taken(run).items()} == {
        key: (card.value, card.values) for key, card in found.items()
    }
