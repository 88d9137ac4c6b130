"""Several jobs on one device: never more than were measured to fit."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from gansweep.preflight import refuse_too_large_a_step
from gansweep.runs import needs
from gansweep.sweep import fit, on_machine
from gansweep.sweep.freeze import freeze_points
from gansweep.sweep.on_machine import Machine
from sweep.test_ledger import begun as sweep_of


@pytest.mark.parametrize(
    ("need", "beside", "capacity", "unmeasured", "may"),
    [
        (None, [], 10, False, True),  # the first finds out for itself whether it fits
        (99, [], 10, False, True),
        (None, [4], 10, False, False),  # nothing is known of it: it would have to be alone
        (4, [None], 10, False, False),  # what runs has not measured yet
        (4, [4], 10, False, True),
        (4, [6], 10, False, True),  # to the last byte
        (5, [6], 10, False, False),
        (4, [4, 4], 10, False, False),
        (None, [4], 10, True, True),
        (None, [4, 7], 10, True, False),
        (5, [None, 6], 10, True, False),
    ],
)
def test_a_job_fits_by_what_was_measured(
    need: int | None, beside: list[int | None], capacity: int, unmeasured: bool, may: bool
) -> None:
    assert fit.fits(need, beside, capacity, unmeasured) is may


class Asleep:
    """A job's process that does nothing."""

    pid = os.getpid()

    def poll(self) -> None:
        return None


def test_a_gpu_takes_jobs_as_they_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compose: Any) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("GANSWEEP_LOCKS", str(tmp_path / "locks"))
    monkeypatch.setattr(on_machine, "capacities", lambda devices: dict.fromkeys(devices, 100))
    monkeypatch.setattr(on_machine, "spawn", lambda *args: Asleep())
    sweep = sweep_of(tmp_path, 6)
    (tmp_path / "logs").mkdir()
    # The last two are of another shape.
    freeze_points(tmp_path, {job: compose(f"batch_size={4 if job < 4 else 8}", f"seed={job}") for job in range(6)})
    machine = Machine(tmp_path, {"n_jobs": 4, "per_device": 4}, on_cuda=True)
    first = machine.start(sweep.rows)
    assert [one.row.job for one in first] == [0]
    assert machine.start(sweep.rows[1:]) == []  # it has not measured yet
    fit.file_of(sweep.rows[0]).write_text(json.dumps({"bytes": 40}))
    second = machine.start(sweep.rows[1:])
    assert [one.row.job for one in second] == [1]
    assert machine.start(sweep.rows[2:]) == []  # 120 of 100
    assert machine.start(sweep.rows[4:]) == []  # of this shape nothing is known
    machine.free(first[0])
    third = machine.start(sweep.rows[2:])
    assert [one.row.job for one in third] == [2]
    for one in (second[0], third[0]):
        machine.free(one)
    assert [one.row.job for one in machine.start(sweep.rows[4:])] == [4]


def test_a_job_says_what_its_trial_step_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compose: Any) -> None:
    from gansweep.data import open_data
    from gansweep.engine.distributed import world
    from gansweep.learner import build_learner

    monkeypatch.setenv(needs.ASKED_FOR, str(tmp_path / "0.needs"))
    settings = compose("model=vae", "batch_size=16")
    cpu = torch.device("cpu")
    learner = build_learner(settings, open_data(settings.data, progress=False), cpu, world())
    needs.tell(refuse_too_large_a_step(settings, learner, cpu))
    told = json.loads((tmp_path / "0.needs").read_text())["bytes"]
    assert 50e6 < told < 8e9  # this process, with torch, and a small step
