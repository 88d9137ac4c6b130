"""Precision and recall, density and coverage of samples among real images: who lies in whose neighbourhood."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gansweep.errors import UserError
from gansweep.metrics.moments import check_table

NEAREST = 5
CHUNK_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Manifold:
    """Shares of images in one another's balls; a ball reaches to the k-th nearest neighbour in the ball's own set.

    `precision`: fakes inside some real ball; `recall`: reals inside some fake ball (Kynkäänniemi et al. 2019, eq. 1-2).
    `density`: real balls per fake, over k: 1 for equal distributions, may exceed it; `coverage`: reals with a fake in
    their ball (Naeem et al. 2020, section 3). All in 0..1 but density. The border lies outside, as in Naeem's program.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    nearest: int


def manifold(fake: Tensor, real: Tensor, nearest: int = NEAREST, chunk_bytes: int = CHUNK_BYTES) -> Manifold:
    """Return all four for features (N, D) and (M, D) on one device; UserError for sets of no more than `nearest`.

    Distances are float64, in strips of about `chunk_bytes`, whose size changes nothing: where a matrix product is not
    sharp enough to say on which side of a ball a point lies, the difference itself is squared. Beside the strips memory
    holds both sets in float64.
    """
    check_table(fake, "the features of the samples")
    check_table(real, "the features of the real images")
    if nearest < 1 or min(len(fake), len(real)) <= nearest:
        raise UserError(
            f"neighbourhoods of {nearest} need more than {max(nearest, 1)} images in both sets; "
            f"there are {len(fake)} samples and {len(real)} real images"
        )
    # About their middle the norms are small, and with them the rounding of |x|^2 + |y|^2 - 2 x.y.
    middle = real.double().mean(dim=0)
    fake, real = fake.double() - middle, real.double() - middle
    fake_reach, real_reach = (_reaches(table, nearest, chunk_bytes) for table in (fake, real))
    inside_some, balls = 0, 0
    recalled = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    covered = torch.zeros_like(recalled)
    for rows in torch.arange(len(fake), device=fake.device).split(_strip(len(real), chunk_bytes)):
        squared = _squared(fake[rows], real)
        in_real = _nearer(squared, fake[rows], real, real_reach.expand_as(squared))
        inside_some += int(in_real.any(dim=1).sum())
        balls += int(in_real.sum())
        covered |= in_real.any(dim=0)
        recalled |= _nearer(squared, fake[rows], real, fake_reach[rows].unsqueeze(1).expand_as(squared)).any(dim=0)
    return Manifold(
        precision=inside_some / len(fake),
        recall=int(recalled.sum()) / len(real),
        density=balls / (nearest * len(fake)),
        coverage=int(covered.sum()) / len(real),
        nearest=nearest,
    )


def _strip(width: int, chunk_bytes: int) -> int:
    """Return how many rows of `width` distances stay within `chunk_bytes`, with four tables of them alive."""
    return max(1, chunk_bytes // (width * 4 * 8))


def _squared(first: Tensor, second: Tensor) -> Tensor:
    """Return squared distances (N, M) by a matrix product: quick, but blurred by rounding."""
    norms = first.square().sum(dim=1, keepdim=True) + second.square().sum(dim=1)
    return norms.addmm_(first, second.T, alpha=-2.0)


def _exact(first: Tensor, second: Tensor) -> Tensor:
    """Return squared distances (P,) of P pairs (P, D), the same bits for the same pair wherever it stands."""
    return (first - second).square().sum(dim=1)


def _reaches(table: Tensor, nearest: int, chunk_bytes: int) -> Tensor:
    """Return each row's squared distance (N,) to its `nearest`-th neighbour, itself left out."""
    found = []
    for rows in torch.arange(len(table), device=table.device).split(_strip(len(table), chunk_bytes)):
        squared = _squared(table[rows], table)
        squared[torch.arange(len(rows), device=table.device), rows] = torch.inf
        close = squared.topk(nearest, dim=1, largest=False).indices
        # One neighbour after the other, for memory; the farthest of them by the exact distance is the k-th.
        found.append(torch.stack([_exact(table[rows], table[close[:, k]]) for k in range(nearest)]).amax(dim=0))
    return torch.cat(found)


def _nearer(squared: Tensor, first: Tensor, second: Tensor, reach: Tensor) -> Tensor:
    """Say for each pair (N, M) whether it is nearer than `reach` (N, M, squared), border cases worked out exactly."""
    inside = squared < reach
    largest = first.square().sum(dim=1).max() + second.square().sum(dim=1).max()
    blur = largest * (4 * first.shape[1] * torch.finfo(torch.float64).eps)
    near = torch.nonzero((squared - reach).abs() <= blur)
    for pairs in near.split(max(1, CHUNK_BYTES // (first.shape[1] * 8 * 4))):
        i, j = pairs.unbind(dim=1)
        inside[i, j] = _exact(first[i], second[j]) < reach[i, j]
    return inside
