"""What a search has found: metrics read from spools as they grow, the best points, what mattered; no training."""

from __future__ import annotations

import json
import random
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest

from gansweep.runs import spool
from gansweep.sweep import ledger, outcome
from gansweep.sweep.logged import Follower, held_out, latest, series
from gansweep.sweep.outcome import Objective, Weights, front
from gansweep.sweep.search import Search
from gansweep.sweep.seeking import Seeker
from gansweep.sweep.space import Axis

NAME = "val/squared_error"


def line(step: int, value: float, key: str = NAME) -> str:
    return json.dumps({"kind": "scalar", "key": key, "value": value, "step": step, "t": 1}) + "\n"


def log(run_dir: Path, *texts: str) -> None:
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / spool.SPOOL_FILE).open("a") as file:
        file.write("".join(texts))


def test_only_whole_new_lines_are_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = []
    parse = spool._parse
    monkeypatch.setattr(spool, "_parse", lambda text: (parsed.append(text), parse(text))[1])
    follower = Follower(tmp_path, NAME)
    assert follower.read() == []  # no spool yet
    log(tmp_path, line(1, 5.0), line(1, 1.0, "fit/l1"), line(2, 4.0))
    assert follower.read() == [(1, 5.0), (2, 4.0)] and len(parsed) == 3
    whole = line(3, 3.0)
    log(tmp_path, whole[:20])
    assert follower.read() == [] and len(parsed) == 3  # half a line is none yet
    log(tmp_path, whole[20:], "no JSON\n", line(4, 2.0), line(4, 2.5))
    assert follower.read() == [(3, 3.0), (4, 2.5)] and len(parsed) == 7
    assert follower.read() == [] and len(parsed) == 7
    (tmp_path / spool.SPOOL_FILE).write_text(line(9, 1.0))  # another file than the one that was read
    assert follower.read() == [(9, 1.0)]
    assert series(tmp_path, NAME) == [(9, 1.0)]


def test_the_last_value_is_that_of_the_highest_step_however_long_the_spool(tmp_path: Path) -> None:
    draw = random.Random(0)
    for step in range(1, 400):
        log(tmp_path, line(step, draw.random(), "fit/l1"))
        if step % 50 == 0:
            log(tmp_path, line(step, draw.random()), line(step, draw.random(), "val/fit/l1"))
    log(tmp_path, line(300, 2.0, "fid"), line(200, 1.0, "fid"), line(400, 9.0, "fit/l1")[:-1])
    names = ["fit/l1", NAME, "val/fit/l1", "fid", "nobody/logs"]
    assert latest(tmp_path, names) == {name: series(tmp_path, name)[-1][1] for name in names[:4]}
    assert latest(tmp_path, ["fid"]) == {"fid": 2.0}  # scored once more at an earlier step
    assert held_out(tmp_path) == latest(tmp_path, [NAME, "val/fit/l1"])
    assert list(held_out(tmp_path)) == [NAME, "val/fit/l1"]
    assert latest(tmp_path / "none", names) == held_out(tmp_path / "none") == {}
    log(tmp_path / "empty", "")
    assert latest(tmp_path / "empty", names) == {}


@pytest.mark.parametrize("ways", [(False, True), (True, True), (False, False, True)])
def test_the_front_is_optunas(ways: tuple[bool, ...]) -> None:
    wanted = [Objective(f"o{n}", way) for n, way in enumerate(ways)]
    study = optuna.create_study(directions=["maximize" if way else "minimize" for way in ways])
    draw, values = random.Random(1), {}
    for job in range(60):
        values[job] = [float(draw.randint(0, 12)) for _ in ways]  # whole numbers: some are equal
        study.tell(study.ask(), values[job])
    assert front(values, wanted) == sorted(trial.number for trial in study.best_trials)


def test_of_one_objective_the_first_of_the_best_is_the_best() -> None:
    assert front({0: [2.0], 1: [1.0], 2: [1.0]}, [Objective(NAME, False)]) == [1]
    assert front({0: [2.0], 1: [1.0], 2: [1.0]}, [Objective(NAME, True)]) == [0]
    assert front({}, [Objective(NAME, True)]) == []


ALONG = [Axis("model", choices=("vae", "vaegan")), Axis("scales.l1", 1.0, 1000.0, log=True), Axis("model.latent", 2, 8)]


def searched(directory: Path, values: dict[int, float], wanted: str = NAME) -> ledger.Sweep:
    """Return a search's sweep whose jobs finished with these values; job 0 of five was pruned, the last runs."""
    points = [
        SimpleNamespace(number=n, overrides=("model=vae", f"scales.l1={10.0 * n}"), name=f"{n}")
        for n in range(len(values) + 2)
    ]
    ledger.begin(directory, "20261122-120000-abcd", [], points, {})
    outcome.save(directory, [Objective(wanted, False)], ALONG)
    log(directory / "0", line(5, 0.01))
    ledger.state(directory, 0, "PRUNED", reason=f"{NAME} 0.01 at step 5: given up by SuccessiveHalvingPruner")
    for job, value in values.items():
        log(directory / str(job), line(1, 99.0), line(10, value))
        ledger.state(directory, job, "FINISHED")
    log(directory / str(len(values) + 1), line(1, 0.02))
    ledger.state(directory, len(values) + 1, "RUNNING")
    return ledger.load(directory)


