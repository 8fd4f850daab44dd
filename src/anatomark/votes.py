"""Votes: displacements from patches at known places to each landmark. Shared by both methods.

All coordinates are indices of the array that a network saw, array-axis order; its Grid takes them to the world.
A feature map of stride s tiles the array from index 0; patch k is centred at k*s + (s - 1)/2, as in `Grid.strided`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

MIN_POSTERIOR_MASS = 0.01  # with less, the landmark is not in the window


def patch_centers(
    shape: Sequence[int], stride: Sequence[int], device: torch.device | None = None
) -> Float[Tensor, "d ..."]:
    """Centres (d, *shape) float32, in index units of the array, of a feature map of `shape`."""
    axes = [
        torch.arange(n, dtype=torch.float32, device=device) * s + (s - 1) / 2
        for n, s in zip(shape, stride, strict=True)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def patch_index(points_index: Float[Tensor, "*points d"], stride: Sequence[int]) -> Int[Tensor, "*points d"]:
    """Patch indices (..., d) int64 that hold points (..., d); a point before the array is in patch -1 or less."""
    steps = torch.tensor(stride, dtype=points_index.dtype, device=points_index.device)
    return torch.floor((points_index + 0.5) / steps).long()


def one_hot_patches(
    points_index: Float[Tensor, "b n d"], present: Bool[Tensor, "b n"], grid: Sequence[int], stride: Sequence[int]
) -> tuple[Float[Tensor, "b n p"], Bool[Tensor, "b n"]]:
    """(B, N, P) 1 at the patch that holds a present landmark, else 0; and (B, N) whether a patch of `grid` holds it.

    `points_index` (B, N, d) finite, `present` (B, N).
    """
    b, n, d = points_index.shape
    cell = patch_index(points_index, stride)
    size = torch.tensor(list(grid), device=cell.device)
    inside = present & ((cell >= 0) & (cell < size)).all(-1)
    flat = torch.zeros(b, n, dtype=torch.long, device=cell.device)
    for axis in range(d):
        flat = flat * grid[axis] + cell[..., axis].clamp(0, grid[axis] - 1)
    held = torch.zeros(b, n, math.prod(grid), device=cell.device)
    return held.scatter_(2, flat.unsqueeze(-1), inside.float().unsqueeze(-1)), inside


def encode(displacement: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """sign(D) log10(|D| + 1), elementwise: small displacements finely, far ones coarsely (arXiv 2007.05295)."""
    return displacement.sign() * torch.log10(displacement.abs() + 1)


def decode(encoded: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """The inverse of `encode`. Votes are averaged only after this, never in log space."""
    return encoded.sign() * torch.expm1(
        encoded.abs().clamp(max=5) * torch.log(torch.tensor(10.0, device=encoded.device))
    )


def cast(encoded: Float[Tensor, "b n d *grid"], stride: Sequence[int]) -> Float[Tensor, "b n d p"]:
    """Where the patches of `encoded` displacements (B, N, d, *grid) see a landmark, (B, N, d, P) in index units."""
    centers = patch_centers(encoded.shape[3:], stride, encoded.device).flatten(1)
    return decode(encoded.float().flatten(3)) + centers


def weighted_mean(
    votes: Float[Tensor, "b n d p"], weights: Float[Tensor, "b n p"]
) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b n"]]:
    """Weighted mean (B, N, d) of votes (B, N, d, P) with weights (B, N, P), and their spread (B, N).

    The spread is the weighted root mean square distance of the votes from their mean.
    """
    dtype = votes.dtype
    if torch.compiler.is_compiling():  # other runtimes add up tens of thousands of numbers with less care than PyTorch
        votes, weights = votes.double(), weights.double()
    weights = weights / weights.sum(-1, keepdim=True).clamp(min=1e-12)
    mean = (votes * weights.unsqueeze(2)).sum(-1)
    distance2 = (votes - mean.unsqueeze(-1)).square().sum(2)
    return mean.to(dtype), (distance2 * weights).sum(-1).clamp(min=0).sqrt().to(dtype)


def posterior_mass(posterior: Float[Tensor, "b n *grid"]) -> Float[Tensor, "b n"]:
    """Presence evidence (B, N): the largest sum of posteriors (B, N, *grid) over a 3^d neighbourhood, at most 1.

    A landmark near a patch border shares its posterior among neighbours, so one patch alone would say too little.
    """
    d = posterior.dim() - 2
    total = torch.nn.functional.pad(posterior, (1, 1) * d)
    for axis in range(2, 2 + d):
        n = total.shape[axis] - 2
        total = total.narrow(axis, 0, n) + total.narrow(axis, 1, n) + total.narrow(axis, 2, n)
    return total.flatten(2).amax(-1).clamp(max=1)
