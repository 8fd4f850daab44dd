"""Deformable registration: where the points of one image lie in another, by an affine map and a free form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anatomark.core.grid import Floats, Grid, transform_points
from anatomark.core.image import Image
from anatomark.errors import MissingExtraError, RegistrationError, UnknownNameError
from anatomark.registration.linear import register_linear

Backend = Literal["auto", "simpleitk", "elastix"]
BACKENDS: tuple[str, ...] = get_args(Backend)
ELEMENTS = {2: 250_000, 3: 1_000_000}  # most elements of the working grid: a brain comes down to about 2 mm
CONTROL_ELEMENTS = {2: 16, 3: 8}  # between neighbouring control points, in elements of the working grid
WINDOW_ELEMENTS = 2.0  # sigma of the window in which grey values are compared about a point: 9 mm wide at 2 mm
FLAT = 0.05  # of the image's standard deviation: a window with less says nothing
_TAILS = (0.1, 99.9)  # per cent; metal and hot pixels would take all the bins of a histogram


@dataclass(frozen=True, eq=False)
class PointMap:
    """A map from the world of a fixed image to the world of a moving one.

    `grid` is the working grid on the fixed image and `affine` (d+1, d+1) the linear part, world to world.
    `free_form` is the SimpleITK transform between them, in the working grid's own coordinates: index * spacing,
    ordered as ITK does. So neither ITK ever sees an origin, a direction or a shear. `agreement` (*grid.shape) is the
    squared correlation of grey values about each element, 0 to 1, NaN where the fixed image is flat or the moving
    one unknown. `backend` made it.
    """

    grid: Grid
    affine: Floats
    free_form: Any
    agreement: NDArray[np.float32]
    backend: str

    @property
    def spacing(self) -> float:
        """Distance between the elements that were compared, in the fixed image's unit."""
        return max(self.grid.spacing)

    def map(self, points_world: ArrayLike) -> Floats:
        """Moving world points (M, d) of fixed world points (M, d); NaN stays NaN.

        Away from the fixed image the free form fades, and the affine part is left.
        """
        points = np.asarray(points_world, dtype=np.float64).reshape(-1, self.grid.ndim)
        steps = np.asarray(self.grid.spacing)
        found = np.full(points.shape, np.nan)
        finite = np.isfinite(points).all(axis=1)
        local = (self.grid.world_to_index(points[finite]) * steps)[:, ::-1]
        bent = np.array([self.free_form.TransformPoint(p) for p in local.tolist()]).reshape(local.shape)
        world = self.grid.index_to_world(bent[:, ::-1] / steps)
        found[finite] = transform_points(self.affine, world)
        return found

    def agreement_at(self, points_world: ArrayLike) -> Floats:
        """(M,) the `agreement` at fixed world points (M, d); NaN for points that are NaN."""
        points = np.asarray(points_world, dtype=np.float64).reshape(-1, self.grid.ndim)
        found = np.full(len(points), np.nan)
        finite = np.isfinite(points).all(axis=1)
        index = np.rint(self.grid.world_to_index(points[finite])).astype(int)
        at = np.clip(index, 0, np.asarray(self.grid.shape) - 1)
        found[finite] = self.agreement[tuple(at.T)]
        return found


def register_deformable(
    fixed: Image,
    moving: Image,
    *,
    backend: Backend = "auto",
    seed: int = 0,
    spacing: float | None = None,
    control_spacing: float | None = None,
    quick: bool = False,
) -> PointMap:
    """The map from the world of `fixed` to that of `moving` (2D or 3D), by their grey values alone.

    An affine registration (`register_linear`), then a free form: cubic B-splines from coarse to fine (Rueckert et
    al. 1999, doi:10.1109/42.796284) under Mattes' mutual information (doi:10.1109/TMI.2003.809072), for which grey
    values need not agree, only go together. `spacing` is that of the compared elements; left out, the finest with
    at most a million of them (2D: a quarter million), and no finer than `fixed`. `control_spacing` lies between
    control points; left out, 8 elements (2D: 16). Both are in the unit of the images; px has a spacing of 1.
    `quick` takes about half the time, where many images vote and none needs to be at its best.

    `backend` is simpleitk, elastix (Klein et al. 2010, doi:10.1109/TMI.2009.2035616; needs the extra of that
    name), or auto: elastix where it is installed. On one thread, the same `seed` gives the same map; on several,
    sums are rounded in another order.

    Raises `RegistrationError` where the images cannot be brought together, `MissingExtraError`.
    """
    chosen = choose_backend(backend)
    if (fixed.grid.ndim, fixed.grid.unit) != (moving.grid.ndim, moving.grid.unit):
        kinds = " and ".join(f"{image.grid.ndim}D in {image.grid.unit}" for image in (fixed, moving))
        raise RegistrationError(f"images of two kinds came: {kinds}; give two of one dimension, both with a spacing")
    affine = register_linear(fixed, moving, kind="affine", seed=seed)
    grid = fixed.grid.respaced(_working_spacing(fixed.grid) if spacing is None else spacing)
    control = control_spacing or CONTROL_ELEMENTS[grid.ndim] * max(grid.spacing)
    seen = Grid(grid.shape, affine @ grid.affine, moving.grid.unit)  # the moving image, laid over the fixed one
    pair = [_clipped(image.resampled(on).array) for image, on in ((fixed, grid), (moving, seen))]
    inside = moving.grid.contains(seen.centers())
    if inside.mean() < 0.05:
        raise RegistrationError("the images hardly overlap after the affine registration; give images of one region")
    if chosen == "elastix":
        from anatomark.registration.elastix import free_form
    else:
        from anatomark.registration.bspline import free_form
    try:
        found = free_form(pair[0], pair[1], inside, grid.spacing, control, seed, quick)
    except RuntimeError as error:  # of ITK
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise RegistrationError(
            f"the deformable registration by {chosen} failed ({lines[-1][:150]}); look at both images"
        ) from error
    warped, known = _warped(pair[1], inside, grid, found)
    before, after = (_mutual_information(pair[0], *seen) for seen in ((pair[1], inside), (warped, known)))
    if not after > 0.98 * before:
        raise RegistrationError(
            f"the deformable registration by {chosen} made the images agree less (mutual information {before:.3f} "
            f"before, {after:.3f} after); try another backend, or look at both images"
        )
    return PointMap(grid, affine, found, _local_agreement(pair[0], warped, known), chosen)


