from __future__ import annotations

import pytest

from gansweep.data.source import Item
from gansweep.data.tags import is_oriented, parse_tags, select_tags
from gansweep.errors import UserError

ITEMS = [
    Item("1", "", tags=("standing", "anna")),
    Item("2", "", tags=("standing", "watermark")),
    Item("3", "", tags=("sitting",)),
    Item("4", ""),
]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (["a", " b ", 3, ""], ("a", "b", "3")),
        ("hot dog, bun", ("hot dog", "bun")),
        ("a;b|c", ("a", "b", "c")),
        ("a b  a", ("a", "b")),
        (None, ()),
        ("", ()),
        (12, ("12",)),
    ],
)
def test_tags_are_read_from_lists_and_text(written: object, read: tuple[str, ...]) -> None:
    assert parse_tags(written) == read


def ids(items: list[Item]) -> str:
    return "".join(item.id for item in items)


def test_any_wanted_tag_is_enough_and_any_refused_one_too_many() -> None:
    assert ids(select_tags(ITEMS, [], [])) == "1234"
    assert ids(select_tags(ITEMS, ["standing", "sitting"], [])) == "123"
    assert ids(select_tags(ITEMS, ["standing"], ["watermark"])) == "1"
    assert ids(select_tags(ITEMS, [], ["watermark", "sitting"])) == "14"


def test_a_tag_in_both_lists_is_an_error_that_names_it() -> None:
    with pytest.raises(UserError, match="both name 'anna'"):
        select_tags(ITEMS, ["anna"], ["anna"])


@pytest.mark.parametrize(("include", "exclude", "key"), [(["standng"], [], "include"), ([], ["standng"], "exclude")])
def test_a_tag_nobody_bears_is_an_error_with_the_nearest(include: list[str], exclude: list[str], key: str) -> None:
    with pytest.raises(UserError, match=f"data.{key}: .*'standng'.*did you mean 'standing'"):
        select_tags(ITEMS, include, exclude)


def test_a_selection_of_nothing_is_an_error() -> None:
    with pytest.raises(UserError, match="leaves none of 4"):
        select_tags(ITEMS, ["anna"], ["standing"])


def test_orientation_leaves_squares_out() -> None:
    sizes = {"portrait": (2, 3), "landscape": (3, 2), "square": (2, 2)}
    wanted = {
        kind: [name for name, (width, height) in sizes.items() if is_oriented(width, height, kind)]
        for kind in ("any", "portrait", "landscape")
    }
    assert wanted == {"any": list(sizes), "portrait": ["portrait"], "landscape": ["landscape"]}
