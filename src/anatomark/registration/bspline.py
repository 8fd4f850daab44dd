"""The free form by SimpleITK."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anatomark.formats.itk import silent
from anatomark.registration.information import BINS

LEVELS = 3  # each halves the elements and the control points of the next
SAMPLES, QUICK_SAMPLES = 40_000, 20_000  # elements compared in each level; twice as many gained nothing on a brain
ITERATIONS = 60  # at most, in each level
SETTLED = 1e-2  # of the metric: what less was won by in the last 5 iterations is noise, and followed all the same
_LEAST = 12  # elements along the shortest side of the coarsest level


def free_form(
    fixed: NDArray[np.float32],
    moving: NDArray[np.float32],
    inside: NDArray[np.bool_],
    spacing: Sequence[float],
    control_spacing: float,
    seed: int,
    quick: bool = False,
) -> Any:
    """The SimpleITK transform that takes fixed points to moving ones, for two arrays on one working grid.

    `inside` (*spatial) is where the moving image is known; `spacing` in array-axis order, `control_spacing` between
    the finest control points. Points are index * spacing, x, y[, z]. `quick` looks at half as many
    elements. ITK's errors (RuntimeError) pass through.
    """
    import SimpleITK as sitk

    def image_of(array: NDArray[Any]) -> Any:
        image = sitk.GetImageFromArray(array)
        image.SetSpacing(tuple(spacing)[::-1])
        return image

    levels = int(np.clip(1 + np.log2(min(fixed.shape) / _LEAST), 1, LEVELS))
    scales = [2**k for k in range(levels)]
    finest = [n * step / control_spacing for n, step in zip(fixed.shape, spacing, strict=True)]
    mesh = [max(1, round(cells / scales[-1])) for cells in finest][::-1]
    fixed_image = image_of(fixed)
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricSamplingStrategy(method.RANDOM)
    sizes = [fixed.size / scale**fixed.ndim for scale in reversed(scales)]
    samples = QUICK_SAMPLES if quick else SAMPLES
    method.SetMetricSamplingPercentagePerLevel([min(1.0, samples / size) for size in sizes], seed + 1)
    if not inside.all():
        method.SetMetricMovingMask(image_of(inside.astype(np.uint8)))
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel(scales[::-1])
    method.SetSmoothingSigmasPerLevel([0.5 * (scale - 1) * max(spacing) for scale in reversed(scales)])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransformAsBSpline(
        sitk.BSplineTransformInitializer(fixed_image, mesh, 3), inPlace=True, scaleFactors=scales
    )
    method.SetOptimizerAsLBFGS2(
        numberOfIterations=ITERATIONS, deltaConvergenceDistance=5, deltaConvergenceTolerance=SETTLED
    )
    with silent():
        return method.Execute(fixed_image, image_of(moving))
