from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from gansweep.data import open_data
from gansweep.data.bad import BadFile, judge
from gansweep.errors import UserError

from .conftest import Draw, Settings


def spoil(pictures: Path, draw: Draw, good: int, cut: int, page: int) -> None:
    for number in range(good):
        draw(f"good{number:02d}.png")
    for number in range(cut):
        path = draw(f"cut{number:02d}.jpg", (64, 64))
        path.write_bytes(path.read_bytes()[:400])
    for number in range(page):
        (pictures / f"page{number:02d}.jpg").write_text("<html></html>")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_report_is_short_and_names_the_list(settings: Settings, pictures: Path, draw: Draw, tmp_path: Path) -> None:
    spoil(pictures, draw, good=10, cut=9, page=5)
    with pytest.raises(UserError) as caught:
        open_data(settings("folder", path=str(pictures), size=8))
    lines = str(caught.value).splitlines()
    assert lines[0] == "14 of 24 pictures cannot be used: 9 truncated, 5 not a picture"
    assert lines[1] == "  cut00.jpg: truncated" and len(lines) == 12
    assert str(Path.cwd() / "bad_files.csv") in lines[-1]
    assert "data.on_bad=skip data.max_bad_fraction=0.59" in lines[-1]
    listed = rows(Path("bad_files.csv"))
    assert len(listed) == 14
    assert listed[0] == {"path": "cut00.jpg", "reason": "truncated", "detail": listed[0]["detail"]}
    assert list(Path.cwd().iterdir()) == [Path.cwd() / "bad_files.csv"]
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]


def test_skipping_goes_on_tells_once_and_remembers(
    settings: Settings, pictures: Path, draw: Draw, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(pictures, draw, good=9, cut=1, page=0)
    options: dict[str, Any] = {"path": str(pictures), "size": 8, "on_bad": "skip", "max_bad_fraction": 0.1}
    dataset = open_data(settings("folder", **options))
    assert dataset.count == 9 == len(dataset.fields["group"])
    assert [one["path"] for one in dataset.manifest["skipped"]] == ["cut00.jpg"]
    assert "1 of 10 pictures cannot be used: 1 truncated; left out, listed in" in capsys.readouterr().err
    assert len(rows(Path("bad_files.csv"))) == 1
    open_data(settings("folder", **options))
    assert capsys.readouterr().err == ""


def test_a_set_packed_with_skipping_still_fails_where_that_is_asked(
    settings: Settings, pictures: Path, draw: Draw
) -> None:
    spoil(pictures, draw, good=9, cut=1, page=0)
    options: dict[str, Any] = {"path": str(pictures), "size": 8, "max_bad_fraction": 0.1}
    open_data(settings("folder", on_bad="skip", **options))
    with pytest.raises(UserError, match="1 of 10 pictures cannot be used"):
        open_data(settings("folder", on_bad="fail", **options))
    with pytest.raises(UserError, match=r"10.0% is more than data.max_bad_fraction=0.05"):
        open_data(settings("folder", on_bad="skip", **{**options, "max_bad_fraction": 0.05}))


def test_more_than_the_share_fails_also_when_skipping(settings: Settings, pictures: Path, draw: Draw) -> None:
    spoil(pictures, draw, good=9, cut=1, page=0)
    with pytest.raises(UserError, match=r"10.0% is more than data.max_bad_fraction=0.01"):
        open_data(settings("folder", path=str(pictures), size=8, on_bad="skip"))


def test_a_set_without_a_usable_picture_fails_whatever_is_allowed(
    settings: Settings, pictures: Path, draw: Draw
) -> None:
    spoil(pictures, draw, good=0, cut=2, page=0)
    with pytest.raises(UserError, match=r"2 of 2 pictures cannot be used(.|\n)*none is left"):
        open_data(settings("folder", path=str(pictures), size=8, on_bad="skip", max_bad_fraction=1.0))


def test_a_listed_picture_that_is_not_there_is_unusable(settings: Settings, pictures: Path, draw: Draw) -> None:
    draw("a.png")
    (pictures / "metadata.jsonl").write_text('{"file_name": "a.png"}\n{"file_name": "gone.png"}\n')
    with pytest.raises(UserError, match=r"1 of 2 pictures cannot be used: 1 missing file\n  gone.png: missing file"):
        open_data(settings("folder", path=str(pictures), size=8))


def test_odd_names_stay_on_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    odd = [BadFile("a\nb\udcff.png", "truncated", "de\ntail")] * 3
    with pytest.raises(UserError) as caught:
        judge(odd, 3, "fail", 0.0, announce=True)
    assert len(str(caught.value).encode().splitlines()) == 5
    assert len(rows(tmp_path / "bad_files.csv")) == 3


def test_a_working_directory_that_cannot_be_written_hides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Path:
        raise PermissionError

    monkeypatch.setattr("gansweep.data.bad.write_list", refuse)
    with pytest.raises(UserError, match="1 of 1 pictures cannot be used: 1 truncated"):
        judge([BadFile("a.png", "truncated")], 1, "fail", 0.0, announce=True)
