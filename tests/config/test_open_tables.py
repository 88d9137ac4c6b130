"""Tables that are the user's to fill take new keys without a plus."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gansweep.config.settings import Settings
from gansweep.errors import UserError


def test_a_curve_needs_no_plus_and_shows_in_the_settings(compose: Callable[..., Settings]) -> None:
    settings = compose(
        "schedule.curves.optimizer.lr={kind:decay,multiply_by:0.5,every_steps:10}",
        "schedule.curves.scales.kld={kind:warmup,steps:5}",
    )
    assert settings.schedule.curves == {
        "optimizer.lr": {"kind": "decay", "multiply_by": 0.5, "every_steps": 10},
        "scales.kld": {"kind": "warmup", "steps": 5},
    }


def test_a_loss_of_ones_own_needs_none_either_but_a_scale_does(compose: Callable[..., Settings]) -> None:
    settings = compose("terms.enc.mine=mylab.loss", "+scales.mine=2")
    assert settings.terms == {"enc": {"mine": "mylab.loss"}} and settings.scales["mine"] == 2.0
    with pytest.raises(UserError, match=r"scales\.mine: no such key"):
        compose("terms.enc.mine=mylab.loss", "scales.mine=2")
