"""The Inception Score, streamed: float64 sums per split, never a table of all logits.

Definition: the one of torch-fidelity 0.4.0. IS of a set = exp(mean over images of KL(p(y|x) || p(y))), p(y) the mean of
p(y|x) inside the set; the score is the mean of IS over the splits, its std is their scatter with ddof 0. Which image
belongs to which split follows from a seeded permutation that is known before the first image, so the sums can be kept
while the images pass by. Imports torch and numpy only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gansweep.errors import RunFailed, UserError

ORDER_SEED = 2020
FEWEST_IMAGES_PER_SPLIT = 50


@dataclass(frozen=True)
class Score:
    """One Inception Score with what it says about itself.

    `mean`, `std`: over the splits, std with ddof 0 (the scatter of a score on N/splits images, not an error of `mean`).
    `single`: the score of all images as one split. `infinity`: `single` freed of its finite-N bias to first order,
    log IS_inf = log IS_N + c/N, `bias_slope` = c = 1/2 sum_k Var(p_k)/mean(p_k) in nats; it under-corrects below about
    5 c images. `marginal_entropy` - `conditional_entropy` (nats, all images) = log `single`: the first falls when modes
    are missing, the second rises when images are unclear.
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


def check_sizes(images: int, splits: int) -> str | None:
    """Refuse fewer images than splits (UserError); return a one-line warning for fewer than 50 images a split."""
    if splits < 1:
        raise UserError(f"eval.splits={splits} is out of range: a score needs at least one split")
    if images < splits:
        raise UserError(f"eval.n={images} is fewer than eval.splits={splits}: every split needs an image")
    if images < FEWEST_IMAGES_PER_SPLIT * splits:
        return (
            f"{images} images in {splits} splits are {images // splits} a split (under {FEWEST_IMAGES_PER_SPLIT}): "
            "the score is biased low; raise eval.n or lower eval.splits"
        )
    return None


def split_of_rows(images: int, splits: int, order_seed: int | None = ORDER_SEED) -> Tensor:
    """Return for each image, in the order they come, the number of its split: int64 (images,), values 0..splits-1.

    Position i of the permuted set belongs to split s with s*N//S <= i < (s+1)*N//S; `order_seed` None permutes nothing.
    """
    order = np.arange(images) if order_seed is None else np.random.RandomState(order_seed).permutation(images)
    bounds = np.arange(1, splits + 1) * images // splits
    split_of_position = np.searchsorted(bounds, np.arange(images), side="right")
    split_of_row = np.empty(images, dtype=np.int64)
    split_of_row[order] = split_of_position
    return torch.from_numpy(split_of_row)


