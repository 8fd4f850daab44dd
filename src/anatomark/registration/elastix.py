"""The free form by elastix (extra `elastix`), as a SimpleITK transform like the other one."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVELS = 4
SAMPLES = 4096  # drawn anew in each iteration
ITERATIONS, QUICK_ITERATIONS = 256, 100  # in each level
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
    """As `bspline.free_form`, by elastix's default affine and bspline parameter maps."""
    found = registered(fixed, moving, inside, spacing, control_spacing, seed, quick)
    return composed([dict(found.GetParameterMap(k)) for k in range(found.GetNumberOfParameterMaps())], fixed.ndim)


def registered(
    fixed: NDArray[np.float32],
    moving: NDArray[np.float32],
    inside: NDArray[np.bool_],
    spacing: Sequence[float],
    control_spacing: float,
    seed: int,
    quick: bool = False,
) -> Any:
    """The itk.ParameterObject with elastix's transforms, the affine one and the B-splines; no file is written."""
    with warnings.catch_warnings():
        # SWIG's types have no __module__, of which Python may warn while itk loads, piece by piece
        warnings.simplefilter("ignore")
        itk: Any = import_module("itk")  # its names are made while it runs
        levels = int(np.clip(1 + np.log2(min(fixed.shape) / _LEAST), 1, LEVELS))
        parameters = itk.ParameterObject.New()
        for kind in ("affine", "bspline"):
            chosen = parameters.GetDefaultParameterMap(kind, levels, float(control_spacing))
            chosen["NumberOfSpatialSamples"] = (str(SAMPLES),)
            chosen["MaximumNumberOfIterations"] = (str(QUICK_ITERATIONS if quick else ITERATIONS),)
            chosen["RandomSeed"] = (str(seed + 1),)
            chosen["WriteResultImage"] = ("false",)
            chosen["AutomaticTransformInitialization"] = ("false",)
            parameters.AddParameterMap(chosen)
        masks = {} if inside.all() else {"moving_mask": as_itk(inside.astype(np.uint8), spacing)}
        _, found = itk.elastix_registration_method(
            as_itk(fixed, spacing), as_itk(moving, spacing), parameter_object=parameters, log_to_console=False, **masks
        )
        return found


def as_itk(array: NDArray[Any], spacing: Sequence[float]) -> Any:
    """The itk.Image of an array with `spacing` in array-axis order."""
    import itk

    image = itk.image_from_array(np.ascontiguousarray(array))
    image.SetSpacing([float(step) for step in tuple(spacing)[::-1]])
    return image


def composed(stages: Sequence[dict[str, Sequence[str]]], d: int) -> Any:
    """One SimpleITK transform of elastix's stages, the first applied first.

    elastix itself maps points only through files; its affine map and cubic B-splines are the ITK's.
    """
    import SimpleITK as sitk

    whole = sitk.CompositeTransform(d)
    for stage in reversed(stages):  # the last one added is applied first
        numbers = {name: _numbers(values) for name, values in stage.items()}
        if stage["Transform"][0] == "AffineTransform":
            part = sitk.AffineTransform(d)
            part.SetCenter(numbers["CenterOfRotationPoint"])
        else:
            part = sitk.BSplineTransform(d, 3)
            part.SetFixedParameters(
                [*numbers["GridSize"], *numbers["GridOrigin"], *numbers["GridSpacing"], *numbers["GridDirection"]]
            )
        part.SetParameters(numbers["TransformParameters"])
        whole.AddTransform(part)
    return whole


def _numbers(values: Sequence[str]) -> list[float]:
    try:
        return [float(value) for value in values]
    except ValueError:
        return []
