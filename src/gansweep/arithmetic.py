"""How torch computes in this process: threads, TF32, deterministic algorithms; set before the networks are made."""

from __future__ import annotations

import contextlib
import ctypes
import os

import torch

from gansweep.config.settings import RuntimeSettings

# glibc's malloc.h; 32 MiB is the greatest threshold it takes.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MMAP_MOST, _TRIM_MOST = 32 * 2**20, 2**30


def set_arithmetic(runtime: RuntimeSettings) -> None:
    """Set torch's global switches as `runtime` says; those of CUDA do nothing without it."""
    if runtime.threads is not None:
        torch.set_num_threads(runtime.threads)
    keep_freed_memory()
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


def keep_freed_memory() -> None:
    """Have glibc keep what a step frees for the next step, rather than give it back and fault it in again.

    Worth some per cent of a CPU step (benchmarks/reports); without glibc nothing is done.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _MMAP_MOST)
        mallopt(_M_TRIM_THRESHOLD, _TRIM_MOST)
