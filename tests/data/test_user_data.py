from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from gansweep.data import Batches, open_data
from gansweep.errors import UserError

from .conftest import Settings


class Things:
    """A map-style set; `change` spoils or replaces the entries of one item."""

    label_names = ("even", "odd")

    def __init__(self, count: int = 10, dtype: Any = np.uint8, change: Any = None, at: int = 0) -> None:
        self.count, self.dtype, self.change, self.at = count, dtype, change, at

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Any:
        image = np.full((3, 8, 8), number, dtype=np.uint8)
        if self.dtype != np.uint8:
            image = torch.from_numpy(image).to(self.dtype) / 127.5 - 1
        item = {"image": image, "label": number % 2, "pose": np.float32(number / 2), "caption": f"number {number}"}
        return self.change(item) if self.change is not None and number == self.at else item


@pytest.fixture
def mine(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    module = ModuleType("mylab")
    module.Things, module.number = Things, 3  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mylab", module)

    def make(**changes: Any) -> Any:
        values = {"name": "mine", "_target_": "mylab.Things", "size": 8, "val_fraction": 0.3, **changes}
        return settings("folder", **values)

    return make


@pytest.mark.parametrize("args", [{}, {"dtype": torch.float32}])
def test_items_become_a_set_like_any_other(mine: Any, args: dict[str, Any]) -> None:
    dataset = open_data(mine(args=args))
    assert dataset.images[:, 0, 0, 0].tolist() == list(range(10))
    assert dataset.fields["label"].dtype == np.int64 and dataset.fields["label"].tolist() == [0, 1] * 5
    assert dataset.fields["pose"].dtype == np.float32 and dataset.fields["caption"][4] == ["number 4"]
    assert dataset.label_names == ["even", "odd"]
    assert len(dataset.split("train")) + len(dataset.split("val")) == 10 and len(dataset.split("val")) > 0
    batch = Batches(dataset, dataset.split("train"), 4, 0, fields=("image", "label", "pose")).batch(0)
    assert torch.equal(batch["label"], batch["index"] % 2)


def test_the_fingerprint_follows_the_content(mine: Any) -> None:
    plain = open_data(mine()).fingerprint
    assert open_data(mine(args={"dtype": torch.float32})).fingerprint == plain
    assert open_data(mine(args={"change": lambda item: {**item, "label": 7}})).fingerprint != plain
    assert open_data(mine(limit=5)).fingerprint != plain


def test_a_large_set_is_held_in_a_file_without_a_name(mine: Any, tmp_path: Path) -> None:
    dataset = open_data(mine(ram_limit_mb=0))
    assert isinstance(dataset.images, np.memmap)
    assert dataset.images[:, 0, 0, 0].tolist() == list(range(10))
    assert list((tmp_path / "cache").iterdir()) == []


class Related(Things):
    """Things with a second size, a clip, a mask, and a partner."""

    relations: ClassVar[Any] = {"next": [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]}

    def __getitem__(self, number: int) -> Any:
        pixels = {"image_4": (3, 4, 4), "frames": (2, 3, 4, 4), "mask": (1, 8, 8)}
        more = {name: np.full(shape, number, dtype=np.uint8) for name, shape in pixels.items()}
        return {**super().__getitem__(number), **more, "embedding": np.full(5, number / 2)}


def test_further_pictures_and_relations_are_used_like_any_other(mine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["mylab"], "Things", Related)
    dataset = open_data(mine(limit=10, val_fraction=0))
    fields = ("image", "image_4", "next.frames", "mask", "next.embedding", "next.index")
    batch = Batches(dataset, dataset.split("train"), 5, 0, fields=fields, normalize="unit").batch(1)
    rows, after = batch["index"], batch["next.index"]
    assert torch.equal(after, (rows + 1) % 10)
    assert torch.equal((batch["image_4"][:, 0, 0, 0] * 255).round().long(), rows)
    assert torch.equal((batch["next.frames"][:, 1, 2, 3, 3] * 255).round().long(), after)
    assert torch.equal(batch["mask"][:, 0, 7, 7].long(), rows) and batch["next.frames"].shape == (5, 2, 3, 4, 4)
    assert torch.equal(batch["next.embedding"][:, 4] * 2, after.float())


def test_an_item_left_out_is_nobodys_partner(mine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["mylab"], "Things", Related)
    dataset = open_data(mine(limit=6, val_fraction=0))
    with pytest.raises(
        UserError, match=r"picture \d of .* has no 'next': among the 6 training pictures none is listed"
    ):
        Batches(dataset, dataset.split("train"), 2, 0, fields=("next.image",))


@pytest.mark.parametrize("relations", [{"next": [1, 2]}, {"next": [10] * 10}, {"next": [0.5] * 10}])
def test_relations_that_lead_nowhere_are_told(mine: Any, relations: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Related, "relations", relations)
    monkeypatch.setattr(sys.modules["mylab"], "Things", Related)
    with pytest.raises(UserError, match=r"the relation 'next' must be 10 item numbers from 0 to 9"):
        open_data(mine())


def without_image(item: dict[str, Any]) -> dict[str, Any]:
    return {"picture": item["image"]}


def too_bright(item: dict[str, Any]) -> dict[str, Any]:
    return {**item, "image": torch.full((3, 8, 8), 5.0)}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"size": 16}, r"image of item 0 is \(3, 8, 8\), where data.channels=3 and data.size=16 ask for \(3, 16, 16\)"),
        ({"args": {"change": without_image}}, "item 0 must be a dictionary with an 'image'; it has picture"),
        (
            {"args": {"change": without_image, "at": 4}},
            "item 4 has picture, where item 0 has caption, image, label, pose",
        ),
        ({"args": {"change": too_bright, "at": 2}}, "item 2 spans 5 to 5, where data.normalize=tanh is -1 to 1"),
        ({"args": {"dtype": torch.float32}, "normalize": "zscore"}, "floats cannot be brought back .* give uint8"),
        ({"args": {"cuont": 3}}, "could not be made with data.args .*cuont"),
        ({"args": {"count": 0}}, "gives an empty set"),
        ({"_target_": "mylab.number"}, "is no class or function"),
        ({"_target_": "builtins.object"}, "lacks __len__ or __getitem__"),
        ({"include": ["tag"]}, "data.include selects in gansweep's own sets"),
    ],
)
def test_what_does_not_fit_is_told_with_both_sides(mine: Any, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        open_data(mine(**changes))
    assert "\n" not in str(caught.value)


def explode(item: dict[str, Any]) -> dict[str, Any]:
    raise KeyError("gone")


def test_an_item_that_raises_is_an_unusable_picture(mine: Any) -> None:
    with pytest.raises(UserError, match="1 of 10 pictures cannot be used: 1 raised KeyError"):
        open_data(mine(args={"change": explode, "at": 3}))
    dataset = open_data(mine(args={"change": explode, "at": 3}, on_bad="skip", max_bad_fraction=0.2))
    assert dataset.count == 9 and dataset.fields["caption"][3] == ["number 4"]
