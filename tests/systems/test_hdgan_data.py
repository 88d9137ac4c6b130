"""HDGAN and its data: sentences of several kinds, sizes rendered and not resized, what is said of what does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data.text_sets import birds, coco
from gansweep.assemble import check
from gansweep.config.compose import session, to_settings
from gansweep.config.settings import Settings
from gansweep.data import open_data
from gansweep.errors import UserError
from gansweep.train import train

SMALL = ["scale_down=cpu", "steps=2", "batch_size=3", "tracker=none", "runtime.device=cpu", "model.width_factor=0.0625"]


def composed(*overrides: str) -> Settings:
    with session() as hydra:
        return to_settings(hydra.compose(hydra.normal(["model=hdgan", *overrides])))


def trained(folder: Path, *overrides: str) -> Any:
    return train(composed(*SMALL, f"data.cache_dir={folder / 'cache'}", *overrides), folder / "run", [])


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    birds(tmp_path / "birds", classes=(2, 2), each=2)
    coco(tmp_path / "coco")
    return tmp_path


@pytest.mark.parametrize(
    "overrides",
    [
        ["data=stackgan", "data.path=birds", "model.num_emb=4", "data.flip=true"],
        ["data=stackgan", "data.path=birds", "data.args.captions=mean"],
        ["data=stackgan", "data.path=birds", "data.args.captions=1", "data.args.wrong=as_coded"],
        ["data=stackgan", "data.path=birds", "data.args.encoder=bag-of-words", "data.args.embedding=20"],
        ["data=coco", "data.path=coco", "model.num_emb=4"],
        ["data=coco", "data.path=coco", "data.args.crop=random", "data.args.captions=2"],
    ],
)
def test_sets_with_sentences_are_learnt_from_without_further_words(
    sets: Path, overrides: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(sets)
    outcome = trained(sets, *overrides)
    assert (outcome.status, outcome.step) == ("FINISHED", 2)
    assert all(np.isfinite(value) for value in outcome.last_losses.values())


def test_three_sizes_of_one_window(sets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(sets)
    small = ["model.scaled_down_size_px=256", "data.args.sizes=[64,128]", "data=stackgan", "data.path=birds"]
    assert trained(sets, *small).status == "FINISHED"


@pytest.mark.parametrize(
    ("overrides", "given", "say"),
    [
        (["data.size=256"], "[]", "'+data.args.sizes=[64,128]'"),
        (["data.size=256", "+data.args.sizes=[128]"], "[128]", "'data.args.sizes=[64,128]'"),
        (["data.size=128", "+data.args.sizes=[32]"], "[32]", "'data.args.sizes=[64]'"),
        (["data.size=256", "data=stackgan", "data.path=birds"], "[]", "'data.args.sizes=[64,128]'"),
        (["data.size=256", "data=coco", "data.path=coco"], "[]", "'data.args.sizes=[64,128]'"),
    ],
)
def test_sizes_of_model_and_data_that_disagree_are_told_before_packing(
    sets: Path, overrides: list[str], given: str, say: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(sets)
    with pytest.raises(UserError) as caught:
        check(composed(*overrides))
    message = str(caught.value)
    assert message.startswith(f"data.args.sizes={given}: the model (model.outputs) takes pictures of 64")
    assert message.endswith(f"say {say}") and "\n" not in message
    check(composed(*[one for one in overrides if "sizes" not in one], say.strip("'")))


def test_a_model_that_takes_fewer_sizes_than_there_are_takes_them() -> None:
    check(composed("data.size=256", "+data.args.sizes=[64,128]", "model.outputs.at_256.px_64=null"))


def test_captions_that_model_and_data_count_differently_name_both(sets: Path) -> None:
    with pytest.raises(UserError, match=r"'embedding' is \(10, 1024\) .* takes \(1024,\); see data.args.captions and "):
        trained(sets, "data=stackgan", f"data.path={sets / 'birds'}", "model.captions=1")
    assert not (sets / "run").exists()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("folder", "has no field 'embedding' .*sets that have it: emoji; stackgan; coco; folder with captions"),
        ("heads", "has no field 'embedding'; sets that have it: emoji; stackgan; coco; folder with captions"),
    ],
)
def test_data_without_sentences_name_the_sets_that_have_them(tmp_path: Path, data: str, said: str) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(9):
        Image.new("RGB", (16, 16), (20 * number, 0, 0)).save(folder / f"{number}.png")
    own = [f"data.path={folder}"] if data == "folder" else ["data.args.people=2", "data.limit=12", "data.size=64"]
    with pytest.raises(UserError, match=said):
        trained(tmp_path, f"data={data}", *own)
    assert not (tmp_path / "run").exists()


def test_emoji_are_rendered_at_each_size(tmp_path: Path) -> None:
    """At 64, 128 and 256 px: the largest is `image`, each is what the set is when it is packed at that size alone."""
    three = composed("data.size=256", "+data.args.sizes=[64,128]", "data.limit=3", f"data.cache_dir={tmp_path}").data
    dataset = open_data(three, progress=False)
    assert dataset.size_px == 256 and [dataset.column(f"image_{size}").shape[2] for size in (64, 128)] == [64, 128]
    for size in (64, 128):
        alone = open_data(composed(f"data.size={size}", "data.limit=3", f"data.cache_dir={tmp_path}").data)
        np.testing.assert_array_equal(dataset.column(f"image_{size}"), alone.images)
        for row in range(3):
            large = Image.fromarray(dataset.images[row].transpose(1, 2, 0))
            for resample in (Image.Resampling.BOX, Image.Resampling.BICUBIC):
                resized = np.asarray(large.resize((size, size), resample)).transpose(2, 0, 1)
                assert (resized != alone.images[row]).any()
