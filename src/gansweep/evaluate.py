"""eval-is: checkpoint → samples → score → back to the run that made the checkpoint.

With train, the only place where what is learnt and what is kept meet.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.table import Table

from gansweep.data.progress import packing_bar
from gansweep.errors import GansweepError, Missing, RunFailed, UserError
from gansweep.metrics.judges import Judge, open_judge
from gansweep.metrics.score import ORDER_SEED, InceptionScore, Score, check_sizes
from gansweep.restore import Change, Restored, changes, restore
from gansweep.runs import store
from gansweep.runs.rundir import Run, say
from gansweep.runs.tracker import annotate
from gansweep.tables import console, print_table

MODE = "eval"


@dataclass(frozen=True)
class Evaluation:
    """One score with its protocol: everything that must agree for two scores to be comparable, as text."""

    path: Path
    run: Run | None
    step: int
    key: str
    score: Score
    protocol: Mapping[str, str]

    def metrics(self) -> dict[str, float]:
        """Return what a run gets: `<key>` and `<key>_std`."""
        return {self.key: self.score.mean, f"{self.key}_std": self.score.std}

    def tags(self) -> dict[str, str]:
        """Return the protocol as tags `gansweep.<key>.<part>`."""
        return {f"gansweep.{self.key}.{part}": text for part, text in self.protocol.items()}


@dataclass
class Bench:
    """What several scores share: each judge in memory once, and each warning said once."""

    opened: dict[str, Judge] = field(default_factory=dict)
    warned: set[str] = field(default_factory=set)

    def warn(self, message: str | None) -> None:
        """Say a warning that was not said yet, if there is one."""
        if message is not None and message not in self.warned:
            self.warned.add(message)
            say(message)

    def judge(self, restored: Restored) -> Judge:
        """Return the judge that the restored run's settings name, on its device."""
        settings = restored.settings.judge.model_dump(mode="json")
        key = json.dumps([settings, str(restored.device)], sort_keys=True)
        if key not in self.opened:
            self.opened[key] = open_judge(settings, restored.device)
        return self.opened[key]


def evaluate(target: str, overrides: Sequence[str] = (), config_dir: str | None = None) -> list[Evaluation]:
    """Score TARGET (a checkpoint, a run, a run id, or a sweep directory: all its runs), write it back, print it.

    `overrides` are Hydra overrides of judge, eval and runtime; what they leave is as the run recorded it. Missing
    (exit 3) without the judge's weights, UserError for a target that is no checkpoint, RunFailed (exit 1) when of
    several runs one could not be scored.
    """
    change = changes(overrides, "eval-is", config_dir)
    bench = Bench()
    if store.names_sweep(target):
        return _evaluate_all(target, store.find_many(target), change, bench)
    run, path = store.resolve_checkpoint(target)
    evaluation = _evaluate_one(path, run, change, bench)
    _print_one(evaluation)
    return [evaluation]


def _evaluate_all(target: str, runs: Sequence[Run], change: Change, bench: Bench) -> list[Evaluation]:
    """Score every run that has a checkpoint; one that cannot be scored does not stop the others."""
    done: list[Evaluation] = []
    rows: list[tuple[Run, Evaluation | None, str]] = []
    faults = 0
    for run in runs:
        if not run.checkpoints():
            rows.append((run, None, f"no checkpoint ({run.status})"))
            continue
        try:
            evaluation = _evaluate_one(store.resolve_checkpoint(str(run.dir))[1], run, change, bench)
        except Missing:
            raise  # the judge or the device is missing for all of them
        except GansweepError as error:
            faults += 1
            rows.append((run, None, str(error)))
            continue
        done.append(evaluation)
        rows.append((run, evaluation, ""))
    if not done and not faults:
        raise UserError(f"{target}: none of its {len(runs)} runs has a checkpoint")
    _print_all(rows)
    if faults:
        raise RunFailed(f"{faults} of {len(runs)} runs could not be scored; the table says why")
    return done


