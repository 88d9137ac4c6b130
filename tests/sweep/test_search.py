"""Searches on known functions, without training: optima, pruning, recovery, what is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from gansweep.config.compose import session
from gansweep.errors import Missing, UserError
from gansweep.sweep.objective import objectives
from gansweep.sweep.outcome import Objective
from gansweep.sweep.search import Search
from gansweep.sweep.space import Axis, axes
from gansweep.sweep.study import refuse_storage

LOSS = [Objective("val/squared_error", False)]
BOTH = [Axis("scales.l1", 1.0, 1000.0, log=True), Axis("optimizer.lr", 0.0, 1.0)]


def settings(**changes: Any) -> dict[str, Any]:
    usual = {"n_trials": 40, "sampler": "tpe", "seed": 0, "pruner": "none", "min_steps": 1, "reduction_factor": 3}
    return usual | changes


def bowl(point: dict[str, str]) -> float:
    """Least, 0, at scales.l1 = 100 and optimizer.lr = 0.3."""
    return (math.log10(float(point["scales.l1"])) - 2) ** 2 + (float(point["optimizer.lr"]) - 0.3) ** 2


@pytest.mark.parametrize(("sampler", "near"), [("tpe", 0.02), ("cmaes", 0.05), ("qmc", 0.05), ("random", 0.2)])
def test_the_least_of_a_bowl_is_found_within_forty_points(sampler: str, near: float, tmp_path: Path) -> None:
    search = Search(tmp_path, "bowl", BOTH, LOSS, settings(sampler=sampler), steps=1)
    for _ in range(40):
        number, point = search.ask({})
        search.tell(number, [bowl(point)])
    assert search.study.best_value < near


def test_the_grid_is_every_combination_once(tmp_path: Path) -> None:
    along = [Axis("optimizer", choices=("adam", "sgd")), Axis("model.latent", 1, 3)]
    search = Search(tmp_path, "grid", along, LOSS, settings(sampler="grid", n_trials=6), steps=1)
    seen = []
    for _ in range(6):
        number, point = search.ask({})
        seen.append(tuple(point.values()))
        search.tell(number, [0.0])
    assert sorted(seen) == [(kind, str(n)) for kind in ("adam", "sgd") for n in (1, 2, 3)]


def spent(directory: Path, pruner: str) -> tuple[int, float]:
    """Return the steps that a search takes in all, and the best value: each run falls toward its point's own floor."""
    search = Search(directory, pruner, BOTH, LOSS, settings(pruner=pruner, n_trials=40), steps=27)
    total = 0
    for _ in range(40):
        number, point = search.ask({})
        floor = bowl(point)
        for step in range(1, 28):
            total += 1
            if search.report(number, step, floor + 2 / step):
                search.tell(number, None, pruned=True)
                break
        else:
            search.tell(number, [floor + 2 / 27])
    return total, search.study.best_value - 2 / 27


@pytest.mark.parametrize("pruner", ["asha", "hyperband", "median"])
def test_pruning_takes_at_most_half_the_steps_and_finds_it_too(pruner: str, tmp_path: Path) -> None:
    steps, best = spent(tmp_path, pruner)
    whole, _ = spent(tmp_path, "none")
    assert whole == 40 * 27
    if pruner != "hyperband":  # which lets some points run long from the start, on purpose
        assert steps <= whole / 2
    assert steps < whole and best < 0.15


def test_a_search_goes_on_where_it_stood_and_what_a_kill_left_is_tried_again(tmp_path: Path) -> None:
    first = Search(tmp_path, "again", BOTH, LOSS, settings(n_trials=6), steps=1)
    number, point = first.ask({})
    first.tell(number, [bowl(point)])
    _, running = first.ask({})  # a job of it is known
    _, lost = first.ask({})  # killed before its job was begun
    second = Search(tmp_path, "again", BOTH, LOSS, settings(n_trials=6), steps=1)
    assert second.recover([0, 1]) == 1
    assert second.recover([0, 1]) == 0
    number, point = second.ask({})
    assert (number, {key: float(value) for key, value in point.items()}) == (
        3,
        {key: pytest.approx(float(value)) for key, value in lost.items()},
    )
    second.tell(1, [bowl(running)])
    assert [trial.state.name for trial in second.study.trials] == ["COMPLETE", "COMPLETE", "FAIL", "RUNNING"]


