"""What is measured of one set of samples, all on the same forward pass: the Inception Score and its companions.

A panel is fed readings of a judge with the samples' numbers, can be stopped and taken up again, and joins the panels
of other processes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gansweep.errors import UserError
from gansweep.metrics.estimates import Score
from gansweep.metrics.frechet import FrechetCurve, gaussian
from gansweep.metrics.judges import INCEPTION_KEY, Judge, Reading
from gansweep.metrics.kept import KeptFeatures
from gansweep.metrics.kernel import kernel_distance
from gansweep.metrics.manifold import manifold
from gansweep.metrics.moments import FeatureMoments
from gansweep.metrics.protocols import TORCH_FIDELITY, Protocol, metric_key
from gansweep.metrics.reference import Reference
from gansweep.metrics.score import InceptionScore

# Those that compare features with those of real pictures.
AGAINST_REAL = ("fid", "kid", "prdc")
PRDC_PARTS = ("precision", "recall", "density", "coverage")

Gather = Callable[[Any], list[Any]]


@dataclass(frozen=True)
class Measures:
    """What to measure: of `n` samples the metrics by name (is, fid, kid, prdc), and how each is taken."""

    n: int
    splits: int = 10
    protocol: Protocol = TORCH_FIDELITY
    metrics: tuple[str, ...] = ("is",)
    kid_subsets: int = 100
    kid_subset_size: int = 1000
    prdc_nearest: int = 5

    @property
    def needs_reference(self) -> bool:
        """Whether real pictures are needed."""
        return any(name in AGAINST_REAL for name in self.metrics)


@dataclass(frozen=True)
class Result:
    """One number under its metric's name; `values` are its further numbers by name."""

    key: str
    value: float
    values: dict[str, float] = field(default_factory=dict)


def keys_of(metrics: tuple[str, ...], judge_key: str, protocol: Protocol = TORCH_FIDELITY) -> dict[str, list[str]]:
    """Return for each of is, fid, kid, prdc the names it is recorded under.

    The FID Inception's are plain: inception_score (torch-fidelity's protocol alone), fid, kid, precision, ...; those of
    another judge end in its name (fid_lite0), since the classifier is the metric.
    """
    end = "" if judge_key == INCEPTION_KEY else "_" + judge_key.removeprefix("is_")
    names = {"is": [metric_key(judge_key, protocol)], "prdc": [part + end for part in PRDC_PARTS]}
    return {name: names.get(name, [name + end]) for name in metrics if name != "rec"}


def check_judge(judge: Judge, measures: Measures) -> None:
    """Refuse (UserError) what this judge cannot give: features, or a background class."""
    if measures.protocol.drops_background and not getattr(judge, "background", False):
        raise UserError(
            f"eval.protocol={measures.protocol.name} drops logit 0, a background class, which the judge '{judge.name}' "
            "has not; fit one that has: gansweep judge fit data=... name=... background=true"
        )
    wanted = [name for name in measures.metrics if name in AGAINST_REAL]
    if wanted and not hasattr(judge, "read"):
        raise UserError(
            f"eval.metrics: {', '.join(wanted)} need a judge's features, and '{judge.name}' gives logits only; "
            "choices: is, or a judge with read(images)"
        )


