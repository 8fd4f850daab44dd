"""Smoothing and interpolation of arrays by SciPy, with the types that it does not state; no Grids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats

Border = Literal["nearest", "reflect"]


def smoothed(
    array: NDArray[np.float32], sigma_index: Floats | float, *, mode: Border = "reflect", truncate: float = 4
) -> NDArray[np.float32]:
    """Gaussian smoothing; `sigma_index`, one or one per axis, is in array elements, `truncate` in sigmas."""
    from scipy import ndimage

    return cast("NDArray[np.float32]", ndimage.gaussian_filter(array, sigma_index, mode=mode, truncate=truncate))


def transformed(
    array: NDArray[np.float32], matrix: Floats, offset: Floats, shape: Sequence[int]
) -> NDArray[np.float32]:
    """Linear interpolation (*shape): element i is that at index matrix @ i + offset; border values continue outside.

    `matrix` is (d, d), or the diagonal (d,) of a matrix that has nothing else.
    """
    from scipy import ndimage

    result = ndimage.affine_transform(
        array,
        matrix,
        offset,  # pyright: ignore[reportArgumentType]  # scipy takes one number an axis, its default is one of all
        output_shape=shape,
        order=1,
        mode="nearest",
        output=np.float32,
    )
    return cast("NDArray[np.float32]", result)


def interpolated(array: NDArray[np.generic], index: Floats) -> NDArray[np.generic]:
    """Linear interpolation (K,) at `index` (d, K), in the type of `array`; border values continue outside."""
    from scipy import ndimage

    return cast("NDArray[np.generic]", ndimage.map_coordinates(array, index, order=1, mode="nearest"))


def spline_coefficients(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """The coefficients of a cubic spline through the elements of `array`, of its shape."""
    from scipy import ndimage

    return cast("Floats", ndimage.spline_filter(array, mode="nearest")).astype(np.float32)


def spline_values(coefficients: NDArray[np.float32], index: Floats) -> NDArray[np.float32]:
    """The spline's values (...,) at `index` (d, ...); border values continue outside."""
    from scipy import ndimage

    values = np.empty(index.shape[1:], dtype=np.float32)
    ndimage.map_coordinates(coefficients, index, values, order=3, mode="nearest", prefilter=False)
    return values
