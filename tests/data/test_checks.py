from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml

from gansweep.config import conf_dir
from gansweep.config.settings import DataSettings
from gansweep.data import check_settings, open_data, refuse_missing
from gansweep.data.emoji import Emoji
from gansweep.errors import UserError

from .conftest import Draw, Settings


def refused(cfg: Any, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        open_data(cfg)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("resize", "padd", "data.resize=padd is unknown; did you mean 'pad'"),
        ("resample", "cubic", "data.resample=cubic is unknown; did you mean 'bicubic'"),
        ("normalize", "tan", "did you mean 'tanh'"),
        ("orientation", "upright", "choices: any, landscape, portrait"),
        ("on_bad", "ignore", "data.on_bad=ignore is unknown"),
        ("part", "val", "data.part=val is unknown"),
        ("group_by", "class", "data.group_by=class is unknown"),
        ("size", 3, "data.size=3 is out of range: 4 to 2048"),
        ("size", 4096, "data.size=4096 is out of range"),
        ("limit", 0, "data.limit=0 is out of range: 1 or more"),
        ("val_fraction", 1.0, "data.val_fraction=1 is out of range: 0 to below 1"),
        ("max_bad_fraction", 1.5, "out of range: 0 to 1"),
        ("channels", 4, "data.channels=4 is out of range"),
        ("pad_value", [1, 2], "data.pad_value=.* is no colour"),
        ("pad_value", 256, "is no colour"),
        ("pad_value", "white", "is no colour"),
    ],
)
def test_what_is_out_of_range_or_unknown_is_refused_with_the_choices(
    settings: Settings, tmp_path: Path, key: str, value: Any, said: str
) -> None:
    cfg = settings("emoji").model_copy(update={key: value})
    refused(cfg, said)
    assert not (tmp_path / "cache").exists()


def test_a_tag_in_both_lists(settings: Settings) -> None:
    refused(settings("emoji", include=["people"], exclude=["people"]), "both name 'people'")


def test_paths(settings: Settings, pictures: Path, draw: Draw, tmp_path: Path) -> None:
    refused(settings("folder"), "data=folder needs to be told where: data.path=FOLDER")
    refused(settings("folder", path=str(tmp_path / "picturs")), "does not exist; did you mean 'pictures'")
    refused(settings("folder", path=str(pictures)), "holds no picture")
    (pictures / "notes.txt").write_text("nothing to see")
    refused(settings("folder", path=str(pictures)), "holds no picture")
    refused(settings("folder", path=str(draw("a.png"))), "is a file; give the folder")
    assert not (tmp_path / "cache").exists() and not list(Path.cwd().iterdir())


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("nodots", "is not a dotted path"),
        ("no_such_package.Things", "no module named no_such_package"),
        ("gansweep.data.emoji.Emojis", "has no 'Emojis'; did you mean 'Emoji'"),
    ],
)
def test_a_target_that_is_not_there(settings: Settings, target: str, said: str) -> None:
    refused(settings("emoji", _target_=target), said)


def test_checking_creates_nothing(settings: Settings, tmp_path: Path) -> None:
    check_settings(settings("emoji"))
    assert not (tmp_path / "cache").exists()


def _inputs(**shapes: tuple[int, ...]) -> dict[str, Any]:
    return {name.replace("__", "."): SimpleNamespace(shape=shape) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("name", "inputs", "said"),
    [
        (
            "heads",
            {"embedding": (300,)},
            "no field 'embedding'; sets that have it: emoji; stackgan; coco",
        ),
        ("emoji", {"still": (1, 8, 8)}, "data=emoji has no field 'still'; sets that have it: talking; grid"),
        ("emoji", {"pair_target__image": (3, 8, 8)}, "no relation 'pair_target', which 'pair_target.image' asks for"),
        ("talking", {"target__image": (3, 8, 8)}, "no relation 'target', which 'target.image' asks for; sets that"),
        ("grid", {"lips": ()}, "data=grid has no field 'lips'; sets that have it: talking"),
        ("talking", {"frames": (7, 1, 8, 8)}, "data.args.frames=5: the model takes clips of 7 frames; say"),
        ("emoji", {"image_32": (3, 32, 32)}, "the model .* takes pictures of 32 px beside data.size=64"),
    ],
)
def test_what_a_shipped_set_cannot_give_is_refused_before_it_is_packed(
    name: str, inputs: dict[str, tuple[int, ...]], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        refuse_missing(shipped(name), _inputs(**inputs))


@pytest.mark.parametrize("name", ["heads", "emoji", "talking", "people", "folder", "multipie", "stackgan", "coco"])
def test_what_it_may_have_is_not_refused(name: str) -> None:
    usual = {"image": (3, 8, 8), "pair__image": (3, 8, 8), "wrong__image": (3, 8, 8), "mylab": (3,)}
    refuse_missing(shipped(name), _inputs(**usual))
    if name in ("heads", "multipie"):
        refuse_missing(shipped(name), _inputs(pair_target__image=(3, 8, 8), mask=(1, 8, 8), light=()))


@pytest.mark.parametrize("module", ["mysets", "grid", "mylab.emoji"])
def test_a_reader_of_the_users_own_may_have_what_ours_has_not(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    """Made of one of ours, whatever its module is called."""
    own = ModuleType(module)
    own.Mine = type("Mine", (Emoji,), {"__module__": module})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module, own)
    cfg = settings("emoji", _target_=f"{module}.Mine", args={"frames": 5})
    refuse_missing(cfg, _inputs(still=(1, 8, 8), lips=(), pair_target__image=(3, 8, 8), frames=(7, 1), image_32=()))


def shipped(name: str) -> DataSettings:
    """The settings of conf/data/NAME.yaml."""
    values = yaml.safe_load((conf_dir() / "data" / f"{name}.yaml").read_text())
    return DataSettings.model_validate(values)
