"""The working image: what networks see of an Image. The same steps for training caches and for prediction.

Axes are brought nearest to z, y, x; the image is resampled once to the working spacing; grey values are read
relative to two percentiles (`intensity_window`); a coarse level is an average pooling of the fine one, so that both
levels come from one resampling and every level has its exact Grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats, Grid
from anatomark.core.image import Image
from anatomark.errors import ImageError

MAX_PERCENTILE_SAMPLES = 1_000_000
PERCENTILES = (0.5, 99.5)  # of the grey values, which mean 0 and 1
SCALED_RANGE = (-4.0, 4.0)  # scaled values beyond are cut off
BINS = 256  # of the histogram that parts foreground and background
GreyValues = Literal["image", "foreground"]
"""What the upper end of the grey values is taken from: the whole image, or its brighter part."""


@dataclass(frozen=True)
class Sampling:
    """How working images are made: `spacing` (d,) in mm (or px) of the fine level, pooled by `pool` (d,).

    Both are in array-axis order of the canonical axes. `grey_values` is that of `intensity_window`.
    """

    spacing: Sequence[float]
    pool: Sequence[int]
    grey_values: GreyValues = "image"


@dataclass(frozen=True, eq=False)
class WorkingImage:
    """One image at two resolutions, fine and coarse; equal ones where the pooling factor is 1.

    Stored values are (*spatial) uint8 (8-bit sources) or float16; `window` (low, high) are the stored values that
    mean 0 and 1 to a network, found by `grey_values`.
    """

    fine: NDArray[Any]
    fine_grid: Grid
    coarse: NDArray[Any]
    coarse_grid: Grid
    window: tuple[float, float]
    grey_values: GreyValues = "image"


def working_image(
    image: Image, sampling: Sampling, *, source: str = "image", axes: Floats | None = None
) -> WorkingImage:
    """The working image by `sampling`.

    It covers the image, along its own axes or along the world directions `axes`, the columns of (d, d).
    Raises ImageError where all grey values are equal, for nothing can be found in such an image.
    """
    canonical = image.canonical()
    # by a sample: the same one however the axes are stored
    low, high = intensity_window(canonical.array, source, sampling.grey_values)
    grid = canonical.grid
    fine = canonical.resampled(
        grid.respaced(sampling.spacing) if axes is None else grid.enclosing(axes, sampling.spacing)
    )
    if image.array.dtype == np.uint8:
        stored, window = np.clip(np.round(fine.array), 0, 255).astype(np.uint8), (low, high)
    else:  # float16 holds about three digits: enough once the values are near 0 ... 1
        stored = np.clip((fine.array - low) / (high - low), *SCALED_RANGE).astype(np.float16)
        window = (0.0, 1.0)
    coarse, coarse_grid = average_pool(stored, fine.grid, sampling.pool)
    return WorkingImage(stored, fine.grid, coarse, coarse_grid, window, sampling.grey_values)


def intensity_window(
    array: NDArray[Any], source: str = "image", grey_values: GreyValues = "image"
) -> tuple[float, float]:
    """The 0.5th and 99.5th percentiles of the grey values; minimum and maximum where those two are equal.

    The upper one of "foreground" is that of the brighter part of the image, as Otsu's threshold parts it. So it is
    the same however much air is in view, where a percentile of the whole image falls to the grey values of soft tissue.
    """
    step = max(1, int(np.ceil((array.size / MAX_PERCENTILE_SAMPLES) ** (1 / array.ndim))))
    sample = array[(slice(None, None, step),) * array.ndim]
    low, high = (float(v) for v in np.percentile(sample, PERCENTILES))
    if high <= low:
        low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ImageError(f"{source}: grey values that are not finite (NaN or infinite); save the image without them")
    if high <= low:
        raise ImageError(f"{source}: all grey values are {low:g}; an image with contrast is needed")
    if grey_values == "foreground":
        brighter = sample[sample > otsu_threshold(sample, low, high)]
        high = max(high, float(np.percentile(brighter, PERCENTILES[1])))
    return low, high


def otsu_threshold(sample: NDArray[Any], low: float, high: float) -> float:
    """The grey value between `low` and `high` that parts `sample` into the two groups that differ most, below `high`.

    Grey values beyond the two count as these. N. Otsu, IEEE Transactions on Systems, Man, and Cybernetics 9(1), 1979,
    doi:10.1109/TSMC.1979.4310076.
    """
    counts, edges = np.histogram(np.clip(sample, low, high), bins=BINS, range=(low, high))
    middles = (edges[:-1] + edges[1:]) / 2
    below, sums = np.cumsum(counts)[:-1], np.cumsum(counts * middles)
    share, mean = below / counts.sum(), sums / counts.sum()
    apart = (mean[-1] * share - mean[:-1]) ** 2
    between = np.divide(apart, share * (1 - share), out=np.zeros_like(apart), where=(share > 0) & (share < 1))
    best = np.flatnonzero(between >= between.max())
    return float(edges[1 + int(best.mean())])


def average_pool(array: NDArray[Any], grid: Grid, factor: Sequence[int]) -> tuple[NDArray[Any], Grid]:
    """Means over blocks of `factor` (d,) elements, and their Grid; the last block is filled up with border values."""
    if all(f == 1 for f in factor):
        return array, grid
    rest = [(-n) % f for n, f in zip(array.shape, factor, strict=True)]
    padded = np.pad(array, [(0, r) for r in rest], mode="edge") if any(rest) else array
    split = [part for n, f in zip(padded.shape, factor, strict=True) for part in (n // f, f)]
    means: NDArray[Any] = padded.reshape(split).mean(axis=tuple(range(1, 2 * array.ndim, 2)), dtype=np.float32)
    if np.issubdtype(array.dtype, np.integer):
        means = np.round(means)
    return means.astype(array.dtype), pooled_grid(grid, factor)


def pooled_grid(grid: Grid, factor: Sequence[int]) -> Grid:
    """The Grid of what `average_pool` makes of an array on `grid`."""
    filled = [n + (-n) % f for n, f in zip(grid.shape, factor, strict=True)]
    return grid.crop([0] * grid.ndim, filled).strided(factor)
