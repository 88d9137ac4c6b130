"""Choices in sub-folders of a group are offered like the others."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gansweep.config.compose import session
from gansweep.config.settings import Settings
from gansweep.errors import UserError


@pytest.mark.parametrize(
    ("asked", "offer"),
    [
        ("test1", "vaegan/test1"),
        ("vaegn/test1", "did you mean 'vaegan/test1'"),
        ("vaegan/tset1", "did you mean 'vaegan/test1'"),
        ("dmo", "did you mean 'demo'"),
    ],
)
def test_a_misspelt_experiment_is_told_with_the_nearest(
    compose: Callable[..., Settings], asked: str, offer: str
) -> None:
    with pytest.raises(UserError, match=rf"^experiment={asked}: no such choice.*{offer}"):
        compose(f"experiment={asked}")


def test_all_experiments_are_listed() -> None:
    with session() as hydra:
        options = hydra.options("experiment")
    assert {"demo", "vaegan/test5", "vae/2022-04-04"} <= set(options)
