"""What the sums of the blocks say: the score over splits, as one split, for endless samples, and its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gansweep.metrics.protocols import Layout, Protocol

BOOTSTRAP_DRAWS = 1000
BOOTSTRAP_SEED = 2020
LINE_POINTS = 15  # as Chong and Forsyth
LINE_DRAWS = 16


@dataclass(frozen=True)
class Score:
    """One Inception Score with what it says about itself.

    `mean`, `std`: over the splits (the scatter of a score on N/splits images, not an error of `mean`). `ci95_low`,
    `ci95_high`: 95 % interval of `mean` by the block bootstrap: what another seed's samples would score; nan for one
    block. `single`: the score of all images as one split.
    `infinity`: `single` freed of its finite-N bias to first order, log IS_inf = log IS_N + c/N, `bias_slope` = c =
    1/2 sum_k Var(p_k)/mean(p_k) in nats; it under-corrects below about 5 c images. `infinity_line`, `line_slope`: the
    same limit as the intercept of a line in 1/N through scores of 15 sizes (Chong and Forsyth 2020); nan
    below three blocks. `marginal_entropy` - `conditional_entropy` (nats, all images) = log `single`: the first falls
    when modes are missing, the second rises when images are unclear.
    `images`: how many were scored; `splits`: how many there were; `classes`: how many counted.
    """

    mean: float
    std: float
    single: float
    infinity: float
    bias_slope: float
    marginal_entropy: float
    conditional_entropy: float
    images: int
    splits: int
    classes: int
    ci95_low: float
    ci95_high: float
    infinity_line: float
    line_slope: float
    protocol: str

    def named(self, key: str) -> dict[str, float]:
        """Return what can be recorded: `key` for the mean, `<key>_<part>` for every other number."""
        parts = ("std", "ci95_low", "ci95_high", "single", "infinity", "bias_slope", "infinity_line", "line_slope")
        entropies = ("marginal_entropy", "conditional_entropy")
        return {key: self.mean, **{f"{key}_{part}": getattr(self, part) for part in parts + entropies}}


def estimate(sums: dict[str, Tensor], layout: Layout, protocol: Protocol) -> Score:
    """Return the score of complete, finite sums (see `empty_sums`; on the CPU)."""
    everything = torch.ones(1, layout.blocks, dtype=torch.float64)
    per_split = torch.nn.functional.one_hot(layout.split_of_block, layout.splits).double().T
    scores = log_scores(sums, per_split).exp().numpy()
    log_single = float(log_scores(sums, everything))
    slope = bias_slope(sums["p"].sum(dim=0), sums["p_squared"].sum(dim=0), layout.scored)
    mean = float(np.mean(scores))
    low, high = log_interval(sums)
    intercept, line_slope = line_through_sizes(sums)
    return Score(
        mean=mean,
        std=float(np.std(scores, ddof=protocol.ddof)) if layout.splits > protocol.ddof else math.nan,
        single=math.exp(log_single),
        infinity=math.exp(log_single + slope / layout.scored),
        bias_slope=slope,
        marginal_entropy=float(torch.special.entr(sums["p"].sum(dim=0) / layout.scored).sum()),
        # + 0.0 turns the -0 of certain images into 0.
        conditional_entropy=-float(sums["p_log_p"].sum()) / layout.scored + 0.0,
        images=layout.scored,
        splits=layout.splits,
        classes=sums["p"].shape[1],
        ci95_low=mean * math.exp(low),
        ci95_high=mean * math.exp(high),
        infinity_line=intercept,
        line_slope=line_slope,
        protocol=protocol.name,
    )


def log_scores(sums: dict[str, Tensor], weights: Tensor) -> Tensor:
    """Return the log score (nats) of each weighting of the blocks: weights (W, blocks) float64, result (W,).

    log IS = mean of sum_k p log p plus the entropy of the mean p, 0 log 0 = 0.
    """
    count = weights @ sums["count"]
    entropy = torch.special.entr((weights @ sums["p"]) / count.unsqueeze(1)).sum(dim=1)
    return weights @ sums["p_log_p"] / count + entropy


def bias_slope(p_sum: Tensor, p_squared_sum: Tensor, count: int) -> float:
    """The closed form c = 1/2 sum_k Var(p_k) / mean(p_k); classes that never appear add nothing; 0 for one image.

    Second-order expansion of the entropy of an estimated mean (Miller 1955, for probabilities instead of counts).
    """
    if count < 2:
        return 0.0
    mean = p_sum / count
    variance = ((p_squared_sum - count * mean.square()) / (count - 1)).clamp_min(0.0)
    active = mean > 0
    return 0.5 * float((variance[active] / mean[active]).sum())


def log_interval(
    sums: dict[str, Tensor], draws: int = BOOTSTRAP_DRAWS, seed: int = BOOTSTRAP_SEED
) -> tuple[float, float]:
    """Return by how much the log score may lie below and above its expectation, 95 %: low <= 0 <= high, in nats.

    Bootstrap of blocks that do not overlap (Carlstein 1986): `draws` times as many blocks are drawn with replacement. A
    drawn set repeats images and so scores lower than the set it came from; only the scatter of the draws is used, not
    their place. Over splits and as one split the score has the same relative scatter to first order. (nan, nan) for
    fewer than two blocks.
    """
    blocks = len(sums["count"])
    if blocks < 2:
        return math.nan, math.nan
    picks = np.random.RandomState(seed).multinomial(blocks, np.full(blocks, 1.0 / blocks), size=draws)
    logs = log_scores(sums, torch.from_numpy(picks).double()).numpy()
    # Drawing from m blocks scatters by (m-1)/m too little.
    spread = (logs - logs.mean()) * math.sqrt(blocks / (blocks - 1))
    low, high = np.quantile(spread, [0.025, 0.975])
    return float(low), float(high)


def line_through_sizes(
    sums: dict[str, Tensor], points: int = LINE_POINTS, draws: int = LINE_DRAWS, seed: int = BOOTSTRAP_SEED
) -> tuple[float, float]:
    """Return intercept and slope of IS = a + b/N through sets of a tenth to all of the images.

    Chong and Forsyth 2020, with each point the mean over `draws` sets of blocks instead of one, as it
    costs nothing here. (nan, nan) below three blocks.
    """
    blocks = len(sums["count"])
    sizes = np.unique(np.linspace(-(-blocks // 10), blocks, points).round().astype(int))
    if blocks < 3 or len(sizes) < 2:
        return math.nan, math.nan
    draw = np.random.RandomState(seed)
    inverse, scores = [], []
    for size in sizes:
        weights = torch.zeros(draws if size < blocks else 1, blocks, dtype=torch.float64)
        for row in weights:
            row[torch.from_numpy(draw.permutation(blocks)[:size])] = 1.0
        inverse.append(float((1.0 / (weights @ sums["count"])).mean()))
        scores.append(float(log_scores(sums, weights).exp().mean()))
    slope, intercept = np.polyfit(inverse, scores, 1)
    return float(intercept), float(slope)
