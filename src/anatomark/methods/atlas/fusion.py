"""From the atlases' transferred points to one answer: agreement of images, geometric median, presence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anatomark.core.geometric_median import geometric_median
from anatomark.core.grid import Floats, Grid, transform_points
from anatomark.core.image import Image
from anatomark.core.interpolation import interpolated
from anatomark.registration.information import shared_information

LEAST_OVERLAP = 64  # elements: fewer make no meaningful histogram
LEAST_AGREEMENT = 1e-6  # so that atlases that agree in nothing still count alike


@dataclass(frozen=True, eq=False)
class Transfer:
    """One atlas's landmarks in an image: `points` (N, d), NaN unless present in the atlas; `annotated` (N,) there.

    `agreement` is that of the two images, see there.
    """

    agreement: float
    points: Floats
    annotated: NDArray[np.bool_]


def agreement(fixed: Image, moving: Image, matrix: Floats) -> float:
    """0 ... 1: normalised mutual information 2 I / (H + H) of two images in their overlap, times its relative size.

    `matrix` (d+1, d+1) maps the world of `fixed` to that of `moving`. The overlap is relative to the smaller field of
    view, so that an atlas loses nothing by showing more than the image.
    """
    places = transform_points(matrix, fixed.grid.centers().reshape(-1, fixed.grid.ndim))
    inside = moving.grid.contains(places)
    if inside.sum() < LEAST_OVERLAP:
        return 0.0
    at = moving.grid.world_to_index(places[inside])
    sampled = interpolated(moving.array, at.T)
    information = shared_information(fixed.array.reshape(-1)[inside], sampled)
    element = abs(np.linalg.det(fixed.grid.affine[:-1, :-1]) * np.linalg.det(matrix[:-1, :-1]))
    view = min(inside.size * element, moving.array.size * abs(np.linalg.det(moving.grid.affine[:-1, :-1])))
    return float(information * min(1.0, inside.sum() * element / view))


def fuse(
    nearest: Sequence[Transfer], others: Sequence[Transfer], grid: Grid, mean_shape: Floats
) -> tuple[Floats, Floats, Floats]:
    """Points (N, d), spread (N,) and mass (N,) in the frame of the image's `grid`.

    The geometric median of the `nearest` atlases' points; for a landmark that none of them has, that of the `others`;
    for one that no atlas has, `mean_shape` (N, d), with mass 0 and half the image's diagonal as spread. Mass is the
    proportion, weighted by agreement, of the atlases that have the landmark, and transfer it into the image, among
    those where it is annotated.
    """
    points = mean_shape.copy()
    spread = np.full(len(points), float(np.linalg.norm(grid.extent)) / 2)
    mass = np.zeros(len(points))
    for transfers in (others, nearest):  # the nearest overwrite the others
        if not transfers:
            continue
        transferred = np.stack([t.points for t in transfers])
        present = np.asarray(np.isfinite(transferred).all(axis=2))
        known = present.any(axis=0)
        points[known] = geometric_median(transferred[:, known])
        distance2 = np.where(present, ((transferred - points) ** 2).sum(axis=2), 0).sum(axis=0)
        spread[known] = np.sqrt(distance2[known] / present[:, known].sum(axis=0))
        weight = np.stack([max(t.agreement, LEAST_AGREEMENT) * t.annotated for t in transfers])
        annotated = weight.sum(axis=0) > 0
        inside = (weight * (present & grid.contains(transferred))).sum(axis=0)
        mass[annotated] = inside[annotated] / weight[:, annotated].sum(axis=0)
    return points, spread, mass
