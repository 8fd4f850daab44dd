"""The mean-shape baseline: what a detector must beat that never looks at the image.

The training landmarks' mean position is put into every test image. A position in an image is written in one
of two ways: as the distance from the image's middle (right where images differ in field of view), or as a
fraction of its extent along its canonical axes (right where they differ in zoom, or have no spacing). The way
that leaves the smaller error on the training cases is used, so that the baseline is as strong as it can be
without an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anatomark.core.grid import Floats, Grid

FROM_MIDDLE = "distance from the middle of the image"
FRACTION = "fraction of the image's extent"


@dataclass(frozen=True, eq=False)
class MeanShape:
    """Mean positions `relative` (N, d) of landmarks, NaN for one that no training case has; see `place`."""

    relative: Floats
    placement: str

    def place(self, grid: Grid) -> Floats:
        """World points (N, d) of the mean shape in an image that lies on `grid`."""
        if self.placement == FROM_MIDDLE:
            return grid.center + self.relative
        canonical = grid.canonical()
        return canonical.index_to_world(self.relative * np.asarray(canonical.shape) - 0.5)


def mean_shape(grids: Sequence[Grid], points_world: Floats) -> MeanShape:
    """The mean shape of C training cases with landmarks (C, N, d), NaN where they have none."""
    from_middle = points_world - np.stack([g.center for g in grids])[:, None]
    fraction = np.stack([_fraction(g, points) for g, points in zip(grids, points_world, strict=True)])
    shapes = [MeanShape(_mean(from_middle), FROM_MIDDLE), MeanShape(_mean(fraction), FRACTION)]
    return min(shapes, key=lambda s: _residual(s, grids, points_world))


def _fraction(grid: Grid, points_world: Floats) -> Floats:
    canonical = grid.canonical()
    return (canonical.world_to_index(points_world) + 0.5) / np.asarray(canonical.shape)


def _mean(relative: Floats) -> Floats:
    known = np.isfinite(relative)
    with np.errstate(invalid="ignore"):  # a landmark that no case has is 0 / 0: NaN, as documented
        return np.where(known, relative, 0).sum(axis=0) / known.sum(axis=0)


def _residual(shape: MeanShape, grids: Sequence[Grid], points_world: Floats) -> float:
    placed = np.stack([shape.place(g) for g in grids])
    return float(np.nansum(np.sqrt(((placed - points_world) ** 2).sum(axis=-1))))
