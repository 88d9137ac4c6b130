"""What is measured on pictures: lost frames, frozen clips, alike samples, the error that light alone makes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from finding_rules import Values
from finding_runs import Arms, Seen, held_out_pictures
from torch import Tensor

from gansweep.data import Dataset, to_uint8
from gansweep.systems.talkingface_cut import motion

CLIPS = 32
BLACK_BELOW = 0.25
LOST_BELOW = 0.5
CAPTIONS, DRAWS = 48, 6
_COARSE_PX = 16
# As many held-out pictures as the program's own held-out losses look at.
HELD_OUT = 1024
# Share of a run whose mean is called its end, where training's own error is looked at.
END_OF_RUN = 0.2


# Talking face


def clips_of(seen: Seen) -> tuple[Tensor, Tensor]:
    """Return (made, real) frames of the same held-out clips, (clips, frames, S, S), 0 black to 1 white."""
    drawer = seen.networks().drawer
    rows = range(min(CLIPS, len(drawer.held_out[1])))
    clips = drawer.clips(rows, seed=0, batch_size=CLIPS)
    return clips.made[:, :, 0].double() / 255, clips.real[:, :, 0].double() / 255


def lost(made: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Say of every frame (…, S, S) whether it is black, and whether it shows nothing of the real one.

    Black: its mean grey is under a quarter of the real one's. Nothing of it: their pixels correlate by less than 0.5,
    so that even with the best brightness and contrast three quarters of the real frame's variance are missing.
    """
    a, b = made.flatten(-2), real.flatten(-2)
    black = a.mean(-1) < BLACK_BELOW * b.mean(-1)
    a, b = a - a.mean(-1, keepdim=True), b - b.mean(-1, keepdim=True)
    scale = (a.square().sum(-1) * b.square().sum(-1)).sqrt().clamp(min=1e-12)
    return black, (a * b).sum(-1) / scale < LOST_BELOW


def measure_lost(arms: Arms) -> Values:
    """Shares of held-out frames, for each seed."""
    found: Values = {}
    for arm, name in (("l1=0", "without"), ("l1=600", "with")):
        for seen in arms[arm]:
            made, real = clips_of(seen)
            black, gone = lost(made, real)
            found.setdefault(f"bad_{name}", []).append(float((black | gone).double().mean()))
            found.setdefault(f"black_{name}", []).append(float(black.double().mean()))
            found.setdefault(f"grey_{name}", []).append(float(made.mean() / real.mean()))
    return found


def measure_motion(arms: Arms) -> Values:
    """How much made frames change in time over how much real ones do, and the share of frames that are no face."""
    found: Values = {}
    for arm in arms.names():
        for seen in arms[arm]:
            made, real = clips_of(seen)
            black, gone = lost(made, real)
            found.setdefault(f"motion_{arm}", []).append(float(motion(made, real)))
            found.setdefault(f"lost_{arm}", []).append(float((black | gone).double().mean()))
    return found


# HDGAN


def spread(pictures: Tensor) -> float:
    """Return the mean distance of two of the pictures (N, C, S, S), each first averaged to 16 px: no count of noise."""
    coarse = torch.nn.functional.adaptive_avg_pool2d(pictures.double(), _COARSE_PX)
    return float(torch.pdist(coarse.flatten(1)).mean()) if len(coarse) > 1 else 0.0


def samples_of(seen: Seen, step: int | None) -> tuple[Tensor, Tensor]:
    """Return samples (draws, captions, C, S, S) of the same held-out captions, and their real pictures."""
    drawer = seen.networks(step).drawer
    rows = range(min(CAPTIONS, len(drawer.held_out[1])))
    made = torch.stack([list(drawer.samples(rows, seed).values())[-1] for seed in range(DRAWS)])
    return made.double() / 255, to_uint8(drawer.pictures(rows)["image"], "tanh").double() / 255


def diversity(made: Tensor, real: Tensor) -> tuple[float, float]:
    """Return how far apart samples are, over how far apart the real pictures are: of all captions, and of one alone."""
    among = np.mean([spread(draw) for draw in made]) / spread(real)
    within = np.mean([spread(made[:, caption]) for caption in range(made.shape[1])]) / spread(real)
    return float(among), float(within)


