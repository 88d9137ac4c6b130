"""The graph engine: whole steps recorded once and replayed, one recording for each pattern of turns.

The eager engine does the recording, so a system's file is the same under both. What a recording cannot hold stays
outside it and is filled in place before each replay: batches, noise, and the knobs that a curve moves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from gansweep.engine.drive import Driver, Eager, Finish, Gauge, Raw, Row
from gansweep.engine.schedule import Group
from gansweep.engine.step import EagerEngine, Metrics
from gansweep.engine.trial import as_before
from gansweep.errors import UserError

Noises = dict[int, dict[str, Tensor]]
Work = Callable[[], None]

# Trial steps before a recording: lazy states are made, and libraries choose their algorithms.
_WARM_UP_STEPS = 3
# Patterns of turns worth a recording each; a timetable with more of them is taken eagerly.
_MOST_PATTERNS = 32


class Recorder(Protocol):
    """Turns device work into something that can be replayed."""

    def warm_up(self, work: Callable[[], Metrics]) -> Metrics:
        """Run `work` as it will be recorded, and return what it returns."""

    def record(self, work: Work) -> Work:
        """Record `work`; the answer does it again, on the same memory."""


class CudaRecorder:
    """Records CUDA graphs. They share one pool of memory: never two run at once, none reads another's results."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()
        self._device = device

    def warm_up(self, work: Callable[[], Metrics]) -> Metrics:
        """Run on the stream that will record: what libraries prepare for each stream is then there."""
        now = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(now)
        with torch.cuda.stream(self._stream):
            result = work()
        now.wait_stream(self._stream)
        return result

    def record(self, work: Work) -> Work:
        """Record one graph."""
        graph = torch.cuda.CUDAGraph()
        # Other threads go on gathering batches and writing files meanwhile: their calls must not spoil the recording.
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            work()
        return graph.replay


@dataclass
class Recording:
    """One recorded pattern: what is filled in before a replay, where its metrics go, what the host must count."""

    replay: Work
    raws: list[dict[str, Tensor]]
    noises: Noises
    row: Row
    updates: dict[str, int]


class Graph:
    """Takes steps by replaying recordings of them; without `fall_back`, what cannot be recorded is a UserError."""

    kind = "graph"

    def __init__(
        self, engine: EagerEngine, finish: Finish, recorder: Recorder, fall_back: Callable[[str], None] | None = None
    ) -> None:
        self.engine, self.finish, self.recorder, self.fall_back = engine, finish, recorder, fall_back
        self._recordings: dict[tuple[Group, ...], Recording] = {}
        self._eager: Eager | None = None

    def take(self, step: int, groups: Sequence[Group], raws: Sequence[Raw], gauge: Gauge) -> None:
        """Fill in, replay, count; a pattern's first step records it."""
        if self._eager is None and tuple(groups) not in self._recordings:
            self._try_to_record(step, tuple(groups), raws, gauge)
        if self._eager is not None:
            self._eager.take(step, groups, raws, gauge)
            return
        engine, recording = self.engine, self._recordings[tuple(groups)]
        engine.knobs.advance(step)
        for place, raw in zip(recording.raws, raws, strict=True):
            for name, tensor in place.items():
                tensor.copy_(raw[name], non_blocking=True)
        for draw, drawn in engine.draw(step, groups, _size(raws)).items():
            for name, tensor in recording.noises[draw].items():
                tensor.copy_(drawn[name])
        recording.replay()
        for net, count in recording.updates.items():
            engine.updates[net] += count
        gauge.wrote(recording.row.keys, step + 1)

    def _try_to_record(self, step: int, groups: tuple[Group, ...], raws: Sequence[Raw], gauge: Gauge) -> None:
        try:
            if len(self._recordings) == _MOST_PATTERNS:
                raise RuntimeError(f"the timetable has more than {_MOST_PATTERNS} different steps")
            self._recordings[groups] = self._record(step, groups, raws, gauge)
        except RuntimeError as error:  # memory that ran out among them: the eager step needs less
            reason = f"the step cannot be recorded: {(str(error) or type(error).__name__).splitlines()[0]}"
            if self.fall_back is None:
                raise UserError(f"runtime.engine=graph: {reason}; runtime.engine=eager takes it as it is") from error
            self.fall_back(f"engine: eager from step {step} on, because {reason}")
            self._eager, self._recordings = Eager(self.engine, self.finish), {}

    def _record(self, step: int, groups: tuple[Group, ...], raws: Sequence[Raw], gauge: Gauge) -> Recording:
        """Record the pattern; whatever the trial steps moved is as before, so that no run learns from them."""
        engine = self.engine
        engine.knobs.advance(step)
        inputs = [{name: tensor.clone() for name, tensor in raw.items()} for raw in raws]
        noises = engine.draw(step, groups, _size(raws))

        def run() -> Metrics:
            return engine.run(groups, [self.finish(raw) for raw in inputs], noises)

        with as_before(engine):
            keys = [tuple(self.recorder.warm_up(run)) for _ in range(_WARM_UP_STEPS)][-1]
            row = gauge.ring(keys)
            with as_before(row):
                self.recorder.warm_up(lambda: _written(run(), row))
                counted = dict(engine.updates)
                replay = self.recorder.record(lambda: row.write(list(run().values())))
                moved = {net: now - counted[net] for net, now in engine.updates.items()}
        return Recording(replay, inputs, noises, row, moved)


def _written(metrics: Metrics, row: Row) -> Metrics:
    row.write(list(metrics.values()))
    return metrics


def _size(raws: Sequence[Raw]) -> int:
    return len(next(iter(raws[0].values())))


def open_driver(
    kind: str,
    engine: EagerEngine,
    finish: Finish,
    device: torch.device,
    say: Callable[[str], None],
) -> Driver:
    """Return the driver that `runtime.engine` asks for: auto is the graph on CUDA, and says why where it cannot be."""
    if kind == "graph" and device.type != "cuda":
        raise UserError(f"runtime.engine=graph: needs CUDA, and this run's device is {device}; say auto or eager")
    if kind == "eager" or device.type != "cuda":
        return Eager(engine, finish)
    if engine.average is not None and kind == "auto":
        say("engine: eager, because several processes share each batch; runtime.engine=graph records their sums too")
        return Eager(engine, finish)
    return Graph(engine, finish, CudaRecorder(device), say if kind == "auto" else None)
