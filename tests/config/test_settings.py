"""Settings: kinds and ranges of values, what is recorded and read again, one network's optimizer."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from gansweep.config.explain import validate
from gansweep.config.settings import Settings
from gansweep.errors import UserError

PLAIN: dict[str, Any] = {
    "steps": 10,
    "batch_size": 64,
    "model": {
        "_target_": "a.B",
        "size_px": 64,
        "channels": 3,
        "latent": 7,
        "warm_start": {"from": "abc", "nets": None},
    },
    "scales": {"l1": 1.0, "kld": None},
    "optimizer": {"kind": "adam", "lr": 1e-3, "clip_norm": 1.0, "enc": {"lr": 5e-4}, "dec": {"clip_norm": None}},
    "schedule": {
        "phases": {"enc": {"every": [[0, 6], [100, 4]], "from": 3}},
        "curves": {"scales": {"kld": {"kind": "linear", "to": 1}}, "optimizer": {"lr": {"kind": "decay"}, "eps": None}},
    },
    "data": {"name": "emoji"},
    "judge": {"name": "lite0", "_target_": "a.Judge", "mine": 3},
}


def with_value(key: str, value: Any) -> dict[str, Any]:
    values = copy.deepcopy(PLAIN)
    node = values
    *parents, last = key.split(".")
    for part in parents:
        node = node.setdefault(part, {})
    node[last] = value
    return values


def test_what_is_recorded_gives_the_same_settings() -> None:
    settings = validate(PLAIN)
    recorded = settings.model_dump(mode="json")
    again = Settings.model_validate(recorded)
    assert again == settings
    assert again.model_dump(mode="json") == recorded
    assert recorded["model"]["_target_"] == "a.B"
    assert recorded["model"]["warm_start"] == {"from": "abc", "nets": None}
    assert recorded["schedule"]["phases"]["enc"]["from"] == 3


def test_further_keys_of_a_model_and_a_judge_are_kept() -> None:
    settings = validate(PLAIN)
    assert settings.model.model_dump()["latent"] == 7
    assert settings.judge.model_dump()["mine"] == 3


def test_a_network_takes_its_own_values_first_and_the_shared_ones_for_the_rest() -> None:
    optimizer = Settings.model_validate(validate(PLAIN).model_dump(mode="json")).optimizer
    assert (optimizer.for_net("enc").lr, optimizer.for_net("enc").clip_norm) == (5e-4, 1.0)
    assert (optimizer.for_net("dec").lr, optimizer.for_net("dec").clip_norm) == (1e-3, None)
    assert optimizer.for_net("other") == optimizer.for_net("another")
    assert set(optimizer.nets()) == {"enc", "dec"}


def test_curves_are_flattened_to_knobs_and_null_removes_one() -> None:
    assert validate(PLAIN).schedule.curves == {
        "scales.kld": {"kind": "linear", "to": 1},
        "optimizer.lr": {"kind": "decay"},
    }


@pytest.mark.parametrize(
    ("key", "given", "kept"),
    [
        ("steps", 1e4, 10000),
        ("scales.l1", "1e-3", 0.001),
        ("scales.l1", 600, 600.0),
        ("name", 12, "12"),
        ("data.exclude", [123], ["123"]),
        ("data.pad_value", "edge", "edge"),
        ("data.pad_value", [1, 2, 3], [1, 2, 3]),
        ("runtime.device", "cuda:1", "cuda:1"),
        ("checkpoint.keep", None, None),
    ],
)
def test_values_as_people_and_yaml_write_them(key: str, given: Any, kept: Any) -> None:
    value: Any = validate(with_value(key, given)).model_dump(mode="json")
    for part in key.split("."):
        value = value[part]
    assert value == kept
    assert type(value) is type(kept)


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("batch_size", 0, "batch_size=0: must be at least 1"),
        ("batch_size", "abc", "batch_size=abc: must be a whole number"),
        ("batch_size", True, "batch_size=true: must be a whole number"),
        ("steps", 1.5, "steps=1.5: must be a whole number"),
        ("seed", "", "seed='': must be a whole number"),
        ("scales.l1", [1, 2], "scales.l1=[1, 2]: must be a number"),
        ("scales.l1", float("nan"), "scales.l1=nan: must be a finite number"),
        ("optimizer.lr", -1, "optimizer.lr=-1: must be greater than 0"),
        ("optimizer.enc.lrr", 1, "optimizer.enc.lrr: no such key; did you mean 'lr'?"),
        ("optimizer.lrr", 1, "optimizer.lrr: no such key; did you mean 'lr'?"),
        ("optimizer.kind", "adm", "optimizer.kind=adm: no such choice; did you mean 'adam'?"),
        ("optimizer.betas", [0.9], "optimizer.betas=[0.9]: must be a list of 2 numbers"),
        ("data.size", -3, "data.size=-3: must be at least 4"),
        ("data.pad_value", 300, "data.pad_value=300: must be at most 255 or a list or edge"),
        ("data.channels", 2, "data.channels=2: no such choice; choices: 1, 3"),
        ("runtime.device", "gpu", "runtime.device=gpu: must be auto, cpu, cuda or cuda:N"),
        ("runtime.precison", 1, "runtime.precison: no such key; did you mean 'precision'?"),
        ("runtime.accumulate", 3, "runtime.accumulate (3) must divide batch_size (64): micro-batches are equal"),
        ("schedule.phases.enc.every", "a", "schedule.phases.enc.every=a: must be a whole number or a list"),
        ("schedule.phases.enc.until", 2, "schedule.phases.enc: until (2) must be greater than from (3), or 0: never"),
        ("schedule.phases.enc.form", 2, "schedule.phases.enc.form: no such key; did you mean 'from'?"),
        (
            "schedule.curves",
            {"scales": {"kld": 5}},
            "schedule.curves: scales.kld=5: a curve is {kind: …, …}, as in {kind: warmup, steps: 1000}",
        ),
        ("eval.n", 3, "eval: n (3) must be at least splits (10)"),
        ("judge", None, "judge=null: must be a group of keys"),
        ("checkpoint.best_mode", "mxa", "checkpoint.best_mode=mxa: no such choice; did you mean 'max'?"),
    ],
)
def test_a_wrong_value_is_told_in_one_line(key: str, value: Any, line: str) -> None:
    with pytest.raises(UserError) as caught:
        validate(with_value(key, value))
    assert str(caught.value) == line


@pytest.mark.parametrize("pieces", [[], [[1, 2]], [[0, 2], [0, 3]], [[0, 1], [5, 0]]])
def test_piecewise_lists_grow_from_step_zero(pieces: list[list[int]]) -> None:
    with pytest.raises(UserError, match=r"schedule\.phases\.enc\.every: .*piecewise list"):
        validate(with_value("schedule.phases.enc.every", pieces))


def test_the_typed_key_is_told_rather_than_one_that_follows_it() -> None:
    values = with_value("model.size_px", -3)
    values["data"]["size"] = -3
    with pytest.raises(UserError, match=r"^data\.size=-3: "):
        validate(values, ["data.size"])
