"""The Image: a 2D or 3D array of grey values and the Grid it lies on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Grid
from anatomark.core.interpolation import smoothed, transformed
from anatomark.errors import ImageError


@dataclass(frozen=True, eq=False)
class Image:
    """Grey values `array` (*spatial) on `grid`; the array is made read-only.

    Attributes:
        array: (rows, columns) or (slices, rows, columns), of any number type.
        grid: where its elements lie in the world.

    Examples:
        >>> image = anatomark.Image(np.zeros((64, 48)), anatomark.Grid.from_geometry((64, 48), spacing=(0.5, 0.5)))
    """

    array: NDArray[Any]
    grid: Grid

    def __post_init__(self) -> None:
        array = np.asarray(self.array).view()
        if array.shape != self.grid.shape:
            raise ValueError(f"the array is {array.shape}, its Grid {self.grid.shape}; they must agree")
        array.setflags(write=False)
        object.__setattr__(self, "array", array)

    def canonical(self) -> Image:
        """The same grey values with array axes nearest to z, y, x increasing in LPS; no resampling."""
        order, flipped = self.grid.canonical_axes()
        flips = tuple(slice(None, None, -1) if flip else slice(None) for flip in flipped)
        return Image(self.array.transpose(order)[flips], self.grid.canonical())

    def resampled(self, grid: Grid) -> Image:
        """Linear interpolation onto `grid`, float32 (*grid.shape); border values are continued outside.

        Where `grid` is coarser, the image is first smoothed (Gaussian, sigma_index = 0.5 * sqrt(ratio^2 - 1)
        along each array axis, so that a sample stands for its whole element) against aliasing.
        """
        if grid.ndim != self.grid.ndim:
            raise ValueError(f"a {self.grid.ndim}D image cannot be resampled onto a {grid.ndim}D Grid")
        if grid == self.grid:
            return Image(self.array.astype(np.float32), grid)
        matrix = np.linalg.inv(self.grid.affine) @ grid.affine  # index of `grid` -> index of this image
        linear, offset = matrix[:-1, :-1], matrix[:-1, -1]
        step = np.abs(linear).max(axis=1)
        sigma_index = 0.5 * np.sqrt(np.maximum(step**2 - 1, 0))
        array = self.array.astype(np.float32)
        if (sigma_index > 0.05).any():
            array = smoothed(array, sigma_index, mode="nearest", truncate=3)
        diagonal = np.allclose(linear, np.diag(np.diag(linear)), rtol=0, atol=1e-9)
        transform = np.diag(linear).copy() if diagonal else linear
        return Image(transformed(array, transform, offset, grid.shape), grid)


def require_usable(image: Image, source: str | Path) -> None:
    """Raises `ImageError` for an image that says nothing: one voxel, NaN or infinite ones, or constant."""
    array = image.array
    if array.size < 2:
        raise ImageError(f"{source} is a single voxel; give a whole image")
    if array.dtype.kind in "fc" and not np.isfinite(array).all():
        bad = int(array.size - np.count_nonzero(np.isfinite(array)))
        raise ImageError(f"{source} has {bad} voxels that are NaN or infinite; replace them, for instance with air")
    if array.min() == array.max():
        raise ImageError(f"{source} has the same value, {array.flat[0]}, in every voxel; export it again")