class InceptionScore:
    """Streaming Inception Score of `images` images known in number beforehand; memory is splits x classes float64.

    Feed logits (B, K) batch by batch with `update`, in the images' order or with their row numbers, then `compute`.
    All state is sums (`sums()`), so the states of parts of the set add up to the state of the whole: `merge`.
    """

    def __init__(
        self,
        images: int,
        splits: int = 10,
        order_seed: int | None = ORDER_SEED,
        device: torch.device | str = "cpu",
    ) -> None:
        check_sizes(images, splits)
        self.images, self.splits = images, splits
        self.device = torch.device(device)
        self._split_of_row = split_of_rows(images, splits, order_seed)
        self.reset()

    def reset(self) -> None:
        """Forget every image seen."""
        self.seen = 0
        self._p: Tensor | None = None
        self._p_squared: Tensor | None = None
        self._p_log_p = torch.zeros(self.splits, dtype=torch.float64, device=self.device)
        self._count = torch.zeros(self.splits, dtype=torch.float64, device=self.device)

    def update(self, logits: Tensor, rows: Tensor | None = None) -> None:
        """Add the logits (B, K) of the next B images, or of the images numbered `rows` (int64 (B,)).

        Softmax runs in float64 from log-softmax, so that a probability that underflows to 0 adds 0, not nan.
        """
        if logits.ndim != 2 or not logits.is_floating_point():
            raise ValueError(f"expected float logits (B, K), got {logits.dtype} {tuple(logits.shape)}")
        batch, classes = logits.shape
        if self.seen + batch > self.images:
            raise ValueError(f"{self.seen + batch} images given where {self.images} were announced")
        picked = torch.arange(self.seen, self.seen + batch) if rows is None else rows.cpu()
        splits = self._split_of_row[picked].to(self.device, non_blocking=True)
        log_p = torch.log_softmax(logits.detach().to(self.device, torch.float64), dim=1)
        p = log_p.exp()
        if self._p is None or self._p_squared is None:
            self._p = torch.zeros(self.splits, classes, dtype=torch.float64, device=self.device)
            self._p_squared = torch.zeros(classes, dtype=torch.float64, device=self.device)
        # A product with the membership matrix, not index_add_: that one adds in a changing order on a GPU.
        member = torch.nn.functional.one_hot(splits, self.splits).to(torch.float64).T
        self._p += member @ p
        self._p_squared += p.square().sum(dim=0)
        self._p_log_p += member @ (p * log_p).sum(dim=1)
        self._count += member.sum(dim=1)
        self.seen += batch

    def sums(self) -> dict[str, Tensor]:
        """Return the state as named float64 tensors, each of which adds over parts of the set."""
        if self._p is None or self._p_squared is None:
            raise ValueError("no image was given yet")
        return {"p": self._p, "p_squared": self._p_squared, "p_log_p": self._p_log_p, "count": self._count}

    def merge(self, other: InceptionScore) -> None:
        """Add the sums of another part of the same set (same `images`, `splits` and order)."""
        if (other.images, other.splits) != (self.images, self.splits):
            raise ValueError("the two parts were announced with different numbers of images or splits")
        if self._p is None:
            self._p, self._p_squared = (torch.zeros_like(other.sums()[name]) for name in ("p", "p_squared"))
        for name, value in self.sums().items():
            value += other.sums()[name].to(self.device)
        self.seen += other.seen

    def compute(self) -> Score:
        """Return the score once all announced images were given; RunFailed when the logits were not finite."""
        if self.seen != self.images:
            raise ValueError(f"{self.seen} of {self.images} announced images were given")
        sums = {name: value.cpu() for name, value in self.sums().items()}
        if not all(bool(torch.isfinite(value).all()) for value in sums.values()):
            raise RunFailed("the judge gave logits that are not finite: no score can be computed from them")
        per_split = [
            math.exp(_log_score(sums["p"][i], float(sums["p_log_p"][i]), int(sums["count"][i])))
            for i in range(self.splits)
        ]
        p_sum, p_log_p = sums["p"].sum(dim=0), float(sums["p_log_p"].sum())
        log_single = _log_score(p_sum, p_log_p, self.images)
        slope = _bias_slope(p_sum, sums["p_squared"], self.images)
        return Score(
            mean=float(np.mean(per_split)),
            std=float(np.std(per_split)),
            single=math.exp(log_single),
            infinity=math.exp(log_single + slope / self.images),
            bias_slope=slope,
            marginal_entropy=float(torch.special.entr(p_sum / self.images).sum()),
            conditional_entropy=-p_log_p / self.images,
            images=self.images,
            splits=self.splits,
            classes=int(p_sum.shape[0]),
        )


def _log_score(p_sum: Tensor, p_log_p_sum: float, count: int) -> float:
    """Mean KL in nats: mean of sum_k p log p, plus the entropy of the mean p; 0 log 0 = 0."""
    return p_log_p_sum / count + float(torch.special.entr(p_sum / count).sum())


def _bias_slope(p_sum: Tensor, p_squared_sum: Tensor, count: int) -> float:
    """The closed form c = 1/2 sum_k Var(p_k) / mean(p_k); classes that never appear add nothing; 0 for one image."""
    if count < 2:
        return 0.0
    mean = p_sum / count
    variance = ((p_squared_sum - count * mean.square()) / (count - 1)).clamp_min(0.0)
    active = mean > 0
    return 0.5 * float((variance[active] / mean[active]).sum())
