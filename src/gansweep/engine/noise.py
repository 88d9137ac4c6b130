"""Noise: an input like any other, one stream for each named site, a pure function of (seed, step, draw, site)."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import torch
from torch import Tensor

from gansweep.system import Spec

_MASK = (1 << 64) - 1


def mix(*numbers: int) -> int:
    """Mix whole numbers into one of 63 bits (the finaliser of SplitMix64, Steele et al. 2014, after each addition)."""
    state = 0
    for number in numbers:
        state = (state + (number & _MASK) + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state >> 1


class Noise:
    """Draws noise on a device; the streams of CPU and CUDA differ, and nothing rests on their being equal."""

    def __init__(
        self,
        seed: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        shard: tuple[int, int] = (0, 1),
    ):
        self.seed, self.shard = seed, shard
        self.device = torch.device(device)
        self.dtype = dtype
        self._generator = torch.Generator(self.device)

    def site(self, name: str, spec: Spec, batch_size: int, step: int, draw: int = 0) -> Tensor:
        """Return the site's noise, (batch_size, *shape), or its shape alone when it is not batched.

        One of several processes draws the noise of the whole batch and takes its part of it.
        """
        part, parts = self.shard
        self._generator.manual_seed(mix(self.seed, step, draw, zlib.crc32(name.encode())))
        shape = (batch_size * parts, *spec.shape) if spec.batched else spec.shape
        # Drawn in float32 whatever the precision, so that runs of two precisions see the same noise.
        kind = torch.rand if spec.kind == "uniform" else torch.randn
        drawn = kind(shape, generator=self._generator, device=self.device)
        own = drawn[part * batch_size : (part + 1) * batch_size] if spec.batched and parts > 1 else drawn
        return own.to(self.dtype)

    def draw(self, specs: Mapping[str, Spec], batch_size: int, step: int, draw: int = 0) -> dict[str, Tensor]:
        """Return every site's noise by name."""
        return {name: self.site(name, spec, batch_size, step, draw) for name, spec in specs.items()}
