"""The geometric median: the point with the least sum of distances to others, which one far-off point does not move."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats

ROUNDS = 200
ROUNDED = 1e-6  # of the points' median distance from the middle: so far are distances rounded off near zero
STILL = 1e-9  # of that distance: a step below this ends the search


def geometric_median(points: Floats) -> Floats:
    """(..., d) of K points (K, ..., d) of the same unit; points with a NaN are left out, NaN where none is left.

    Weiszfeld's iteration from the median along each axis, smoothed so that it may stand on a point (Vardi and Zhang,
    PNAS 97(4):1423-1426, 2000, doi 10.1073/pnas.97.4.1423). Of two points it is their mean.
    """
    shape = points.shape[1:]
    points = points.reshape(len(points), -1, shape[-1])
    here = np.asarray(np.isfinite(points).all(axis=-1))
    some = here.any(axis=0)
    answer = np.full(points.shape[1:], np.nan)
    if some.any():
        answer[some] = _weiszfeld(points[:, some], here[:, some])
    return answer.reshape(shape)


def _weiszfeld(points: Floats, here: NDArray[np.bool_]) -> Floats:
    """(M, d) of points (K, M, d), of which those that are `here` (K, M) count; each needs one at least."""
    held = np.where(here[..., None], points, 0)
    middle = np.nanmedian(np.where(here[..., None], points, np.nan), axis=0)
    apart = np.where(here, np.sqrt(((held - middle) ** 2).sum(axis=-1)), np.nan)
    scale = np.nanmedian(apart, axis=0)
    scale = np.where(scale > 0, scale, np.nanmax(apart, axis=0))
    scale = np.where(scale > 0, scale, 1.0)  # all points in one place
    for _ in range(ROUNDS):
        distance = np.sqrt(((held - middle) ** 2).sum(axis=-1) + (ROUNDED * scale) ** 2)
        weight = here / distance
        moved = (held * weight[..., None]).sum(axis=0) / weight.sum(axis=0)[:, None]
        step = np.abs(moved - middle).max(axis=-1)
        middle = moved
        if (step <= STILL * scale).all():
            break
    return middle
