"""The Fréchet distance between two sets of features (FID), and its limit for endless samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gansweep.errors import UserError
from gansweep.metrics.moments import FeatureMoments, check_features

LINE_POINTS = 15
SMALLEST_POINT = 5000


@dataclass(frozen=True)
class Gaussian:
    """A normal distribution: `mean` (D,), `factor` (D, rank) with factor factor^T = covariance, and its `trace`."""

    mean: Tensor
    factor: Tensor
    trace: float


def gaussian(moments: FeatureMoments) -> Gaussian:
    """Return the normal distribution of these moments, its covariance factored by symmetric eigenvalues in float64.

    Eigenvalues below D x 2.2e-16 of the largest are rounding, not variance; their square roots would not be small.
    """
    covariance = moments.covariance()
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > values[-1].clamp_min(0.0) * len(values) * torch.finfo(torch.float64).eps
    return Gaussian(moments.mean(), vectors[:, kept] * values[kept].sqrt(), float(covariance.trace()))


def frechet_distance(first: Gaussian, second: Gaussian) -> float:
    """Return |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), the FID (Heusel et al. 2017, eq. 6).

    tr (S1 S2)^(1/2) is the sum of the singular values of F1^T F2, where S = F F^T: all real and exact to rounding,
    where a square root of the product S1 S2 loses half the digits of small eigenvalues. Symmetric; 0 or more.
    """
    if first.mean.shape != second.mean.shape:
        raise ValueError(f"features of {len(first.mean)} and of {len(second.mean)} values have no distance")
    overlap = first.factor.T @ second.factor
    root = float(torch.linalg.svdvals(overlap).sum()) if overlap.numel() else 0.0
    between = float((first.mean - second.mean).square().sum())
    return max(between + first.trace + second.trace - 2.0 * root, 0.0)


@dataclass(frozen=True)
class FrechetScore:
    """FID of all images, and `infinity` with `slope`: intercept and slope of the line in 1/N through `points`.

    `points`: (images, FID of so many), ascending, the last of all images.
    """

    fid: float
    infinity: float
    slope: float
    points: tuple[tuple[int, float], ...]


def point_sizes(images: int, points: int = LINE_POINTS, smallest: int = SMALLEST_POINT) -> list[int]:
    """Return the numbers of images, ascending, the last of all, at which FID_infinity's line has its points."""
    start = max(2, min(smallest, -(-images // 10)))
    return [int(size) for size in np.unique(np.linspace(start, images, points).round())]


class FrechetCurve:
    """Streaming FID and FID_infinity of `images` images against `reference`: memory is one D x D state.

    The distance is taken whenever as many images have passed as the line has a point for: sizes evenly spaced from 5000
    (or a tenth, when that is less) to all. Chong and Forsyth 2020 draw each point's images anew; here the
    points share their first images, which costs no memory and needs independent samples, in the order they were drawn.
    Each point costs one eigenvalue and one singular value decomposition, 6 CPU-seconds at D = 2048.

    Several processes each give some of the images: each calls `reach` at every one of `sizes`, once its own images
    below that number have passed, and `join` makes one set of moments of all of theirs.
    """

    def __init__(
        self,
        reference: Gaussian,
        images: int,
        points: int = LINE_POINTS,
        smallest: int = SMALLEST_POINT,
        join: Callable[[FeatureMoments], FeatureMoments] | None = None,
    ) -> None:
        if images < 2:
            raise UserError(f"FID needs at least 2 images, not {images}")
        self.sizes = point_sizes(images, points, smallest)
        self.reference, self.images = reference, images
        self.moments = FeatureMoments(reference.mean.device)
        self._join = join
        self._points: list[tuple[int, float]] = []

    def update(self, features: Tensor) -> None:
        """Add the features (B, D) of the next images; NotFinite with the first bad sample's index at a point."""
        check_features(features)
        if self.moments.count + len(features) > self.images:
            raise ValueError(f"{self.moments.count + len(features)} images given where {self.images} were announced")
        if self._join is not None:
            self.moments.update(features)
            return
        while len(features):
            room = self.sizes[len(self._points)] - self.moments.count
            self.moments.update(features[:room])
            features = features[room:]
            if self.moments.count == self.sizes[len(self._points)]:
                self.reach(self.moments.count)

    def reach(self, size: int) -> None:
        """Take the distance of the first `size` images, one of `sizes`, each in its turn."""
        moments = self.moments if self._join is None else self._join(self.moments)
        if moments.count != size or size != self.sizes[len(self._points)]:
            raise ValueError(f"{moments.count} images were given where the line has its point at {size}")
        self._points.append((size, frechet_distance(gaussian(moments), self.reference)))

    def state(self) -> dict[str, Any]:
        """Return what an interrupted pass goes on from: plain numbers and tensors on the CPU."""
        moments = self.moments.state() if self.moments.count else None
        return {"points": [list(point) for point in self._points], "moments": moments}

    def load(self, state: dict[str, Any]) -> None:
        """Take up the state of an earlier, interrupted pass."""
        self._points = [(int(size), float(distance)) for size, distance in state["points"]]
        device = self.reference.mean.device
        moments = state["moments"]
        self.moments = FeatureMoments(device) if moments is None else FeatureMoments.of_state(moments, device)

    def compute(self) -> FrechetScore:
        """Return the score once all announced images were given; `infinity` is nan for fewer than two points."""
        if not self._points or self._points[-1][0] != self.images:
            raise ValueError(f"{self.moments.count} of {self.images} announced images were given")
        sizes, distances = zip(*self._points, strict=True)
        slope, intercept = float("nan"), float("nan")
        if len(sizes) > 1:
            slope, intercept = (float(value) for value in np.polyfit(1.0 / np.array(sizes), distances, 1))
        return FrechetScore(distances[-1], intercept, slope, tuple(self._points))
