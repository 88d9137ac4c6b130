"""A search: Optuna chooses the points, one study a sweep, kept beside its record; what a kill left is recovered.

The study is met in the process that leads the sweep alone: jobs know nothing of it. What they log is read from their
spools, and a job that a pruner gives up is stopped from outside.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gansweep.config.listed import MOST
from gansweep.errors import UserError, nearest
from gansweep.sweep.outcome import IMPORTANCE_FROM, Objective, Weights
from gansweep.sweep.space import Axis, suggest
from gansweep.sweep.study import storage_of

SAMPLERS = ("tpe", "cmaes", "random", "grid", "qmc")
PRUNERS = ("none", "asha", "hyperband", "median")
# How many of the best points importance looks at, at least.
_BEST_LEAST = 5
# The job that a trial is of, where that is not the trial's own number.
_JOB = "job"


class Search:
    """One study: `ask` for a point, `report` what a job logs, `tell` how it ended.

    `wanted` are the objectives (several: all that none beats in every one are best), `settings` the sweeper's (see
    conf/hydra/sweeper/search.yaml): `sampler`, `seed`, `n_trials` in all, `pruner`, `min_steps`, `reduction_factor`,
    `storage` (a URL; null: a journal in `directory`). `steps` is how long a run is. Raises UserError.
    """

    def __init__(
        self,
        directory: Path,
        name: str,
        along: Sequence[Axis],
        wanted: Sequence[Objective],
        settings: Mapping[str, Any],
        steps: int,
    ):
        import optuna

        check(settings, along, wanted)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of samplers that are years old
        self.along, self.wanted = list(along), list(wanted)
        self.study = optuna.create_study(
            storage=storage_of(settings.get("storage"), directory),
            pruner=_pruner(settings, steps),
            study_name=name,
            directions=["maximize" if one.maximize else "minimize" for one in wanted],
            load_if_exists=True,
        )
        if self.study.metric_names is None:  # what Optuna's own dashboard calls them
            self.study.set_metric_names([one.name for one in wanted])
        # Seeded by what is there already: resumed, a sampler must not draw once more what it drew at the start.
        self.study.sampler = _sampler(settings, along, len(self.study.get_trials(deepcopy=False)))
        self._open: dict[int, Any] = {}
        self.pruner = str(settings["pruner"])

    def ask(self, fixed: Mapping[str, str]) -> tuple[int, dict[str, str]]:
        """Return a new trial's number and what it chooses, key to value as typed."""
        trial = self.study.ask()
        self._open[trial.number] = trial
        return trial.number, suggest(trial, self.along, fixed)

    def report(self, number: int, step: int, value: float) -> str | None:
        """Enter what a trial's job logged of the objective at a step; returns why it should be given up, if it should.

        A value that was reported before is passed over.
        """
        from optuna.exceptions import OptunaError

        trial = self._trial(number)
        if len(self.wanted) > 1 or not math.isfinite(value):
            return None
        known = self.study._storage.get_trial(trial._trial_id).intermediate_values
        if step in known:
            return None
        try:
            trial.report(value, step)
            given_up = trial.should_prune()
        except (ValueError, OptunaError):
            return None
        if not given_up:
            return None
        reason = f"{self.wanted[0].name} {value:.4g} at step {step}: given up by {self.pruner}"
        trial.set_user_attr("given up", reason)
        return reason

    def tell(self, number: int, values: Sequence[float] | None, pruned: bool = False) -> None:
        """Enter how a trial ended: with these values of the objectives, pruned, or (None) without any."""
        from optuna.trial import TrialState

        trial = self._trial(number)
        if self.told(number):
            self._amend(trial, values)
            return
        state = TrialState.COMPLETE
        if pruned or values is None or not all(map(math.isfinite, values)):
            state, values = TrialState.PRUNED if pruned else TrialState.FAIL, None
        # With its last point a grid asks Optuna's own loop to stop, and there is none; the end is entered.
        with contextlib.suppress(RuntimeError):
            self.study.tell(trial, values, state=state)

    def _amend(self, failed: Any, values: Sequence[float] | None) -> None:
        """Enter what a job gave that had failed and was tried again: a trial's end stands, so it is a trial more."""
        from optuna.trial import create_trial

        if not self.lacks(failed.number) or values is None or not all(map(math.isfinite, values)):
            return
        then = self.study._storage.get_trial(failed._trial_id)
        attributes = {_JOB: failed.number}
        params, ranges = then.params, then.distributions
        self.study.add_trial(create_trial(params=params, distributions=ranges, values=values, user_attrs=attributes))

    def lacks(self, number: int) -> bool:
        """Say whether a trial is entered as failed and no later try of its job is."""
        from optuna.trial import TrialState

        if self.study._storage.get_trial(self._trial(number)._trial_id).state != TrialState.FAIL:
            return False
        return all(trial.user_attrs.get(_JOB) != number for trial in self.study.get_trials(deepcopy=False))

    def numbers(self) -> set[int]:
        """Return the numbers of all trials."""
        return {trial.number for trial in self.study.get_trials(deepcopy=False)}

    def told(self, number: int) -> bool:
        """Say whether a trial's end is entered already."""
        return bool(self.study._storage.get_trial(self._trial(number)._trial_id).state.is_finished())

    def recover(self, known: Sequence[int]) -> int:
        """Fail the running trials that no job belongs to (`known` are those with one) and queue what they had chosen.

        Returns how many there were.
        """
        from optuna.trial import TrialState

        stale = [t for t in self.study.get_trials(states=(TrialState.RUNNING,)) if t.number not in set(known)]
        for trial in stale:
            self.study.tell(trial.number, state=TrialState.FAIL)
            if trial.params:
                self.study.enqueue_trial(trial.params)
        return len(stale)

    def best(self) -> list[int]:
        """Return the jobs of the best trials: one, or of several objectives those that none beats in every one."""
        from optuna.trial import TrialState

        if not self.study.get_trials(states=(TrialState.COMPLETE,)):
            return []
        trials = self.study.best_trials if len(self.wanted) > 1 else [self.study.best_trial]
        return [trial.user_attrs.get(_JOB, trial.number) for trial in trials]

    def importance(self) -> Weights:
        """Return how much each key mattered for each objective, by PED-ANOVA; nothing from fewer than 10 values.

        It compares where the best tenth of the finished points (5 of them at least) lie with where all lie
        (Watanabe, Bansal and Hutter, PED-ANOVA, IJCAI 2023); keys that only some points have count too.
        """
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
        from optuna.trial import TrialState

        count = len(self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
        if count < IMPORTANCE_FROM:
            return Weights()
        evaluator = PedAnovaImportanceEvaluator(target_quantile=min(max(_BEST_LEAST / count, 0.1), 0.5))
        found = {}
        for place, one in enumerate(self.wanted):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that a target is minimised, which it is, and that points are few
                target = _to_minimise(place, one.maximize)
                shares = get_param_importances(self.study, evaluator=evaluator, target=target)
            found[one.name] = {key: float(share) for key, share in sorted(shares.items(), key=lambda item: -item[1])}
        return Weights(found, count)

    def _trial(self, number: int) -> Any:
        import optuna

        if number not in self._open:
            found = next(trial for trial in self.study.get_trials(deepcopy=False) if trial.number == number)
            self._open[number] = optuna.trial.Trial(self.study, found._trial_id)
        return self._open[number]


def check(settings: Mapping[str, Any], along: Sequence[Axis], wanted: Sequence[Objective]) -> None:
    """Raise UserError for what a search cannot be: named by its key, with the nearest valid choice."""
    sampler, pruner = settings["sampler"], settings["pruner"]
    if sampler not in SAMPLERS:
        raise UserError(f"hydra.sweeper.sampler={sampler}: no such sampler{nearest(str(sampler), SAMPLERS)}")
    if pruner not in PRUNERS:
        raise UserError(f"hydra.sweeper.pruner={pruner}: no such pruner{nearest(str(pruner), PRUNERS)}")
    for key in ("n_trials", "reduction_factor"):
        least = 2 if key == "reduction_factor" else 1
        if not isinstance(settings[key], int) or isinstance(settings[key], bool) or settings[key] < least:
            raise UserError(f"hydra.sweeper.{key}={settings[key]}: a whole number of at least {least}")
    if settings["n_trials"] > MOST:
        raise UserError(f"hydra.sweeper.n_trials={settings['n_trials']}: at most {MOST:,}")
    seed, least_steps = settings.get("seed", 0), settings.get("min_steps")
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**31:
        raise UserError(f"hydra.sweeper.seed={seed}: a whole number from 0 to {2**31 - 1}")
    if least_steps is not None and (not isinstance(least_steps, int) or least_steps < 1):
        raise UserError(f"hydra.sweeper.min_steps={least_steps}: a whole number of at least 1, or null")
    if not wanted:
        raise UserError("objective=[]: a search needs what it is to look for, as in objective=[val/squared_error]")
    if pruner != "none" and len(wanted) > 1:
        names = ",".join(one.name for one in wanted)
        raise UserError(
            f"hydra.sweeper.pruner={pruner}: judges by one objective, not by {names}; take hydra.sweeper.pruner=none"
        )
    if not along:
        raise UserError("a search needs a range to search, as in scales.l1=tag(log,interval(10,1000))")
    endless = [axis.key for axis in along if axis.size() is None]
    if sampler == "grid" and endless:
        raise UserError(f"hydra.sweeper.sampler=grid: {endless[0]} has no end of values; list some, or take qmc")
    if sampler == "cmaes" and all(axis.choices for axis in along):
        raise UserError("hydra.sweeper.sampler=cmaes: needs a range of numbers; for choices alone take tpe")


def _to_minimise(place: int, maximize: bool) -> Callable[[Any], float]:
    return lambda trial: -float(trial.values[place]) if maximize else float(trial.values[place])


def _sampler(settings: Mapping[str, Any], along: Sequence[Axis], known: int) -> Any:
    from optuna import samplers

    kind, seed = settings["sampler"], settings.get("seed", 0)
    if kind not in ("grid", "qmc"):  # these look at what is there by themselves
        seed += known
    if kind == "grid":
        grid = {axis.key: _values(axis) for axis in along}
        return samplers.GridSampler(grid, seed=seed)
    if kind == "qmc":
        return samplers.QMCSampler(seed=seed, scramble=True)
    if kind == "cmaes":
        return samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
    if kind == "random":
        return samplers.RandomSampler(seed=seed)
    # Jobs run beside each other: a trial that has no value yet counts as a bad one, so that they keep apart.
    return samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)


def _values(axis: Axis) -> list[Any]:
    return list(axis.choices) or list(range(int(axis.low), int(axis.high) + 1))


def _pruner(settings: Mapping[str, Any], steps: int) -> Any:
    from optuna import pruners

    kind, factor = settings["pruner"], settings["reduction_factor"]
    least = int(settings.get("min_steps") or max(steps // factor**3, 1))
    if kind == "asha":
        return pruners.SuccessiveHalvingPruner(min_resource=least, reduction_factor=factor)
    if kind == "hyperband":
        return pruners.HyperbandPruner(min_resource=least, max_resource=steps, reduction_factor=factor)
    if kind == "median":
        return pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=least)
    return pruners.NopPruner()
