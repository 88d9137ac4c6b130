"""Timetable and curves: pure functions of the step."""

from __future__ import annotations

import math
from typing import Any

import pytest

from gansweep.config.compose import session, to_settings
from gansweep.config.settings import PhaseTiming
from gansweep.engine.schedule import Entry, Timetable, build_curve
from gansweep.errors import UserError
from small import timetable, vaegan


def _plan(phases: dict[str, dict[str, Any]], groups: Any = None, order: tuple[str, ...] = ("dis", "gen")) -> Timetable:
    return Timetable(order, "gen", {name: PhaseTiming(**timing) for name, timing in phases.items()}, groups)


def _names(plan: Timetable, step: int) -> list[str]:
    return [entry.phase + ("*" if entry.watch else "") for group in plan.at(step) for entry in group]


def test_every_phase_has_its_turn_in_order_by_default() -> None:
    plan = timetable(vaegan())
    assert plan.at(7) == ((Entry("enc", 0, 0),), (Entry("dec", 0, 0),), (Entry("dis", 0, 0),))
    assert plan.batches(7) == 1


def test_every_and_watch() -> None:
    plan = _plan({"dis": {"every": 3, "watch": True}})
    assert [_names(plan, step) for step in range(4)] == [
        ["dis", "gen"],
        ["dis*", "gen"],
        ["dis*", "gen"],
        ["dis", "gen"],
    ]


def test_every_switches_at_a_step() -> None:
    plan = _plan({"dis": {"every": [[0, 6], [12, 4]]}})
    assert [step for step in range(25) if "dis" in _names(plan, step)] == [0, 6, 12, 16, 20, 24]


def test_windows() -> None:
    plan = _plan({"dis": {"from": 2, "until": 4}})
    assert [step for step in range(6) if "dis" in _names(plan, step)] == [2, 3]
    assert plan.ever("dis", 3) and not plan.ever("dis", 2)


def test_repeats_take_new_draws_and_new_batches() -> None:
    plan = _plan({"dis": {"repeat": 3}})
    assert plan.at(0) == (
        (Entry("dis", 2, 2),),
        (Entry("dis", 1, 1),),
        (Entry("dis", 0, 0),),  # the turn next to the generator's shares its batch and its draw
        (Entry("gen", 0, 0),),
    )
    assert plan.batches(0) == 3
    same = _plan({"dis": {"repeat": 3, "new_batch": False}})
    assert same.batches(0) == 1 and [g[0].draw for g in same.at(0)] == [2, 1, 0, 0]


def test_repeats_after_the_counting_phase_count_upwards() -> None:
    plan = _plan({"dis": {"repeat": 2}}, order=("gen", "dis"))
    assert [g[0].draw for g in plan.at(0)] == [0, 0, 1]


@pytest.mark.parametrize(
    ("phases", "groups", "word"),
    [
        ({"dos": {}}, None, "did you mean 'dis'"),
        ({"gen": {"every": 2}}, None, "turns are the steps"),
        ({}, [["dis"]], "each phase once"),
        ({"dis": {"repeat": 2}}, [["dis", "gen"]], "cannot share a group"),
    ],
)
def test_impossible_timetables_are_refused(phases: dict[str, Any], groups: Any, word: str) -> None:
    with pytest.raises(UserError, match=word):
        _plan(phases, groups)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"kind": "warmup", "steps": 10}, {0: 0.0, 5: 1.0, 10: 2.0, 99: 2.0}),
        ({"kind": "linear", "from_step": 10, "to_step": 20}, {0: 2.0, 15: 1.0, 20: 0.0, 99: 0.0}),
        ({"kind": "cosine", "steps": 10}, {0: 2.0, 5: 1.0, 10: 0.0}),
        ({"kind": "decay", "multiply_by": 0.5, "every_steps": 10}, {0: 2.0, 9: 2.0, 10: 1.0, 25: 0.5}),
        ({"kind": "decay", "decay_by": 0.1, "every_steps": 1}, {0: 2.0, 1: 1.8, 2: 1.62}),
        ({"kind": "decay", "multiply_by": 0.1, "every_steps": 1, "floor": 0.01}, {9: 0.02}),
        ({"kind": "switch", "at_step": 3}, {2: 0.0, 3: 2.0}),
        ({"kind": "piecewise", "values": [[0, 5], [4, 7]]}, {0: 5, 3: 5, 4: 7}),
        ({"kind": "piecewise", "values": [[0, 0], [4, 8]], "interpolate": True}, {1: 2, 3: 6, 9: 8}),
        ({"kind": "function", "path": "test_schedule.square"}, {3: 18.0}),
    ],
)
def test_curves(config: dict[str, Any], expected: dict[int, float]) -> None:
    curve = build_curve("scales.kld", config)
    for step, value in expected.items():
        assert math.isclose(curve(step, 2.0), value, abs_tol=1e-12), step


def square(step: int, base: float) -> float:
    return base * step**2


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"kind": "decai"}, "did you mean 'decay'"),
        ({"kind": "decay", "every_steps": 5}, "multiply_by"),
        (
            {"kind": "decay", "every_steps": 0, "multiply_by": 0.5},
            r"schedule\.curves\.scales\.kld\.every_steps=0: must be greater than 0",
        ),
        ({"kind": "warmup"}, "steps"),
        ({"kind": "function", "path": "nowhere.f"}, "nowhere"),
    ],
)
def test_impossible_curves_are_refused(config: dict[str, Any], word: str) -> None:
    with pytest.raises(UserError, match=word):
        build_curve("scales.kld", config)


def test_bursts_come_round_from_where_their_piece_begins() -> None:
    plan = _plan({"dis": {"repeat": [[0, 5], [10, {"n": 3, "every": 4}], [20, {"n": 2, "every": 5, "otherwise": 0}]]}})
    assert [plan.turns("dis", step) for step in range(8, 31)] == [
        *(5, 5),
        *(3, 1, 1, 1, 3, 1, 1, 1, 3, 1),
        *(2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 2),
    ]
    shapes = [[entry.phase for group in shape for entry in group].count("dis") for shape in plan.shapes(1000)]
    assert sorted(shapes) == [0, 1, 2, 3, 5]


def test_every_meeting_of_two_periods_is_among_the_shapes() -> None:
    plan = _plan({"a": {"every": 5}, "b": {"every": 7}}, order=("a", "b", "gen"))
    assert {"".join(sorted(_names(plan, step))) for step in range(35)} == {
        "".join(sorted(entry.phase for group in shape for entry in group)) for shape in plan.shapes(100)
    }


@pytest.mark.parametrize(
    ("repeat", "word"),
    [
        ("[[0,{n:5,every:0}]]", "no burst"),
        ("[[0,{n:-1,every:2}]]", "no burst"),
        ("[[0,{n:5,evry:2}]]", "no burst"),
        ("[[0,{every:2}]]", "no burst"),
        ("[[3,{n:5,every:2}]]", "growing steps"),
        ("[[0,1,2]]", "repeat"),
        ("[[0,x]]", "repeat"),
    ],
)
def test_impossible_bursts_are_refused_in_one_line(repeat: str, word: str) -> None:
    with session() as hydra:
        cfg = hydra.compose(["model=wgan_gp", f"schedule.phases.dis.repeat={repeat}"])
        with pytest.raises(UserError) as told:
            to_settings(cfg)
    print(told.value)
    assert word in str(told.value) and "\n" not in str(told.value)
