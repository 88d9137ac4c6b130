from __future__ import annotations

import json
from pathlib import Path

import pytest

from gansweep.data.metadata import Entry, read_metadata, read_sidecar
from gansweep.errors import UserError

JSONL = """\
{"file_name": "a.png", "text": "a red apple", "tags": ["red", "fruit"]}

{"filename": "sub/b.png", "text": ["one", "two "], "tags": "red, round", "label": "B", "group": 7}
"""


def test_json_lines(tmp_path: Path) -> None:
    (tmp_path / "metadata.jsonl").write_text(JSONL)
    assert read_metadata(tmp_path) == {
        "a.png": Entry(("a red apple",), ("red", "fruit")),
        "sub/b.png": Entry(("one", "two"), ("red", "round"), "B", "7"),
    }


def test_csv_with_several_captions_of_one_picture(tmp_path: Path) -> None:
    text = '\ufefffile_name,text,tags,note\na.png,"an apple, red",red;fruit,x\na.png,another,red,\nb\\c.png,,,\n'
    (tmp_path / "metadata.csv").write_text(text, encoding="utf-8")
    assert read_metadata(tmp_path) == {
        "a.png": Entry(("an apple, red", "another"), ("red", "fruit")),
        "b/c.png": Entry(),
    }


def test_the_journals_json_list(tmp_path: Path) -> None:
    row = {"filename": "set-7/1-anna_640v640.jpg", "tags": ["1", "anna", "set_7"], "width": 427, "height": 640}
    (tmp_path / "metadata.json").write_text(json.dumps([row]))
    assert read_metadata(tmp_path) == {"set-7/1-anna_640v640.jpg": Entry((), ("1", "anna", "set_7"))}


def test_without_metadata_there_is_none_and_json_lines_come_first(tmp_path: Path) -> None:
    assert read_metadata(tmp_path) == {}
    (tmp_path / "metadata.csv").write_text("file_name\nfrom_csv.png\n")
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "from_jsonl.png"}')
    assert list(read_metadata(tmp_path)) == ["from_jsonl.png"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("metadata.jsonl", '{"file_name": "a.png"}\n{"file_name": ', "metadata.jsonl line 2 is not JSON"),
        ("metadata.jsonl", "[1]", "line 1 is not an object"),
        ("metadata.jsonl", '{"name": "a.png"}', "line 1 has no file_name"),
        ("metadata.jsonl", '{"file_name": "../a.png"}', "line 1 names ../a.png, which is not inside the folder"),
        ("metadata.jsonl", '{"file_name": "/etc/a.png"}', "which is not inside the folder"),
        ("metadata.json", '{"a.png": "caption"}', "must be a JSON list"),
        ("metadata.csv", "name,text\na.png,b\n", "has no column file_name; its columns: name, text"),
        ("metadata.csv", "", "has no column file_name; its columns: none"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=said) as caught:
        read_metadata(tmp_path)
    assert "\n" not in str(caught.value)


def test_text_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_bytes(b"file_name\n\xff\xfe.png\n")
    with pytest.raises(UserError, match=r"metadata.csv is not UTF-8"):
        read_metadata(tmp_path)


def test_a_sidecar_has_a_caption_per_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\n\r\n two \n\xff\n")
    assert read_sidecar(tmp_path / "a.txt") == ("one", "two", "\ufffd")
