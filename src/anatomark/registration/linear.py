"""Linear registration: the rigid or affine map that brings two images into agreement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats, Grid, transform_points
from anatomark.core.image import Image
from anatomark.errors import RegistrationError
from anatomark.formats.itk import silent
from anatomark.registration.information import BINS, shared_information

LinearKind = Literal["rigid", "affine"]
LONGEST = {2: 192, 3: 96}  # elements along the longest side of the copies that are compared
START_LONGEST = {2: 48, 3: 32}  # and of those that starts are chosen with
TURNS = {2: (-40.0, -20.0, 0.0, 20.0, 40.0), 3: (-30.0, 0.0, 30.0)}  # degrees about each axis, among the starts
STARTS = 3  # the best of them are optimised on coarse levels, the best of these on the finest
SAMPLES = 20_000  # elements compared in each iteration; more only take longer
COARSE, FINE = (4, 2), (1,)  # shrink factors, level by level
LEAST_OVERLAP = 0.3  # of the smaller field of view
LARGEST_SCALE = 2.0  # and the smallest is its inverse
LEAST_AGREEMENT = 0.04  # noise comes to 0.035 at most, CT of two people to 0.07 and more, radiographs to 0.15
_TAILS = (0.1, 99.9)  # per cent; metal and hot pixels would take all the bins of a histogram


@dataclass(frozen=True, eq=False)
class _Copy:
    """A reduced copy on a plain grid: grey values (*spatial) float32, 0 ... 1, and where they are known."""

    grey: NDArray[np.float32]
    known: NDArray[np.bool_]
    grid: Grid


def register_linear(fixed: Image, moving: Image, *, kind: LinearKind, seed: int = 0) -> Floats:
    """(d+1, d+1) the map from the world of `fixed` to that of `moving`, rigid or affine, by their grey values alone.

    A point p of `fixed` lies in `moving` at matrix @ (p, 1). Mattes' mutual information (doi:10.1109/TMI.2003.809072),
    for which grey values need not agree, only go together, from coarse to fine on reduced copies. It starts from the
    best of several places and turns (equal worlds, middles of the arrays, centres of mass); affine maps start from
    rigid ones. What agrees best is kept, be it a start. Equal inputs and `seed` give equal results. Turns past 60
    degrees and mirrored images are not found.

    Raises RegistrationError where an image has no contrast, or where the result is not plausible: images that hardly
    overlap, a scale beyond 0.5 ... 2, or hardly any agreement.
    """
    if (fixed.grid.ndim, fixed.grid.unit) != (moving.grid.ndim, moving.grid.unit):
        kinds = " and ".join(f"{image.grid.ndim}D in {image.grid.unit}" for image in (fixed, moving))
        raise RegistrationError(f"images of two kinds came: {kinds}; give two of one dimension, both with a spacing")
    d, center = fixed.grid.ndim, fixed.grid.center
    pair = _reduced(fixed, LONGEST[d], "fixed"), _reduced(moving, LONGEST[d], "moving")
    small = _reduced(fixed, START_LONGEST[d], "fixed"), _reduced(moving, START_LONGEST[d], "moving")

    starts = sorted(_starts(*small), key=lambda start: -_agreement(*small, start))[:STARTS]
    tried = [starts[0]]
    for start in starts:
        try:
            found = _optimised(*pair, start, center, "rigid", COARSE, seed)
            tried.append(_optimised(*pair, found, center, "affine", COARSE, seed) if kind == "affine" else found)
        except RegistrationError:  # of a start that led astray
            continue
    coarse = max(tried, key=lambda matrix: _agreement(*pair, matrix))
    fine = _optimised(*pair, coarse, center, kind, FINE, seed)
    best = max(coarse, fine, key=lambda matrix: _agreement(*pair, matrix))
    _require_plausible(*pair, best)
    return best


def reduced_copy(image: Image) -> Image:
    """A copy (uint8) of no more elements than `register_linear` looks at; RegistrationError where it has no contrast.

    As a `fixed` or `moving` image it leads to nearly the same map as the image itself.
    """
    canonical = image.canonical()
    spacing = np.maximum(canonical.grid.spacing, max(canonical.grid.extent) / LONGEST[canonical.grid.ndim])
    copy = canonical.resampled(canonical.grid.respaced(spacing))
    dark, bright = _contrast(copy.array, "template")
    return Image(np.round(255 * np.clip((copy.array - dark) / (bright - dark), 0, 1)).astype(np.uint8), copy.grid)


def _contrast(grey: NDArray[np.float32], name: str) -> tuple[float, float]:
    """The grey values that are taken for dark and bright."""
    if not np.isfinite(grey).all():
        raise RegistrationError(f"the {name} image has grey values that are not finite; save it without them")
    dark, bright = (float(value) for value in np.percentile(grey, _TAILS)) if grey.size else (0.0, 0.0)
    if not bright > dark:
        raise RegistrationError(f"nearly all of the {name} image is one grey value; an image with contrast is needed")
    return dark, bright


def _reduced(image: Image, longest: int, name: str) -> _Copy:
    """A copy with at most `longest` elements a side, and nearly cubic ones."""
    grid = image.grid.canonical()
    spacing = np.maximum(grid.spacing, max(grid.extent) / longest)
    if np.allclose(grid.direction.T @ grid.direction, np.eye(grid.ndim), rtol=0, atol=1e-4):
        coarse = grid.respaced(spacing)
    else:  # ITK's grids know no shear: the box about the image, of which a part is unknown
        axes = np.eye(grid.ndim)[:, ::-1]
        coarse = grid.enclosing(axes, np.maximum(spacing, max(grid.enclosing(axes, spacing).extent) / longest))
    grey, known = image.canonical().resampled(coarse).array, grid.contains(coarse.centers())
    dark, bright = _contrast(grey[known], name)
    return _Copy(np.clip((grey - dark) / (bright - dark), 0, 1).astype(np.float32), known, coarse)


def _starts(fixed: _Copy, moving: _Copy) -> list[Floats]:
    """The rigid maps to start from: places times turns."""
    from scipy.spatial.transform import Rotation

    d = fixed.grid.ndim
    centers = [
        (fixed.grid.center, fixed.grid.center),  # images of one scanner session often lie in one world
        (fixed.grid.center, moving.grid.center),
        (_center_of_mass(fixed), _center_of_mass(moving)),
    ]
    starts = []
    for angles in product(TURNS[d], repeat=1 if d == 2 else 3):
        turned = Rotation.from_euler("xyz", (0.0, 0.0, angles[0]) if d == 2 else angles, degrees=True)
        for here, there in centers:
            matrix = np.eye(d + 1)
            matrix[:d, :d] = turned.as_matrix()[:d, :d]
            matrix[:d, d] = there - matrix[:d, :d] @ here
            starts.append(matrix)
    return starts


def _center_of_mass(copy: _Copy) -> Floats:
    """World position (d,) of the middle of what differs from the border's usual grey, be it dark or bright."""
    inner = np.zeros(copy.grey.shape, dtype=bool)
    inner[(slice(1, -1),) * copy.grey.ndim] = True
    border = copy.known & ~inner
    outside = np.median(copy.grey[border if border.any() else copy.known])
    mass = np.abs(copy.grey - outside) * copy.known
    return np.asarray(np.average(copy.grid.centers().reshape(-1, copy.grid.ndim), axis=0, weights=mass.reshape(-1)))


