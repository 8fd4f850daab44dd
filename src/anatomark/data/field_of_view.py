"""Smaller fields of view: copies of a case whose image ends earlier on one side, and lacks the landmarks beyond.

Landmarks that are cut off are certainly not in the image. So a detector learns from such copies what absence looks
like, though no annotator ever called a landmark absent.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Grid
from anatomark.core.landmarks import State
from anatomark.data.cache import CachedCase
from anatomark.data.working import WorkingImage, intensity_window

LEAST_ELEMENTS = 8  # of the coarse level, that are left along the cut axis
DEPTHS = (-0.1, 0.5)  # of cuts, from outside of the landmarks, where nothing is cut off, to their middle
WINDOW_SAMPLE = 20_000  # elements that the intensity window of a cut image is taken from


def draw_cut(case: CachedCase, rng: np.random.Generator) -> CachedCase:
    """A copy of `case` cut at a random side and place, between just outside its landmarks and the middle of these.

    The same case where it has no landmark or is too small.
    """
    sides = 2 * len(case.image.coarse_grid.shape)
    return cut(case, int(rng.integers(sides)), float(rng.uniform(*DEPTHS)))


def cut(case: CachedCase, side: int, depth: float) -> CachedCase:
    """A copy of `case` that ends at a plane across axis `side // 2`; it keeps what is before it for an odd `side`.

    The plane lies at `depth` of the way between the outermost landmark on that side (0) and the one on the other (1);
    landmarks beyond it are absent. The same case where it has no landmark, or too little of it would be left.
    """
    image, axis, far = case.image, side // 2, side % 2 == 1
    along = image.coarse_grid.world_to_index(case.points_world)[:, axis]
    along = along[np.isfinite(along)]
    if not along.size:
        return case
    ends = (along.max(), along.min()) if far else (along.min(), along.max())
    plane = int(np.clip(round(float(ends[0] + depth * (ends[1] - ends[0]))), 0, image.coarse.shape[axis]))
    start, stop = (0, plane) if far else (plane, image.coarse.shape[axis])
    if stop - start < LEAST_ELEMENTS or stop - start == image.coarse.shape[axis]:
        return case
    part = _part(image, axis, start, stop)
    inside = part.fine_grid.contains(case.points_world)
    points = np.where(inside[:, None], case.points_world, np.nan)
    off = np.isfinite(case.points_world).all(axis=1) & ~inside
    states = np.where(off, np.uint8(State.ABSENT), case.states).astype(np.uint8)
    return replace(case, image=part, points_world=points, states=states)


def _part(image: WorkingImage, axis: int, start: int, stop: int) -> WorkingImage:
    """`image` from coarse element `start` to before `stop` along `axis`, with an intensity window of its own."""
    pool = round(image.coarse_grid.spacing[axis] / image.fine_grid.spacing[axis])
    fine, fine_grid = _cropped(image.fine, image.fine_grid, axis, start * pool, stop * pool)
    coarse, coarse_grid = _cropped(image.coarse, image.coarse_grid, axis, start, stop)
    step = max(1, round((fine.size / WINDOW_SAMPLE) ** (1 / fine.ndim)))
    few = np.asarray(fine[(slice(None, None, step),) * fine.ndim], dtype=np.float32)
    window = intensity_window(few, grey_values=image.grey_values) if few.min() < few.max() else image.window
    return WorkingImage(fine, fine_grid, coarse, coarse_grid, window, image.grey_values)


def _cropped(
    array: NDArray[np.generic], grid: Grid, axis: int, start: int, stop: int
) -> tuple[NDArray[np.generic], Grid]:
    stop = min(stop, array.shape[axis])
    first, shape = [0] * array.ndim, list(array.shape)
    first[axis], shape[axis] = start, stop - start
    region = tuple(slice(f, f + n) for f, n in zip(first, shape, strict=True))
    return array[region], grid.crop(first, shape)
