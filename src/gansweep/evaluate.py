"""eval-is: checkpoints → samples → scores → back to the runs that made them.

With train, the only place where what is learnt and what is kept meet. Under torchrun every process does all of this;
the first one alone keeps and tells.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from gansweep.engine.distributed import join, world
from gansweep.errors import GansweepError, Missing, RunFailed, UserError
from gansweep.look import config_of
from gansweep.measure import Bench, Measuring, Subject, weights_digest
from gansweep.restore import Change, Restored, changes, restore
from gansweep.runs import store
from gansweep.runs.rundir import Run, say
from gansweep.runs.tracker import note, send
from gansweep.scoring.card import Card, append, cards_of
from gansweep.take import Taken, take

# Where an interrupted pass is kept, in the run's directory.
KEPT_DIR = ".scoring"
Which = Literal["last", "best", "all"]


@dataclass
class Evaluation:
    """One checkpoint after its scoring: its cards, those of an earlier scoring among them, or why there are none."""

    path: Path
    run: Run | None
    step: int = 0
    cards: tuple[Card, ...] = ()
    fresh: tuple[Card, ...] = ()
    fault: str = ""
    run_id: str = ""
    weights_sha256: str = field(default="", repr=False)


def evaluate(
    target: str, overrides: Sequence[str] = (), config_dir: str | None = None, again: bool = False
) -> list[Evaluation]:
    """Score TARGET, write the scores back, print them: a checkpoint, a run (all its checkpoints) or a sweep's runs.

    `overrides` are Hydra overrides of judge, eval and runtime; what they leave is as the run recorded it. What was
    scored before is not scored again, unless `again`. Missing (exit 3) without the judge's weights, UserError for a
    target that is no checkpoint, RunFailed (exit 1) when of several checkpoints one could not be scored.
    """
    from gansweep.scoring.show import print_one, print_several

    change = changes(overrides, "eval-is", config_dir)
    bench = Bench(world())
    join(bench.place)
    picked = list(_picked(target, change))
    alone = len(picked) == 1 and not store.names_sweep(target)
    begun = time.perf_counter()
    done: list[Evaluation] = []
    for run, path, fault in picked:
        done.append(_one(run, path, fault, change, bench, again, done, alone))
    if not any(one.cards or one.path.is_file() for one in done):
        raise UserError(f"{target}: none of its {len(picked)} runs has a checkpoint")
    bench.place.meet()
    if bench.place.leads:
        for run in {one.run.id: one.run for one in done if one.run is not None and one.fresh}.values():
            _finish(run, done)
        if alone:
            print_one(done[0])
        else:
            print_several(target, done, time.perf_counter() - begun)
    faults = [one for one in done if one.fault and one.path.is_file()]
    if faults and not alone:
        raise RunFailed(f"{len(faults)} of {len(done)} checkpoints could not be scored; the table says why")
    return done


def _picked(target: str, change: Change) -> Iterator[tuple[Run | None, Path, str]]:
    """Yield (run, checkpoint, why there is none) of everything that TARGET stands for, by run, then by step."""
    sweep = store.names_sweep(target)
    if not sweep:
        run, path = store.resolve_checkpoint(target)
        if run is None or _is_file(target):
            yield (store.reconcile(run) if run is not None else None), path, ""
            return
    for run in store.find_many(target):
        run = store.reconcile(run)
        if not run.checkpoints():
            yield run, run.checkpoint_dir, f"no checkpoint ({run.status})"
            continue
        which: Which = _wanted(run, change) or ("last" if sweep else "all")
        files = _checkpoints(run, which)
        if not files:
            yield run, run.checkpoint_dir, "no best.pt: it had no checkpoint.best_by"
        for path in files:
            yield run, path, ""


def _is_file(target: str) -> bool:
    try:
        return Path(target).expanduser().is_file()
    except (OSError, RuntimeError, ValueError):
        return False


def _wanted(run: Run, change: Change) -> Which | None:
    """Return `eval.checkpoints` as the request and the run's own config have it."""
    config = config_of(run.dir)
    return change(config).eval.checkpoints if config else None


