"""runs, show and diff on run directories made by hand: no run is trained for them."""

from __future__ import annotations

import datetime
import json
import re
from pathlib import Path
from typing import Any

import pytest

from gansweep.cli import main
from gansweep.config.compose import session
from gansweep.look import age, causes, diff_facts, differences, facts, losses_of, show_facts
from gansweep.runs import rundir
from gansweep.runs.record import DatasetRecord, RunRecord
from gansweep.runs.spool import Spool
from gansweep.runs.store import open_run
from gansweep.scoring.card import cards_of, retract
from score_cards import CARD_MEASURE, add_card


def make_run(cwd: Path, number: int, overrides: list[str], fingerprint: str = "f" * 64, torch: str = "2.13") -> Path:
    import yaml  # type: ignore[import-untyped]

    with session() as hydra:
        job = hydra.jobs([*overrides, "tracker=none"], multirun=False)[0]
    run_dir = cwd / "outputs" / "2026-11-22" / f"12-00-0{number}"
    run_id = str(number) * 32
    dataset = DatasetRecord("emoji", fingerprint, "emoji", 100)
    tags = {"version.torch": torch, "gansweep.run_id": run_id}
    record = RunRecord(
        run_id,
        job.name,
        run_dir,
        tags=tags,
        dataset=dataset,
        overrides=overrides,
        steps=10,
        commit="c" * 40,
        dirty=False,
    )
    rundir.create(run_dir, record)
    (run_dir / "config.yaml").write_text(yaml.safe_dump(job.settings.model_dump(mode="json")))
    spool = Spool(run_dir)
    plain = record.to_plain()
    spool.append("start", record=plain)
    spool.scalars({"enc/l1": 0.5, "enc/l1_weighted": 50.0, "enc/total": 51.0, "grad_norm/enc": 2.0}, 5)
    spool.scalars({"enc/l1": 0.25 / number, "enc/kld": 3.0, "val/enc/l1": 0.75}, 10)
    spool.close()
    rundir.update(run_dir, status="FINISHED", last_step=10)
    score(run_dir, 4.5, 10)
    return run_dir


def score(run_dir: Path, value: float, step: int, key: str = "is_lite0", **parts: str) -> dict[str, Any]:
    """Append a card; return it as it is to be told."""
    interval = (value - 0.25, value + 0.25)
    return add_card(run_dir, key, value, step, interval, device=parts.pop("device", "cpu"), **parts)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")  # tables fold to the terminal's width
    return tmp_path


def test_the_facts_of_a_run(here: Path) -> None:
    run_dir = make_run(here, 1, ["scales.l1=600", "seed=1"])
    told = facts(open_run(run_dir))
    assert told["losses"] == {"enc/l1": 0.25, "enc/kld": 3.0} == losses_of(run_dir)
    (card,) = told["scores"]["is_lite0"]
    assert (card["value"], card["std"], card["interval"], card["step"]) == (4.5, 0.2, [4.25, 4.75], 10)
    assert card["measure"] == CARD_MEASURE and card["subject"]["run"] == "1" * 32 and card["retracted"] is None
    assert told["held_out"] == {"val/enc/l1": 0.75}
    assert (told["step"], told["steps"], told["status"]) == (10, 10, "FINISHED")
    changed = show_facts("1111")["changed"]
    assert changed == {"seed": "1", "scales.l1": "600", "scales.l1_dec": "600", "tracker.kind": "none"} | {
        key: changed[key] for key in changed if key.startswith("tracker.")
    }


