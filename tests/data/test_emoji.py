from __future__ import annotations

import pytest

from gansweep.data import open_data
from gansweep.data.emoji import LABELS, Emoji, base_name, caption_of, is_country_flag, motif
from gansweep.data.source import BadPicture, Item
from gansweep.errors import Missing, UserError

from .conftest import Settings


@pytest.mark.parametrize(
    ("options", "count"),
    [({}, 1652), ({"skin_tones": True}, 3682), ({"flags": True}, 1914), ({"skin_tones": True, "flags": True}, 3944)],
)
def test_counts_that_the_conf_file_states(settings: Settings, options: dict[str, bool], count: int) -> None:
    cfg = settings("emoji", **options)
    listing = Emoji(cfg).items()
    assert len(listing.items) == len({item.id for item in listing.items}) == count
    assert all(item.captions[0] and item.tags and item.label in listing.label_names for item in listing.items)


def test_every_skin_tone_is_in_the_group_of_a_drawing_without(settings: Settings) -> None:
    items = Emoji(settings("emoji", skin_tones=True)).items().items
    toned = [item for item in items if any(tag.endswith("-skin-tone") for tag in item.tags)]
    plain = {item.group for item in items} - {item.group for item in toned}
    untoned = {item.group for item in items if not any(tag.endswith("-skin-tone") for tag in item.tags)}
    assert len(toned) == 2030 and plain
    assert {item.group for item in toned} <= untoned


@pytest.mark.parametrize(
    ("name", "base"),
    [
        (":waving_hand_medium-dark_skin_tone:", ":waving_hand:"),
        (":handshake_light_skin_tone_dark_skin_tone:", ":handshake:"),
        (":kiss_person_person_light_skin_tone_medium_skin_tone:", ":kiss:"),
        (":red_apple:", ":red_apple:"),
    ],
)
def test_base_names(name: str, base: str) -> None:
    assert base_name(name) == base


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (":woman_cook_dark_skin_tone:", "cook"),
        (":cook:", "cook"),
        (":pregnant_person:", "pregnant"),
        (":kiss_man_man:", "kiss"),
        (":man:", "man"),
        (":red_apple:", "red apple"),
    ],
)
def test_motifs(name: str, words: str) -> None:
    assert motif(name) == words


def test_no_drawing_is_on_both_sides_of_the_split(settings: Settings) -> None:
    dataset = open_data(settings("emoji", size=24, flags=True, val_fraction=0.3))
    train, val = ({dataset.images[row].tobytes() for row in dataset.split(name)} for name in ("train", "val"))
    pictures = {dataset.images[row].tobytes() for row in range(dataset.count)}
    assert len(pictures) < dataset.count  # some are drawn alike
    assert not train & val


def test_captions_and_flags() -> None:
    assert caption_of("\U0001f34e", ":red_apple:") == "red apple"
    assert caption_of("\U0001f1eb\U0001f1f7", ":France:") == "flag of France"
    assert not is_country_flag("\U0001f3c1")  # the chequered one


def test_pictures_captions_tags_and_labels_belong_together(settings: Settings) -> None:
    dataset = open_data(settings("emoji", size=32, include=["apple"]))
    assert sorted(texts[0] for texts in dataset.fields["caption"]) == ["green apple", "red apple"]
    red = [texts[0] for texts in dataset.fields["caption"]].index("red apple")
    green = [texts[0] for texts in dataset.fields["caption"]].index("green apple")
    middle = dataset.images[:, :, 18, 16].astype(int)
    assert middle[red, 0] > middle[red, 1] + 80 and middle[green, 1] > middle[green, 2] + 40
    assert (dataset.images[:, :, 0, 0] == 255).all()
    assert dataset.label_names[dataset.fields["label"][red]] == "pictographs"
    assert "flags" not in dataset.label_names and LABELS[:-1] == dataset.label_names


def test_size_channels_and_background_are_what_was_asked_for(settings: Settings) -> None:
    for size in (16, 33, 64):
        dataset = open_data(settings("emoji", size=size, limit=3, pad_value=[10, 20, 30]))
        assert dataset.images.shape == (3, 3, size, size)
        assert dataset.images[:, :, 0, 0].tolist() == [[10, 20, 30]] * 3
    assert open_data(settings("emoji", size=16, channels=1, limit=3)).images.shape == (3, 1, 16, 16)


def test_variants_share_the_side_of_their_base(settings: Settings) -> None:
    cfg = settings(
        "emoji", size=8, skin_tones=True, include=["thumbsup", "thumbsdown", "wave", "fist"], val_fraction=0.4
    )
    dataset = open_data(cfg)
    groups = {name: {dataset.fields["group"][row] for row in dataset.split(name)} for name in ("train", "val")}
    assert groups["train"] and groups["val"] and not groups["train"] & groups["val"]


def test_a_drawing_that_cannot_be_rendered_is_an_unusable_picture(settings: Settings) -> None:
    reader = Emoji(settings("emoji"))
    with pytest.raises(BadPicture) as caught:
        reader.picture(Item("no-such-drawing", ""))
    assert caught.value.reason == "cannot be rendered"


def test_a_missing_package_says_what_to_install(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gansweep.data.emoji._PACKAGES", ("no-such-package",))
    with pytest.raises(Missing, match="pip install no-such-package"):
        open_data(settings("emoji"))


def test_a_misspelt_tag_names_the_nearest(settings: Settings) -> None:
    with pytest.raises(UserError, match="did you mean 'people'"):
        open_data(settings("emoji", include=["peopel"]))
