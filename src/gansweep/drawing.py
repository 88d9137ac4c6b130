"""Pictures out of networks, for whoever looks at them: samples by number, reconstructions by row, never for training.

Sample i has the noise of (seed, i), drawn on the CPU: the same for every checkpoint, machine, number and batch size.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from gansweep.clips import Clips, gathered
from gansweep.config.settings import Settings
from gansweep.data import Batches, Dataset, open_data, to_uint8
from gansweep.engine.handle import Nets
from gansweep.engine.noise import Noise, mix
from gansweep.errors import RunFailed
from gansweep.metrics.precision import full_fp32
from gansweep.system import System, aim_of

# Keeps the samples' noise apart from that of training, whose seeds are small numbers too.
_SAMPLES = zlib.crc32(b"samples")
_NONE = torch.iinfo(torch.int64).max


@dataclass
class Drawer:
    """Draws what a system's networks make, in full fp32.

    `nets` is a handle on networks that are in the mode they are to be judged in; `training` says that it is training
    mode. `dataset` is opened when first needed (conditional systems, reconstructions). `where` names the networks in
    messages.
    """

    system: System
    settings: Settings
    nets: Nets
    device: torch.device
    dtype: torch.dtype
    where: str
    dataset: Dataset | None = None
    training: bool = False

    def __post_init__(self) -> None:
        self._first_bad = torch.tensor(_NONE, device=self.device)

    def samples(self, rows: Sequence[int], seed: int) -> dict[str, Tensor]:
        """Return the samples numbered `rows` of every output, uint8 (B, C, H, W) on the device, coarsest first.

        Nothing is read back from the device: `refuse_nonfinite` tells of samples that were not finite.
        """
        with full_fp32(), _own_dropout(self.training, seed, rows):
            outputs = self.system.sample(self.nets, _Lazy(self, rows), self._noise(seed, rows, draw=0))
            self._note_bad(outputs, torch.tensor(list(rows)))
            return {name: to_uint8(images, self._kind) for name, images in outputs.items()}

    def stream(self, count: int, batch_size: int, seed: int) -> Iterator[Tensor]:
        """Yield the first `count` samples of the finest output in batches; RunFailed when one is not finite."""
        for start in range(0, count, batch_size):
            images = list(self.samples(range(start, min(start + batch_size, count)), seed).values())[-1]
            self.refuse_nonfinite()
            yield images

    def reconstructions(self, rows: Sequence[int], seed: int) -> tuple[Tensor, Tensor]:
        """Return what is to come out, and what the system makes of held-out pictures, uint8 (B, C, H, W) on the device.

        The first are the pictures themselves, or the targets that the system names.
        """
        batch = self.pictures(rows)
        with full_fp32():
            outputs = self.system.reconstruct(self.nets, batch, self._noise(seed, rows, draw=1))  # type: ignore[attr-defined]
            rebuilt = list(outputs.values())[-1]
            self._note_bad({"": rebuilt}, torch.tensor(list(rows)))
            return to_uint8(batch[aim_of(self.system)], self._kind), to_uint8(rebuilt, self._kind)

    def clips(self, rows: Sequence[int], seed: int, batch_size: int, runs: Sequence[int] | None = None) -> Clips:
        """Return the clips numbered `rows`, on the host, of a system that makes any; RunFailed for one not finite.

        They are whole what `samples` shows one frame of. `runs`: how many of them follow one another in each utterance.
        """
        parts: list[dict[str, Tensor]] = []
        for start in range(0, len(rows), batch_size):
            few = rows[start : start + batch_size]
            with full_fp32(), _own_dropout(self.training, seed, few):
                noise = self._noise(seed, few, draw=0)
                part = self.system.clips(self.nets, self.pictures(few), noise)  # type: ignore[attr-defined]
            self._note_bad({"made": part["made"]}, torch.tensor(list(few)))
            parts.append({name: values.cpu() for name, values in part.items()})
        self.refuse_nonfinite()
        return gathered(parts, self._kind, runs or [1] * len(rows))

    def pictures(self, rows: Sequence[int]) -> Mapping[str, Tensor]:
        """Return rows of the run's held-out data (training data when nothing is held out), round and round."""
        dataset, held_out = self.held_out
        picked = held_out[[row % len(held_out) for row in rows]]
        fields = tuple(self.system.inputs)
        options: dict[str, Any] = {"normalize": self._kind, "fields": fields, "shuffle": False}
        return Batches(dataset, picked, len(rows), 0, **options, device=self.device, dtype=self.dtype).batch(0)

    def first_bad(self) -> int:
        """Return the number of the first sample so far with a NaN or infinite value, a huge one when there is none."""
        return int(self._first_bad)

    def refuse_nonfinite(self, first: int | None = None) -> None:
        """Raise RunFailed, naming the first sample (`first`: as several processes agreed), when it was not finite."""
        number = self.first_bad() if first is None else first
        if number != _NONE:
            raise RunFailed(
                f"{self.where}: draws pictures that are not finite, the first is sample {number} (counted from 0); "
                "nothing was recorded"
            )

    @property
    def _kind(self) -> Any:
        return self.settings.data.normalize

    @cached_property
    def data(self) -> Dataset:
        """The run's data set."""
        return self.dataset or open_data(self.settings.data, progress=self.settings.runtime.progress)

    @cached_property
    def held_out(self) -> tuple[Dataset, Any]:
        """The run's data set and the rows that are held out of it, or its training rows when none are."""
        rows = self.data.split("val")
        return self.data, rows if len(rows) else self.data.split("train")

    def _noise(self, seed: int, rows: Sequence[int], draw: int) -> dict[str, Tensor]:
        noise = Noise(mix(seed, _SAMPLES), "cpu", self.dtype)
        drawn: dict[str, Tensor] = {}
        for name, spec in self.system.noise.items():
            each = [noise.site(name, spec, 1, row, draw) for row in (rows if spec.batched else (0,))]
            drawn[name] = (torch.cat(each) if spec.batched else each[0]).to(self.device)
        return drawn

    def _note_bad(self, outputs: Mapping[str, Tensor], rows: Tensor) -> None:
        numbers = rows.to(self.device, non_blocking=True)
        for images in outputs.values():
            bad = torch.where(torch.isfinite(images).flatten(1).all(dim=1), _NONE, numbers).min()
            self._first_bad = torch.minimum(self._first_bad, bad)


@contextlib.contextmanager
def _own_dropout(training: bool, seed: int, rows: Sequence[int]) -> Iterator[None]:
    """Give networks in training mode, whose dropout draws from the global generators, numbers of these rows' own."""
    if not training:
        yield
        return
    with torch.random.fork_rng():
        torch.manual_seed(mix(seed, _SAMPLES, rows[0]))
        yield


class _Lazy(Mapping[str, Tensor]):
    """The fields that a conditional system reads while it samples; the data set is opened by the first of them."""

    def __init__(self, drawer: Drawer, rows: Sequence[int]) -> None:
        self._drawer, self._rows = drawer, rows

    @cached_property
    def _batch(self) -> Mapping[str, Tensor]:
        return self._drawer.pictures(self._rows)

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._drawer.system.inputs:
            raise KeyError(name)
        return self._batch[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._drawer.system.inputs)

    def __len__(self) -> int:
        return len(self._drawer.system.inputs)
