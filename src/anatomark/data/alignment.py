"""Alignment: images brought into the world of one template case, so that networks see like anatomy in like places.

What is found there goes back by the exact inverse of the map that brought the image there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from anatomark.core.grid import Floats, Grid, nearest_orthogonal, transform_points
from anatomark.core.image import Image
from anatomark.data.working import Sampling, WorkingImage, working_image
from anatomark.errors import RegistrationError
from anatomark.registration.linear import LinearKind, reduced_copy, register_linear

SEED = 0  # of every registration: an image lies in one place, whatever the training's seed


@dataclass(frozen=True, eq=False)
class Placement:
    """An image as the networks are to see it.

    `matrix` (d+1, d+1) maps the world of the image to that of the template. `axes` (d, d) are the world directions of
    the template's array axes, along which the working image lies; None for an image that was not aligned: it stays in
    its own world, `matrix` is the identity, and the working image has its own axes. `failure` is the reason where it
    should have been aligned.
    """

    image: Image
    matrix: Floats
    axes: Floats | None = None
    failure: str | None = None

    @classmethod
    def unaligned(cls, image: Image, failure: str | None = None) -> Placement:
        return cls(image, np.eye(image.grid.ndim + 1), None, failure)

    def working_image(self, sampling: Sampling, *, source: str = "image") -> WorkingImage:
        """The working image in the template's world; arguments and errors are those of `data.working`."""
        if self.axes is None:
            return working_image(self.image, sampling, source=source)
        grid = self.image.grid
        there = Image(self.image.array, Grid(grid.shape, self.matrix @ grid.affine, grid.unit))
        return working_image(there, sampling, source=source, axes=self.axes)

    def to_template(self, points_world: ArrayLike) -> Floats:
        """Points (..., d) of the image's world in the template's; NaN stays NaN."""
        return transform_points(self.matrix, points_world)

    def from_template(self, points_template: ArrayLike) -> Floats:
        """Points (..., d) of the template's world in the image's, by the exact inverse."""
        linear = np.linalg.inv(self.matrix[:-1, :-1])
        return (np.asarray(points_template, dtype=float) - self.matrix[:-1, -1]) @ linear.T

    def length_from_template(self, lengths: ArrayLike) -> Floats:
        """Lengths (...) of no known direction, such as spreads, in the image's world.

        An affine map changes a length by its direction; taken is the geometric mean, the d-th root of the change of
        volume. A rigid map changes none.
        """
        volume = abs(np.linalg.det(self.matrix[:-1, :-1]))
        return np.asarray(lengths, dtype=float) / volume ** (1 / (len(self.matrix) - 1))


@dataclass(frozen=True, eq=False)
class Alignment:
    """How images are aligned: `kind` of map, and the `template`, a reduced copy (uint8) of the case `case`."""

    kind: LinearKind
    case: str
    template: Image

    @classmethod
    def to(cls, image: Image, *, kind: LinearKind, case: str) -> Alignment:
        """The alignment to `image`; RegistrationError where it has no contrast."""
        return cls(kind, case, reduced_copy(image))

    def place(self, image: Image) -> Placement:
        """The image in the template's world (`registration.linear`), or with `failure` where it is in its own."""
        try:
            back = register_linear(self.template, image, kind=self.kind, seed=SEED)
        except RegistrationError as error:
            return Placement.unaligned(image, f"not aligned to {self.case}: {error}")
        return Placement(image, np.asarray(np.linalg.inv(back), dtype=np.float64), _straight_axes(self.template.grid))


def place(alignment: Alignment | None, image: Image) -> Placement:
    """The image in the world of the template, if there is one."""
    return Placement.unaligned(image) if alignment is None else alignment.place(image)


def _straight_axes(grid: Grid) -> Floats:
    """(d, d) the directions at right angles that are nearest to those of the canonical array axes of `grid`."""
    return nearest_orthogonal(grid.canonical().direction)
