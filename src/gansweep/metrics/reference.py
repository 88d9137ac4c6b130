"""Real pictures as a judge sees them: measured once for a data set and a judge, and kept in the user's cache."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gansweep.metrics.judges import Reading
from gansweep.metrics.kept import KeptFeatures
from gansweep.metrics.moments import FeatureMoments
from gansweep.metrics.weights import cache_folder


@dataclass
class Reference:
    """Features of `images` real pictures: their moments, and up to 10,000 of them (rows, D)."""

    images: int
    moments: FeatureMoments
    kept: Tensor


def place_of(identity: Mapping[str, str]) -> Path:
    """Return the file in the user's cache where the reference with this identity (data, part, judge) is kept."""
    digest = hashlib.sha256(json.dumps(dict(identity), sort_keys=True).encode()).hexdigest()
    return cache_folder().parent / "features" / f"{digest[:32]}.pt"


def measure(readings: Iterable[Reading], images: int, device: torch.device | str) -> Reference:
    """Return the reference of `images` pictures, whose readings come batch by batch."""
    moments, kept = FeatureMoments(device), KeptFeatures(images, device=device)
    for reading in readings:
        moments.update(reading.features)
        kept.update(reading.features)
    return Reference(images, moments, kept.features())


def load(path: Path, device: torch.device | str) -> Reference | None:
    """Return the reference kept at `path`, or None when there is none or it cannot be read."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        moments = FeatureMoments.of_state(state["moments"], device)
        return Reference(int(state["images"]), moments, state["kept"].to(device))
    except FileNotFoundError:
        return None
    except (pickle.UnpicklingError, zipfile.BadZipFile, RuntimeError, EOFError, KeyError, ValueError, TypeError):
        return None  # made anew: a cache is no record


def save(reference: Reference, path: Path) -> None:
    """Keep a reference at `path`: whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        state = {"images": reference.images, "moments": reference.moments.state(), "kept": reference.kept.cpu()}
        torch.save(state, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