class Panel:
    """Streams everything `measures` asks for; `reference` is there when it needs one.

    The Inception Score's sums are always kept: they also find the first sample whose logits are not finite. Memory does
    not grow with the number of samples beyond the features kept for KID and neighbourhoods (at most 10,000).
    """

    def __init__(
        self,
        measures: Measures,
        reference: Reference | None = None,
        device: torch.device | str = "cpu",
        gather: Gather | None = None,
    ) -> None:
        self.measures, self._gather = measures, gather
        self.score = InceptionScore(measures.n, measures.splits, measures.protocol, device=device)
        self.reference = reference
        self.curve: FrechetCurve | None = None
        self.kept: KeptFeatures | None = None
        if reference is not None and "fid" in measures.metrics:
            join = None if gather is None else self._join_moments
            self.curve = FrechetCurve(gaussian(reference.moments), measures.n, join=join)
        if reference is not None and {"kid", "prdc"} & set(measures.metrics):
            self.kept = KeptFeatures(measures.n, device=device)
            smallest = min(self.kept.keep, len(reference.kept))
            if "kid" in measures.metrics and smallest < measures.kid_subset_size:
                raise UserError(
                    f"eval.kid_subset_size={measures.kid_subset_size}: there are {self.kept.keep} samples and "
                    f"{len(reference.kept)} real pictures; at most {smallest} here"
                )

    def _join_moments(self, own: FeatureMoments) -> FeatureMoments:
        assert self._gather is not None
        together = FeatureMoments(own.device)
        for state in self._gather(own.state() if own.count else None):
            if state is not None:
                together.merge(FeatureMoments.of_state(state, own.device))
        return together

    def update(self, reading: Reading | Tensor, rows: Tensor) -> None:
        """Add what the judge says of the samples numbered `rows` (int64 (B,), on the CPU, ascending from call to call).

        Logits alone will do where only the Inception Score is measured.
        """
        logits, features = reading if isinstance(reading, tuple) else (reading, None)
        self.score.update(logits, rows)
        if features is not None and self.curve is not None:
            self.curve.update(features)
        if features is not None and self.kept is not None:
            self.kept.update(features, rows)

    def reach(self, size: int) -> None:
        """Say, in every process, that all its samples below the number `size` were given."""
        if self.curve is not None:
            self.curve.reach(size)

    def join(self) -> None:
        """Make this panel the whole of all processes' panels; every process calls it once, after its last sample."""
        if self._gather is None:
            return
        sums = self.score.sums() if self.score.seen else None
        own = (sums and {name: value.cpu() for name, value in sums.items()}, self.score.seen)
        whole = InceptionScore(self.measures.n, self.measures.splits, self.measures.protocol)
        for part, seen in self._gather(own):
            if part is not None:
                piece = InceptionScore(self.measures.n, self.measures.splits, self.measures.protocol)
                piece.load(part, seen)
                whole.merge(piece)
        self.score = whole
        if self.kept is not None:
            together = KeptFeatures(self.measures.n, device=self.kept.device)
            for state in self._gather(self.kept.state()):
                piece_kept = KeptFeatures(self.measures.n, device=self.kept.device)
                piece_kept.load(state)
                together.merge(piece_kept)
            self.kept = together

    def state(self) -> dict[str, Any]:
        """Return what an interrupted pass goes on from, for torch.save: tensors on the CPU and plain numbers."""
        sums = {name: value.cpu() for name, value in self.score.sums().items()} if self.score.seen else None
        return {
            "sums": sums,
            "seen": self.score.seen,
            "curve": self.curve and self.curve.state(),
            "kept": self.kept and self.kept.state(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take up such a state."""
        if state["sums"] is not None:
            self.score.load(state["sums"], int(state["seen"]))
        if self.curve is not None:
            self.curve.load(state["curve"])
        if self.kept is not None:
            self.kept.load(state["kept"])

    def compute(self, judge_key: str) -> list[Result]:
        """Return every result once all samples were given; NotFinite with the first sample's number otherwise."""
        score = self.score.compute()
        keys = keys_of(self.measures.metrics, judge_key, self.measures.protocol)
        found: list[Result] = []
        for name in keys:
            found += _results(name, keys[name], self, score)
        return found


def _results(name: str, keys: list[str], panel: Panel, score: Score) -> list[Result]:
    measures = panel.measures
    if name == "is":
        values = score.named("")
        del values[""]
        return [Result(keys[0], score.mean, {part.removeprefix("_"): value for part, value in values.items()})]
    assert panel.reference is not None
    if name == "fid":
        assert panel.curve is not None
        fid = panel.curve.compute()
        return [Result(keys[0], fid.fid, _numbers(infinity=fid.infinity, slope=fid.slope))]
    assert panel.kept is not None
    fake, real = panel.kept.features(), panel.reference.kept.to(panel.kept.device)
    if name == "kid":
        kid = kernel_distance(fake, real, measures.kid_subsets, measures.kid_subset_size)
        return [Result(keys[0], kid.mean, {"std": kid.std})]
    shares = dataclasses.asdict(manifold(fake, real, measures.prdc_nearest))
    return [Result(key, shares[part]) for key, part in zip(keys, PRDC_PARTS, strict=True)]


def _numbers(**values: float) -> dict[str, float]:
    return {name: value for name, value in values.items() if not math.isnan(value)}
