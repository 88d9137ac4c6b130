"""Real pictures for FID, KID and neighbourhoods: a part of the run's own data, as a judge sees it, measured once."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from gansweep.config.settings import EvalSettings
from gansweep.data import Dataset
from gansweep.data.progress import packing_bar
from gansweep.errors import UserError
from gansweep.metrics import reference
from gansweep.metrics.judges import Judge, Reading
from gansweep.metrics.reference import Reference
from gansweep.scoring.card import DEFINITION
from gansweep.scoring.judging import Place, read

CHOICE_SEED = 2020


def chosen_rows(dataset: Dataset, settings: EvalSettings) -> NDArray[np.int64]:
    """Return the rows, ascending, of `eval.reference`: all of that part, or `eval.reference_n` of it by a fixed seed.

    UserError when there are fewer than two.
    """
    parts = {"all": np.arange(dataset.count, dtype=np.int64)}
    rows = parts[settings.reference] if settings.reference in parts else dataset.split(settings.reference)  # type: ignore[arg-type]
    if settings.reference_n is not None and settings.reference_n < len(rows):
        rows = np.sort(np.random.RandomState(CHOICE_SEED).permutation(rows)[: settings.reference_n])
    if len(rows) < 2:
        raise UserError(
            f"eval.reference={settings.reference}: {len(rows)} pictures of {dataset.source}; at least 2 are needed"
        )
    return rows


def described(dataset: Dataset, settings: EvalSettings, size_px: int) -> str:
    """Return in words which real pictures a score is taken against."""
    rows = chosen_rows(dataset, settings)
    return f"{settings.reference}, {len(rows)} pictures at {size_px} px, {digest_of(dataset, rows)}"


def digest_of(dataset: Dataset, rows: NDArray[np.int64]) -> str:
    """Return in words which pictures these are: the set's fingerprint and that of the rows taken from it."""
    return f"fingerprint {dataset.fingerprint[:16]}, rows {hashlib.sha256(rows.tobytes()).hexdigest()[:8]}"


def reference_for(
    dataset: Dataset,
    settings: EvalSettings,
    judge: Judge,
    size_px: int,
    device: torch.device,
    place: Place,
    batch_size: int,
    progress: bool = True,
) -> Reference:
    """Return the real pictures at `size_px` as `judge` sees them: from the user's cache, or measured now and kept.

    One process measures, the others wait for it.
    """
    rows = chosen_rows(dataset, settings)
    identity = {**judge.identity(), **_identity(dataset, rows, size_px)}
    path = reference.place_of(identity)
    found = reference.load(path, device) if place.rank == 0 else None
    if place.rank == 0 and found is None:
        found = _measured(dataset, rows, judge, size_px, device, batch_size, progress)
        with contextlib.suppress(OSError, RuntimeError):  # no room for a cache is no reason to give up
            reference.save(found, path)
    place.gather(None)
    if found is None:
        found = reference.load(path, device) or _measured(dataset, rows, judge, size_px, device, batch_size, False)
    return found


def _identity(dataset: Dataset, rows: NDArray[np.int64], size_px: int) -> Mapping[str, str]:
    chosen = hashlib.sha256(rows.tobytes()).hexdigest()
    return {"data": dataset.fingerprint, "rows": chosen, "size_px": str(size_px), "definition": DEFINITION}


def _measured(
    dataset: Dataset,
    rows: NDArray[np.int64],
    judge: Judge,
    size_px: int,
    device: torch.device,
    batch_size: int,
    progress: bool,
) -> Reference:
    with packing_bar(progress) as bar:
        task = bar.add_task("judging real pictures", total=len(rows))

        def readings() -> Iterator[Reading]:
            for start in range(0, len(rows), batch_size):
                pixels = torch.from_numpy(np.take(dataset.images, rows[start : start + batch_size], axis=0))
                logits, features = read(judge, resized(pixels.to(device), size_px), batch_size, features=True)
                assert features is not None
                yield Reading(logits, features)
                bar.advance(task, len(pixels))

        return reference.measure(readings(), len(rows), device)


def resized(images: Tensor, size_px: int) -> Tensor:
    """Return uint8 pictures (N, C, H, W) at `size_px`, unchanged when they have it: antialiased bilinear, rounded."""
    if images.shape[-1] == size_px:
        return images
    values = F.interpolate(images.float(), (size_px, size_px), mode="bilinear", align_corners=False, antialias=True)
    return values.round_().clamp_(0, 255).to(torch.uint8)
