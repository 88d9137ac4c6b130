"""Taking the scores of one subject: real pictures, the pass over its samples, and the cards that come of it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from gansweep.data.progress import packing_bar
from gansweep.errors import RunFailed
from gansweep.measure import REC_KEYS, Measuring, measures_of
from gansweep.metrics.panel import Result
from gansweep.metrics.reference import Reference
from gansweep.metrics.sums import NotFinite
from gansweep.runs.rundir import timestamp
from gansweep.scoring.card import Card
from gansweep.scoring.judging import Kept, Pass, judge_samples, shift_of_precision
from gansweep.scoring.real import reference_for


@dataclass(frozen=True)
class Taken:
    """All cards of one request, those taken before among them, and which of them are new."""

    cards: tuple[Card, ...]
    fresh: tuple[Card, ...]
    kept: Kept | None = None

    def settle(self) -> None:
        """Say that the fresh cards have been recorded: what an interrupted pass would need is removed."""
        if self.kept is not None:
            self.kept.forget()


def take(asked: Measuring, known: Mapping[str, Card], again: bool = False) -> Taken:
    """Measure what no card in `known` (id -> card) tells yet, or everything once more with `again`.

    RunFailed, naming subject and first sample, for samples, logits or features that are not finite.
    """
    attempt = 0
    if again:
        while any(card_id in known for of in asked.ids(attempt).values() for card_id in of.values()):
            attempt += 1
    ids = asked.ids(attempt)
    missing = [metric for metric, of in ids.items() if next(iter(of.values())) not in known]
    missing = asked.place.gather(missing)[0]  # the leader has the record
    before = [known[one] for of in ids.values() for one in of.values() if one in known]
    if not missing:
        return Taken(tuple(before), ())
    begun = time.perf_counter()
    judged = [metric for metric in missing if metric != "rec"]
    found: list[tuple[str, str, Result]] = []
    kept = None
    if "rec" in missing:  # first: it is short, and may be refused
        output = list(asked.sizes_px)[-1]
        found += [("rec", output, result) for result in _reconstructed(asked)]
    if judged:
        work = _pass(asked, judged, attempt)
        kept = Kept(work)
        found += _judged(asked, work)
    context = _context(asked, time.perf_counter() - begun)
    asked_order: list[str] = [*asked.settings.metrics]
    fresh = tuple(
        Card(
            ids[metric][output, result.key],
            result.key,
            result.value,
            result.values,
            asked.measure_of(metric, output),
            asked.subject.told(),
            context,
        )
        for metric, output, result in sorted(found, key=lambda one: asked_order.index(one[0]))
    )
    return Taken((*before, *fresh), fresh, kept)


def _judged(asked: Measuring, work: Pass) -> list[tuple[str, str, Result]]:
    """Return (metric, output, result) for every output of the pass."""
    assert asked.judge is not None
    settings, shifts = asked.settings, dict[str, float]()
    if settings.precision != "exact":
        shifts = shift_of_precision(work, settings.precision)
    try:
        panels = judge_samples(work)
        refuse_nonfinite(asked)
        found: list[tuple[str, str, Result]] = []
        for output, panel in panels.items():
            for result in panel.compute(asked.judge.key):
                metric, key = _named(asked, output, result.key)
                values = {**result.values, **({"precision_shift": shifts[output]} if shifts else {})}
                found.append((metric, output, dataclasses.replace(result, key=key, values=values)))
        return found
    except NotFinite as error:
        raise RunFailed(f"{asked.drawer.where}: {error}; nothing was recorded") from error


def _named(asked: Measuring, output: str, plain: str) -> tuple[str, str]:
    """Return the metric that a panel's plain key belongs to, and the key it has for this output."""
    finest = list(asked.sizes_px)[-1]
    at_finest, here = asked.names(finest), asked.names(output)
    end = "" if asked.settings.mode == "eval" else "_train_mode"
    for metric, keys in at_finest.items():
        if plain + end in keys:
            return metric, here[metric][keys.index(plain + end)]
    raise AssertionError(plain)


def refuse_nonfinite(asked: Measuring) -> None:
    """Raise RunFailed in every process when a sample that one of them drew was not finite."""
    first = min(asked.place.gather(asked.drawer.first_bad()))
    asked.drawer.refuse_nonfinite(first)


def _pass(asked: Measuring, metrics: Sequence[str], attempt: int) -> Pass:
    assert asked.judge is not None
    progress = asked.drawer.settings.runtime.progress
    measures = measures_of(asked.settings, metrics)
    references: dict[str, Reference | None] = dict.fromkeys(asked.sizes_px)
    if measures.needs_reference:
        for output, size_px in asked.sizes_px.items():
            references[output] = reference_for(
                asked.drawer.data,
                asked.settings,
                asked.judge,
                size_px,
                asked.device,
                asked.place,
                asked.judge_batch_size,
                progress,
            )
    ids = asked.ids(attempt)
    request = hashlib.sha256(json.dumps([sorted(ids[metric].values()) for metric in metrics]).encode()).hexdigest()
    return Pass(
        lambda rows: asked.drawer.samples(rows, asked.settings.seed),
        asked.judge,
        measures,
        references,
        asked.device,
        asked.place,
        asked.batch_size,
        asked.judge_batch_size,
        whole_batches=asked.settings.mode == "eval",
        keep_at=asked.keep_dir and asked.keep_dir / request[:16],
        progress=progress,
        what=f"scoring {asked.subject.checkpoint}",
    )


def _reconstructed(asked: Measuring) -> list[Result]:
    """Return PSNR, SSIM and MS-SSIM of held-out pictures against what the system makes of them."""
    from gansweep.metrics.reconstruction import ReconstructionQuality

    drawer, quality = asked.drawer, None
    with packing_bar(drawer.settings.runtime.progress and asked.place.leads) as bar:
        task = bar.add_task("reconstructing", total=asked.rec_rows)
        for start in range(0, asked.rec_rows, asked.batch_size):
            rows = range(start, min(start + asked.batch_size, asked.rec_rows))
            originals, rebuilt = drawer.reconstructions(rows, asked.settings.seed)
            if quality is None:
                quality = ReconstructionQuality(originals.shape[-1], originals.shape[1], device=asked.device)
            quality.update(originals, rebuilt)
            bar.advance(task, len(rows))
    refuse_nonfinite(asked)
    assert quality is not None
    end = "" if asked.settings.mode == "eval" else "_train_mode"
    named = quality.compute().named()
    return [Result(key + end, named[key]) for key in REC_KEYS if key in named]


def _context(asked: Measuring, took_s: float) -> dict[str, str]:
    device = str(asked.device)
    if asked.device.type == "cuda":
        device += f" ({torch.cuda.get_device_name(asked.device)})"
    return {
        "device": device,
        "processes": str(asked.place.size),
        "data": asked.subject.data.get("fingerprint", ""),
        **asked.bench.code,
        "scored": timestamp(),
        "took_s": f"{took_s:.1f}",
    }
