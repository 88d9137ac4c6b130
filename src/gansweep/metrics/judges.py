"""Judges: what turns images into class logits, with a name, a key for its score and an identity to record.

A judge is looked up by the dotted path that its settings give (`_target_`), so a user's own needs no registration.
"""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from gansweep.errors import UserError

INCEPTION_KEY = "inception_score"
INCEPTION_TARGET = "gansweep.metrics.inception.InceptionJudge"


class Judge(Protocol):
    """A classifier with its own preprocessing.

    `name`: as in the settings. `key`: the metric's name in a run, with `<key>_std` beside it; only the FID Inception
    may call it `inception_score`. Construction: `Judge(name=..., weights=path or None, device=..., further settings)`.
    """

    name: str
    key: str

    def identity(self) -> dict[str, str]:
        """Return what must be equal for two scores to be comparable: weights' SHA-256, resize, scaling, precision."""
        ...

    def logits(self, images: Tensor) -> Tensor:
        """Return logits (N, K), float, on the judge's device, for uint8 images (N, 1 or 3, H, W) of any size."""
        ...


def open_judge(settings: Mapping[str, Any], device: torch.device | str) -> Judge:
    """Build the judge that `settings` (keys `_target_`, `name`, `weights`, any further ones) names, ready on `device`.

    UserError when the path names no judge, or when another classifier than the FID Inception claims its key;
    Missing (from the judge itself) when its weights are not there.
    """
    options = {key: value for key, value in settings.items() if key not in ("_target_", "batch_size")}
    target = str(settings["_target_"])
    make = _locate(target)
    try:
        judge = make(device=torch.device(device), **options)
    except TypeError as error:
        raise UserError(f"judge._target_={target} cannot be built: {str(error).splitlines()[0]}") from None
    missing = [part for part in ("name", "key", "identity", "logits") if not hasattr(judge, part)]
    if missing:
        raise UserError(f"judge._target_={target} is no judge: it lacks {', '.join(missing)}")
    if judge.key == INCEPTION_KEY and target != INCEPTION_TARGET:
        raise UserError(f"judge '{judge.name}' must not write '{INCEPTION_KEY}': that is the FID Inception's alone")
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


@contextlib.contextmanager
def full_fp32() -> Iterator[None]:
    """Run the enclosed forward without gradients and with TF32 off, so that GPU scores mean what CPU scores mean."""
    matmul = torch.backends.cuda.matmul.allow_tf32
    convolution = torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, convolution
