"""Directories of runs: never shared, never left behind by a wrong request."""

from __future__ import annotations

import datetime
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gansweep.errors import UserError
from gansweep.sweep.place import claim, claim_exactly, discard

NOON = datetime.datetime(2026, 11, 22, 12, 0, 0)


def test_runs_of_one_second_get_directories_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: claim("outputs", "vaegan", NOON), range(8)))
    assert len(set(found)) == 8
    assert Path("outputs/2026-11-22/12-00-00-vaegan") in found
    assert Path("outputs/2026-11-22/12-00-00-vaegan-8") in found
    assert all(path.is_dir() for path in found)


def test_discarding_leaves_nothing_but_what_others_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = claim("outputs", None, NOON), claim("outputs", None, NOON)
    (first / "run.log").write_text("x")
    discard(first)
    assert not first.exists() and second.is_dir()
    discard(second)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_of_the_users_choice_is_not_used_twice(tmp_path: Path) -> None:
    path = claim_exactly(str(tmp_path / "mine"), "run.json")
    assert claim_exactly(str(path), "run.json") == path
    (path / "run.json").write_text("{}")
    with pytest.raises(UserError, match=r"already holds a run\.json"):
        claim_exactly(str(path), "run.json")
