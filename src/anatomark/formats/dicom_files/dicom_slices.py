"""Slices and frames with places of their own, brought into one straight Grid.

They are ordered by position along the normal (rows x columns), whatever order they are stored in. The spacing between
slices comes from the positions. These are even if their steps agree within 5 %, or if one step explains all of them
within what their written decimals round away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anatomark.core.grid import Floats, Grid
from anatomark.errors import ImageError
from anatomark.formats.dicom_files.dicom_attributes import value

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SAME_PLACE = 1e-3  # mm
_UNEVEN = 0.05  # of the usual step
_SAME_DIRECTION = 1e-3  # difference of the numbers of two orientations that are the same


@dataclass(frozen=True)
class Plane:
    """Where a slice or frame lies.

    `orientation` (6,) are the directions along a row and along a column, `spacing` the distances (mm) of neighbours
    along the column and along the row (as PixelSpacing has them), `position` (3,) is the middle of the first pixel,
    and `rounding` (3,) is how far (mm) each of its numbers may be off for the decimals that the file writes.
    """

    name: str
    shape: tuple[int, int]
    spacing: tuple[float, float]
    orientation: tuple[float, ...]
    position: tuple[float, ...]
    rounding: tuple[float, ...] = (0.0, 0.0, 0.0)


def rounding_of(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    """Half of the last written decimal of each number of an attribute; 0 for numbers that are not written as text."""
    return tuple(_rounding(part) for part in value(dataset, keyword))


def _rounding(written: object) -> float:
    try:
        exponent = Decimal(written).as_tuple().exponent if isinstance(written, str) else ""
    except InvalidOperation:
        return 0.0
    return 0.5 * 10.0 ** min(exponent, 9) if isinstance(exponent, int) else 0.0


def axes_of(orientation: Sequence[float], name: str) -> Floats:
    """(3, 3): the directions along a row, along a column and normal to both, at right angles and of length 1.

    Written numbers are rounded, so the nearest such directions are taken. Raises `ImageError` for others.
    """
    rows, columns = np.asarray(orientation[:3], dtype=float), np.asarray(orientation[3:], dtype=float)
    lengths = np.linalg.norm(rows), np.linalg.norm(columns)
    if not np.allclose(lengths, 1, atol=0.01) or abs(rows @ columns) > 0.01:
        listed = "\\".join(f"{x:g}" for x in orientation)
        raise ImageError(
            f"{name} has an impossible ImageOrientationPatient ({listed}): its two directions must have length 1 and "
            "be at right angles; export it again"
        )
    pair = np.stack([rows, columns], axis=1)
    if not np.allclose(pair.T @ pair, np.eye(2), rtol=0, atol=1e-7):
        left, _, right = np.linalg.svd(pair, full_matrices=False)
        pair = left @ right
    return np.column_stack([pair, np.cross(pair[:, 0], pair[:, 1])])


def grid_of(
    name: str,
    shape: Sequence[int],
    *,
    spacing: Sequence[float],
    origin: Sequence[float] | None = None,
    direction: ArrayLike | None = None,
) -> Grid:
    """`Grid.from_geometry`; an impossible geometry is an `ImageError`."""
    try:
        with np.errstate(all="ignore"):
            return Grid.from_geometry(shape, spacing=spacing, origin=origin, direction=direction)
    except (ValueError, OverflowError) as error:
        raise ImageError(
            f"{name} states an impossible geometry: {' '.join(str(error).split())}; export it again"
        ) from error


def same_orientation(one: Sequence[float], other: Sequence[float]) -> bool:
    return float(np.abs(np.subtract(one, other)).max()) <= _SAME_DIRECTION


def places_along(planes: Sequence[Plane], source: str) -> Floats:
    """(n,) the positions of the planes along the normal of the first, in mm."""
    normal = axes_of(planes[0].orientation, f"{source}: {planes[0].name}")[:, 2]
    return np.array([plane.position for plane in planes]) @ normal


def stacked(planes: Sequence[Plane], source: str, several: Callable[[], str]) -> tuple[NDArray[np.intp], Grid]:
    """(order, Grid) of two or more planes: `planes[order[k]]` is slice k of the Grid.

    `several` says in what those differ that lie at one place. Raises `ImageError` for planes that differ in
    orientation, size or spacing, or do not lie evenly on one straight line.
    """
    first = planes[0]
    for plane in planes:
        if (
            not same_orientation(plane.orientation, first.orientation)
            or plane.shape != first.shape
            or not np.allclose(plane.spacing, first.spacing, rtol=1e-3, atol=0)
        ):
            raise ImageError(
                f"{source}: the slices differ in orientation, size or spacing ({described(first)}; "
                f"{described(plane)}); keep only those of one volume"
            )
    axes = axes_of(first.orientation, f"{source}: {first.name}")
    positions = np.array([plane.position for plane in planes])
    # a number without decimals may have lost zeros: all numbers of an axis have as many as the best written one
    rounding = np.array([plane.rounding for plane in planes]).min(axis=0)
    places = positions @ axes[:, 2]
    order = np.argsort(places, kind="stable")
    names = [planes[int(k)].name for k in order]
    start, step = _even(places[order], float(np.abs(axes[:, 2]) @ rounding), names, source, several)
    sideways = (positions[order] - positions[order[0]]) @ axes[:, :2]
    drift = float(np.abs(sideways).max())
    if drift > 0.5 * min(first.spacing) + 2 * float(np.linalg.norm(rounding)):
        raise ImageError(
            f"{source}: the slices slide sideways by up to {drift:.2f} mm (gantry tilt); resample it first"
        )
    origin = positions[order[0]] + (start - places[order[0]]) * axes[:, 2]
    spacing = (*first.spacing[::-1], step)
    return order, grid_of(source, (len(planes), *first.shape), spacing=spacing, origin=origin.tolist(), direction=axes)


def described(plane: Plane) -> str:
    """Size, spacing and orientation of a slice in words."""
    orientation = "\\".join(f"{x:.4g}" for x in plane.orientation)
    return (
        f"{plane.name}: {plane.shape[0]} x {plane.shape[1]} pixels of {plane.spacing[0]:.4g} x "
        f"{plane.spacing[1]:.4g} mm, orientation {orientation}"
    )


def _even(
    places: Floats, rounding: float, names: Sequence[str], source: str, several: Callable[[], str]
) -> tuple[float, float]:
    """(first place, step) of ascending places that are even. Raises `ImageError` for others."""
    steps = np.diff(places)
    usual = float(np.median(steps))
    narrow = int(steps.argmin())
    if steps[narrow] < SAME_PLACE:
        written = f"; their positions are rounded to {2 * rounding:.2g} mm" if rounding > 0.05 * usual else ""
        raise ImageError(
            f"{source} has several slices at one place ({names[narrow]} and {names[narrow + 1]}: {several()}{written})"
            "; keep one of each"
        )
    worst = int(np.abs(steps - usual).argmax())
    if abs(steps[worst] - usual) <= _UNEVEN * usual:
        return float(places[0]), float(places[-1] - places[0]) / (len(places) - 1)
    counted = np.arange(len(places), dtype=float)
    start, step, off = _closest_line(counted, places)
    widest = int(steps.argmax())
    if off <= rounding * 1.001 + 1e-9:
        skipped = np.where(counted > widest, counted + 1, counted)  # as if a slice were missing at the widest step
        if _closest_line(skipped, places)[2] > rounding * 1.001 + 1e-9:
            return start, step
        raise ImageError(
            f"{source}: the positions are rounded to {2 * rounding:.2g} mm, too coarsely to tell whether a slice is "
            f"missing between {names[widest]} and {names[widest + 1]}; export it again with more decimals"
        )
    gap = round(steps[worst] / usual) - 1
    missing = ""
    if gap > 0 and abs(steps[worst] / usual - gap - 1) <= 0.2:
        missing = f": {gap} slice{' is' if gap == 1 else 's are'} missing there"
        if rounding > _UNEVEN * usual:
            missing += f", or the positions are rounded too coarsely ({2 * rounding:.2g} mm)"
    raise ImageError(
        f"{source}: slices are not evenly spaced ({steps[worst]:.3f} mm between {names[worst]} and {names[worst + 1]}, "
        f"{usual:.3f} mm elsewhere{missing}); add what is missing or resample"
    )


def _closest_line(counted: Floats, places: Floats) -> tuple[float, float, float]:
    """(start, step, largest distance) of the line start + step * counted that stays closest to all places.

    The distance is a convex function of the step, so its interval is narrowed by thirds.
    """

    def spread(step: float) -> float:
        return float(np.ptp(places - step * counted))

    steps = np.diff(places) / np.diff(counted)
    low, high = float(steps.min()), float(steps.max())
    for _ in range(100):
        one, other = low + (high - low) / 3, high - (high - low) / 3
        if spread(one) <= spread(other):
            high = other
        else:
            low = one
    step = (low + high) / 2
    rest = places - step * counted
    return float(rest.max() + rest.min()) / 2, step, float(np.ptp(rest)) / 2
