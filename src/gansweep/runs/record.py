"""What is known of a run when it begins: the plain record that run.json, the spool and the tracker are filled from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class DatasetRecord:
    """The data set of a run: `fingerprint` is a hash of the content (hex), `count` the number of pictures."""

    name: str
    fingerprint: str
    source: str
    count: int


@dataclass(frozen=True)
class RunRecord:
    """Everything about a run that does not change while it runs.

    `params`: every resolved config value under its dotted key (see `flatten`). `parent`: {"run_id", "step"} of the run
    it was warm-started from. `sweep`: {"id", "job"}. `steps`: how many it is meant to take. `files`: kept in the
    tracker from the start (config.yaml, diff.patch), best inside `run_dir`.
    """

    run_id: str
    name: str
    run_dir: Path
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    dataset: DatasetRecord | None = None
    parent: Mapping[str, Any] | None = None
    sweep: Mapping[str, Any] | None = None
    overrides: Sequence[str] = ()
    note: str | None = None
    files: Sequence[Path] = ()
    commit: str | None = None
    dirty: bool | None = None
    steps: int | None = None

    def to_plain(self) -> dict[str, Any]:
        """Return the record as JSON types; paths become strings."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        plain["run_dir"] = str(self.run_dir)
        plain["files"] = [str(path) for path in self.files]
        plain["overrides"] = list(self.overrides)
        plain["params"], plain["tags"] = dict(self.params), dict(self.tags)
        plain["dataset"] = asdict(self.dataset) if self.dataset else None
        plain["parent"] = dict(self.parent) if self.parent else None
        plain["sweep"] = dict(self.sweep) if self.sweep else None
        return plain


def flatten(config: Mapping[str, Any]) -> dict[str, str]:
    """Return `config` (nested, plain) as dotted keys to the text one would type on the command line.

    None is `null`, booleans `true`/`false`, a float that is a whole number has no `.0` (so that a search for
    scales.l1 = '600' finds it), lists are JSON. An empty mapping is `{}`.
    """
    flat: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat.update({f"{key}.{inner}": text for inner, text in flatten(value).items()})
        else:
            flat[str(key)] = _text(value)
    return flat


def _text(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, (list, tuple, dict)):
        return json.dumps(value, default=str)
    return str(value)