def _checkpoints(run: Run, which: Which) -> list[Path]:
    """Return the run's files to score, each of several links to one file once, by name: step files first."""
    files = run.checkpoints()
    if which != "all":
        named = [path for path in files if path.name == f"{which}.pt"]
        return named or (files[-1:] if which == "last" else [])
    found = {(path.stat().st_dev, path.stat().st_ino): path for path in reversed(files)}
    return sorted(found.values(), key=files.index)


def _one(
    run: Run | None, path: Path, fault: str, change: Change, bench: Bench, again: bool, done: list[Evaluation],
    alone: bool,
) -> Evaluation:  # fmt: skip
    """Score one checkpoint; where there are several, one that cannot be scored does not stop the others."""
    if fault:
        return Evaluation(path, run, fault=fault)
    try:
        restored = restore(path, run, change, bench.place)
        twin = _twin(restored, done)
        if twin is not None:
            return Evaluation(path, run, twin.step, twin.cards, run_id=twin.run_id)
        return _scored(restored, bench, again)
    except Missing:
        raise  # the judge or the device is missing for all of them
    except GansweepError as error:
        if alone:
            raise
        return Evaluation(path, run, fault=str(error))


def _twin(restored: Restored, done: Sequence[Evaluation]) -> Evaluation | None:
    """Return what was just scored, of the same run, with the same weights: best.pt may be a copy of a step file."""
    digest = weights_digest(restored.system.nets)
    alike = (one for one in done if one.cards and one.weights_sha256 == digest and one.step == restored.step)
    return next((one for one in alike if one.run_id == restored.run_id), None)


def _scored(restored: Restored, bench: Bench, again: bool) -> Evaluation:
    run = restored.run
    subject = Subject(
        restored.run_id,
        run.name if run is not None else restored.run_id[:8],
        restored.path.name,
        restored.step,
        weights_digest(restored.system.nets),
        restored.ema,
        restored.data,
    )
    asked = Measuring(restored.drawer, subject, bench, None if run is None else run.dir / KEPT_DIR)
    known = {card.id: card for card in cards_of(run.dir)} if run is not None else {}
    taken = take(asked, known, again)
    if run is not None and taken.fresh and bench.place.leads:
        try:
            _record(run, taken, restored.step)
        except OSError:  # told below as it is; what took long to compute is told here
            say("not written: " + ", ".join(f"{card.key} {card.value:.6g}" for card in taken.fresh))
            raise
    taken.settle()
    return Evaluation(
        restored.path,
        run,
        restored.step,
        taken.cards,
        taken.fresh,
        run_id=restored.run_id,
        weights_sha256=subject.weights_sha256,
    )


def _record(run: Run, taken: Taken, step: int) -> None:
    """Write the fresh cards to their run, and what they say to what its tracker will get."""
    for card in taken.fresh:
        append(run.dir, card)
        note(run, card.points(), step)


def _finish(run: Run, done: Sequence[Evaluation]) -> None:
    """Mark the run's best checkpoint under each key, draw its scores against the step, and send it all."""
    from gansweep.scoring.best import best_tags

    fresh = [card for one in done if one.run is not None and one.run.id == run.id for card in one.fresh]
    cards = cards_of(run.dir)
    plots: list[Path] = []
    for key in dict.fromkeys(card.key for card in fresh):
        of_key = [card for card in cards if card.key == key]
        if len({card.step for card in of_key}) > 1:
            from gansweep.scoring.plot import plot_scores  # matplotlib takes its time

            plots.append(plot_scores({run.name: of_key}, key, run.dir / "scores" / f"{key}.png"))
    # A tag is one for the run, a curve's last value that of its last step: the tags are that step's.
    last = {card.key: card.tags() for card in sorted(fresh, key=lambda card: card.step)}
    tags = {tag: text for of_key in last.values() for tag, text in of_key.items()}
    note(run, {}, 0, tags=tags | best_tags(cards, fresh), files=plots, artifact_dir="scores")
    send(run, _drain_s(run))


def _drain_s(run: Run) -> float:
    return float((config_of(run.dir).get("tracker") or {}).get("drain_s", 20.0))