def test_of_several_objectives_the_best_are_those_that_none_beats(tmp_path: Path) -> None:
    wanted = objectives(["inception_score", "fid"])
    assert [one.maximize for one in wanted] == [True, False]
    search = Search(tmp_path, "two", BOTH, wanted, settings(), steps=1)
    for values in ((2.0, 50.0), (3.0, 60.0), (1.9, 55.0)):
        number, _ = search.ask({})
        search.tell(number, values)
    assert sorted(search.best()) == [0, 1]


def test_rmsprop_has_no_betas_and_adam_no_alpha(tmp_path: Path) -> None:
    along = [
        Axis("optimizer", choices=("adam", "rmsprop")),
        Axis("optimizer.betas.0", 0.1, 0.9),
        Axis("optimizer.alpha", 0.5, 0.99),
        Axis("optimizer.lr", 0.1, 0.2),
    ]
    search = Search(tmp_path, "some", along, LOSS, settings(sampler="random"), steps=1)
    seen = {"adam": 0, "rmsprop": 0}
    for _ in range(20):
        number, point = search.ask({})
        kind = point["optimizer"]
        seen[kind] += 1
        assert set(point) == {
            "optimizer",
            "optimizer.lr",
            {"adam": "optimizer.betas.0", "rmsprop": "optimizer.alpha"}[kind],
        }
        search.tell(number, [1.0])
    assert min(seen.values()) > 3


def test_a_failed_job_and_one_that_is_not_finite_are_no_values(tmp_path: Path) -> None:
    search = Search(tmp_path, "bad", BOTH, LOSS, settings(), steps=1)
    for values in (None, [math.nan], [math.inf]):
        number, _ = search.ask({})
        search.tell(number, values)
        search.tell(number, None)  # told once is told
    assert [trial.state.name for trial in search.study.trials] == ["FAIL"] * 3
    assert search.best() == [] and search.lacks(1)
    # The second is tried again and gives a value: a trial more, of the same job.
    for values in (None, [math.nan], [1.0], [2.0]):
        search.tell(1, values)
    assert [trial.state.name for trial in search.study.trials] == ["FAIL"] * 3 + ["COMPLETE"]
    assert search.study.trials[3].params == search.study.trials[1].params
    assert search.best() == [1] and not search.lacks(1) and search.lacks(0)
    number, _ = search.ask({})
    search.tell(number, [0.5])
    search.tell(number, [0.1])
    assert search.best() == [number] and search.study.best_value == 0.5


@pytest.mark.parametrize(
    ("changes", "along", "wanted", "said"),
    [
        ({"sampler": "tpee"}, BOTH, LOSS, "did you mean 'tpe'"),
        ({"pruner": "ahsa"}, BOTH, LOSS, "did you mean 'asha'"),
        (
            {"pruner": "asha"},
            BOTH,
            [*LOSS, Objective("fid", False)],
            "judges by one objective, not by val/squared_error,fid",
        ),
        ({"n_trials": 0}, BOTH, LOSS, "n_trials=0"),
        ({}, BOTH, [], "needs what it is to look for"),
        ({}, [], LOSS, "needs a range to search"),
        ({"sampler": "grid"}, BOTH, LOSS, "scales.l1 has no end of values"),
        ({"sampler": "cmaes"}, [Axis("seed", choices=("1", "2"))], LOSS, "take tpe"),
    ],
)
def test_what_a_search_cannot_be_is_refused(
    changes: dict[str, Any], along: list[Axis], wanted: list[Objective], said: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as told:
        Search(tmp_path, "no", along, wanted, settings(**changes), steps=1)
    assert said in str(told.value) and "\n" not in str(told.value)
    assert list(tmp_path.iterdir()) == []


def test_ranges_in_hydras_syntax() -> None:
    with session() as hydra:
        found = axes(
            hydra.parse(
                [
                    "steps=5",
                    "scales.l1=tag(log,interval(10,1000))",
                    "model.latent=int(interval(2,8))",
                    "optimizer=adam,rmsprop",
                    "batch_size=range(4,16,4)",
                    "seed=choice(1,2)",
                ]
            )
        )
    assert found == [
        Axis("optimizer", choices=("adam", "rmsprop")),
        Axis("batch_size", choices=("4", "8", "12")),
        Axis("seed", choices=("1", "2")),
        Axis("scales.l1", 10.0, 1000.0, log=True),
        Axis("model.latent", 2, 8),
    ]
    assert [axis.size() for axis in found] == [2, 3, 2, None, 7]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("scales.l1=interval(1000,10)", r"its ends are swapped; interval\(10,1000\)"),
        ("scales.l1=tag(log,interval(0,10))", "begins above 0"),
        ("batch_size=range(600,100)", "holds no value"),
    ],
)
def test_ranges_that_are_none_are_refused(line: str, said: str) -> None:
    with session() as hydra, pytest.raises(UserError, match=said):
        axes(hydra.parse([line]))


