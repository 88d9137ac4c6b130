"""What a run's trial step found it to need of memory, told to whoever shares a device out among several runs."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

ASKED_FOR = "GANSWEEP_NEEDS"
FILE_SUFFIX = ".needs"


def tell(needed_bytes: int | None) -> None:
    """Write what this process needs on its device, all in all, into the file that was asked for; no file, no word."""
    path = os.environ.get(ASKED_FOR)
    if path and needed_bytes is not None:
        with contextlib.suppress(OSError):  # a full disk is told of elsewhere
            part = Path(f"{path}.part")
            part.write_text(json.dumps({"bytes": needed_bytes}))
            part.replace(path)
