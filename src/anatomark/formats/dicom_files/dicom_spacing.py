"""The spacing of a single image: a slice, a projection, a scan of film, an ultrasound picture.

A projection has a spacing at the detector (ImagerPixelSpacing), which is too long for anything nearer to the source,
and may have one at the patient (PixelSpacing where it is calibrated, PS3.3 10.7.1.3). Where the geometry is stated,
the spacing at the object is computed from it; a remark says in which plane the millimetres lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from anatomark.errors import ImageError
from anatomark.formats.dicom_files.dicom_attributes import functional, items, number, numbers, text, value, whole
from anatomark.formats.dicom_files.dicom_file import DicomFile

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_SPATIAL_2D, _CENTIMETRES = 1, 3
_SAME = 1e-3  # spacings that differ by less are one
_FARTHEST = 50.0  # a magnification above is none

Spacing = tuple[float, float]


def plane_spacing(file: DicomFile) -> tuple[Spacing | None, tuple[str, ...]]:
    """(spacing, remarks) of a single image: mm along a column and along a row, None where the file states none.

    Raises `ImageError` for a spacing that cannot be.
    """
    header, name = file.dataset, str(file.path)
    pixel = stated_spacing(functional(header, 0, "PixelMeasuresSequence", "PixelSpacing"), "PixelSpacing", name)
    detector = stated_spacing(
        functional(header, 0, "FramePixelDataPropertiesSequence", "ImagerPixelSpacing"), "ImagerPixelSpacing", name
    )
    if detector is not None and not (pixel is not None and _is_calibrated(header, pixel, detector)):
        return _at_object(header, detector, name)
    if pixel is not None:
        return pixel, _of_calibrated(header, pixel, detector, name)
    calibrated = functional(header, 0, "ProjectionPixelCalibrationSequence", "ObjectPixelSpacingInCenterOfBeam")
    at_object = stated_spacing(calibrated, "ObjectPixelSpacingInCenterOfBeam", name)
    if at_object is not None:
        return at_object, (f"{name}: its mm lie in the plane of the object (ObjectPixelSpacingInCenterOfBeam)",)
    regions = items(header, "SequenceOfUltrasoundRegions")
    if regions:
        return _of_regions(file, regions, name)
    film = stated_spacing(header, "NominalScannedPixelSpacing", name)
    if film is not None:
        return film, (f"{name}: its mm lie on the scanned film (NominalScannedPixelSpacing), not in the patient",)
    return None, _of_aspect(header, name)


def stated_spacing(dataset: Dataset, keyword: str, name: str) -> Spacing | None:
    """(along a column, along a row) in mm; None where absent. Raises `ImageError` for what is no two lengths."""
    if not value(dataset, keyword):
        return None
    lengths = numbers(dataset, keyword)
    if len(lengths) != 2 or min(lengths) <= 0:
        raise ImageError(
            f"{name} has an impossible {keyword} ({text(dataset, keyword)[:60]}); expected two lengths above 0: export "
            "it again"
        )
    return lengths[0], lengths[1]


def _is_calibrated(header: Dataset, pixel: Spacing, detector: Spacing) -> bool:
    """Whether a PixelSpacing beside an ImagerPixelSpacing is one at the patient; equal ones lie at the detector."""
    return bool(text(header, "PixelSpacingCalibrationType")) or not np.allclose(pixel, detector, rtol=_SAME, atol=0)


def _of_calibrated(header: Dataset, pixel: Spacing, detector: Spacing | None, name: str) -> tuple[str, ...]:
    factor, source = _magnification(header)
    if detector is None and factor is not None and not text(header, "PixelSpacingCalibrationType"):
        return (
            f"{name}: its PixelSpacing is taken as calibrated, so its mm lie in the plane of the object; the file "
            f"states a magnification too ({source}), which is not applied",
        )
    return ()


def _at_object(header: Dataset, detector: Spacing, name: str) -> tuple[Spacing, tuple[str, ...]]:
    factor, source = _magnification(header)
    if factor is None:
        unused = f" ({source})" if source else ""
        return detector, (
            f"{name}: its mm lie in the plane of the detector (ImagerPixelSpacing), where the object is magnified by "
            f"an unknown factor{unused}",
        )
    spacing = (detector[0] / factor, detector[1] / factor)
    return spacing, (
        f"{name}: its mm lie in the plane of the object: {_listed(detector)} mm at the detector / {factor:.5g} "
        f"({source})",
    )


def _magnification(header: Dataset) -> tuple[float | None, str]:
    """(factor, where it comes from); None with a reason for a factor that is stated but cannot be."""
    stated = number(header, "EstimatedRadiographicMagnificationFactor")
    geometry = functional(header, 0, "XRayGeometrySequence", "DistanceSourceToDetector")
    to_detector, to_patient = number(geometry, "DistanceSourceToDetector"), number(header, "DistanceSourceToPatient")
    distances = to_detector / to_patient if to_detector and to_patient else None
    if stated is not None and 1 <= stated <= _FARTHEST:
        source = "EstimatedRadiographicMagnificationFactor"
        if distances is not None and abs(distances / stated - 1) > 0.02:
            source += f"; its distances to the source would give {distances:.5g}"
        return stated, source
    if distances is not None and to_detector is not None and 1 <= distances <= _FARTHEST:
        return distances, f"DistanceSourceToDetector {to_detector:g} / DistanceSourceToPatient {to_patient:g}"
    if stated:
        return None, f"EstimatedRadiographicMagnificationFactor {stated:g} cannot be"
    if distances is not None:
        return None, f"DistanceSourceToDetector {to_detector:g} / DistanceSourceToPatient {to_patient:g} cannot be"
    return None, ""


def _of_regions(file: DicomFile, regions: Sequence[Dataset], name: str) -> tuple[Spacing | None, tuple[str, ...]]:
    """The spacing of an ultrasound picture from its regions that show space in centimetres."""
    spatial = [region for region in regions if _is_spatial(region)]
    if not spatial:
        return None, (
            f"{name}: none of its {len(regions)} ultrasound regions shows space in cm, so its lengths are in px",
        )
    spacings = [
        (10 * abs(number(region, "PhysicalDeltaY") or 0.0), 10 * abs(number(region, "PhysicalDeltaX") or 0.0))
        for region in spatial
    ]
    if min(min(pair) for pair in spacings) <= 0:
        raise ImageError(
            f"{name} has an ultrasound region with a PhysicalDeltaX or PhysicalDeltaY of 0; export it again"
        )
    if not np.allclose(spacings, spacings[0], rtol=_SAME, atol=0):
        listed = ", ".join(
            f"{_listed(pair)} mm in {_box(region)}" for pair, region in zip(spacings, spatial, strict=True)
        )
        return None, (
            f"{name}: its ultrasound regions differ in spacing ({listed}), so its lengths are in px; crop it to one "
            "region or give the spacing",
        )
    rows, columns = whole(file.dataset, "Rows"), whole(file.dataset, "Columns")
    if any(_covers(region, rows, columns) for region in spatial):
        return spacings[0], ()
    listed = " and ".join(_box(region) for region in spatial)
    return spacings[0], (f"{name}: its spacing holds in the ultrasound image ({listed}), not in what surrounds it",)


def _is_spatial(region: Dataset) -> bool:
    units = whole(region, "PhysicalUnitsXDirection"), whole(region, "PhysicalUnitsYDirection")
    return whole(region, "RegionSpatialFormat") == _SPATIAL_2D and units == (_CENTIMETRES, _CENTIMETRES)


def _edges(region: Dataset) -> tuple[int, int, int, int]:
    """(first column, last column, first row, last row)"""
    left, right = whole(region, "RegionLocationMinX0"), whole(region, "RegionLocationMaxX1")
    return left, right, whole(region, "RegionLocationMinY0"), whole(region, "RegionLocationMaxY1")


def _covers(region: Dataset, rows: int, columns: int) -> bool:
    left, right, top, bottom = _edges(region)
    return left <= 0 and top <= 0 and right >= columns - 1 and bottom >= rows - 1


def _box(region: Dataset) -> str:
    left, right, top, bottom = _edges(region)
    return f"columns {left} to {right}, rows {top} to {bottom}"


def _of_aspect(header: Dataset, name: str) -> tuple[str, ...]:
    """A remark on pixels that are not square and have no spacing."""
    aspect = numbers(header, "PixelAspectRatio")  # vertical, horizontal
    if len(aspect) != 2 or min(aspect) <= 0 or aspect[0] == aspect[1]:
        return ()
    return (
        f"{name}: its pixels are not square (PixelAspectRatio {aspect[0]:g}:{aspect[1]:g}, height to width) and it "
        "states no spacing, so lengths in px are distorted; give the spacing in mm",
    )


def _listed(pair: Spacing) -> str:
    return f"{pair[1]:.5g} x {pair[0]:.5g}"
