"""Points over their seeds: intervals, comparisons and ties, against closed forms and against SciPy."""

from __future__ import annotations

import csv
import io
import json
import math
import random
from pathlib import Path
from types import SimpleNamespace

import pytest
from scipy import stats

from gansweep.runs.spool import SPOOL_FILE
from gansweep.scoring.card import CARDS_FILE
from gansweep.sweep import ledger, report, rivals, written
from gansweep.sweep.seeds import Point, points
from gansweep.sweep.student import holm, mean_and_half, two_sided, welch


def test_students_t_in_closed_form() -> None:
    for t in (0.0, 0.3, 1.0, 4.0, 50.0):
        assert two_sided(t, 1) == pytest.approx(1 - 2 / math.pi * math.atan(t), abs=1e-14)  # Cauchy's
        assert two_sided(-t, 2) == pytest.approx(1 - t / math.sqrt(2 + t * t), abs=1e-14)


def test_students_t_and_welchs_test_are_scipys() -> None:
    draw = random.Random(0)
    for _ in range(300):
        t, freedom = 10 ** draw.uniform(-3, 2), 10 ** draw.uniform(0, 3)
        assert two_sided(t, freedom) == pytest.approx(2 * stats.t.sf(t, freedom), rel=1e-9, abs=1e-300)
        one = [draw.gauss(0, 1) for _ in range(draw.randint(2, 6))]
        other = [draw.gauss(1, 3) for _ in range(draw.randint(2, 6))]
        assert welch(one, other) == pytest.approx(stats.ttest_ind(one, other, equal_var=False).pvalue, rel=1e-9)
        mean, half = mean_and_half(one)
        low, high = stats.t.interval(0.95, len(one) - 1, loc=mean, scale=stats.sem(one))
        assert (mean - half, mean + half) == pytest.approx((low, high), rel=1e-9)


def test_repeats_without_any_spread_differ_or_are_one() -> None:
    assert (welch([1.0, 1.0], [1.0, 1.0]), welch([1.0, 1.0], [2.0, 2.0])) == (1.0, 0.0)
    assert 0 < welch([1.0, 1.0], [1.5, 2.5]) < 1
    assert mean_and_half([3.0, 3.0, 3.0]) == (3.0, 0.0)
    assert mean_and_half([3.0]) == (3.0, math.inf)


def test_holms_steps() -> None:
    # 0.010 <= 0.05 / 4, 0.016 <= 0.05 / 3, 0.026 > 0.05 / 2: and behind it none, though 0.04 <= 0.05.
    assert holm([0.04, 0.01, 0.026, 0.016], 0.05) == [False, True, False, True]
    assert holm([0.013, 0.02], 0.05) == [True, True] and holm([0.026, 0.03], 0.05) == [False, False]
    assert holm([], 0.05) == []


def point(number: int, seeds: int = 3, **values: tuple[float, ...]) -> Point:
    return Point((f"scales.l1={number}",), tuple(range(seeds)), seeds, dict(values), f"scales.l1={number}")


def test_a_difference_inside_the_noise_is_a_tie() -> None:
    told = [point(1, fid=(1.0, 1.1, 0.9)), point(2, fid=(1.2, 0.8, 1.1)), point(3, fid=(9.0, 9.1, 8.9))]
    found = rivals.rivals([*told, point(4, fid=(0.5,)), point(5)], "fid")
    assert (found.pairs, found.best) == (3, 3)  # one seed has a mean, and no test
    assert found.ties == {0: (1,), 1: (0,), 2: ()}
    cells = [rivals.cell(told[place], "fid", found, place) for place in range(3)]
    assert cells == ["1 ± 0.25 tie with #2", "1.033 ± 0.52 tie with #1", "9 ± 0.25"]
    assert rivals.cell(point(1, fid=(600.0, 800.0)), "fid", None, 0) == "700 ± 1300"
    assert rivals.cell(point(4, fid=(0.5,)), "fid", found, 3) == "0.5 (one seed) best"
    assert rivals.cell(point(5), "fid", found, 4) == "–"
    assert "Welch's t at 5%, Holm's correction for the 3 pairs" in rivals.rule([found])
    assert rivals.rule([rivals.rivals(told[:1], "fid")]) == ""


def test_more_comparisons_ask_for_more() -> None:
    """Two points that differ alone are a tie among many: one of all those pairs would differ by chance."""
    pair = [point(0, fid=(1.0, 1.1, 1.2)), point(1, fid=(1.4, 1.5, 1.6))]
    assert rivals.rivals(pair, "fid").ties == {0: (), 1: ()}
    many = [*pair, *(point(n, fid=(1.2, 1.3, 1.4)) for n in range(2, 12))]
    found = rivals.rivals(many, "fid")
    assert found.pairs == 66 and 1 in found.ties[0]
    assert rivals.in_words(found, 0) == "best, tie with #2, #3, #4, #5 and 7 more"


def test_the_chance_of_any_false_difference_is_what_is_said() -> None:
    draw = random.Random(1)
    told = 0
    for _ in range(300):
        same = [point(n, fid=tuple(draw.gauss(0, 1) for _ in range(3))) for n in range(4)]
        told += any(len(ties) < 3 for ties in rivals.rivals(same, "fid").ties.values())
    assert told <= 0.05 * 300 + 2 * math.sqrt(300 * 0.05 * 0.95)


