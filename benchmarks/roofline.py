"""What an H100 SXM cannot beat, computed from each step's work: not measured, and for no other GPU.

Work per step, from torch's flop counter and the inputs and outputs of every operation: VAE-GAN at 64 px and batch 64
559 GFLOP, 947 kernels, 12.9 GB in fp32 with nothing fused (of it 3.9 GB stand-alone activations); DCGAN at batch 128
291 GFLOP, 151 kernels, 3.52 GB (1.26 GB). Peaks: 989 TFLOP/s bf16, 495 TF32, 3.35 TB/s of memory. The memory is the
limit of both. Adam's own traffic, 28 bytes a parameter, is added: 0.06 ms and 0.05 ms.
"""

from __future__ import annotations

from typing import Any

# Milliseconds a step: fp32 unfused; fp32 with activations fused; bf16 with activations fused; all with Adam.
FLOORS_MS: dict[str, dict[str, float]] = {
    "vaegan": {"tf32": 3.85 + 0.06, "tf32 fused": 2.69 + 0.06, "bf16 fused": 1.34 + 0.06},
    "dcgan": {"tf32": 1.05 + 0.05, "tf32 fused": 0.67 + 0.05, "bf16 fused": 0.34 + 0.05},
}
WHAT = "computed for an H100 SXM: bytes over 3.35 TB/s, Adam included (benchmarks/roofline.py)"


def against(model: str, precision: str, measured_ms: float) -> dict[str, Any] | None:
    """Return the floor for this model and precision and the share of it that is reached; None where none is known."""
    floors = FLOORS_MS.get(model)
    if floors is None or precision not in ("tf32", "bf16"):
        return None
    kind = "tf32" if precision == "tf32" else "bf16 fused"
    return {"floor": kind, "floor_ms": floors[kind], "share_of_roofline": floors[kind] / measured_ms, "what": WHAT}