def test_the_best_is_the_best_that_finished(tmp_path: Path) -> None:
    sweep = searched(tmp_path, {1: 3.0, 2: 1.0, 3: 2.0})
    found = outcome.outcome(sweep)
    assert found is not None and found.best == (2,)
    assert found.values == {0: {NAME: 0.01}, 1: {NAME: 3.0}, 2: {NAME: 1.0}, 3: {NAME: 2.0}, 4: {NAME: 0.02}}
    assert found.along == tuple(ALONG)
    assert outcome.in_lines(found, sweep) == [
        f"best: job 2: {NAME} 1: model=vae scales.l1=20.0",
        "what mattered is told from 10 finished points on",
    ]
    outcome.save(tmp_path, found.wanted, found.along, Weights({NAME: {"scales.l1": 0.75, "model": 0.25}}, 12))
    outcome.save(tmp_path, found.wanted, found.along)  # a leader who comes later leaves them there
    told = outcome.in_lines(outcome.outcome(sweep) or found, sweep)
    assert told[1] == f"what mattered for {NAME}: scales.l1 75%, model 25% (PED-ANOVA, 12 finished points)"


def test_a_search_without_a_value_says_so_and_a_sweep_is_no_search(tmp_path: Path) -> None:
    sweep = searched(tmp_path, {})
    assert outcome.in_lines(outcome.outcome(sweep), sweep) == ["no point gave a value"]  # type: ignore[arg-type]
    (tmp_path / outcome.SEARCH_FILE).write_text("{")
    assert outcome.outcome(sweep) is None
    (tmp_path / outcome.SEARCH_FILE).unlink()
    assert outcome.outcome(sweep) is None


def settings(**changes: object) -> dict[str, object]:
    usual = {"n_trials": 40, "sampler": "random", "seed": 0, "pruner": "none", "min_steps": 1, "reduction_factor": 3}
    return usual | changes


def test_what_matters_is_what_moves_the_objective(tmp_path: Path) -> None:
    along = [Axis("kind", choices=("a", "b")), Axis("optimizer.lr", 0.0, 1.0), Axis("scales.l1", 1.0, 10.0)]
    wanted = [Objective("up", True), Objective("down", False)]
    search = Search(tmp_path, "two", along, wanted, settings(), steps=1)
    for turn in range(60):
        if turn == 9:
            assert search.importance() == Weights()  # nine points say nothing
        number, point = search.ask({})
        search.tell(number, [float(point["optimizer.lr"]), -float(point["scales.l1"])])
    found = search.importance()
    assert found.counted == 60 and list(found.by_objective) == ["up", "down"]
    for name, key in (("up", "optimizer.lr"), ("down", "scales.l1")):
        shares = found.by_objective[name]
        assert next(iter(shares)) == key and shares[key] > 0.8
        assert sum(shares.values()) == pytest.approx(1) and set(shares) == {axis.key for axis in along}


def test_points_that_are_all_alike_have_no_importance_and_no_fault(tmp_path: Path) -> None:
    search = Search(tmp_path, "flat", [Axis("kind", choices=("a",))], [Objective("o", False)], settings(), steps=1)
    for _ in range(12):
        number, _ = search.ask({})
        search.tell(number, [1.0])
    assert search.importance().by_objective["o"] == {"kind": 1.0}


def test_a_search_reports_each_hundredth_once_however_it_is_read(tmp_path: Path) -> None:
    """Two runs that log alike must be judged at the same steps, or a median of some steps would be of nobody."""
    reported: dict[int, list[int]] = {}
    seeker = object.__new__(Seeker)
    seeker.search = SimpleNamespace(  # type: ignore[assignment]
        wanted=[Objective(NAME, False)], report=lambda job, step, value: reported.setdefault(job, []).append(step)
    )
    seeker.sweeper, seeker._followed, seeker._reported, seeker._steps = {"pruner": "asha"}, {}, {}, 1000
    rows = [ledger.Row(n, [], str(n), tmp_path, state="RUNNING") for n in range(2)]
    sweep = ledger.Sweep("x", tmp_path, [], rows)
    for step in range(1, 101):
        for row in rows:
            log(row.dir, line(step, 1.0))
        if step % 7 == 0:
            seeker.given_up(ledger.Sweep("x", tmp_path, [], rows[:1]))  # one of them is looked at more often
    seeker.given_up(sweep)
    assert reported[0] == reported[1] == [1, *range(10, 101, 10)]
