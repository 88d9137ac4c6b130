"""The least time an H100 SXM could need for each model's step, computed from its work: not measured on one.

    python benchmarks/roofline.py        counts the work of the steps, ours and the plain loop's, on the CPU

Work is counted operation by operation on real steps of two small batches and carried on in a straight line to the whole
batch: floating-point operations by torch's counter; bytes as every operation's inputs and outputs in fp32, nothing
fused; of these, those of stand-alone activations. Peaks by the data sheet, dense: 495 TFLOP/s TF32, 989 bf16; memory
3.35 TB/s. The floor is the larger of both times, with stand-alone activations fused into what stands beside them and
nothing else (fusing norms too would lower it, caches as well; thin convolutions do not reach the peaks).
"""

from __future__ import annotations

from typing import Any

PEAK_FLOPS = {"tf32": 495e12, "bf16": 989e12}
BYTES_PER_S = 3.35e12
# Of gansweep's step: GFLOP, operations, GB in fp32 unfused, GB of activations alone; printed by this script.
WORK: dict[str, tuple[float, int, float, float]] = {
    "vaegan": (464, 729, 10.97, 3.27),
    "dcgan": (291, 187, 3.73, 1.29),
    "wgan_gp": (925, 2984, 17.78, 3.98),
}
WHAT = "computed for an H100 SXM from the step's work (benchmarks/roofline.py)"
_ACTIVATIONS = ("leaky_relu", "relu", "tanh", "sigmoid", "threshold")
# Adam's fused update reads four tensors and writes three; torch tells its inputs only.
_ADAM, _ADAM_FACTOR = "_fused_adam_", 7 / 4


def floor_ms(model: str, precision: str) -> dict[str, float]:
    """Return the floors of a model's step in ms: nothing fused, and activations fused into what stands beside them."""
    flop, _, whole, activations = WORK[model]
    share = {"tf32": 1.0, "bf16": 0.5}[precision]
    compute = flop * 1e9 / PEAK_FLOPS[precision]
    seconds = {"unfused": whole, "fused": whole - activations}
    return {kind: 1e3 * max(compute, share * gb * 1e9 / BYTES_PER_S) for kind, gb in seconds.items()}


def against(model: str, precision: str, measured_ms: float) -> dict[str, Any] | None:
    """Return the floor with activations fused and the share of it that is reached; None where none is known."""
    if model not in WORK or precision not in PEAK_FLOPS:
        return None
    floors = floor_ms(model, precision)
    share = floors["fused"] / measured_ms
    what = f"{precision}, activations fused; {floors['unfused']:.2f} ms with nothing fused"
    return {"floor": what, "floor_ms": floors["fused"], "share_of_roofline": share, "what": WHAT}


def counted(run: Any) -> tuple[float, float, float, float]:
    """Return GFLOP, launching operations, GB and GB of activations of what `run` does."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import flop_registry

    found = {"flop": 0.0, "operations": 0.0, "bytes": 0.0, "activations": 0.0}

    def tensors(values: Any) -> list[torch.Tensor]:
        if isinstance(values, torch.Tensor):
            return [values]
        if isinstance(values, dict):
            values = values.values()
        return (
            [t for v in values for t in tensors(v)]
            if not isinstance(values, str) and hasattr(values, "__iter__")
            else []
        )

    def size(tensor: torch.Tensor) -> int:
        return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())

    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            name = func.overloadpacket.__name__
            if func.is_view or name.startswith(("empty", "detach", "_unsafe_view", "lift")):
                return result
            moved = sum(map(size, tensors([args, kwargs or {}]))) * (_ADAM_FACTOR if name == _ADAM else 1)
            moved += sum(map(size, tensors([result])))
            if func.overloadpacket in flop_registry:
                found["flop"] += flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=result)
            found["operations"] += 1
            found["bytes"] += moved
            found["activations"] += moved if name.startswith(_ACTIVATIONS) else 0
            return result

    with Count():
        run()
    return found["flop"] / 1e9, found["operations"], found["bytes"] / 1e9, found["activations"] / 1e9


def main() -> None:
    """Count the steps of the list's models and print a table, and the floors that follow."""
    import torch
    from rungs import OURS, WORKLOADS, Size, our_rung, plain_rung

    torch.set_num_threads(1)
    cpu, small = torch.device("cpu"), (2, 4)
    print("| step | GFLOP | operations | GB, fp32, unfused | of it activations alone |\n|---|---|---|---|---|")
    for load in WORKLOADS:
        for side in ("gansweep", "plain"):
            found = []
            for batch in small:
                size = Size(batch=batch)
                rung = our_rung(*OURS[0], load, size, cpu)
                assert rung.ours is not None
                if side == "plain":
                    rung = plain_rung("plain", "", False, rung.ours, torch.float32, size, cpu)
                rung.run(0, 1)
                found.append(counted(lambda rung=rung: rung.run(1, 1)))
            line = [a + (b - a) * (load.batch - small[0]) / (small[1] - small[0]) for a, b in zip(*found, strict=True)]
            print(
                f"| {load.what}: {side} | {line[0]:.0f} | {line[1]:.0f} | {line[2]:.2f} | {line[3]:.2f} |", flush=True
            )


if __name__ == "__main__":
    main()
