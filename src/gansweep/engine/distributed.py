"""Several processes that share each batch (torchrun): every one takes its part, and gradients are averaged.

One process leads: it reads the request, keeps the record and tells the others what to do; they follow. Weights begin
equal, because all draw them from the run's seed, and stay equal, because all make the same update.
"""

from __future__ import annotations

import atexit
import os
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gansweep.errors import UserError


@dataclass(frozen=True)
class World:
    """This process among those that train together; alone: rank 0 of 1."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def alone(self) -> bool:
        """Whether there is no other process."""
        return self.size == 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that keeps the record."""
        return self.rank == 0

    @property
    def shard(self) -> tuple[int, int]:
        """This process's part of each batch: (k, n)."""
        return self.rank, self.size

    def device(self, asked: torch.device) -> torch.device:
        """Return the device of this process: on CUDA one for each process of a machine."""
        return torch.device("cuda", self.local_rank) if asked.type == "cuda" and not self.alone else asked

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean of `values` over the processes."""
        if self.alone:
            return values
        total = values.clone()
        dist.all_reduce(total)
        return total / self.size

    def average(self, gradients: list[Tensor]) -> None:
        """Replace the gradients by their means over the processes: one sum over all of them, laid end to end."""
        flat = torch._utils._flatten_dense_tensors(gradients)
        dist.all_reduce(flat)
        flat.div_(self.size)
        torch._foreach_copy_(gradients, list(torch._utils._unflatten_dense_tensors(flat, gradients)))

    def any(self, flag: bool) -> bool:
        """Return whether any process says so; all must ask at the same place."""
        if self.alone:
            return flag
        heard = torch.tensor(float(flag), device=self._talks_on())
        dist.all_reduce(heard, dist.ReduceOp.MAX)
        return bool(heard)

    def gather(self, own: Any) -> list[Any]:
        """Return what every process gives, by rank: plain containers of text, numbers and CPU tensors."""
        if self.alone:
            return [own]
        heard: list[Any] = [None] * self.size
        dist.all_gather_object(heard, own)
        return heard

    def meet(self) -> None:
        """Wait until all are here: whoever leaves while others still talk makes them fail."""
        if not self.alone:
            dist.barrier()

    def tell(self, message: Any = None) -> Any:
        """Return what the leader says (`message` there, nothing elsewhere): plain containers of text and numbers."""
        heard = [message]
        dist.broadcast_object_list(heard, src=0, device=self._talks_on())
        return heard[0]

    def _talks_on(self) -> torch.device:
        return torch.device("cuda", self.local_rank) if dist.get_backend() == "nccl" else torch.device("cpu")


def world() -> World:
    """Return this process's place, from the environment that torchrun sets."""
    given = {key: os.environ.get(key, "") for key in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    if not all(value.isdigit() for value in given.values()):
        return World()
    return World(int(given["RANK"]), int(given["WORLD_SIZE"]), int(given["LOCAL_RANK"]))


def join(place: World) -> None:
    """Meet the other processes, unless there are none or that has been done: over NCCL where each has its own GPU."""
    if place.alone or dist.is_initialized():
        return
    # torchrun says how many of the processes are on this machine.
    here = int(os.environ.get("LOCAL_WORLD_SIZE", place.size))
    own_gpu = torch.cuda.is_available() and torch.cuda.device_count() >= here
    if own_gpu:
        torch.cuda.set_device(place.local_rank)
    dist.init_process_group("nccl" if own_gpu else "gloo")
    atexit.register(part)


def part() -> None:
    """Leave the other processes."""
    if dist.is_initialized():
        dist.destroy_process_group()


class _Summed(torch.autograd.Function):
    """The sum over the processes; each one's gradient is the sum of all of theirs."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


def _mean_over_processes(values: Tensor) -> Tensor:
    summed: Tensor = _Summed.apply(values)
    return summed / dist.get_world_size()


class SyncedBatchNorm(nn.BatchNorm2d):
    """Batch norm over the whole batch, wherever its parts are; inputs (B, C, …), as many on each process.

    Mean first, then the mean squared distance from it: the difference of squares would lose digits in fp32.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected at least 2 dimensions, got {input.dim()}")

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised input; in eval mode as any batch norm."""
        if not self.training:
            return super().forward(input)
        axes = [axis for axis in range(input.dim()) if axis != 1]
        shape = [1, -1, *[1] * (input.dim() - 2)]
        wide = input.float() if input.dtype in (torch.bfloat16, torch.float16) else input
        mean = _mean_over_processes(wide.mean(axes))
        centred = wide - mean.view(shape)
        variance = _mean_over_processes(centred.square().mean(axes))
        if self.running_mean is not None and self.running_var is not None:
            count = dist.get_world_size() * input.numel() // input.shape[1]
            self._move_statistics(mean.detach(), variance.detach() * (count / (count - 1)))
        normal = centred * (variance + self.eps).rsqrt().view(shape)
        if self.weight is not None:
            normal = normal * self.weight.view(shape) + self.bias.view(shape)
        return normal.to(input.dtype)

    @torch.no_grad()
    def _move_statistics(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)


def synchronise_norms(net: nn.Module) -> None:
    """Give every batch norm inside `net` the whole batch's statistics; parameters and buffers stay the same objects."""
    for name, child in net.named_children():
        if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            if child.momentum is None:
                raise UserError("runtime.sync_batchnorm: a batch norm without momentum cannot be synchronised")
            synced = SyncedBatchNorm(child.num_features, child.eps, child.momentum, child.affine)
            synced._parameters, synced._buffers = child._parameters, child._buffers
            synced.training = child.training
            setattr(net, name, synced)
        else:
            synchronise_norms(child)