def _evaluate_one(path: Path, run: Run | None, change: Change, bench: Bench) -> Evaluation:
    if run is not None:
        run = store.reconcile(run)
    restored = restore(path, run, change)
    settings = restored.settings.eval
    warning = check_sizes(settings.n, settings.splits)
    judge = bench.judge(restored)
    bench.warn(warning)  # a request that is refused needs no advice about its score
    score = score_samples(restored, judge)
    evaluation = Evaluation(path, restored.run, restored.step, judge.key, score, _protocol(restored, judge))
    if restored.run is not None:
        drain_s = restored.settings.tracker.drain_s
        annotate(restored.run, evaluation.metrics(), restored.step, tags=evaluation.tags(), drain_s=drain_s)
    return evaluation


def score_samples(restored: Restored, judge: Judge) -> Score:
    """Draw `eval.n` samples from `eval.seed` and return their score; a bar on stderr when that is a terminal."""
    settings = restored.settings.eval
    score = InceptionScore(settings.n, settings.splits, device=restored.device)
    with packing_bar(restored.settings.runtime.progress) as bar:
        task = bar.add_task("scoring", total=settings.n)
        for images in restored.draw(settings.n, settings.batch_size, settings.seed):
            for part in images.split(restored.settings.judge.batch_size):
                score.update(judge.logits(part))
                bar.advance(task, len(part))
    return score.compute()


def _protocol(restored: Restored, judge: Judge) -> dict[str, str]:
    settings = restored.settings.eval
    return {
        **judge.identity(),
        "n": str(settings.n),
        "splits": str(settings.splits),
        "order": f"RandomState({ORDER_SEED})",
        "seed": str(settings.seed),
        "ema": str(restored.ema).lower(),
        "mode": MODE,
        "sampling_precision": "fp64" if restored.settings.runtime.precision == "fp64" else "fp32",
        "device": str(restored.device),
        "checkpoint": restored.path.name,
        "step": str(restored.step),
    }


def _conditions(evaluation: Evaluation) -> str:
    told = evaluation.protocol
    weights = told.get("weights_sha256", "")
    digest = f" (weights {weights[:8]})" if weights else ""
    kind = "EMA weights" if told["ema"] == "true" else "no EMA"
    return (
        f"judge {told['judge']}{digest}, N {told['n']}, {told['splits']} splits, seed {told['seed']}, "
        f"{told['mode']} mode, {kind}, {told['sampling_precision']} on {told['device']}"
    )


def _print_one(evaluation: Evaluation) -> None:
    score, run = evaluation.score, evaluation.run
    out = console()
    out.print(
        f"{evaluation.key} {score.mean:.4f} ± {score.std:.4f}  "
        f"(as one split {score.single:.4f}; for endless samples about {score.infinity:.4f})"
    )
    out.print(_conditions(evaluation), soft_wrap=True)
    if run is None:
        out.print(f"{evaluation.path}: its run is not here, so the score was written nowhere", soft_wrap=True)
    else:
        out.print(f"written to run {run.id[:8]} ({run.name}) at step {evaluation.step}", soft_wrap=True)


def _print_all(rows: Sequence[tuple[Run, Evaluation | None, str]]) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("run", "name", "step", "score", "std", "single", "key"):
        table.add_column(
            name, overflow="fold", justify="right" if name in ("step", "score", "std", "single") else "left"
        )
    for run, evaluation, remark in rows:
        cells = ["–"] * 4
        if evaluation is not None:
            score = evaluation.score
            cells = [str(evaluation.step), f"{score.mean:.4f}", f"{score.std:.4f}", f"{score.single:.4f}"]
        table.add_row(run.id[:8], run.name, *cells, remark or (evaluation.key if evaluation else ""))
    print_table(table)
    out = console()
    scored = [evaluation for _, evaluation, _ in rows if evaluation is not None]
    for line in dict.fromkeys(_conditions(evaluation) for evaluation in scored):
        out.print(line, soft_wrap=True)
