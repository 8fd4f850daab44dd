"""What a detector finds in a prepared case, in the world of its image: a case may be aligned to a template."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from anatomark.core.grid import Floats, Grid
from anatomark.data.cache import CachedCase
from anatomark.methods.interface import AnyDetector, Located

if TYPE_CHECKING:
    import torch


def own_world(case: CachedCase, points_world: Floats) -> Floats:
    """Points (N, d) of a cached case in the world of its image, where the case was aligned to a template."""
    if case.matrix is None:
        return points_world
    return (points_world - case.matrix[:-1, -1]) @ np.linalg.inv(case.matrix[:-1, :-1]).T


def own_located(case: CachedCase, detector: AnyDetector, device: torch.device) -> list[Located]:
    """The answers of all stages for a cached case, in the world of its image; taken there as by `Placement`."""
    volume = 1.0 if case.matrix is None else abs(np.linalg.det(case.matrix[:-1, :-1]))
    ndim = case.points_world.shape[1]
    return [
        replace(
            stage,
            points_world=own_world(case, stage.points_world),
            spread=stage.spread / volume ** (1 / ndim),
        )
        for stage in detector.locate(case.image, device)
    ]


def own_grid(case: CachedCase) -> Grid:
    """The grid of the image of a case in the world of this image, where the case was aligned to a template."""
    grid = case.image.fine_grid
    if case.matrix is None:
        return grid
    return Grid(grid.shape, np.linalg.inv(case.matrix) @ grid.affine, grid.unit)
