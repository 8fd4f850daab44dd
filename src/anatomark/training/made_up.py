"""Made-up cases of planned sizes: what a training is tried on before any image is prepared."""

from __future__ import annotations

from typing import Any

import numpy as np

from anatomark.core.grid import Grid
from anatomark.core.landmarks import State
from anatomark.data.cache import Cache, CachedCase
from anatomark.data.working import WorkingImage, average_pool, pooled_grid


def made_up_cache(*cases: CachedCase) -> Cache:
    """The Cache of some cases; landmarks have numbers for names, and no partners."""
    return Cache(tuple(map(str, range(len(cases[0].states)))), (), cases, in_memory=True)


def made_up_case(
    grid: Grid, settings: Any, *, landmarks: int, role: str = "train", dtype: str = "float16", seed: int | None = None
) -> CachedCase:
    """A case on the canonical Grid of an image, as `settings` prepare it: random grey values, landmarks anywhere.

    Without a seed the arrays have their shapes but one value, and take no memory.
    """
    fine_grid = grid.canonical().respaced(settings.spacing)
    coarse_grid = pooled_grid(fine_grid, settings.pool)
    rng = np.random.default_rng(seed)
    if seed is None:
        fine = np.broadcast_to(np.zeros((), dtype), fine_grid.shape)
        coarse = np.broadcast_to(np.zeros((), dtype), coarse_grid.shape)
    else:
        grey = rng.random(fine_grid.shape, dtype=np.float32) * (255 if dtype == "uint8" else 1)
        fine = grey.astype(dtype)
        coarse, coarse_grid = average_pool(fine, fine_grid, settings.pool)
    points = rng.uniform(0, 1, (landmarks, grid.ndim)) * (np.asarray(fine_grid.shape) - 1)
    return CachedCase(
        f"{role} {seed}",
        f"{role} {seed}",
        role,
        WorkingImage(fine, fine_grid, coarse, coarse_grid, (0.0, 255.0 if dtype == "uint8" else 1.0)),
        fine_grid.index_to_world(points),
        np.full(landmarks, State.PRESENT, dtype=np.uint8),
    )
