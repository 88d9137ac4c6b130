"""Mean and covariance of features, streamed in float64: what the Fréchet distance needs of a set of images."""

from __future__ import annotations

import torch
from torch import Tensor

from gansweep.errors import UserError
from gansweep.metrics.sums import NotFinite, first_bad_row

_NONE = torch.iinfo(torch.int64).max


class FeatureMoments:
    """Streaming count, mean and scatter of features; memory is D x D float64, whatever the number of images.

    Batches and parts are joined by their means and scatters about them (Chan, Golub and LeVeque 1979), so
    features far from 0 lose no digits. Order, batches and parts change the result by rounding only, about 1e-14.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.count = 0
        self._mean: Tensor | None = None
        self._scatter: Tensor | None = None
        self._first_bad: Tensor | None = None

    def update(self, features: Tensor) -> None:
        """Add features (B, D), any float type; nothing is read back from the device. ValueError for other shapes."""
        check_features(features)
        batch = len(features)
        if batch == 0:
            return
        values = features.detach().to(self.device, torch.float64)
        bad = first_bad_row(values, torch.arange(self.count, self.count + batch), _NONE)
        self._first_bad = bad if self._first_bad is None else torch.minimum(self._first_bad, bad)
        mean = values.mean(dim=0)
        self._join(batch, mean, values - mean, None)

    def _join(self, count: int, mean: Tensor, centred: Tensor | None, scatter: Tensor | None) -> None:
        if self._mean is None or self._scatter is None:
            self._mean = torch.zeros_like(mean)
            self._scatter = torch.zeros(len(mean), len(mean), dtype=torch.float64, device=self.device)
        if centred is not None:
            self._scatter.addmm_(centred.T, centred)
        if scatter is not None:
            self._scatter += scatter
        total = self.count + count
        delta = mean - self._mean
        self._scatter.addr_(delta, delta, alpha=self.count * count / total)
        self._mean = self._mean + delta * (count / total)
        self.count = total

    def merge(self, other: FeatureMoments) -> None:
        """Add the features of another part; the index of a bad sample then counts within its own part."""
        if other._mean is None or other._scatter is None or other._first_bad is None:
            return
        if self._mean is not None and self._mean.shape != other._mean.shape:
            raise ValueError(f"features of {len(other._mean)} values cannot join features of {len(self._mean)}")
        bad = other._first_bad.to(self.device)
        self._first_bad = bad if self._first_bad is None else torch.minimum(self._first_bad, bad)
        self._join(other.count, other._mean.to(self.device), None, other._scatter.to(self.device))

    def state(self) -> dict[str, Tensor]:
        """Return `count` int64 (), `mean` (D,), `scatter` (D, D) float64 on the CPU: what a cache keeps."""
        mean, scatter = self._whole()
        return {"count": torch.tensor(self.count), "mean": mean.cpu(), "scatter": scatter.cpu()}

    @classmethod
    def of_state(cls, state: dict[str, Tensor], device: torch.device | str = "cpu") -> FeatureMoments:
        """Return the moments that `state` describes, on `device`."""
        moments = cls(device)
        moments.count = int(state["count"])
        moments._mean = state["mean"].to(device, torch.float64, copy=True)
        moments._scatter = state["scatter"].to(device, torch.float64, copy=True)
        moments._first_bad = torch.tensor(_NONE, device=device)
        return moments

    def mean(self) -> Tensor:
        """Return the mean (D,), float64."""
        return self._whole()[0]

    def covariance(self) -> Tensor:
        """Return the covariance (D, D), float64, divided by N - 1; UserError for fewer than two images."""
        if self.count < 2:
            raise UserError(f"a covariance needs at least 2 images, not {self.count}")
        return self._whole()[1] / (self.count - 1)

    def _whole(self) -> tuple[Tensor, Tensor]:
        if self._mean is None or self._scatter is None or self._first_bad is None:
            raise ValueError("no features were given yet")
        if int(self._first_bad) != _NONE:
            raise NotFinite("the judge's features", int(self._first_bad))
        return self._mean, self._scatter


def check_features(features: Tensor) -> None:
    """Refuse anything but float features (B, D) by ValueError."""
    if features.ndim != 2 or not features.is_floating_point():
        raise ValueError(f"expected float features (B, D), got {features.dtype} {tuple(features.shape)}")


def check_table(features: Tensor, what: str) -> None:
    """Refuse a whole table of features: ValueError as `check_features`, NotFinite for the first row with NaN or inf."""
    check_features(features)
    bad = torch.nonzero(~torch.isfinite(features).all(dim=1))
    if len(bad):
        raise NotFinite(what, int(bad[0]))
