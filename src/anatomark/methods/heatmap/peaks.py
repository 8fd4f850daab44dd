"""Points from heatmaps: the place of the maximum, to a fraction of an element, its spread and its mass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

RELEVANT = 0.1  # of the maximum: lower values add nothing to the spread, for an image has very many of them


class Peaks(NamedTuple):
    """Of n heatmaps: `points` (n, d) in elements; `spread` (n,) in world units; `mass` (n,) in [0, 1].

    The spread is the root mean square distance from the point of all density at least a tenth as high as the maximum,
    near or far: a second candidate counts. The mass is the density within the window around the maximum.
    """

    points: Tensor
    spread: Tensor
    mass: Tensor


def find_peaks(density: Tensor, *, radius: Sequence[int], spacing: Sequence[float]) -> Peaks:
    """The peaks of `density` (n, *grid), at least 0, that sums to about 1 around a landmark.

    A point is the mean of the window of elements within `radius` (d,) of the maximum; `spacing` (d,) is the grid's.
    """
    grid = density.shape[1:]
    n, d = len(density), len(grid)
    flat = density.flatten(1)
    highest, where = flat.max(1)
    maximum = torch.stack(torch.unravel_index(where, grid), dim=-1)

    offsets = torch.meshgrid(*(torch.arange(-r, r + 1, device=density.device) for r in radius), indexing="ij")
    offset = torch.stack(offsets, dim=-1).view(1, -1, d)
    at = maximum.unsqueeze(1) + offset  # (n, W, d)
    inside = ((at >= 0) & (at < torch.tensor(grid, device=density.device))).all(-1)
    flat_index = torch.zeros_like(inside, dtype=torch.long)
    for axis in range(d):
        flat_index = flat_index * grid[axis] + at[..., axis].clamp(0, grid[axis] - 1)
    window = flat.gather(1, flat_index) * inside
    tiny = torch.finfo(density.dtype).tiny
    weights = window / window.sum(1, keepdim=True).clamp(min=tiny)
    points = maximum + (weights.unsqueeze(-1) * offset).sum(1)

    high = torch.where(flat >= RELEVANT * highest.unsqueeze(1), flat, torch.zeros_like(flat))
    high = (high / high.sum(1, keepdim=True).clamp(min=tiny)).view(n, *grid)
    square = torch.zeros(n, device=density.device)
    for axis in range(d):  # a squared distance is a sum over axes, so that the marginals are enough
        marginal = high.sum(tuple(k + 1 for k in range(d) if k != axis))
        distance = (torch.arange(grid[axis], device=density.device) - points[:, axis : axis + 1]) * spacing[axis]
        square += (marginal * distance.square()).sum(1)
    return Peaks(points, square.sqrt(), window.sum(1).clamp(max=1))
