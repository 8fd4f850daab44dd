"""What a detector finds in a prepared case, in the world of its image: a case may be aligned to a template."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from anatomark.core.grid import Floats
from anatomark.data.cache import CachedCase
from anatomark.methods.interface import AnyDetector

if TYPE_CHECKING:
    import torch


def own_world(case: CachedCase, points_world: Floats) -> Floats:
    """Points (N, d) of a cached case in the world of its image, where the case was aligned to a template."""
    if case.matrix is None:
        return points_world
    return (points_world - case.matrix[:-1, -1]) @ np.linalg.inv(case.matrix[:-1, :-1]).T


def own_answer(case: CachedCase, detector: AnyDetector, device: torch.device) -> tuple[Floats, Floats, Floats]:
    """Points (N, d), spreads (N,) and masses (N, stages) of a cached case, in the world of its image.

    They are taken there as by `Placement`.
    """
    stages = detector.locate(case.image, device)
    points, spread = stages[-1].points_world, stages[-1].spread
    volume = 1.0 if case.matrix is None else abs(np.linalg.det(case.matrix[:-1, :-1]))
    mass = np.stack([stage.mass for stage in stages], axis=-1)
    return own_world(case, points), spread / volume ** (1 / points.shape[1]), mass
