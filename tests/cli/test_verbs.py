"""The verbs as a user meets them: help, exit statuses, one line for what is wrong and nothing left on the disk."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from gansweep import manual
from gansweep.cli import VERBS, main


def run(words: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gansweep", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_help_takes_no_time_because_nothing_heavy_is_imported(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = run(["--help"], tmp_path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0 and done.stdout == manual.MAIN
    used_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert used_s <= 0.3
    heavy = ("hydra", "torch", "mlflow", "pydantic", "rich")
    code = f"import sys, gansweep.cli; print([name for name in {heavy} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert loaded.stdout.strip() == "[]"


@pytest.mark.parametrize("verb", list(VERBS))
def test_each_verb_has_help_with_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    page = capsys.readouterr().out
    assert page.startswith(f"gansweep {verb}")
    assert set(manual.PAGES) == set(VERBS)
    assert verb in manual.MAIN


WRONG = [
    ["trian"],
    ["scales.l1=3"],
    ["train", "scales.l11=1"],
    ["train", "batch_size=0"],
    ["train", "batch_size=abc"],
    ["train", "optimizer.lr=-1"],
    ["train", "steps=0"],
    ["train", "model=vaegam"],
    ["train", "modle=vae"],
    ["train", "foo=1"],
    ["train", "+foo=1"],
    ["train", "data.size=-3"],
    ["train", "data.size=50"],
    ["train", "seed="],
    ["train", "scales.l1=[1,2]"],
    ["train", "name='a"],
    ["train", "seed"],
    ["train", "--nosuch"],
    ["train", "--config-dir", "nowhere"],
    ["train", "data=folder", "data.path=nowhere"],
    ["train", "+scales.ssim=2"],
    ["train", "--cfg", "job", "scales.l11=1"],
    ["-m", "seed=1,zz"],
    ["-m", "data.size=32,50"],
    ["eval-is"],
    ["eval-is", "nowhere"],
    ["resume", "nowhere"],
    ["sample", "nowhere"],
    ["sample", "nowhere", "--n", "x"],
    ["show", "nowhere"],
    ["diff", "nowhere"],
    ["data", "bild"],
    ["data", "check", "data=emojy"],
    ["train", "runtime.threads=100000"],
    ["train", "model=null"],
    ["train", "model.warm_start.nets=[enc]"],
    ["-m", "seed=1,1"],
    ["data"],
    ["ui", "--port", "x"],
    ["completion", "fish"],
]


@pytest.mark.parametrize("words", WRONG, ids=[" ".join(words) for words in WRONG])
def test_a_wrong_request_is_one_line_exit_2_and_no_trace(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("gansweep: ") and told.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_nearest_verb_is_offered(capsys: pytest.CaptureFixture[str]) -> None:
    main(["evalis"])
    assert capsys.readouterr().err == "gansweep: evalis: no such verb; did you mean 'eval-is'?\n"


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        (["train", "scales.l11=1"], 2, "gansweep: scales.l11: no such key; did you mean 'l1'?\n"),
        (["train", "runtime.device=cuda:97"], 3, "gansweep: runtime.device=cuda:97: "),
    ],
)
def test_exit_statuses_of_real_processes(words: list[str], status: int, line: str, tmp_path: Path) -> None:
    done = run(words, tmp_path)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith(line) and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_hydra_answers_its_own_flags(tmp_path: Path) -> None:
    done = run(["train", "model=vae", "--cfg", "job", "--package", "scales"], tmp_path)
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == "# @package scales"
    assert "kld: 1.0" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_without_a_verb_the_help_is_the_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr() == ("", manual.MAIN)
    assert "130" in manual.MAIN.partition("Exit status")[2]


@pytest.mark.parametrize(("verb", "wanted"), [("eval-is", "TARGET"), ("data", "build|inspect|check|card")])
def test_only_what_is_required_is_said_to_be(verb: str, wanted: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb]) == 2
    assert f"required: {wanted};" in capsys.readouterr().err


def test_what_the_file_system_refuses_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_: list[str]) -> int:
        raise OSError(28, "No space left on device", "mlflow.db")

    monkeypatch.setitem(VERBS, "runs", refuse)
    assert main(["runs"]) == 1
    assert capsys.readouterr() == ("", "gansweep: mlflow.db: No space left on device\n")


def test_a_jobs_prefix_has_only_what_its_sweep_varies(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-m", "steps=3", "seed=1,2", "+scales.ssim=2"]) == 2
    assert capsys.readouterr().err.startswith("gansweep: job 0 (seed=1): ")


def test_an_empty_place_has_no_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs"]) == 0
    assert "no runs" in capsys.readouterr().out
    assert main(["runs", "--json"]) == 0
    assert capsys.readouterr().out == "[]\n"


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    shell = f"{sys.executable} -m gansweep --help | true"
    done = subprocess.run(["bash", "-c", shell], cwd=tmp_path, capture_output=True, text=True)
    assert done.stderr == ""
