"""Judges: what turns images into class logits, with a name, a key for its score and an identity to record.

A judge is looked up by the dotted path that its settings give (`_target_`), so a user's own needs no registration.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor

from gansweep.errors import UserError
from gansweep.metrics.precision import Precision, check_precision

INCEPTION_KEY = "inception_score"
INCEPTION_TARGET = "gansweep.metrics.inception.InceptionJudge"
# Their names are theirs: a score is known by its judge's.
BUILT_IN = {"inception": INCEPTION_TARGET, "lite0": "gansweep.metrics.lite0.Lite0Judge"}


class Reading(NamedTuple):
    """What one forward of a judge says of N images: logits (N, K), and the features (N, D) they were made from."""

    logits: Tensor
    features: Tensor


class Judge(Protocol):
    """A classifier with its own preprocessing.

    `name`: as in the settings. `key`: the metric's name in a run, with `<key>_std` beside it; only the FID Inception
    may call it `inception_score`. Construction: `Judge(name=..., weights=path or None, device=..., further settings)`.

    It may offer more: `read(images) -> Reading`, the logits with their features (FID, KID and neighbourhoods need it);
    `background = True`, when logit 0 is a class that no image bears (the protocol stackgan needs it); `precision`, an
    attribute set after construction that says how its forward computes (without it the judge is always exact).
    """

    name: str
    key: str

    def identity(self) -> dict[str, str]:
        """Return what must be equal for two scores to be comparable: weights' SHA-256, resize, scaling, precision."""
        ...

    def logits(self, images: Tensor) -> Tensor:
        """Return logits (N, K), float, on the judge's device, for uint8 images (N, 1 or 3, H, W) of any size."""
        ...


def open_judge(settings: Mapping[str, Any], device: torch.device | str, precision: Precision = "exact") -> Judge:
    """Build the judge that `settings` (keys `_target_`, `name`, `weights`, any further ones) names, ready on `device`.

    UserError when the path names no judge, when another classifier than the FID Inception claims its key, or for a
    precision it has not; Missing (from the judge itself) when its weights are not there.
    """
    options = {key: value for key, value in settings.items() if key not in ("_target_", "batch_size")}
    target, device = str(settings["_target_"]), torch.device(device)
    check_precision(precision, device)
    make = _locate(target)
    try:
        judge = make(device=device, **options)
    except TypeError as error:
        raise UserError(f"judge._target_={target} cannot be built: {str(error).splitlines()[0]}") from None
    missing = [part for part in ("name", "key", "identity", "logits") if not hasattr(judge, part)]
    if missing:
        raise UserError(f"judge._target_={target} is no judge: it lacks {', '.join(missing)}")
    owner = BUILT_IN.get(judge.name)
    if owner is not None and owner != target:
        raise UserError(f"judge.name={judge.name} is the name of a built-in judge: give this one another")
    if judge.key == INCEPTION_KEY and target != INCEPTION_TARGET:
        raise UserError(f"judge '{judge.name}' must not write '{INCEPTION_KEY}': that is the FID Inception's alone")
    if hasattr(judge, "precision"):
        judge.precision = precision
    elif precision != "exact":
        raise UserError(f"eval.precision={precision}: the judge '{judge.name}' has one arithmetic; choices: exact")
    return cast(Judge, judge)


def _locate(path: str) -> Any:
    module_name, _, attribute = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"judge._target_={path} names nothing that can be imported ({error})") from None


def score_key(name: str) -> str:
    """Return the metric's name for a judge other than the FID Inception: `is_<name>`, as MLflow allows names."""
    return "is_" + re.sub(r"[^A-Za-z0-9_.-]", "_", name)


def check_images(images: Tensor) -> Tensor:
    """Return uint8 images (N, 1 or 3, H, W) with three channels, grey repeated; ValueError for anything else."""
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"a judge reads uint8 images (N, 1 or 3, H, W), got {images.dtype} {tuple(images.shape)}")
    return images.expand(-1, 3, -1, -1)
