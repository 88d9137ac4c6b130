"""How torch computes in this process: threads, TF32, deterministic algorithms; set before the networks are made."""

from __future__ import annotations

import os

import torch

from gansweep.config.settings import RuntimeSettings


def set_arithmetic(runtime: RuntimeSettings) -> None:
    """Set torch's global switches as `runtime` says; those of CUDA do nothing without it."""
    if runtime.threads is not None:
        torch.set_num_threads(runtime.threads)
    # One switch for both libraries: 10 bits of mantissa in products, sums in fp32.
    torch.backends.cuda.matmul.allow_tf32 = runtime.tf32
    torch.backends.cudnn.allow_tf32 = runtime.tf32
    # Which of several equal algorithms is fastest is tried out, which the deterministic ones forbid.
    torch.backends.cudnn.benchmark = not runtime.deterministic
    if torch.cuda.is_available():
        if runtime.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
        torch.use_deterministic_algorithms(runtime.deterministic, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
