"""What `scores` and the table of eval-is print."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from gansweep.errors import UserError
from gansweep.runs.rundir import Run
from gansweep.scoring.card import CARDS_FILE, append, cards_of, retract
from gansweep.scoring.evaluations import Row, labels, print_evaluations
from gansweep.scoring.table import print_scores
from score_cards import CARD_MEASURE, bare_run, make_card

MEASURE = "judge lite0 (weights aaaaaaaa); protocol torch-fidelity; N 500; 10 splits; eval mode; EMA weights; "


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def make_run(number: int, name: str = "vaegan", sweep: str | None = None) -> Run:
    folder = Path("multirun/2026/s") / str(number) if sweep else Path("outputs/2026") / str(number)
    fields: dict[str, Any] = {"sweep": {"id": sweep, "job": str(number)}} if sweep else {}
    if sweep:
        folder.parent.mkdir(parents=True, exist_ok=True)
        (folder.parent / "sweep.jsonl").write_text("{}")
    return bare_run(folder.absolute(), f"{number}" * 32, name, **fields)


def score(run: Run, value: float, step: int = 10, half: float | None = 0.1, **parts: Any) -> str:
    interval = None if half is None else (value - half, value + half)
    card = make_card(value, interval, run.id, step, **parts)
    append(run.dir, card)
    return card.id


def printed(capsys: pytest.CaptureFixture[str], **how: Any) -> list[str]:
    assert print_scores(**how) == 0
    return capsys.readouterr().out.splitlines()


def cells(line: str) -> list[str]:
    return re.split(r" {2,}", line.strip())


def test_ranked_cards_of_all_runs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, third = make_run(1), make_run(2, "naïve 模型 $x_1$ [bold]"), make_run(3)
    ids = [score(first, 4.5), score(first, 5.0, 20), score(second, 4.45, 30, seed="7"), score(third, 3.0)]
    lines = printed(capsys)
    assert lines[:2] == ["is_lite0 (higher is better)", MEASURE + "seeds 0, 7"]
    assert cells(lines[2]) == ["rank", "score", "95 %", "± std", "run", "step", "seed", "card"]
    assert [cells(line) for line in lines[3:7]] == [
        ["1", "5.00", "[4.90, 5.10]", "0.20", "11111111 vaegan", "20", "0", ids[1], "*"],
        ["2=", "4.50", "[4.40, 4.60]", "0.20", "11111111 vaegan", "10", "0", ids[0]],
        ["2=", "4.45", "[4.35, 4.55]", "0.20", "22222222 naïve 模型 $x_1$ [bold]", "30", "7", ids[2]],
        ["4", "3.00", "[2.90, 3.10]", "0.20", "33333333 vaegan", "10", "0", ids[3]],
    ]
    assert lines[7:] == [
        "* the best of its run",
        "= a tie: no more apart than the joint noise of the two 95 % intervals",
    ]


def test_cards_that_are_not_comparable_stand_apart_with_what_differs(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (1, 2, 3):
        score(make_run(number), 4.0 + number)
    for number, value in ((4, 9.0), (5, 9.5)):
        score(make_run(number), value, n="50", weights_sha256="b" * 64)
    lines = printed(capsys)
    start = lines.index("not comparable with these: weights bbbbbbbb instead of aaaaaaaa, n 50 instead of 500")
    assert [cells(line)[0] for line in lines[3:start]] == ["1", "2", "3"]
    assert lines[start + 1].startswith("judge lite0 (weights bbbbbbbb); protocol torch-fidelity; N 50; ")
    assert [cells(line)[:2] for line in lines[start + 3 : start + 5]] == [["1", "9.50"], ["2", "9.00"]]


def test_retracted_cards_are_last_with_the_reason(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(1)
    gone, left = score(run, 9.0, 20, mode="train"), score(run, 4.0)
    retract(run.dir, cards_of(run.dir)[0], "the generator was in training mode")
    lines = printed(capsys)
    assert [cells(line)[0] for line in lines if left in line] == ["1"]
    start = lines.index("retracted, out of every ranking:")
    assert cells(lines[start + 2])[:3] == ["9.00", "[8.90, 9.10]", "0.20"]
    assert lines[start + 3].startswith(f"{gone} retracted: the generator was in training mode (judge lite0 (weights ")
    assert "; train mode; " in lines[start + 3] and lines[start + 3].endswith("; seed 0)")
    retract(run.dir, cards_of(run.dir)[1], "and this one")
    lines = printed(capsys)
    assert lines[:2] == ["is_lite0 (higher is better)", "retracted, out of every ranking:"]


def test_what_the_ranks_do_not_say_is_said(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, value in enumerate((5.0, 4.9, 4.8), 1):
        score(make_run(number), value)
    score(make_run(4), 3.0, half=None)
    lines = printed(capsys)
    assert lines[-2:] == [
        "cards of different ranks can be ties too: a rank counts those that are better by more than noise",
        "1 of 4 cards without an interval: ranked by value alone",
    ]
    assert [cells(line)[2] for line in lines if line.startswith("   4 ")] == ["–"]


def test_one_run_one_sweep_one_metric(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    single = make_run(1)
    jobs = [make_run(number, sweep="20261122-120000-abcd") for number in (2, 3)]
    for number, run in enumerate([single, *jobs]):
        score(run, 4.0 + number)
        score(run, 20.0, key="fid")

    def runs(**how: Any) -> set[str]:
        return {card["subject"]["run"][0] for told in plain(capsys, **how) for card in told["cards"]}

    assert runs() == {"1", "2", "3"} and runs(run="1111") == {"1"}
    for sweep in ("20261122-120000-abcd", "multirun/2026/s"):
        assert runs(sweep=sweep) == {"2", "3"}
    assert [told["key"] for told in plain(capsys)] == ["is_lite0", "fid"]
    assert [told["key"] for told in plain(capsys, key="fid")] == ["fid"]
    for how, message in (
        ({"key": "is_lite"}, "scores: no card under 'is_lite'; did you mean 'is_lite0'"),
        ({"run": "9999"}, "9999: no run with this id"),
        ({"sweep": "20261122-120000-abce"}, "did you mean '20261122-120000-abcd'"),
        ({"sweep": "1111"}, "scores: no sweep '1111'"),
        ({"run": "1111", "sweep": "multirun/2026/s"}, "a run or a sweep, not both"),
    ):
        with pytest.raises(UserError, match=re.escape(message)) as caught:
            print_scores(**how)
        assert "\n" not in str(caught.value)


def plain(capsys: pytest.CaptureFixture[str], **how: Any) -> Any:
    assert print_scores(as_json=True, **how) == 0

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(capsys.readouterr().out, parse_constant=refuse)


def test_json_tells_everything(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(1, "naïve")
    card = make_card(4.0, (3.9, 4.1), run.id)
    append(run.dir, dataclasses.replace(card, values={**card.values, "infinity_line": float("nan")}))
    score(run, 4.5, n="50")
    score(run, 4.4, 20)
    score(run, 5.0, 30)
    retract(run.dir, cards_of(run.dir)[-1], "why")
    (told,) = plain(capsys)
    assert list(told) == ["key", "lower_is_better", "measure", "cards", "not_comparable", "retracted"]
    assert (told["key"], told["lower_is_better"]) == ("is_lite0", False)
    assert told["measure"] == {part: text for part, text in CARD_MEASURE.items() if part != "seed"}
    assert [(row["rank"], row["ties"], row["best_of_run"], row["value"]) for row in told["cards"]] == [
        (1, 0, True, 4.4),
        (2, 0, False, 4.0),
    ]
    row = told["cards"][1]
    assert row == {
        "rank": 2,
        "ties": 0,
        "best_of_run": False,
        "run_name": "naïve",
        "id": card.id,
        "key": "is_lite0",
        "value": 4.0,
        "values": {"std": 0.2, "ci95_low": 3.9, "ci95_high": 4.1},
        "measure": CARD_MEASURE,
        "subject": dict(card.subject),
        "context": dict(card.context),
        "retracted": None,
        "step": 10,
        "std": 0.2,
        "interval": [3.9, 4.1],
    }
    (group,) = told["not_comparable"]
    assert group["differs"] == {"n": ["50", "500"]} and group["why"] == "n 50 instead of 500"
    assert [card["value"] for card in group["cards"]] == [4.5]
    assert [(card["value"], card["retracted"], card["run_name"]) for card in told["retracted"]] == [
        (5.0, "why", "naïve")
    ]


def test_without_a_card_one_line_says_how_to_get_one(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys) == [
        "no scores of any run in outputs/ or multirun/ of this directory yet; get one with: gansweep eval-is RUN"
    ]
    make_run(1)
    make_run(2, sweep="s1")
    assert printed(capsys) == ["no scores of the 2 runs here yet; get one with: gansweep eval-is RUN"]
    assert printed(capsys, run="1111") == [
        "no scores of run 11111111 (vaegan) yet; get one with: gansweep eval-is 1111"
    ]
    assert printed(capsys, sweep="s1") == ["no scores of the 1 runs of sweep s1 yet; get one with: gansweep eval-is s1"]
    assert plain(capsys) == []


def test_torn_lines_cost_no_other(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(1)
    first = score(run, 4.0)
    with (run.dir / CARDS_FILE).open("ab") as file:
        file.write(b'{"kind": "card", "id": "torn\xff\n[]\n7\n"text"\nnull\n{"kind": "retraction"}\n{"kind": "ca')
    second = score(run, 4.1, 20)
    assert {card["id"] for told in plain(capsys) for card in told["cards"]} == {first, second}


def test_a_narrow_terminal_gets_whole_numbers(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(1, "a very long name " * 9)
    card = score(run, 4.0)
    for width in (80, 100, 140):
        monkeypatch.setenv("COLUMNS", str(width))
        (line,) = [line for line in printed(capsys) if card in line]
        assert cells(line)[:4] == ["1", "4.00", "[3.90, 4.10]", "0.20"] and len(line) <= width
        assert "11111111" in line and ("…" in line) is (width > 94)


def test_a_checkpoint_s_name_is_told_where_the_step_does_not(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(1)
    card = make_card(4.0, None, run.id)
    append(run.dir, dataclasses.replace(card, subject={**card.subject, "checkpoint": "last.pt"}))
    assert "last.pt" in "\n".join(printed(capsys))


def rows_of(*runs: Run) -> list[Row]:
    found = []
    for run in runs:
        cards = cards_of(run.dir)
        for step in dict.fromkeys(card.step for card in cards):
            own = [card for card in cards if card.step == step]
            found.append(Row(run.id, run.name, own[0].subject["checkpoint"], step, own))
    return found


def test_checkpoints_scored_together(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = make_run(1), make_run(2)
    for run, step, value, fid in ((first, 10, 4.0, 30.0), (first, 20, 4.5, 25.0), (second, 10, 4.45, 20.0)):
        score(run, value, step)
        score(run, fid, step, 1.0, key="fid")
    rows = [*rows_of(first, second), Row("3" * 32, "vaegan", "", 0, [], "no checkpoint (FAILED)")]
    print_evaluations([*rows, Row("4" * 32, "x", "last.pt", 30, [], "scored before")])
    lines = capsys.readouterr().out.splitlines()
    assert cells(lines[0]) == ["run", "step", "checkpoint", "is_lite0", "fid", "remark"]
    assert [cells(line) for line in lines[1:6]] == [
        ["11111111 vaegan", "10", "4.00 [3.90, 4.10]", "30.0 [29.0, 31.0]"],
        ["11111111 vaegan", "20", "4.50 [4.40, 4.60] best", "25.0 [24.0, 26.0]"],
        ["22222222 vaegan", "10", "4.45 [4.35, 4.55] =", "20.0 [19.0, 21.0] best"],
        ["33333333 vaegan", "0", "–", "–", "no checkpoint (FAILED)"],
        ["44444444 x", "30", "last.pt", "–", "–", "scored before"],
    ]
    assert lines[6:] == [
        f"is_lite0, fid: {MEASURE}seed 0",
        "is_lite0: = a tie with the best, no more apart than the joint noise of the two 95 % intervals",
    ]


def test_checkpoints_that_are_not_comparable_are_marked(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(1)
    for step, value in ((10, 4.0), (20, 4.5)):
        score(run, value, step)
    score(run, 9.0, 30, ema="false", seed="3")
    score(run, 8.0, 40)
    retract(run.dir, cards_of(run.dir)[-1], "why")
    print_evaluations(rows_of(run))
    out = capsys.readouterr().out
    found = [cells(line)[2] for line in out.splitlines()[1:5]]
    assert found == [
        "4.00 [3.90, 4.10] seed 0",
        "4.50 [4.40, 4.60] seed 0 best",
        "9.00 [8.90, 9.10] seed 3 ≠ 1",
        "8.00 [7.90, 8.10] seed 0 retracted",
    ]
    assert "\n≠ 1 not comparable (ema false instead of true): is_lite0: judge lite0 " in out
    assert "\nis_lite0: 8.00 [7.90, 8.10] of step 40 is retracted: why (judge lite0 " in out


def test_a_table_of_nothing_but_failures(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_evaluations([Row("1" * 32, "x", "", 0, [], "last.pt: cannot be read")])
    assert capsys.readouterr().out.splitlines()[1].split(maxsplit=3)[3] == "last.pt: cannot be read"
    print_evaluations([])
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_runs_called_alike_are_told_apart(here: Path) -> None:
    runs = [make_run(1), make_run(2), make_run(3, "other")]
    assert list(labels(runs).values()) == ["vaegan (11111111)", "vaegan (22222222)", "other"]
