"""Relations: who is shown with whom, as a pure function, and never across the split."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from gansweep.data.batches import Batches
from gansweep.data.dataset import Dataset
from gansweep.data.normalize import to_uint8
from gansweep.data.relations import NOBODY, Drawn, Listed, Mixed, uniform
from gansweep.errors import UserError

from .sets import COUNT, FIELDS, related

ROWS = np.arange(COUNT)


@pytest.fixture
def dataset() -> Dataset:
    return related()


def drawn(dataset: Dataset, name: str, times: int = 300) -> np.ndarray:
    """Return who every row is shown with, (times, rows)."""
    return np.stack([dataset.related(name, ROWS, 3, index) for index in range(times)])


def test_numbers_are_spread_evenly_and_depend_on_every_key() -> None:
    rows = np.arange(20000)
    numbers = uniform(1, 2, "pair", rows)
    assert numbers.min() >= 0 and numbers.max() < 1
    histogram = np.histogram(numbers, bins=20, range=(0, 1))[0]
    assert ((histogram - 1000) ** 2 / 1000).sum() < 44  # chi-square with 19 degrees of freedom, p = 0.001
    for other in (uniform(2, 2, "pair", rows), uniform(1, 3, "pair", rows), uniform(1, 2, "real", rows)):
        assert abs(np.corrcoef(numbers, other)[0, 1]) < 0.03
    assert abs(np.corrcoef(numbers[1:], numbers[:-1])[0, 1]) < 0.03
    np.testing.assert_array_equal(uniform(1, 2, "pair", rows[::-7]), numbers[::-7])


def test_what_is_drawn_depends_on_seed_index_and_row_alone(dataset: Dataset) -> None:
    whole = dataset.related("pair", ROWS, 5, 9)
    some = np.array([31, 2, 2, 17])
    np.testing.assert_array_equal(dataset.related("pair", some, 5, 9), whole[some])
    np.testing.assert_array_equal(related().related("pair", ROWS, 5, 9), whole)
    assert (dataset.related("pair", ROWS, 5, 10) != whole).any()
    assert (dataset.related("pair", ROWS, 6, 9) != whole).any()


@pytest.mark.parametrize("name", ["pair", "real", "wrong", "target", "pair_target", "wrong_target", "pair_pair"])
def test_each_side_of_the_split_keeps_to_itself(dataset: Dataset, name: str) -> None:
    assert 0 < dataset.held_out.sum() < COUNT
    found = drawn(dataset, name)
    assert (dataset.held_out[found] == dataset.held_out).all()


def test_everybody_who_fits_is_drawn_and_nobody_else(dataset: Dataset) -> None:
    wrong, person = drawn(dataset, "wrong"), dataset.fields["label"]
    for row in ROWS:
        fits = (person != person[row]) & (dataset.held_out == dataset.held_out[row])
        assert set(wrong[:, row]) == set(np.flatnonzero(fits))
    real = drawn(dataset, "real")
    assert (real % 4 == 0).all() and len(np.unique(real)) == 9


def test_candidates_are_equally_likely() -> None:
    same, differ = np.arange(COUNT) % 2, np.arange(COUNT) % 6
    dataset = dataclasses.replace(related(0.0), relations={"like": Drawn(same=same, differ=differ, what="like it")})
    counts = np.bincount(drawn(dataset, "like", 2000)[:, 8], minlength=COUNT)
    fits = (same == 0) & (differ != 2)
    assert (counts[~fits] == 0).all() and fits.sum() == 12
    assert ((counts[fits] - 2000 / 12) ** 2 / (2000 / 12)).sum() < 31  # 11 degrees of freedom, p = 0.001


def test_a_share_comes_from_the_first_and_the_rest_from_the_second(dataset: Dataset) -> None:
    pair = drawn(dataset, "pair", 1000)
    assert abs((np.abs(pair - ROWS) == 1).mean() - 0.5) < 0.05  # a random one is a neighbour at times, too
    assert (pair != ROWS).all()


def test_a_lone_picture_is_its_own_pair_but_nobody_is_its_wrong_one() -> None:
    rows = ROWS[:1]
    dataset = related(1e-9)  # the group with the least hash is held out
    lone = dataclasses.replace(dataset, images=dataset.images[:1], fields={"group": ["a"], "id": ["x"]}, relations={})
    lone._held_out = None
    assert lone.related("pair", rows, 0, 0).tolist() == [0]
    with pytest.raises(UserError, match="x of people has no 'wrong': among the 1 training pictures none is of another"):
        lone.related("wrong", rows, 0, 0)


def test_nobody_listed_is_told_of_before_the_first_batch(dataset: Dataset) -> None:
    targets = np.where(ROWS == 30, NOBODY, 0)
    broken = dataclasses.replace(
        dataset, relations={"target": Listed(targets, "frontal"), "mixed": Mixed(1, Listed(targets), Drawn())}
    )
    with pytest.raises(UserError, match=r"30 of people has no 'target': among the \d+ \S+ pictures none is frontal"):
        Batches(broken, ROWS, 2, 0, fields=("target.image",))
    assert (broken.related("mixed", ROWS, 0, 0) != NOBODY).all()


def test_fields_of_related_rows_are_theirs(dataset: Dataset) -> None:
    batches = Batches(dataset, dataset.split("train"), 4, 3, fields=(*FIELDS, "pair.index", "pair_target.index"))
    for index in (0, 3, 50):
        batch = batches.batch(index)
        rows = {name: batch[f"{name}.index"].numpy() for name in ("pair", "target", "wrong", "pair_target")}
        rows[""] = batch["index"].numpy()
        np.testing.assert_array_equal(rows["pair_target"], rows["pair"] // 4 * 4)
        for name in ("image", "target.image", "pair_target.image"):
            np.testing.assert_array_equal(
                to_uint8(batch[name], "tanh").numpy(), dataset.images[rows[name.rpartition(".")[0]]]
            )
        np.testing.assert_array_equal(batch["pair.pose"].numpy(), rows["pair"] % 4)
        small = to_uint8(batch["wrong.image_3"], "tanh").numpy()
        np.testing.assert_array_equal(small, dataset.fields["image_3"][rows["wrong"]])
        frames = to_uint8(batch["frames"].flatten(0, 1), "tanh").numpy().reshape(4, 2, 3, 4, 5)
        np.testing.assert_array_equal(frames, dataset.fields["frames"][rows[""]])
        np.testing.assert_array_equal(batch["mask"].numpy(), dataset.column("mask")[rows[""]].astype(np.float32))


def test_types_are_those_of_the_step(dataset: Dataset) -> None:
    batch = Batches(dataset, ROWS, 4, 3, fields=FIELDS, dtype=torch.float64).batch(0)
    whole = {"index", "pose", "pair.pose", "wrong.index", "target.index"}
    assert {name for name, value in batch.items() if value.dtype == torch.int64} == whole
    assert {value.dtype for name, value in batch.items() if name not in whole} == {torch.float64}
    assert batch["frames"].shape == (4, 2, 3, 4, 5) and batch["embedding"].shape == (4, 7)


def test_one_coin_mirrors_all_pixels_of_a_place(dataset: Dataset) -> None:
    fields = tuple(name for name in FIELDS if not name.endswith("pose"))
    plain, flipped = (Batches(dataset, ROWS, 6, 1, fields=fields, flip=flip) for flip in (False, True))
    for index in range(8):
        straight, turned, coins = plain.batch(index), flipped.batch(index), torch.from_numpy(flipped.mirrored(index))
        for name, value in straight.items():
            if value.ndim < 4:
                assert torch.equal(value, turned[name])
            else:
                assert torch.equal(turned[name][coins], value[coins].flip(-1))
                assert torch.equal(turned[name][~coins], value[~coins])


def test_labels_that_mirroring_would_falsify_are_refused(dataset: Dataset) -> None:
    with pytest.raises(UserError, match=r"data.flip=true would make the field 'pair.pose' wrong"):
        Batches(dataset, ROWS, 4, 0, fields=("image", "pair.pose"), flip=True)


def test_shards_and_resuming_see_the_same_partners(dataset: Dataset) -> None:
    whole = Batches(dataset, ROWS, 6, 3, fields=FIELDS)
    shards = [Batches(dataset, ROWS, 6, 3, fields=FIELDS, shard=(k, 3)) for k in range(3)]
    for index in (9, 2, 0):
        parts = [shard.batch(index) for shard in shards]
        for name, value in whole.batch(index).items():
            assert torch.equal(value, torch.cat([part[name] for part in parts]))


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("light", r"people has no field 'light' \(it has image, label, .*\); sets that have it: heads; multipie"),
        ("target.light", "people has no field 'light' .*; sets that have it: heads; multipie"),
        (
            "image_64",
            r"no field 'image_64' .*; sets that have it: emoji, stackgan, coco, folder with data.args.sizes=\[64\]",
        ),
        ("twin.image", r"no relation 'twin', which 'twin.image' asks for \(it has pair, real, wrong, target\)"),
        ("pair_twin.image", "no relation 'pair_twin'"),
    ],
)
def test_what_is_missing_is_named_with_what_is_there(dataset: Dataset, field: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        Batches(dataset, ROWS, 4, 0, fields=("image", field))
    assert "\n" not in str(caught.value)


def test_a_set_without_targets_says_who_has_them(dataset: Dataset) -> None:
    bare = dataclasses.replace(dataset, relations={})
    bare.relations = {name: bare.relations[name] for name in ("pair", "real", "wrong")}
    with pytest.raises(UserError, match=r"no relation 'pair_target', which .*; sets that have it: heads; multipie"):
        bare.require(["pair_target.image"])
