"""A reader for other processes: notes each decoding in a file, and waits at the third picture until a file is there."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from gansweep.config.settings import DataSettings
from gansweep.data import open_data
from gansweep.data.folder import Folder
from gansweep.data.source import BadPicture, Item, Picture

PATIENCE_S = 60.0


class SlowFolder(Folder):
    """`NOTES` collects a line per decoded picture; the third waits for `GATE`, and with `BROKEN` cannot be used."""

    def picture(self, item: Item) -> Picture:
        """Decode after noting it."""
        with open(os.environ["NOTES"], "a", encoding="utf-8") as notes:
            notes.write(f"{item.id}\n")
        if item.id.startswith("2"):
            wait_for(Path(os.environ["GATE"]))
            if "BROKEN" in os.environ:
                raise BadPicture("broken")
        return super().picture(item)


def wait_for(path: Path) -> None:
    """Poll until a file is there."""
    end = time.monotonic() + PATIENCE_S
    while not path.exists():
        if time.monotonic() > end:
            raise TimeoutError(f"{path} did not come")
        time.sleep(0.01)


def main(conf: str, values: dict[str, Any]) -> None:
    """Open the set and print its fingerprint."""
    settings = DataSettings.model_validate({**yaml.safe_load(Path(conf).read_text(encoding="utf-8")), **values})
    print(open_data(settings).fingerprint)


if __name__ == "__main__":
    main(sys.argv[1], yaml.safe_load(sys.argv[2]))
