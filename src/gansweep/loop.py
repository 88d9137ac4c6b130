"""The one loop: step, measure, log, look, keep. What differs between runs is data; nothing here knows a system."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from gansweep.config.settings import Settings
from gansweep.data import Feed
from gansweep.engine.distributed import World
from gansweep.engine.drive import Driver
from gansweep.engine.schedule import Timetable
from gansweep.engine.step import EagerEngine
from gansweep.errors import RunFailed
from gansweep.gallery import Gallery
from gansweep.live import LiveScorer
from gansweep.observe import Observer
from gansweep.progress import losses_among
from gansweep.runs.checkpoint import FORMAT, Keeper, Saved
from gansweep.runs.meter import Meter
from gansweep.runs.tracker import Tracker
from gansweep.runs.writer import Copier, Writer

log = logging.getLogger("gansweep")


# Who stops a whole machine tells every process of it, some of them twice: only a later one is meant as impatience.
_TOGETHER_S = 2.0


class Interrupted(Exception):
    """The run was asked to stop (Ctrl-C or SIGTERM) and has kept its state."""


@dataclass
class Parts:
    """What a run is made of."""

    settings: Settings
    run_dir: Path
    run_id: str
    data: dict[str, str]
    device: torch.device
    engine: EagerEngine
    plan: Timetable
    feed: Feed
    driver: Driver
    observer: Observer
    tracker: Tracker
    keeper: Keeper
    world: World = field(default_factory=World)
    scorer: LiveScorer | None = None


@dataclass
class Loop:
    """Takes the steps of a run; the state of a checkpoint makes it go on exactly where it stopped."""

    parts: Parts
    advance: Callable[[int], None] = lambda step: None
    show: Callable[[Mapping[str, float]], None] = lambda losses: None
    step: int = 0
    batches_used: int = 0
    turns: dict[str, int] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        world = self.parts.world
        self.meter = Meter(None if world.alone else world.mean)
        self._clock = time.perf_counter()
        self._timed_from = self.step
        self._stop, self._stopped_at = "", 0.0
        device = self.parts.device
        self._copier, self._writer = Copier(device), Writer(threaded=device.type == "cuda")
        parts = self.parts
        self._gallery = Gallery(parts.observer, parts.tracker, parts.run_dir, self._copier, self._writer)

    def run(self) -> None:
        """Take every step that is left. RunFailed for a loss that is not finite; Interrupted when asked to stop."""
        settings = self.parts.settings
        self._clock, self._timed_from = time.perf_counter(), self.step
        if self.step == 0 and settings.sample_every and self.parts.world.leads:
            self._gallery.show(self.step)
        with self._signals(), self._writer:
            while self.step < settings.steps:
                self._take()
                if self._looks_are_free:
                    self._refuse_nonfinite()
                self._report()
                self._writer.settle()
                self.advance(self.step)
                if self._is_asked_to_stop() and self.step < settings.steps:
                    if not self._saved_at_this_step():
                        self._save()
                    raise Interrupted(self._stop or "SIGTERM")

    @property
    def _looks_are_free(self) -> bool:
        """On CUDA a look waits for the device, among several processes for the others: there the log interval looks."""
        return self.parts.device.type == "cpu" and self.parts.world.alone

    def _may_look(self, logged: bool) -> bool:
        """Among several processes the leader may not ask for metrics alone: only where all have just read them."""
        return self.parts.world.alone or logged

    def _is_asked_to_stop(self) -> bool:
        """Say whether to stop here; several processes agree on it where they meet anyway."""
        if self.parts.world.alone:
            return bool(self._stop)
        return self.step % self.parts.settings.log_every == 0 and self.parts.world.any(bool(self._stop))

    def _take(self) -> None:
        parts = self.parts
        groups = parts.plan.at(self.step)
        count = parts.plan.batches(self.step)
        raws = [parts.feed.raw(self.batches_used + n) for n in range(count)]
        parts.driver.take(self.step, groups, raws, self.meter)
        self.batches_used += count
        self.step += 1
        for group in groups:
            for entry in group:
                if not entry.watch:
                    self.turns[entry.phase] = self.turns.get(entry.phase, 0) + 1

    def _report(self) -> None:
        settings, tracker = self.parts.settings, self.parts.tracker
        last = self.step == settings.steps
        logged = self.step % settings.log_every == 0 or last
        if logged:
            self._log()
        known: dict[str, float] = {}
        leads = self.parts.world.leads
        if leads and _due(settings.sample_every, self.step, last):
            self._gallery.show(self.step)
        if leads and _due(settings.val_every, self.step, last) and self.parts.observer.has_held_out:
            known = self.parts.observer.held_out()
            tracker.scalars(known, self.step)
            self.losses |= known
        if leads and self.parts.scorer is not None and _due(settings.eval.every_steps, self.step, last):
            known |= self._score(self.parts.scorer)
        if last or _due(settings.checkpoint_every, self.step, False):
            self._save(known | (self.losses if logged else {}))
        elif leads and (known or (logged and self.parts.keeper.best_by in self.losses)) and self._may_look(logged):
            self._save(known | self.losses, best_only=True)

    def _score(self, scorer: LiveScorer) -> dict[str, float]:
        """Score the networks as they are; the time it takes is told, and not counted as the steps'."""
        found = scorer.score(self.step, self.parts.run_dir, self.parts.run_id)
        self.parts.tracker.scalars(found.points | {"perf/eval_s": found.took_s}, self.step)
        self.parts.tracker.tags(found.tags)
        self._clock += found.took_s
        return found.points

    def _log(self) -> None:
        parts = self.parts
        values = self.meter.read()
        self._refuse_nonfinite()
        values |= {
            f"lr/{net}": parts.engine.knobs.value(f"optimizer.{net}.lr", self.step - 1)
            for net in parts.engine.optimizers
        }
        knobs = parts.engine.knobs
        values |= {f"knob/{k}": knobs.value(k, self.step - 1) for k in knobs.curves if not k.startswith("optimizer.")}
        counted = self.turns.get(parts.plan.counts, 0)
        values |= {
            f"turns/{phase}_per_step": n / counted
            for phase, n in self.turns.items()
            if counted and phase != parts.plan.counts
        }
        self.turns = {}
        self.losses = dict(values)
        performance = self._performance()
        parts.tracker.scalars(values | performance, self.step)
        # For the run's own log: a job without a terminal can be followed there.
        told = " ".join(f"{key} {values[key]:.4g}" for key in losses_among(values))
        took = performance["perf/step_ms"]
        log.debug("step %d of %d, %.3g ms a step: %s", self.step, parts.settings.steps, took, told)
        self.show(values)

    def _performance(self) -> dict[str, float]:
        """Return what may differ between two equal runs: speed and memory, under perf/."""
        now = time.perf_counter()
        steps = max(self.step - self._timed_from, 1)
        seconds = max(now - self._clock, 1e-9)
        self._clock, self._timed_from = now, self.step
        found = {
            "perf/step_ms": 1000 * seconds / steps,
            "perf/images_per_s": steps * self.parts.settings.batch_size / seconds,
            "perf/memory_mb": _resident_mb(),
        }
        if self.parts.device.type == "cuda":
            found["perf/gpu_memory_mb"] = torch.cuda.max_memory_allocated(self.parts.device) / 2**20
        return found

    def _refuse_nonfinite(self) -> None:
        bad = self.meter.first_nonfinite()
        if bad is not None:
            name, step = bad
            kept = self.parts.keeper.step_files()
            where = f"the last good checkpoint is {kept[-1]}" if kept else "no checkpoint had been written yet"
            raise RunFailed(f"{name} is not finite at step {step}: the run was stopped; {where}")

    def _save(self, metrics: Mapping[str, float] | None = None, best_only: bool = False) -> None:
        self._refuse_nonfinite()
        keeper, step, known = self.parts.keeper, self.step, metrics or {}
        self._writer.settle(wait=True)  # one at a time: each is held against the best so far
        if not self.parts.world.leads or (best_only and not keeper.improves(known)):
            return
        taken = self._copier.take(self.state_dict())
        self._writer.put(lambda: keeper.save(taken(), step, known, best_only=best_only), self._upload)

    def _upload(self, saved: Saved) -> None:
        if not self.parts.settings.checkpoint.upload:
            return
        for path in saved.written:
            if path.name != "last.pt":  # the newest step file again: it goes up once, when the run ends
                self.parts.tracker.file(path, "checkpoints")
        for path in saved.removed:
            self.parts.tracker.forget(path, "checkpoints")

    def _saved_at_this_step(self) -> bool:
        self._writer.settle(wait=True)
        return (self.parts.keeper.directory / f"step-{self.step:08d}.pt").exists()

    # State

    def state_dict(self) -> dict[str, Any]:
        """Return the checkpoint's payload (see runs.checkpoint)."""
        parts = self.parts
        engine = parts.engine.state_dict()
        counters = {"updates": engine.pop("updates"), "batches_used": self.batches_used, "turns": dict(self.turns)}
        return {
            "format": FORMAT,
            "run_id": parts.run_id,
            "step": self.step,
            "config": parts.settings.model_dump(mode="json"),
            "data": parts.data,
            **engine,
            "counters": counters,
            "meter": self.meter.state_dict(),
            "losses": dict(self.losses),
            "best": parts.keeper.best,
        }

    def load_state_dict(self, payload: Mapping[str, Any]) -> None:
        """Go on from a checkpoint's payload."""
        self.parts.engine.load_state_dict({**payload, "updates": payload["counters"]["updates"]})
        self.meter.load_state_dict(payload["meter"])
        self.step = payload["step"]
        self.batches_used = payload["counters"]["batches_used"]
        self.turns = dict(payload["counters"]["turns"])
        self.losses = dict(payload["losses"])
        self.parts.keeper.load_state_dict(payload["best"])

    @contextmanager
    def _signals(self) -> Any:
        """Let Ctrl-C and SIGTERM end the run between two steps, with its state kept; a later one ends it at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def ask(number: int, frame: Any) -> None:
            if not self._stop:
                self._stop, self._stopped_at = signal.Signals(number).name, time.monotonic()
            elif time.monotonic() - self._stopped_at > _TOGETHER_S:
                raise KeyboardInterrupt

        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _due(every: int, step: int, last: bool) -> bool:
    return every > 0 and (step % every == 0 or last)


def _resident_mb() -> float:
    import psutil

    return float(psutil.Process().memory_info().rss) / 2**20
