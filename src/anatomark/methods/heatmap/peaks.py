"""Points out of heatmaps: the place of the maximum, to a fraction of an element, and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

SECOND = 0.1  # of the maximum: what is lower counts for no spread, for an image has many elements that say "hardly"


class Peaks(NamedTuple):
    """Of n heatmaps: `points` (n, d) in elements; `spread` (n,) in world units; `mass` (n,) in [0, 1].

    The spread is the root mean square distance from the point of all heat at least a tenth as high as the maximum, near
    or far: a second candidate counts. The mass is the heat within the window around the maximum.
    """

    points: Tensor
    spread: Tensor
    mass: Tensor


def find_peaks(heat: Tensor, *, radius: Sequence[int], spacing: Sequence[float]) -> Peaks:
    """The peaks of `heat` (n, *grid), at least 0, that adds up to about 1 around a landmark.

    A point is the mean of the window of elements within `radius` (d,) of the maximum; `spacing` (d,) is the grid's.
    """
    grid = heat.shape[1:]
    n, d = len(heat), len(grid)
    flat = heat.flatten(1)
    highest, where = flat.max(1)
    best = torch.stack(torch.unravel_index(where, grid), dim=-1)

    around = torch.meshgrid(*(torch.arange(-r, r + 1, device=heat.device) for r in radius), indexing="ij")
    offset = torch.stack(around, dim=-1).view(1, -1, d)
    at = best.unsqueeze(1) + offset  # (n, W, d)
    inside = ((at >= 0) & (at < torch.tensor(grid, device=heat.device))).all(-1)
    place = torch.zeros_like(inside, dtype=torch.long)
    for axis in range(d):
        place = place * grid[axis] + at[..., axis].clamp(0, grid[axis] - 1)
    window = flat.gather(1, place) * inside
    tiny = torch.finfo(heat.dtype).tiny
    share = window / window.sum(1, keepdim=True).clamp(min=tiny)
    points = best + (share.unsqueeze(-1) * offset).sum(1)

    high = torch.where(flat >= SECOND * highest.unsqueeze(1), flat, torch.zeros_like(flat))
    high = (high / high.sum(1, keepdim=True).clamp(min=tiny)).view(n, *grid)
    square = torch.zeros(n, device=heat.device)
    for axis in range(d):  # a squared distance is a sum over axes, so that the marginals are enough
        marginal = high.sum(tuple(k + 1 for k in range(d) if k != axis))
        away = (torch.arange(grid[axis], device=heat.device) - points[:, axis : axis + 1]) * spacing[axis]
        square += (marginal * away.square()).sum(1)
    return Peaks(points, square.sqrt(), window.sum(1).clamp(max=1))