def _agreement(fixed: _Copy, moving: _Copy, matrix: Floats) -> float:
    """0 ... 1: normalised mutual information 2 I / (H + H) in the overlap, times the overlap's share."""
    from scipy import ndimage

    share, inside, at = _overlap(fixed, moving, matrix)
    if inside.sum() < 4 * BINS:
        return 0.0
    theirs = ndimage.map_coordinates(moving.grey, at[inside].T, order=1, mode="nearest")
    return share * shared_information(fixed.grey[inside], theirs, (0, 1))


def _overlap(fixed: _Copy, moving: _Copy, matrix: Floats) -> tuple[float, NDArray[np.bool_], Floats]:
    """The overlap's share of the smaller field of view; where in `fixed` it is; indices (*spatial, d) in `moving`."""
    to_index = np.linalg.inv(moving.grid.affine) @ matrix
    at = transform_points(to_index, fixed.grid.centers())
    inside = fixed.known & np.all((at >= -0.5) & (at <= np.asarray(moving.grey.shape) - 0.5), axis=-1)
    if not moving.known.all():
        nearest = np.clip(np.rint(at[inside]).astype(int), 0, np.asarray(moving.grey.shape) - 1)
        inside[inside] = moving.known[tuple(nearest.T)]
    element = abs(np.linalg.det(matrix[:-1, :-1] @ fixed.grid.affine[:-1, :-1]))
    theirs = moving.known.sum() * abs(np.linalg.det(moving.grid.affine[:-1, :-1]))
    smaller = min(fixed.known.sum() * element, theirs)
    return float(min(1.0, inside.sum() * element / smaller)), inside, at


