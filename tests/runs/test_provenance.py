"""Where a run comes from: commit, diff, versions, hardware."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from gansweep.runs.provenance import collect


def git(place: Path, *arguments: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    done = subprocess.run(["git", "-C", str(place), *who, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "loss.py").write_text("a = 1\n")
    git(tmp_path, "add", "loss.py")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def test_a_clean_checkout_is_its_commit(repo: Path) -> None:
    found = collect(repo)
    assert (found.commit, found.dirty, found.diff) == (git(repo, "rev-parse", "HEAD"), False, "")


def test_uncommitted_changes_and_new_files_are_in_the_diff(repo: Path) -> None:
    (repo / "loss.py").write_text("a = 2\n")
    (repo / "new.py").write_text("b = 1\n")
    found = collect(repo)
    assert found.dirty is True
    assert "-a = 1\n+a = 2\n" in found.diff
    assert "# untracked: new.py\n" in found.diff
    assert found.commit is not None
    assert found.commit in found.diff


def test_outside_git_there_is_no_commit(tmp_path: Path) -> None:
    found = collect(tmp_path)
    assert (found.commit, found.dirty, found.diff, found.code) == (None, None, "", [])


def test_a_repository_without_a_commit_and_a_missing_git_are_borne(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "init", "-q")
    assert collect(tmp_path).commit is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert collect(tmp_path).commit is None


def test_the_working_directory_s_checkout_is_recorded_too(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repo)
    assert collect().code[-1].root == str(repo)


def test_versions_and_hardware_are_tags_and_files(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (repo / "loss.py").write_text("a = 3\n")
    run_dir = tmp_path_factory.mktemp("run")
    found = collect(repo, gpu="H100")
    assert found.tags()["hardware.gpu"] == "H100"
    assert found.tags()["version.torch"].startswith("2.")
    assert int(found.tags()["hardware.cores"]) >= 1
    assert [path.name for path in found.write(run_dir)] == ["environment.json", "diff.patch"]
    assert json.loads((run_dir / "environment.json").read_text())["code"][0]["commit"] == found.commit
    assert "+a = 3" in (run_dir / "diff.patch").read_text()
