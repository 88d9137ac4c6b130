"""Measurements of nine claims, made up: under which each is supported, is not, and cannot be told."""

from __future__ import annotations

FLOOR = 0.4127428

# Of each claim: measured values (one a seed) under which it is supported, is not, and cannot be told, and where a
# control fails. What is not named is as in the first.
CASES: dict[
    str, tuple[dict[str, list[float]], dict[str, list[float]], dict[str, list[float]], dict[str, list[float]]]
] = {
    "l1-zero": (
        {"bad_without": [0.9, 1.0, 0.95], "bad_with": [0.0, 0.0, 0.01]},
        {"bad_without": [0.0, 0.05, 0.1]},
        {"bad_without": [0.1, 0.9, 1.0]},
        {"bad_with": [0.4, 0.5, 0.6]},
    ),
    "output-floor": (
        {
            "linear_to_sigmoid": [0.3, 0.31, 0.32],
            "linear_to_tanh": [0.8, 0.82, 0.81],
            "sigmoid_to_own": [1.1, 1.11, 1.12],
            "tanh_to_own": [1.3, 1.32, 1.31],
        },
        {"linear_to_tanh": [1.5, 1.6, 1.55]},
        {"linear_to_tanh": [0.9, 1.0, 1.1]},
        {"tanh_to_own": [0.9, 0.9, 0.9]},
    ),
    "bce-runaway": (
        {"end_z-scores": [-10.0, -12.0, -9.0], "deeper_z-scores": [2.0, 3.0, 2.5], "end_in [0, 1]": [0.5, 0.5, 0.51]},
        {"deeper_z-scores": [0.0, 0.01, 0.02]},
        {"end_z-scores": [-1.0, 1.0, 0.0]},
        {"end_in [0, 1]": [-0.1, -0.1, -0.1]},
    ),
    "small-batch": (
        {"ratio": [0.1, 0.15, 0.12], "diversity_large": [0.8, 0.9, 0.85]},
        {"ratio": [0.9, 1.0, 1.1]},
        {"ratio": [0.2, 0.5, 0.8]},
        {"diversity_large": [0.05, 0.06, 0.05]},
    ),
    "only-identity": (
        {"motion_id": [0.0, 0.01, 0.02], "motion_all": [0.6, 0.7, 0.65], "lost_id": [0.0, 0.1, 0.0]},
        {"motion_id": [1.0, 1.1, 0.9]},
        {"motion_id": [0.0, 0.1, 0.2]},
        {"lost_id": [1.0, 1.0, 1.0]},
    ),
    "fixed-light": (
        {"random_best": [1.1, 1.12, 1.11], "removed held-out": [0.9, 0.92, 0.91]},
        {"random_best": [0.3, 0.31, 0.32]},
        {"removed held-out": [0.3, 0.5, 0.7]},
        {},
    ),
    "decay-to-2-percent": (
        {"moved_ratio": [0.001, 0.001, 0.002], "fall_ratio": [0.0, 0.01, -0.01], "fall_said": [0.3, 0.31, 0.29]},
        {"moved_ratio": [0.5, 0.6, 0.55]},
        {"fall_ratio": [0.0, 0.3, 0.6]},
        {"fall_said": [0.0, 0.01, 0.0]},
    ),
    "smoothing-floor": (
        {
            "end_0.9 and 0.2": [FLOOR + 0.001] * 3,
            "lowest_0.9 and 0.2": [FLOOR + 0.0005] * 3,
            "end_1 and 0": [0.001, 0.002, 0.001],
        },
        {"lowest_0.9 and 0.2": [0.3, 0.31, 0.3]},
        {"end_1 and 0": [0.0, 0.05, 0.1]},
        {},
    ),
    "factor-under-adam": (
        {"ratio": [0.2, 0.25, 0.22], "shift": [0.001, -0.002, 0.0], "ratio_sgd": [3.0, 3.1, 2.9]},
        {"shift": [0.2, 0.21, 0.22]},
        {"ratio": [0.8, 1.0, 1.2]},
        {"ratio_sgd": [0.3, 0.3, 0.31]},
    ),
}
