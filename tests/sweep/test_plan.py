"""Plans: what a sweep would do, what is worth a second look at it, and that nothing is made."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gansweep.config.compose import Job, Session, session
from gansweep.engine.distributed import World
from gansweep.errors import UserError
from gansweep.learner import build_learner
from gansweep.room import need
from gansweep.sweep import plan, plan_trial
from gansweep.sweep.plan_course import Course, courses, marks, table
from gansweep.sweep.plan_points import differences, listed
from gansweep.sweep.plan_warnings import _together, warnings
from gansweep.sweep.start import read_request, train

Jobs = Callable[..., list[Job]]


@pytest.fixture
def hydra() -> Iterator[Session]:
    with session() as opened:
        yield opened


def points(hydra: Session, *overrides: str) -> list[Job]:
    """Return the points of a sweep over small networks that are only described, never trained."""
    return hydra.jobs(["model.width_factor=0.125", "data.size=16", "steps=200", *overrides], multirun=True)


def warned(jobs: Sequence[Job], *varied: str) -> list[tuple[str, tuple[int, ...]]]:
    return [(one.kind, one.points) for one in warnings(courses(jobs), varied)]


# The course of a run


def test_curves_have_their_closed_form_values(hydra: Session) -> None:
    decay = "++schedule.curves.optimizer.lr={kind:decay,multiply_by:0.5,every_steps:50}"
    warm = "++schedule.curves.scales.kld={kind:warmup,steps:100}"
    one = courses(points(hydra, "model=vae", "optimizer.lr=0.08", "scales.kld=3", decay, warm))[0]
    assert marks(200) == [0, 50, 100, 150, 199]
    found = table(one)
    assert found["optimizer.enc.lr"] == found["optimizer.dec.lr"] == [0.08, 0.04, 0.02, 0.01, 0.01]
    assert found["scales.kld"] == [0.0, 1.5, 3.0, 3.0, 3.0]
    assert found["scales.l1"] == [1.0] * 5
    assert "scales.mse" not in found  # null: there is no such term


@pytest.mark.parametrize(
    ("timing", "expected"),
    [
        ("{every:1}", [1, 1, 1, 1, 1]),
        ("{repeat:5}", [5, 5, 5, 5, 5]),
        ("{every:[[0,2],[100,4]]}", [0.5, 0.5, 0.25, 0.25, 0.25]),
        ("{repeat:[[0,{n:5,every:20}],[100,{n:10,every:50}]]}", [1.2, 1.2, 1.18, 1.18, 1.18]),
        ("{every:3,repeat:[[0,2],[150,1]]}", [2 / 3, 2 / 3, 2 / 3, 1 / 3, 1 / 3]),
        ("{from:100}", [0, 0, 1, 1, 1]),
        ("{until:100,every:2}", [0.5, 0.5, 0, 0, 0]),
        ("{until:0}", [0, 0, 0, 0, 0]),
    ],
)
def test_turns_a_step_are_the_mean_of_the_timetable(hydra: Session, timing: str, expected: list[float]) -> None:
    one = courses(points(hydra, "model=dcgan", f"schedule.phases.dis={timing}"))[0]
    assert table(one)["turns/dis"] == pytest.approx(expected)


def test_turns_agree_with_every_step_counted(hydra: Session) -> None:
    timing = "schedule.phases.dis={every:3,from:5,repeat:[[0,{n:4,every:6,otherwise:2}],[80,1]]}"
    one = courses(points(hydra, "model=dcgan", timing))[0]
    counted = [one.plan.turns("dis", step) for step in range(200)]
    assert one.turns("dis", 30) == pytest.approx(sum(counted[10:76]) / 66)  # eleven periods of six
    assert one.turns("dis", 150) == pytest.approx(sum(counted[80:200]) / 120)


# What is worth a second look

LR = "++schedule.curves.optimizer.lr"
NOTHING: list[tuple[str, tuple[int, ...]]] = []
BOTH = (0, 1)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        # points that are the same under another name
        (["model=vae", "name=a,b"], [("duplicate", BOTH)]),
        (["model=vae", "note=a,b", "seed=1"], NOTHING),  # free text: one note
        (["model=vae", "tracker.experiment=a,b"], [("duplicate", BOTH)]),
        (["model=vae", "optimizer=rmsprop", "optimizer.betas=[0.5,0.9],[0.9,0.9]"], [("duplicate", BOTH)]),
        (["model=vae", "optimizer=adam", "optimizer.betas=[0.5,0.9],[0.9,0.9]"], NOTHING),
        (["model=vae", "optimizer=sgd", "optimizer.eps=1e-8,1e-6"], [("duplicate", BOTH)]),
        (["model=vae", "optimizer=sgd", "optimizer.momentum=0,0.9"], NOTHING),
        (["model=vae", "optimizer.enc.lr=1", "optimizer.dec.lr=1", "optimizer.lr=2,3"], [("duplicate", BOTH)]),
        (["model=vae", "optimizer.enc.lr=1", "optimizer.lr=2,3"], NOTHING),
        (["model=vaegan", "schedule.phases.dis.until=0", "scales.d_real=1,2"], [("duplicate", BOTH)]),
        (["model=vaegan", "scales.d_real=1,2"], NOTHING),
        (["model=vaegan", "schedule.phases.dis.until=200,300"], [("duplicate", BOTH)]),
        (["model=vaegan", "schedule.phases.dis.every=[[0,1]],1"], [("duplicate", BOTH)]),
        (["model=vae", "scales.l1=1,2", LR + "={kind:piecewise,values:[[0,1],[9,2]]}"], NOTHING),
        (["model=vae", "optimizer.lr=1,2", LR + "={kind:piecewise,values:[[0,1],[9,2]]}"], [("duplicate", BOTH)]),
        (["model=vae", "seed=1,2"], NOTHING),
        (["model=vae", "steps=200,201"], NOTHING),
        # scales that are a common factor, which Adam and its like cancel
        (["model=dcgan", "scales.adv=1,2"], [("no_effect", BOTH)]),
        (["model=dcgan", "scales.adv=1,2", "seed=1,2"], [("no_effect", (0, 1, 2, 3))]),
        (["model=dcgan", "scales.adv=1,2", "optimizer=sgd"], NOTHING),
        (["model=dcgan", "scales.adv=1,2", "optimizer.gen.kind=sgd"], NOTHING),
        (["model=dcgan", "scales.adv=1,2", "optimizer.dis.kind=sgd"], [("no_effect", BOTH)]),
        (["model=dcgan", "scales.d_real=1,2"], NOTHING),
        (["model=dcgan", "scales={d_real:1,d_fake:1},{d_real:2,d_fake:2}"], [("no_effect", BOTH)]),
        (["model=dcgan", "scales={d_real:1,d_fake:1,adv:1},{d_real:2,d_fake:2,adv:7}"], [("no_effect", BOTH)]),
        (["model=dcgan", "scales={d_real:1,d_fake:1},{d_real:2,d_fake:2,r1:1}"], NOTHING),
        (["model=vae", "scales={l1:1,kld:0.1},{l1:3,kld:0.3}", "optimizer=rmsprop"], [("no_effect", BOTH)]),
        (["model=vae", "scales.l1=1,2"], NOTHING),
        (["model=vae", "scales.l1=1,2", "scales.kld=null"], [("no_effect", BOTH)]),
        (["model=vae", "scales.l1=1,2", "scales.kld=0"], [("no_effect", BOTH), ("zero_scale", BOTH)]),
        (["model=vae", "scales.l1=1,-1", "scales.kld=null"], NOTHING),
        (["model=dcgan", "scales.adv=5"], [("no_effect", (0,))]),
        (["model=dcgan"], NOTHING),
        (["model=dcgan", "scales.d_real=5"], NOTHING),
        # what one run tells
        (["model=vae", LR + "={kind:decay,multiply_by:0.5,every_steps:10}"], [("fading_rate", (0,))]),
        (["model=vae", LR + "={kind:decay,multiply_by:0.5,every_steps:20}"], NOTHING),
        (["model=vae", LR + "={kind:warmup,steps:150}"], NOTHING),
        (["model=vae", LR + "={kind:switch,at_step:50}"], NOTHING),
        (["model=vae", LR + "={kind:cosine,steps:200}"], NOTHING),
        (["model=vae", LR + "={kind:cosine,steps:50}"], [("fading_rate", (0,))]),
        (["model=vae", LR + "={kind:decay,multiply_by:0.5,every_steps:500}"], [("still_curve", (0,))]),
        (["model=vae", "scales.kld=0"], [("zero_scale", (0,))]),
        (["model=vaegan", "schedule.phases.dis.from=500"], [("late_phase", (0,))]),
        (["model=vaegan", "schedule.phases.dis.from=100"], NOTHING),
    ],
    ids=lambda value: " ".join(value) if value and isinstance(value[0], str) else "",
)
def test_warnings_and_their_absence(
    hydra: Session, overrides: list[str], expected: list[tuple[str, tuple[int, ...]]]
) -> None:
    assert warned(points(hydra, *overrides)) == expected


def text_of(jobs: Sequence[Job]) -> str:
    return "\n".join(one.text for one in warnings(courses(jobs), []))


def test_warnings_say_where_and_by_how_much(hydra: Session) -> None:
    fading = points(hydra, "model=vae", LR + "={kind:decay,multiply_by:0.5,every_steps:10}")
    assert text_of(fading).startswith("the rate of dec and enc is below 1% of its start from step 70 on, of 200; ")
    assert text_of(points(hydra, "model=dcgan", "scales.adv=1,2")) == (
        "scales.adv 1 : 2: the only term of phase gen changes by one factor, "
        "which adam cancels but for eps (and rounding)"
    )
    both = text_of(points(hydra, "model=dcgan", "scales={d_real:1,d_fake:1},{d_real:2,d_fake:2}"))
    assert both.startswith("scales.d_real 1 : 2: all terms of phase dis change by one factor, ")
    decayed = ["optimizer.weight_decay=0.1", "optimizer.gen.clip_norm=2"]
    seen = ", but weight_decay=0.1 and clip_norm=2 does not: it sees the gradient's size"
    assert seen in text_of(points(hydra, "model=dcgan", "scales.adv=1,2", *decayed))
    assert "weight_decay" not in text_of(points(hydra, "model=dcgan", "scales.adv=1,2", "optimizer=adamw", decayed[0]))
    same = text_of(points(hydra, "model=vae", "tracker.experiment=a,b"))
    assert same == "learn the same: they differ in tracker.experiment alone, which changes nothing of it"


def test_phases_that_share_a_network_share_its_factor() -> None:
    learns = {"one": ("a",), "two": ("b", "c"), "three": ("d",), "four": ("a", "b")}
    sets = _together(SimpleNamespace(learns=learns))  # type: ignore[arg-type]
    assert sorted(map(sorted, sets)) == [["four", "one", "two"], ["three"]]


def weights(jobs: Sequence[Job]) -> list[torch.Tensor]:
    """Return all weights after a few steps of each point, float64, in one row."""
    from gansweep.data import open_data

    found = []
    for job in jobs:
        settings = job.settings
        learner = build_learner(settings, open_data(settings.data, progress=False), torch.device("cpu"), World())
        for step in range(4):
            batch = learner.batches.batch(step)
            learner.engine.step(step, learner.plan.at(step), [batch] * learner.plan.batches(step))
        nets = learner.engine.system.nets.values()
        found.append(torch.cat([weight.detach().flatten() for net in nets for weight in net.parameters()]))
    return found


def test_what_is_said_of_adam_is_so(hydra: Session, small_overrides: list[str]) -> None:
    """A common factor leaves the weights where they were but for eps; a factor on one of two terms does not."""
    small = [*(line for line in small_overrides if not line.startswith("model.latent")), "model=dcgan"]
    exact = [*small, "runtime.precision=fp64", "optimizer.eps=1e-30", "steps=4"]
    cancelled = weights(hydra.jobs([*exact, "scales={d_real:1,d_fake:1,adv:1},{d_real:8,d_fake:8,adv:3}"], True))
    moved = weights(hydra.jobs([*exact, "scales.d_real=1,8"], True))
    assert torch.allclose(cancelled[0], cancelled[1], rtol=0, atol=1e-12)
    assert not torch.allclose(moved[0], moved[1], rtol=0, atol=1e-6)


# Points


def test_what_differs_is_told_once(hydra: Session) -> None:
    told = differences(points(hydra, "model=vaegan", "scales.l1=1,2", "seed=3,4", "batch_size=8"))
    assert told.columns == {"scales.l1": ["1", "1", "2", "2"], "seed": ["3", "4", "3", "4"]}
    assert told.follow == {"scales.l1_dec": "scales.l1"}
    models = differences(points(hydra, "model=vae,dcgan"))
    assert models.columns == {"model": ["vae", "dcgan"]}
    assert "scales.adv" in models.follow and "model.latent" not in models.follow


def test_points_are_listed_in_few_words() -> None:
    assert listed([0, 1, 2], 3) == "all points"
    assert listed([0], 1) == "the run"
    assert listed([4], 9) == "point 4"
    assert listed([7, 0, 1, 2, 4, 5], 9) == "points 0-2, 4, 5, 7"


def test_runs_fill_places_in_order() -> None:
    assert plan._wall([3, 2, 1, 1], 2) == 4
    assert plan._wall([3, 2, 1, 1], 1) == 7
    assert plan._wall([3, 2], 9) == 3


# The trial, and the command


@pytest.fixture
def told(
    small_overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., dict[str, Any]]:
    """Return a function from a command line to its plan, which asserts that nothing was made where it was asked for."""
    where = tmp_path / "here"
    where.mkdir()
    monkeypatch.chdir(where)

    def ask(*words: str) -> dict[str, Any]:
        assert train(read_request([*small_overrides, *words, "--plan", "--json"]), _never) == 0
        assert list(where.iterdir()) == []
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    return ask


def _never(task: Any, line: list[str]) -> None:
    raise AssertionError("a plan started a run")


def test_a_sweep_of_values_takes_one_trial(
    told: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    built = []
    real = plan_trial.build_learner

    def counting(*given: Any) -> Any:
        built.append(given)
        return real(*given)

    monkeypatch.setattr(plan_trial, "build_learner", counting)
    found = told("-m", "model=vae", "steps=30", "scales.l1=range(1,6)", "seed=1,2", "optimizer.lr=1e-3,1e-4")
    assert len(built) == 1 and len(found["points"]) == 20
    (trial,) = found["trials"]
    assert trial["points"] == list(range(20)) and trial["device"] == "cpu" and trial["step_s"] > 0
    assert trial["run_s"][0] == pytest.approx(30 * trial["step_s"])
    total = found["total"]
    assert total["runs"] == 20 and total["at_once"] == 1
    assert (
        total["wall_s"] == pytest.approx(total["work_s"]) == pytest.approx(20 * (trial["run_s"][0] + trial["start_s"]))
    )
    assert found["packed"] == [] or len(found["packed"]) == 1
    (epoch,) = found["epochs"]  # of 60 pictures some are held out; whole batches of 4
    assert (epoch["pictures"], epoch["batch_size"], epoch["steps_per_epoch"]) == (49, 4, 12)
    assert epoch["epochs"] == 2.5
    (curves,) = found["curves"]
    assert curves["at"] == [0, 7, 15, 22, 29]
    rates = curves["knobs"]["optimizer.enc.lr"]
    assert [row["values"] for row in rates] == [[1e-3] * 5, [1e-4] * 5]
    assert rates[0]["points"] == [n for n in range(20) if n % 2 == 0]
    assert found["warnings"] == []


def test_each_structure_is_tried_and_counted(told: Callable[..., dict[str, Any]]) -> None:
    found = told("-m", "model=vae", "steps=10", "batch_size=4,8", "hydra.launcher.n_jobs=2")
    assert [trial["points"] for trial in found["trials"]] == [[0], [1]]
    assert [(one["steps_per_epoch"], one["points"]) for one in found["epochs"]] == [(12, [0]), (6, [1])]
    seconds = [trial["run_s"][0] + trial["start_s"] for trial in found["trials"]]
    assert found["total"]["at_once"] == 2 and found["total"]["wall_s"] == pytest.approx(max(seconds))


def test_turns_that_take_batches_make_epochs_shorter(told: Callable[..., dict[str, Any]]) -> None:
    timing = "schedule.phases.dis.repeat=[[0,3],[5,1]]"
    found = told("model=vaegan", "steps=10", timing)
    (epoch,) = found["epochs"]
    assert epoch["batches_per_step"] == 2 and epoch["steps_per_epoch"] == 6
    assert found["points"][0]["name"].startswith("vaegan") and found["total"]["runs"] == 1


def test_memory_and_disk_are_those_of_the_parts(told: Callable[..., dict[str, Any]]) -> None:
    found = told("model=vae", "steps=10", "checkpoint_every=4", "checkpoint.keep=2", "runtime.ema_decay=0.9")
    (trial,) = found["trials"]
    small = ["model=vae", "data.size=16", "model.latent=6", "model.width_factor=0.125"]
    with session() as hydra:
        settings = hydra.jobs([*small, "steps=10", "runtime.ema_decay=0.9"], False)[0].settings
    one = need(settings, courses([Job(0, (), "", settings)])[0].system).one
    # A checkpoint holds what lives on: weights, moments, their mean; the optimizers' counts of steps are beside them.
    assert trial["kept_bytes"] == pytest.approx(one, rel=0.02)
    assert trial["step_bytes"] > 0 and trial["process_bytes"] > 2**26
    assert trial["memory_bytes"] == trial["kept_bytes"] + trial["step_bytes"] + trial["process_bytes"]
    assert found["total"]["disk_bytes"] == 2 * one + 64 * 2**20


def test_a_search_tells_its_ranges(told: Callable[..., dict[str, Any]]) -> None:
    found = told(
        "-m",
        "hydra/sweeper=search",
        "objective=[val/squared_error]",
        "scales.l1=tag(log,interval(10,1000))",
        "optimizer=adam,rmsprop",
        "hydra.sweeper.n_trials=7",
        "model=vae",
        "scales.kld=null",
        "steps=10",
    )
    assert found["search"] == {
        "points": 7,
        "objective": ["val/squared_error"],
        "sampler": "tpe",
        "pruner": "none",
        "ranges": {"optimizer": "one of adam, rmsprop", "scales.l1": "10 to 1000, on a logarithmic scale"},
    }
    assert found["total"]["runs"] == 7 and len(found["points"]) == 1
    assert [one["kind"] for one in found["warnings"]] == ["no_effect"]


def test_people_get_lines(
    small_overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["-m", "model=dcgan", "scales.adv=1,2", "steps=10", "--plan"]
    small = [line for line in small_overrides if not line.startswith("model.latent")]
    assert train(read_request([*small, *words]), _never) == 0
    said = capsys.readouterr().out
    assert said.startswith("2 points\n")
    assert "scales that stay as they are: d_real, d_fake: 1; adv: 1 or 2" in said
    assert "49 pictures to learn from in batches of 4: 12 steps an epoch, 10 steps are 0.83 epochs" in said
    assert "warning: all points: scales.adv 1 : 2: the only term of phase gen" in said
    assert "nothing was started and nothing was made" in said or "the packed data" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-m", "--plan", "--resume"], "train --plan: tells what a new start would do; leave out --resume"),
        (["--plan", "--cfg", "job"], "train --plan: tells what a new start would do; leave out --cfg"),
        (["--json"], "train --json: goes with --plan"),
        (["-m", "--plan", "--as-is"], "train --as-is: goes with --resume"),
    ],
)
def test_a_plan_of_something_else_is_refused(words: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_request(words)


def test_what_the_runs_would_refuse_is_refused(told: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(UserError, match=r"scales\.l11: no such key"):
        told("model=vae", "scales.l11=3")
    with pytest.raises(UserError, match="charged terms that give no gradient"):
        told("model=vae", "steps=10", "model.freeze=['enc.*']", "scales.kld=1", "scales.l1=null", "scales.mse=null")


def test_a_course_is_built_once_a_model(hydra: Session) -> None:
    found: list[Course] = courses(points(hydra, "model=vae", "scales.l1=1,2", "seed=1,2"))
    assert len({id(one.system) for one in found}) == 1