@pytest.mark.parametrize(
    ("names", "said"), [(["least:fid"], "minimize:fid or maximize:fid"), (["fid", "fid"], "twice")]
)
def test_objectives_that_make_no_sense_are_refused(names: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        objectives(names)


def test_a_resumed_search_draws_on_and_not_once_more(tmp_path: Path) -> None:
    seen = []
    for _ in range(3):
        search = Search(tmp_path, "on", BOTH, LOSS, settings(sampler="random"), steps=1)
        for _ in range(4):
            number, point = search.ask({})
            seen.append(point["optimizer.lr"])
            search.tell(number, [1.0])
    assert len(set(seen)) == 12


def test_an_objective_that_nobody_logs_is_refused_with_what_would_log_it(compose: Any) -> None:
    from gansweep.sweep.objective import refuse_unlogged
    from gansweep.train import check

    def said(name: str, *overrides: str) -> str:
        one = compose("model=vae", *overrides)
        with pytest.raises(UserError) as told:
            refuse_unlogged(objectives([name]), one, check(one))
        return str(told.value)

    one = compose("model=vae", "val_every=5")
    refuse_unlogged(objectives(["val/squared_error", "fit/l1"]), one, check(one))
    assert "did you mean 'val/squared_error'" in said("val/squared_eror", "val_every=5")
    assert "val_every=N" in said("val/squared_error", "val_every=0")
    assert "did you mean 'fit/l1'" in said("fit/l2", "val_every=0")
    assert "eval.every_steps=N" in said("inception_score")
    assert "no score that eval.metrics and judge give; choices: inception_score" in said("fid")


@pytest.mark.parametrize(
    ("url", "kind", "said"),
    [
        ("nonsense://x", UserError, "not the URL of a database"),
        ("just words", UserError, "not the URL of a database"),
        ("sqlite:///no/such/folder/study.db", UserError, "there is no folder no/such/folder"),
        ("mysql+nodriver://u:secret@h/x", UserError, "not the URL of a database"),
        ("postgresql+psycopg2://u:secret@127.0.0.1:9/x?connect_timeout=2", Missing, "hydra.sweeper.storage=postgresql"),
    ],
)
def test_a_storage_that_cannot_be_had_is_refused(url: str, kind: type[UserError], said: str) -> None:
    with pytest.raises(kind, match=said) as told:
        refuse_storage(url)
    assert "secret" not in str(told.value) and "\n" not in str(told.value) and told.type is kind


def test_a_sqlite_storage_is_not_made_by_the_look_at_it(tmp_path: Path) -> None:
    refuse_storage(None)
    refuse_storage(f"sqlite:///{tmp_path}/study.db")
    assert list(tmp_path.iterdir()) == []
    search = Search(tmp_path, "rdb", BOTH, LOSS, settings(storage=f"sqlite:///{tmp_path}/study.db"), steps=1)
    number, point = search.ask({})
    search.tell(number, [bowl(point)])
    again = Search(tmp_path, "rdb", BOTH, LOSS, settings(storage=f"sqlite:///{tmp_path}/study.db"), steps=1)
    assert again.best() == [0] and again.told(0)
