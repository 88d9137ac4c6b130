"""What a reader keeps of what it has read or made lately: in the reader itself, so that it goes when the reader goes.

functools.lru_cache over a method would keep every reader, and all that it has read, as long as the process lives.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Hashable
from typing import Any, Concatenate, ParamSpec, TypeVar

_Reader = TypeVar("_Reader")
_Key = ParamSpec("_Key")
_Made = TypeVar("_Made")

# Held for a look into a dictionary alone, never while something is made.
_looking = threading.Lock()
_NOTHING = object()


def keeps_last(
    most: int,
) -> Callable[[Callable[Concatenate[_Reader, _Key], _Made]], Callable[Concatenate[_Reader, _Key], _Made]]:
    """Let a method give again what it gave for the `most` arguments asked for last, as lru_cache does.

    Two threads that ask at once for what is not there may both make it; what is raised is not kept.
    """

    def decorated(
        method: Callable[Concatenate[_Reader, _Key], _Made],
    ) -> Callable[Concatenate[_Reader, _Key], _Made]:
        name = f"_kept_{method.__name__}"

        @functools.wraps(method)
        def asked(reader: _Reader, /, *key: _Key.args, **more: _Key.kwargs) -> _Made:
            place: Hashable = (key, tuple(sorted(more.items())))
            with _looking:
                kept: dict[Hashable, Any] = vars(reader).setdefault(name, {})
                found = kept.pop(place, _NOTHING)
                if found is not _NOTHING:
                    kept[place] = found  # now the one asked for last
                    return found
            made = method(reader, *key, **more)
            with _looking:
                kept[place] = made
                while len(kept) > most:
                    del kept[next(iter(kept))]
            return made

        return asked

    return decorated
