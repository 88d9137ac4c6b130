"""What is measured on curves and weights: a loss that runs away, a rate that dies, a floor, two curves that are one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from finding_rules import Values
from finding_runs import Arms, Seen

# Share of a run whose mean is called its end.
END = 0.1


def entropy(label: float) -> float:
    """Return the least cross-entropy against a label in [0, 1], reached where the answer is the label; nats."""
    return -sum(p * math.log(p) for p in (label, 1 - label) if p > 0)


# Cross-entropy on z-scores


def deepening(values: np.ndarray) -> float:
    """Return ln of how far below zero a curve's last third reaches over its middle third; very low if it does not."""
    third = len(values) // 3
    middle, last = -float(values[third : 2 * third].min()), -float(values[2 * third :].min())
    return log_of(last / middle) if middle > 0 else log_of(last)


def log_of(ratio: float) -> float:
    """Return the logarithm, of a ratio that is not positive a very low number: a curve that has turned round."""
    return math.log(max(ratio, 1e-6))


def measure_runaway(arms: Arms) -> Values:
    """Cross-entropy a value at the end, and whether it still gets lower, both as logarithms."""
    found: Values = {}
    for arm in arms.names():
        for seen in arms[arm]:
            side = int(seen.setting("data.size"))
            _, values = seen.curve("fit/bce")
            found.setdefault(f"end_{arm}", []).append(math.asinh(seen.last("fit/bce", END) / side**2))
            found.setdefault(f"deeper_{arm}", []).append(deepening(values))
            found.setdefault(f"stopped_{arm}", []).append(float(seen.stopped))
    return found


# Decay


def moved(seen: Seen, net: str, start: int, stop: int | None) -> float:
    """Return how far a network's weights went between two checkpoints, over their length at the first."""
    before = seen.weights(net, start)
    return float((seen.weights(net, stop) - before).norm() / before.norm())


def measure_decay(arms: Arms, every: int) -> Values:
    """What is learnt after the second decay, as coded (to 2 %) and as said (by 2 %)."""
    found: Values = {}
    for coded, said in zip(arms["to 2 %"], arms["by 2 %"], strict=True):
        ways = [moved(seen, "gen", 2 * every, None) for seen in (coded, said)]
        falls = [_fall(seen, 2 * every) for seen in (coded, said)]
        for key, value in {
            "moved_coded": ways[0],
            "moved_said": ways[1],
            "moved_ratio": ways[0] / ways[1],
            "fall_coded": falls[0],
            "fall_said": falls[1],
            "fall_ratio": falls[0] / falls[1],
            "rate_coded": coded.last("lr/gen"),
            "rate_said": said.last("lr/gen"),
            "error_ratio": coded.last("val/gen/l1") / said.last("val/gen/l1"),
        }.items():
            found.setdefault(key, []).append(value)
    return found


def _fall(seen: Seen, start: int) -> float:
    """Return by what share of its value at `start` the held-out distance has fallen at the end."""
    steps, values = seen.curve("val/gen/l1")
    before = float(values[steps == start][0])
    return (before - float(values[-1])) / before


# Label smoothing


def measure_smoothing(arms: Arms) -> Values:
    """The identity discriminator's loss, half of it of real frames and half of fakes: its end and its lowest."""
    found: Values = {}
    for arm in arms.names():
        for seen in arms[arm]:
            total = (seen.curve("id/d_id_real")[1] + seen.curve("id/d_id_fake")[1]) / 2
            found.setdefault(f"end_{arm}", []).append(float(total[-max(round(END * len(total)), 1) :].mean()))
            found.setdefault(f"lowest_{arm}", []).append(float(total.min()))
    return found


# A factor under Adam

CURVES = ("dec/mse_dec", "dec/adv_rec", "dec/adv_prior", "dis/total")


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """Return the mean distance of two curves over the mean of both."""
    return float(np.abs(one - other).mean() / ((np.abs(one) + np.abs(other)).mean() / 2))


def _apart(one: Seen, other: Seen) -> float:
    return float(np.mean([apart(one.curve(key)[1], other.curve(key)[1]) for key in CURVES]))


def between_seeds(runs: Sequence[Seen], n: int) -> float:
    """Return how far run `n`'s curves are from those of the other seeds, on average."""
    return float(np.mean([_apart(runs[n], other) for m, other in enumerate(runs) if m != n]))


def measure_factor(arms: Arms) -> Values:
    """Distance of curves of the same seed with and without the factor, over the distance to another seed's."""
    found: Values = {}
    for n, (plain, scaled) in enumerate(zip(arms["1x"], arms["5x"], strict=True)):
        seeds = between_seeds(arms["1x"], n)
        found.setdefault("between_seeds", []).append(seeds)
        found.setdefault("ratio", []).append(_apart(plain, scaled) / seeds)
        found.setdefault("ratio_eps", []).append(_apart(arms["1x eps/5"][n], scaled) / seeds)
        errors = [seen.last("val/squared_error", 0.5) for seen in (plain, scaled)]
        found.setdefault("shift", []).append(errors[1] / errors[0] - 1)
        sgd = _apart(arms["1x sgd"][n], arms["5x sgd"][n]) / between_seeds(arms["1x sgd"], n)
        found.setdefault("ratio_sgd", []).append(sgd)
    return found