def test_which_way_is_better_is_known_of_scores_and_of_the_squared_error() -> None:
    told = [point(n, **{"is_j": (n, n + 0.1), "fid": (n, n + 0.1), "enc/l1": (n, n + 0.1)}) for n in (1.0, 2.0)]  # type: ignore[arg-type]
    assert [rivals.rivals(told, name).best for name in ("is_j", "fid", "enc/l1")] == [1, 0, None]
    assert rivals.smaller_is_better("val/squared_error") and rivals.smaller_is_better("val/dis/d_real") is None


def card(run_dir: Path, value: float, step: int, number: str, key: str = "fid", judge: str = "a") -> None:
    line = {
        "kind": "card",
        "id": f"{judge}{number}-{step}-{run_dir.name}",
        "key": key,
        "value": value,
        "values": {},
        "context": {},
    }
    line |= {"measure": {"judge": judge, "seed": number}}
    line |= {"subject": {"run": run_dir.name, "checkpoint": "last.pt", "step": str(step)}}
    with (run_dir / CARDS_FILE).open("a") as file:
        file.write(json.dumps(line) + "\n")


def swept(directory: Path) -> ledger.Sweep:
    """Return a sweep of two points with three seeds; job n ended with the loss n, the last one failed."""
    plans = [
        SimpleNamespace(number=n, overrides=("model=vae", f"scales.l1={n // 3}", f"seed={n % 3}"), name=f"{n}")
        for n in range(6)
    ]
    ledger.begin(directory, "20261122-120000-abcd", ["model=vae", "seeds=3"], plans, {})
    for n in range(6):
        run_dir = directory / str(n)
        run_dir.mkdir()
        lines = [("fit/l1", 0.5, 1), ("val/squared_error", 9.0, 5), ("val/squared_error", 10.0 * (n % 3) + n // 3, 10)]
        spooled = [{"kind": "scalar", "key": key, "value": value, "step": step, "t": 1} for key, value, step in lines]
        (run_dir / SPOOL_FILE).write_text("".join(json.dumps(line) + "\n" for line in spooled))
        card(run_dir, 100.0, 5, "1")  # of an earlier step
        card(run_dir, 2.0 * n, 10, "1")
        card(run_dir, 2.0 * n + 1, 10, "2")
        card(run_dir, 7.0, 10, "1", judge="b") if n == 0 else None
        ledger.state(directory, n, "FAILED" if n == 5 else "FINISHED", losses={"fit/l1": float(n)})
    return ledger.load(directory)


def test_points_have_scores_and_held_out_losses_too(tmp_path: Path) -> None:
    first, second = points(swept(tmp_path))
    assert (first.own, second.own) == ("scales.l1=0", "scales.l1=1")
    assert list(first.values) == ["fid", "val/squared_error", "fit/l1"]
    assert first.values["fid"] == (0.5, 2.5, 4.5)  # the mean of what several seeds drew at the last step
    assert first.values["val/squared_error"] == (0.0, 10.0, 20.0)
    assert (second.finished, second.values["fit/l1"]) == (2, (3.0, 4.0))


def test_status_table_files_and_json_tell_of_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = swept(tmp_path)
    report.print_status(tmp_path)
    out = capsys.readouterr().out
    rows = [line for line in out.splitlines() if line.startswith("#")]
    assert (
        "over seeds: mean ± half of its 95 % interval" in out and "tie: the means differ by no more than noise" in out
    )
    assert rows[0].split()[:3] == ["#1", "scales.l1=0", "3"] and "10 ± 25 tie with #2" in rows[0]
    assert "2 of 3" in rows[1] and "6 ± 64 best, tie with #1" in rows[1]
    report.print_report(sweep)
    assert rows[1] in capsys.readouterr().out
    files, markdown = written.write(sweep)
    assert [path.name for path in files] == ["jobs.csv", "points.csv", "seeds.png"]
    assert "6 ± 64 best, tie with #1" in markdown
    lines = list(csv.DictReader(io.StringIO(files[1].read_text())))
    assert [(line["point"], line["metric"]) for line in lines] == [
        (name, metric) for metric in ("fid", "val/squared_error", "fit/l1") for name in ("#1", "#2")
    ]
    assert float(lines[2]["mean"]) == 10.0 and lines[2]["tie_with"] == "#2" and lines[3]["best"] == "best"
    told = report.facts(tmp_path)["points"]
    assert told[0]["metrics"]["val/squared_error"] == {
        "mean": 10.0,
        "half": pytest.approx(24.84, abs=0.01),
        "values": [0.0, 10.0, 20.0],
        "best": False,
        "ties": ["#2"],
    }
    json.dumps(told, allow_nan=False)


def test_status_compares_no_more_points_than_it_has_time_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    swept(tmp_path)
    monkeypatch.setattr(report, "LOOKED_AT_MOST", 1)
    monkeypatch.setattr(rivals, "welch", lambda *_: pytest.fail("compared"))
    report.print_status(tmp_path)
    assert "ties are told at the sweep's end, and in points.csv" in capsys.readouterr().out
