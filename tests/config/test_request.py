"""What a new request is held to and a recorded config is not."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from gansweep.config.explain import validate
from gansweep.config.request import check_request
from gansweep.config.settings import Settings
from gansweep.errors import UserError


def test_threads_are_bounded_by_the_machine(compose: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    settings = compose("runtime.threads=8")
    with pytest.raises(UserError, match=r"^runtime\.threads=9: must be at most 8 \(4 for each of .* 2 CPUs\)$"):
        compose("runtime.threads=9")
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert validate(settings.model_dump(mode="json")) == settings, "recorded on a larger machine"
    with pytest.raises(UserError, match="at most 4"):
        check_request(settings)


def test_networks_to_warm_start_need_a_run_to_take_them_from(compose: Callable[..., Settings]) -> None:
    with pytest.raises(UserError, match=r"^model\.warm_start\.nets: needs model\.warm_start\.from=RUN"):
        compose("model.warm_start.nets=[enc]")
    assert compose("model.warm_start.nets=[enc]", "model.warm_start.from=abc123").model.warm_start.nets == ["enc"]
