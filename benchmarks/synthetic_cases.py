"""Prepared cases with random grey values and landmarks anywhere, for measurements that ask for no real image."""

from __future__ import annotations

import numpy as np

from anatomark.core.grid import Grid
from anatomark.core.landmarks import State
from anatomark.data.cache import Cache, CachedCase
from anatomark.data.working import WorkingImage, average_pool, pooled_grid
from anatomark.methods.settings import Network


def synthetic_cache(grid: Grid, network: Network, *, cases: int = 1, empty: bool = False) -> Cache:
    """Training cases on `grid`, as `network` sees them; landmarks have numbers for names, and no partners."""
    made = tuple(synthetic_case(grid, network, seed=seed, empty=empty) for seed in range(cases))
    return Cache(tuple(map(str, range(network.landmarks))), (), made, in_memory=True)


def synthetic_case(grid: Grid, network: Network, *, seed: int, empty: bool = False) -> CachedCase:
    """One such case: grey values of 8 bits in 2D, of half precision in 3D.

    The arrays of an `empty` case have their shapes but one value, and take no memory.
    """
    dtype, most = ("uint8", 255.0) if grid.ndim == 2 else ("float16", 1.0)
    fine_grid = grid.canonical().respaced(network.spacing)
    rng = np.random.default_rng(seed)
    if empty:
        coarse_grid = pooled_grid(fine_grid, network.pool)
        fine = np.broadcast_to(np.zeros((), dtype), fine_grid.shape)
        coarse = np.broadcast_to(np.zeros((), dtype), coarse_grid.shape)
    else:
        fine = (rng.random(fine_grid.shape, dtype=np.float32) * most).astype(dtype)
        coarse, coarse_grid = average_pool(fine, fine_grid, network.pool)
    points = rng.uniform(0, 1, (network.landmarks, grid.ndim)) * (np.asarray(fine_grid.shape) - 1)
    return CachedCase(
        f"case{seed}",
        f"case{seed}",
        "train",
        WorkingImage(fine, fine_grid, coarse, coarse_grid, (0.0, most)),
        fine_grid.index_to_world(points),
        np.full(network.landmarks, State.PRESENT, dtype=np.uint8),
    )