def choose_backend(backend: str) -> str:
    """simpleitk or elastix. Raises `UnknownNameError`, and `MissingExtraError` where elastix is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    if backend not in BACKENDS:
        raise UnknownNameError(f"no registration backend {backend!r}; there are: {', '.join(BACKENDS)}")
    try:  # not by importing itk, which takes long
        installed = bool(version("itk-elastix"))
    except PackageNotFoundError:
        installed = False
    if backend == "auto":
        return "elastix" if installed else "simpleitk"
    if backend == "elastix" and not installed:
        raise MissingExtraError(
            "the backend elastix is not installed; install it with pip install 'anatomark[elastix]', or take simpleitk"
        )
    return backend


def _working_spacing(grid: Grid) -> float:
    coarse = (float(np.prod(grid.extent)) / ELEMENTS[grid.ndim]) ** (1 / grid.ndim)
    return max(coarse, min(grid.spacing))


def _clipped(values: NDArray[np.float32]) -> NDArray[np.float32]:
    low, high = np.percentile(values, _TAILS)
    return np.clip(values, low, high) if high > low else values


def _warped(
    values: NDArray[np.float32], inside: NDArray[np.bool_], grid: Grid, transform: Any
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The moving values and what is known of them, seen through the free form."""
    import SimpleITK as sitk

    both = []
    for array, how in ((values, sitk.sitkLinear), (inside.astype(np.uint8), sitk.sitkNearestNeighbor)):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing(grid.spacing[::-1])
        both.append(sitk.GetArrayFromImage(sitk.Resample(image, image, transform, how, 0)))
    return both[0], both[1].astype(bool)


def _mutual_information(one: NDArray[np.float32], other: NDArray[np.float32], where: NDArray[np.bool_]) -> float:
    """Mutual information in nats of two arrays (*spatial) where `where` is true; -1 where that is nowhere."""
    if np.count_nonzero(where) < 16:
        return -1.0
    joint = np.histogram2d(one[where], other[where], bins=32)[0]
    joint /= joint.sum()
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    held = joint > 0
    return float(np.sum(joint[held] * np.log(joint[held] / apart[held])))


def _local_agreement(
    fixed: NDArray[np.float32], moving: NDArray[np.float32], known: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """(*spatial) the squared correlation in a Gaussian window, as `PointMap.agreement`: it holds for any contrast."""
    from scipy import ndimage

    def mean(values: NDArray[Any]) -> NDArray[Any]:
        return ndimage.gaussian_filter(values * weight, WINDOW_ELEMENTS, mode="constant", truncate=2) / part

    weight = known.astype(np.float64)
    part = np.maximum(ndimage.gaussian_filter(weight, WINDOW_ELEMENTS, mode="constant", truncate=2), 1e-6)
    spreads = [max(float(values[known].std()), 1e-12) for values in (fixed, moving)]
    one, other = ((v.astype(np.float64) - v[known].mean()) / s for v, s in zip((fixed, moving), spreads, strict=True))
    one_mean, other_mean = mean(one), mean(other)
    one_variance, other_variance = mean(one**2) - one_mean**2, mean(other**2) - other_mean**2
    together = mean(one * other) - one_mean * other_mean
    squared = together**2 / (np.maximum(one_variance, 1e-6) * np.maximum(other_variance, 1e-6))
    return np.where(known & (one_variance > FLAT**2), np.clip(squared, 0, 1), np.nan).astype(np.float32)
