"""The kernel distance between two sets of features (KID): unbiased, and so right for few images too."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gansweep.errors import UserError
from gansweep.metrics.moments import check_table

SUBSETS = 100
SUBSET_SIZE = 1000
SUBSET_SEED = 2020


@dataclass(frozen=True)
class KernelScore:
    """KID: `mean` over the subsets, and `std` (ddof 0), the scatter of one subset, not an error of `mean`.

    About 0 for equal distributions, and below 0 by chance: an unbiased estimate of 0 must be.
    """

    mean: float
    std: float
    subsets: int
    subset_size: int


def kernel_distance(
    fake: Tensor, real: Tensor, subsets: int = SUBSETS, subset_size: int = SUBSET_SIZE, seed: int = SUBSET_SEED
) -> KernelScore:
    """Return KID of features (N, D) against (M, D) on their device, in float64 (Bińkowski et al. 2018, section 4).

    The subsets are torch-fidelity's: RandomState(seed) chooses rows without replacement, first of `fake`, then of
    `real`, for each in turn. Memory beside the features is three subset_size x subset_size kernels. UserError when a
    set is smaller than a subset.
    """
    check_table(fake, "the features of the samples")
    check_table(real, "the features of the real images")
    if subsets < 1 or subset_size < 2:
        raise UserError(f"KID needs at least one subset of 2 images, not {subsets} of {subset_size}")
    if min(len(fake), len(real)) < subset_size:
        raise UserError(
            f"KID takes subsets of {subset_size} images, but there are {len(fake)} samples and {len(real)} real images"
        )
    draw = np.random.RandomState(seed)
    values = []
    for _ in range(subsets):
        chosen = [
            table[torch.from_numpy(draw.choice(len(table), subset_size, replace=False)).to(table.device)].double()
            for table in (fake, real)
        ]
        values.append(polynomial_mmd(*chosen))
    found = torch.stack(values).cpu().numpy()
    return KernelScore(float(found.mean()), float(found.std()), subsets, subset_size)


def polynomial_mmd(first: Tensor, second: Tensor) -> Tensor:
    """Return the unbiased squared MMD of (N, D) against (M, D) under k(x, y) = (x.y / D + 1)^3: a 0-d tensor.

    Gretton et al. 2012, eq. 3: pairs of one set leave out each image with itself.
    """
    within = [
        (_kernel_sum(table, table) - _self_sum(table)) / (len(table) * (len(table) - 1)) for table in (first, second)
    ]
    return within[0] + within[1] - 2.0 * _kernel_sum(first, second) / (len(first) * len(second))


def _kernel_sum(first: Tensor, second: Tensor) -> Tensor:
    return (first @ second.T / first.shape[1] + 1.0).pow(3).sum()


def _self_sum(table: Tensor) -> Tensor:
    return (table.square().sum(dim=1) / table.shape[1] + 1.0).pow(3).sum()