def test_a_run_whose_process_is_gone_is_told_once(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = make_run(here, 1, [])
    rundir.update(run_dir, status="RUNNING", pid_start=1.0)
    assert main(["runs"]) == 0
    told = capsys.readouterr()
    assert "KILLED" in told.out and told.err.startswith("gansweep: run 11111111 ")
    assert main(["runs"]) == 0
    assert capsys.readouterr().err == ""


def test_runs_newest_first(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in (1, 2):
        run_dir = make_run(here, number, [f"seed={number}"])
        rundir.update(run_dir, created=f"2026-11-22T12:00:0{number}.000+00:00")
    assert main(["runs", "--json"]) == 0
    assert [told["name"] for told in json.loads(capsys.readouterr().out)] == ["vaegan seed=2", "vaegan seed=1"]
    assert main(["runs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (
        "22222222" in lines[1]
        and "enc/l1 0.125" in lines[1]
        and "is_lite0 4.50 ±0.20 (n=500, seed 0, step 10)" in lines[1]
    )
    (legend,) = [line for line in lines if line.startswith("is_lite0: judge lite0 (weights aaaaaaaa); ")]
    assert "10 splits; eval mode" in legend


def test_diff_tells_what_was_changed_from_what_follows(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(here, 1, ["scales.l1=600"])
    make_run(here, 2, ["scales.l1=100.5"])
    told = diff_facts("1111", "2222")
    assert told["config"] == {"scales.l1": ["600", "100.5"], "scales.l1_dec": ["600", "100.5"]}
    assert told["changed"] == ["scales.l1"]
    assert told["circumstances"] == {}
    assert main(["diff", "1111", "2222"]) == 0
    assert "at once" not in capsys.readouterr().out


def test_diff_warns_of_two_changes_and_of_other_circumstances(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(here, 1, ["scales.l1=600", "log_every=5"])
    make_run(here, 2, ["scales.l1=1.5", "optimizer=sgd", "log_every=7"], fingerprint="e" * 64, torch="2.12")
    told = diff_facts("1111", "2222")
    assert told["changed"] == ["scales.l1", "optimizer"]
    assert told["circumstances"]["version.torch"] == ["2.13", "2.12"]
    assert told["circumstances"]["data fingerprint"] == ["f" * 16, "e" * 16]
    assert main(["diff", "1111", "2222"]) == 0
    out = capsys.readouterr().out
    assert "2 things were changed at once: scales.l1, optimizer" in out
    assert "not the same circumstances: data fingerprint, version.torch" in out
    assert "0.125" in out and "4.5" in out


def test_long_names_leave_room_for_the_keys(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in (1, 2):
        run_dir = make_run(here, number, [f"seed={number}"])
        rundir.update(run_dir, name="a very long name " * 12)
    assert main(["diff", "1111", "2222"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines if line.startswith("enc/l1")] == [["enc/l1", "0.25", "0.125"]]


def test_show_prints_what_it_knows(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(here, 1, ["scales.l1=600", "note=why not, really"])
    assert main(["show", "outputs/2026-11-22/12-00-01"]) == 0
    out = capsys.readouterr().out
    for text in (
        "1" * 32,
        "FINISHED",
        "scales.l1=600",
        "enc/l1 0.25",
        "is_lite0 4.5",
        "emoji: 100 pictures",
        "cccccccccccc",
    ):
        assert text in out
    assert main(["show", "1111", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["id"] == "1" * 32


def test_every_score_is_told_with_its_measure_by_rising_step(here: Path) -> None:
    run_dir = make_run(here, 1, [])
    late = score(run_dir, 5.0, 30)
    early = score(run_dir, 3.0, 20, n="5000")
    other = score(run_dir, 2.0, 30, key="is_lite0.v2", seed="7")
    again = score(run_dir, 5.5, 30, n="5000")
    told = facts(open_run(run_dir), brief=True)["scores"]
    assert told["is_lite0"][1:] == [early, late, again] and told["is_lite0"][0]["step"] == 10
    assert told["is_lite0.v2"] == [other]
    assert list(told) == ["is_lite0", "is_lite0.v2"]
    json.dumps(told, allow_nan=False)


def test_metrics_of_no_card_are_no_scores(here: Path) -> None:
    run_dir = make_run(here, 1, [])
    spool = Spool(run_dir)
    spool.scalars({"is_two": 1.0, "is_two_std": 0.1}, 20)
    spool.append("tags", tags={"gansweep.is_two.n": "50"})
    spool.close()
    assert set(facts(open_run(run_dir))["scores"]) == {"is_lite0"}


def test_runs_shows_the_score_of_the_newest_step(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = make_run(here, 1, [])
    score(run_dir, 4.25, 2000)
    score(run_dir, 1.5, 1000, n="5000")
    assert main(["runs"]) == 0
    line = capsys.readouterr().out.splitlines()[1]
    assert "is_lite0 4.25 ±0.20 (n=500, seed 0, step 2000)" in line and "1.50" not in line
    assert main(["runs", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    found = [(s["value"], s["step"], s["measure"]["n"]) for s in told["scores"]["is_lite0"]]
    assert found == [(4.5, 10, "500"), (1.5, 1000, "5000"), (4.25, 2000, "500")]


def test_runs_marks_scores_that_were_measured_differently(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = make_run(here, 1, ["seed=1"]), make_run(here, 2, ["seed=2"])
    score(second, 4.75, 20, n="5000")
    for key in ("fid_lite0", "kid_lite0", "precision_lite0", "recall_lite0"):
        score(first, 1.0, 20, key=key)
    assert main(["runs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "is_lite0 4.75 ±0.20 [1] (n=5000, seed 0, step 20)" in lines[1]
    assert "is_lite0 4.50 ±0.20 [2] (n=500, seed 0, step 10)" in lines[2]
    text = " ".join(" ".join(lines[2:4]).split())
    assert "fid_lite0 1.00 ±0.20, kid_lite0 1.00 ±0.20 (n=500, seed 0, step 20), … 2 more" in text
    lines = [line for line in lines if line.partition(" ")[0].endswith("_lite0") or "_lite0:" in line]
    lines = ["", "", "", *lines]
    assert [line.partition(":")[0] for line in lines[3:]] == ["is_lite0 [1]", "is_lite0 [2]", "fid_lite0", "kid_lite0"]
    assert "; N 5000; " in lines[3] and "; N 500; " in lines[4]


def test_show_tells_scores_measured_alike_together(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = make_run(here, 1, [])
    ids = [card.id for card in cards_of(run_dir)] + [
        score(run_dir, 4.25, 20, seed="3")["id"],
        score(run_dir, 1.5, 30, n="5000", device="cuda:0")["id"],
    ]
    assert main(["show", "1111"]) == 0
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    start = next(i for i, line in enumerate(lines) if line.startswith("scores"))
    told = [line.removeprefix("scores").strip() for line in lines[start : start + 5]]
    alike = (
        "judge lite0 (weights aaaaaaaa); protocol torch-fidelity; N {}; 10 splits; eval mode; EMA weights; resize to 9"
    )
    assert told == [
        f"is_lite0 4.50 [4.25, 4.75] ±0.20 (n=500, seed 0, step 10), step-00000010.pt, cpu, card {ids[0]}",
        f"is_lite0 4.25 [4.00, 4.50] ±0.20 (n=500, seed 3, step 20), step-00000020.pt, cpu, card {ids[1]}",
        alike.format(500),
        f"is_lite0 1.50 [1.25, 1.75] ±0.20 (n=5000, seed 0, step 30), step-00000030.pt, cuda:0, card {ids[2]}",
        alike.format(5000),
    ]


def test_a_retracted_score_is_shown_as_such(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = make_run(here, 1, ["seed=1"]), make_run(here, 2, ["seed=2"])
    retract(first, cards_of(first)[0], "in training mode")
    for words in (["runs"], ["show", "1111"]):
        assert main(words) == 0
        assert "retracted: in training mode" in capsys.readouterr().out
    assert main(["diff", "1111", "2222"]) == 0
    told = capsys.readouterr().out
    assert told.endswith("the two is_lite0 are not compared: that of 11111111 is retracted: in training mode\n")
    assert "(n=500, seed 0, step 10) retracted" in told
    score(first, 4.25, 5)  # an older one that counts goes before it
    assert diff_facts("1111", "2222")["scores"]["is_lite0"]["comparable"]
    assert second.is_dir()


def test_diff_says_that_scores_are_not_comparable(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = make_run(here, 1, ["seed=1"]), make_run(here, 2, ["seed=2"])
    one = score(first, 4.25, 2000)
    other = score(second, 4.75, 3000, n="5000", weights_sha256="b" * 64, device="cuda:0")
    score(second, 1.0, 20)
    told = diff_facts("1111", "2222")
    differs = {"weights_sha256": ["a" * 64, "b" * 64], "n": ["500", "5000"], "device": ["cpu", "cuda:0"]}
    assert told["scores"] == {"is_lite0": {"pair": [one, other], "differs": differs, "comparable": False, "tie": None}}
    assert told["circumstances"] == {f"is_lite0.{part}": pair for part, pair in differs.items()}
    assert main(["diff", "1111", "2222"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (row,) = [line for line in lines if line.startswith("is_lite0 ")]
    assert re.split(r" {2,}", row.strip())[1:] == [
        "4.25 [4.00, 4.50] ±0.20 (n=500, seed 0, step 2000)",
        "4.75 [4.50, 5.00] ±0.20 (n=5000, seed 0, step 3000)",
    ]
    assert "not the same circumstances: is_lite0.weights_sha256, is_lite0.n, is_lite0.device" in lines
    assert [line.partition(";")[0] for line in lines[-3:-1]] == [
        "is_lite0: judge lite0 (weights aaaaaaaa)",
        "is_lite0: judge lite0 (weights bbbbbbbb)",
    ]
    assert lines[-1] == "the two is_lite0 are not comparable: weights aaaaaaaa against bbbbbbbb, n 500 against 5000"


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (4.5, "the two is_lite0 are a tie: they differ by 0.25, no more than their joint 95 % noise of 0.3536"),
        (5.0, "is_lite0: 22222222 is better by 0.75, more than their joint 95 % noise of 0.3536"),
        (4.25, "the two is_lite0 are equal"),
    ],
)
def test_diff_of_scores_measured_alike(
    value: float, verdict: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = make_run(here, 1, ["seed=1"]), make_run(here, 2, ["seed=2"])
    one, other = score(first, 4.25, 20), score(second, value, 30, device="cuda:0")
    score(first, 9.0, 20, n="5000")  # the newer of its step, but nothing stands against it
    told = diff_facts("1111", "2222")["scores"]["is_lite0"]
    assert (told["pair"], told["differs"]) == ([one, other], {"device": ["cpu", "cuda:0"]})
    assert (told["comparable"], told["tie"]) == (True, value < 5.0)
    assert main(["diff", "1111", "2222"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == verdict and lines[-2].startswith("is_lite0: judge lite0 (weights aaaaaaaa); ")


def test_another_seed_keeps_scores_comparable_and_is_told(here: Path) -> None:
    first, second = make_run(here, 1, ["seed=1"]), make_run(here, 2, ["seed=2"])
    score(first, 4.0, 20)
    score(second, 4.0, 20, seed="5")
    told = diff_facts("1111", "2222")["scores"]["is_lite0"]
    assert told["comparable"] and told["differs"] == {"seed": ["0", "5"]}
    score(second, 4.1, 20)
    assert diff_facts("1111", "2222")["scores"]["is_lite0"]["differs"] == {}, "of several, one of the same seed"


@pytest.mark.parametrize(
    ("first", "second", "differing", "changed"),
    [
        (["a.x=1"], ["a.x=2"], ["a.x", "b.x"], ["a.x"]),
        (["a.x=1"], [], ["a.x"], ["a.x"]),
        (["model=vae"], ["model=vaegan"], ["model.latent", "scales.l1"], ["model"]),
        ([], [], ["a.x", "b.y"], ["a.x", "b.y"]),
        (["+s.x=1", "seed=1"], ["s.x=1", "seed=1"], [], []),
    ],
)
def test_causes(first: list[str], second: list[str], differing: list[str], changed: list[str]) -> None:
    assert causes(first, second, differing) == changed


def test_differences_need_two_sides() -> None:
    assert differences({}, {"a": 1}) == {}
    assert differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1.0, "d": 2}}) == {"a.c": ("2", None), "a.d": (None, "2")}


@pytest.mark.parametrize(("seconds", "text"), [(5, "5 s"), (150, "2 min"), (3 * 3600, "3 h"), (4 * 86400, "4 d")])
def test_age(seconds: float, text: str) -> None:
    now = datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC)
    created: Any = (now - datetime.timedelta(seconds=seconds)).isoformat()
    assert age(created, now) == text
    assert age(None) == "?"