def measure_small_batch(arms: Arms, equal_steps: int) -> Values:
    """Diversity of both sizes at as many pictures, and of the small one when it had as many steps as the large one."""
    found: Values = {}
    for small, large in zip(arms["batch 2"], arms["batch 16"], strict=True):
        at = {
            "small": diversity(*samples_of(small, None)),
            "small_early": diversity(*samples_of(small, equal_steps)),
            "large": diversity(*samples_of(large, None)),
        }
        for name, (among, within) in at.items():
            found.setdefault(f"diversity_{name}", []).append(among)
            found.setdefault(f"one_caption_{name}", []).append(within)
        found.setdefault("ratio", []).append(at["small"][0] / at["large"][0])
        found.setdefault("ratio_equal_steps", []).append(at["small_early"][0] / at["large"][0])
    return found


# Siamese


def light_variance(dataset: Dataset, rows: Sequence[int] | np.ndarray, seed: int) -> float:
    """Return the least squared error a value (of [-1, 1]) that an answer without the target's light can have.

    The variance over the lights of each row's frontal picture, averaged over rows, colours and pixels: the mean over
    the lights has just that error, and nothing else has less.
    """
    rows = np.asarray(rows)
    target = dataset.related("target", rows, seed, 0)
    people, poses = dataset.column("identity"), dataset.column("pose")
    found = {}
    for person in np.unique(people[rows]):
        front = poses[target[people[rows] == person][0]]
        lights = dataset.images[np.flatnonzero((people == person) & (poses == front))] / 127.5 - 1
        found[person] = float(lights.var(axis=0).mean())
    return float(np.mean([found[person] for person in people[rows]]))


def measure_light(arms: Arms) -> Values:
    """Squared errors a value, of training (its end) and held out, over what the target's light alone makes."""
    found: Values = {}
    drawer = arms["fixed"][0].networks().drawer
    floor = light_variance(drawer.data, drawer.data.split("train"), 0)
    held_out = light_variance(drawer.data, drawer.held_out[1][:HELD_OUT], 0)
    values = int(np.prod(drawer.data.images.shape[1:]))
    for n in range(len(arms["fixed"])):
        error = {arm: arms[arm][n].last("gen/mse", END_OF_RUN) / floor for arm in arms.names()}
        beyond = {arm: arms[arm][n].last("val/squared_error") / values / held_out for arm in arms.names()}
        found.setdefault("floor", []).append(floor)
        found.setdefault("random_best", []).append(min(error["random"], error["random, class_light=5"]))
        for arm, value in error.items():
            found.setdefault(f"error {arm}", []).append(value)
            found.setdefault(f"held-out error {arm}", []).append(beyond[arm])
        for key, errors in (("removed", error), ("removed held-out", beyond)):
            found.setdefault(key, []).append(
                min(errors[arm] for arm in arms.names() if arm != "fixed") - errors["fixed"]
            )
    return found


# VAE


def outside(values: Tensor, lowest: float, highest: float) -> float:
    """Return the mean squared distance of values to [lowest, highest]: what no output in that range can get below."""
    return float((values.double() - values.double().clamp(lowest, highest)).square().mean())


def measure_floors(arms: Arms) -> Values:
    """Held-out squared errors a value, and the floors of two ranges on the same z-scored pictures."""
    found: Values = {}
    for n, linear in enumerate(arms["none"]):
        pictures = held_out_pictures(linear, HELD_OUT)["image"]
        floor = {"sigmoid": outside(pictures, 0.0, 1.0), "tanh": outside(pictures, -1.0, 1.0)}
        error = {arm: arms[arm][n].last("val/squared_error") / pictures[0].numel() for arm in arms.names()}
        for arm, value in error.items():
            found.setdefault(f"error_{arm}", []).append(value)
        for kind, value in floor.items():
            found.setdefault(f"floor_{kind}", []).append(value)
            found.setdefault(f"linear_to_{kind}", []).append(error["none"] / value)
            found.setdefault(f"{kind}_to_own", []).append(error[kind] / value)
    return found
