"""The arithmetic of a judge's forward: exact by default, faster where asked for and recorded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Literal, get_args

import torch

from gansweep.errors import UserError

Precision = Literal["exact", "tf32", "bf16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
# A faster mode that moves the score by more than this is refused.
LARGEST_SHIFT = 0.01
_WORDS: dict[Precision, str] = {"exact": "fp32, TF32 off", "tf32": "TF32", "bf16": "bf16"}


def in_words(precision: Precision) -> str:
    """Return a precision as it is recorded beside a score."""
    return _WORDS[precision]


def check_precision(precision: Precision, device: torch.device) -> None:
    """Refuse (UserError) TF32 where there is none: a mode that changed nothing must not be recorded."""
    if precision == "tf32" and device.type != "cuda":
        raise UserError(f"eval.precision=tf32 needs a CUDA device, this is a {device.type}; choices here: exact, bf16")


@contextlib.contextmanager
def at_precision(precision: Precision, device: torch.device) -> Iterator[None]:
    """Run the enclosed forward without gradients in that arithmetic; on CUDA with algorithms that repeat to the bit."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark
    matmul.allow_tf32 = cudnn.allow_tf32 = precision == "tf32"
    cudnn.deterministic, cudnn.benchmark = True, False
    low = torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else contextlib.nullcontext()
    try:
        with torch.inference_mode(), low:
            yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark = before


def full_fp32() -> contextlib.AbstractContextManager[None]:
    """Run the enclosed forward without gradients and with TF32 off, so that GPU scores mean what CPU scores mean."""
    return at_precision("exact", torch.device("cpu"))