def _optimised(
    fixed: _Copy,
    moving: _Copy,
    start: Floats,
    center: Floats,
    kind: LinearKind,
    shrinks: Sequence[int],
    seed: int,
) -> Floats:
    """The map that mutual information leads to from `start`, one level for each of `shrinks`."""
    import SimpleITK as sitk

    d = fixed.grid.ndim
    linear = start[:-1, :-1]
    if kind == "affine":
        transform = sitk.AffineTransform(d)
    else:
        transform = sitk.Euler2DTransform() if d == 2 else sitk.Euler3DTransform()
    transform.SetCenter(center.tolist())
    transform.SetMatrix(linear.reshape(-1).tolist())
    transform.SetTranslation((start[:-1, -1] + linear @ center - center).tolist())

    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfWorkUnits(1)  # sums in another order would end in another place
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricSamplingStrategy(method.RANDOM)
    parts = [min(1.0, SAMPLES * shrink**d / fixed.grey.size) for shrink in shrinks]
    method.SetMetricSamplingPercentagePerLevel(parts, seed + 1)  # zero would mean the time of day
    if not fixed.known.all():
        method.SetMetricFixedMask(_to_sitk(fixed.known.astype(np.uint8), fixed.grid))
    if not moving.known.all():
        method.SetMetricMovingMask(_to_sitk(moving.known.astype(np.uint8), moving.grid))
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel(list(shrinks))
    step = max(fixed.grid.spacing)
    method.SetSmoothingSigmasPerLevel([0.5 * (shrink - 1) * step for shrink in shrinks])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0,
        minStep=1e-3 * step,
        numberOfIterations=100,
        relaxationFactor=0.6,
        estimateLearningRate=method.Once,
        maximumStepSizeInPhysicalUnits=step * shrinks[0],
    )
    method.SetInitialTransform(transform, inPlace=True)
    try:
        with silent():
            method.Execute(_to_sitk(fixed.grey, fixed.grid), _to_sitk(moving.grey, moving.grid))
    except RuntimeError as error:
        last = [line.split("): ", 1)[-1].strip() for line in str(error).splitlines() if line.strip()][-1]
        raise RegistrationError(f"the registration broke off ({last[:120]})") from error
    matrix = np.eye(d + 1)
    matrix[:-1, :-1] = np.reshape(transform.GetMatrix(), (d, d))
    matrix[:-1, -1] = center + transform.GetTranslation() - matrix[:-1, :-1] @ center
    return matrix


def _to_sitk(array: NDArray[Any], grid: Grid) -> Any:
    """The SimpleITK image of an array on a grid without shear."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(array)
    image.SetSpacing(grid.spacing[::-1])
    image.SetOrigin(grid.origin.tolist())
    image.SetDirection(grid.direction[:, ::-1].reshape(-1).tolist())
    return image


def _require_plausible(fixed: _Copy, moving: _Copy, found: Floats) -> None:
    """RegistrationError with the first reason why `found` cannot be right."""
    linear = found[:-1, :-1]
    if not np.isfinite(found).all() or np.linalg.det(linear) <= 0:
        raise RegistrationError("the registration found a map that is not finite or that mirrors")
    scales = np.linalg.svd(linear, compute_uv=False)
    if scales.max() > LARGEST_SCALE or scales.min() < 1 / LARGEST_SCALE:
        raise RegistrationError(
            f"the registration found scales from {scales.min():.2f} to {scales.max():.2f}, which are not plausible; "
            "the images show different things, or their spacing is wrong"
        )
    share = _overlap(fixed, moving, found)[0]
    if share < LEAST_OVERLAP:
        raise RegistrationError(
            f"the registration let the images overlap by only {share:.0%}; they show different parts"
        )
    reached = _agreement(fixed, moving, found)
    if reached < LEAST_AGREEMENT:
        raise RegistrationError(
            f"the registration reached an agreement of {reached:.3f}, expected at least {LEAST_AGREEMENT}; "
            "the images do not show the same"
        )
