"""Whatever a test of a cluster started ends with it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from clusters.sweeps import Started


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    yield
    while Started.every:
        Started.every.pop().process.kill()
