"""Finding, checking and reading a judge's weights file. Nothing is downloaded here, and nothing stands in for it."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gansweep.errors import Missing, UserError, refused_by_system

_MOST_LETTERS = 120


@dataclass(frozen=True)
class Weights:
    """A weights file that was found: where, and the SHA-256 (64 hex digits) of its bytes."""

    path: Path
    sha256: str


def cache_folder() -> Path:
    """Return the folder where weights are looked for: `gansweep/weights` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "gansweep" / "weights"


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_weights(
    explicit: str | None, cache_names: tuple[str, ...], sha256_prefix: str | None, how_to_get: str
) -> Weights:
    """Find a weights file: the explicit path, else the first of `cache_names` in the cache folder; hash it.

    Missing (exit 3) with `how_to_get` when there is none; UserError when the hash does not begin with `sha256_prefix`
    (None: any file will do).
    """
    if explicit is not None:
        path = Path(explicit).expanduser()
        if not path.is_file():
            raise Missing(f"judge.weights={explicit} is no file; {how_to_get}")
    else:
        found = [cache_folder() / name for name in cache_names if (cache_folder() / name).is_file()]
        if not found:
            raise Missing(how_to_get)
        path = found[0]
    try:
        digest = sha256_of(path)
    except OSError as error:
        raise UserError(f"a judge's weights cannot be read: {refused_by_system(error)}") from None
    if sha256_prefix is not None and not digest.startswith(sha256_prefix):
        raise UserError(
            f"{path} is not the file this judge's score is defined by: its SHA-256 is {digest}, "
            f"not {sha256_prefix}…; give the judge another name (judge.name=mine) to score with it as 'is_mine'"
        )
    return Weights(path, digest)


def read_state_dict(weights: Weights, source: str | None = None) -> dict[str, Tensor]:
    """Read a plain name → tensor file without running code in it; UserError, about `source`, when it is another."""
    source = source or str(weights.path)
    try:
        state = torch.load(weights.path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        code = re.search(r"\bGLOBAL +([\w.]+)", str(error))
        # What torch says on its first line is how to run that code after all.
        reason = f"it holds code, {code.group(1)}, which was not run" if code else "no pickle of tensors"
        raise UserError(f"{source} is no PyTorch state dict ({reason})") from None
    except Exception as error:  # a file of any content comes here, and torch has as many ways to fail on it
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(f"{source} is no PyTorch state dict ({_in_line(reason)})") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{source} holds no plain state dict (a name for each tensor)")
    return {str(name): value for name, value in state.items()}


def check_state_dict(state: dict[str, Tensor], wanted: dict[str, tuple[int, ...]], source: Path | str) -> None:
    """Refuse (UserError) a state dict whose names or shapes differ from `wanted`; BN batch counters are let through.

    Of each kind of difference the first entry is named, in the order of `wanted`.
    """
    given = {name for name in state if not name.endswith(".num_batches_tracked")}
    lacking = [name for name in wanted if name not in given]
    foreign = sorted(given - wanted.keys())
    misfit = [
        f"{name} {tuple(state[name].shape)} instead of {shape}"
        for name, shape in wanted.items()
        if name in given and tuple(state[name].shape) != shape
    ]
    faults = [
        f"{len(names)} {what} (first: {_in_line(names[0])})"
        for names, what in ((lacking, "missing"), (misfit, "of another shape"), (foreign, "not known"))
        if names
    ]
    if faults:
        raise UserError(f"{source} does not fit the judge's network: entries " + ", ".join(faults))


def _in_line(text: str) -> str:
    """Return words out of a file such that they cannot break the line or the terminal."""
    shown = text if text.isprintable() else ascii(text)
    return shown if len(shown) <= _MOST_LETTERS else shown[: _MOST_LETTERS - 1] + "…"
