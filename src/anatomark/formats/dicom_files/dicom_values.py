"""The grey values of DICOM frames: decoded, rescaled frame by frame, and bright is high.

Stored values are cut to their BitsStored (older files keep overlays in the bits above), then go through the modality
LUT: RescaleSlope and RescaleIntercept of the frame, or ModalityLUTSequence. Real-world value maps are left alone. Whole
numbers stay whole where one whole slope holds for all frames and the intercepts are whole, and are double otherwise.

MONOCHROME1 and PresentationLUTShape INVERSE say that low is bright, after the rescale (PS3.3 C.7.6.3.1.2). Such values
are turned round within the range that the stored bits can hold, low + high - value, before the rescale is applied,
which comes to the same. In CT and PET they concern the display alone, and the quantities stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from anatomark.errors import ImageError
from anatomark.formats.dicom_files.dicom_attributes import functional, item, number, numbers, quiet, text, whole
from anatomark.formats.dicom_files.dicom_file import DicomFile
from anatomark.formats.dicom_files.dicom_pixels import FLOATS, Pixels

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_STORED = "1.2.840.10008.5.1.4.1.1."
# CT and PET, plain, enhanced and converted: what they hold is a quantity, whatever the display does with it
_QUANTITIES = tuple(_STORED + end for end in ("2", "2.1", "2.2", "128", "128.1", "130"))


@dataclass(frozen=True)
class Frame:
    """One frame of a DICOM file, counted from 0."""

    pixels: Pixels
    index: int


@dataclass(frozen=True)
class _Scale:
    """How stored values become grey values; `low` to `high` is what can be stored (after a LUT: what it gives)."""

    slope: float
    intercept: float
    inverted: bool
    lut: Dataset | None
    low: int
    high: int


def grey_values(frames: Sequence[Frame]) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Grey values (frames, rows, columns) of frames of one size, and remarks on how they came about."""
    scales = [_scale(frame) for frame in frames]
    if not all(frame.pixels.is_grey and frame.pixels.file.element not in FLOATS for frame in frames):
        return np.stack([frame.pixels.frame(frame.index) for frame in frames]), ()
    dtype = _number_type(frames, scales)
    grey = np.empty((len(frames), *frames[0].pixels.shape), dtype)
    for place, (frame, scale) in enumerate(zip(frames, scales, strict=True)):
        stored = frame.pixels.frame(frame.index)
        if scale.lut is not None:
            stored = _through_lut(stored, scale.lut, frame.pixels.file)
        if scale.inverted:
            stored = (scale.low + scale.high) - (stored if stored.dtype.itemsize < 4 else stored.astype(np.int64))
        if (scale.slope, scale.intercept) == (1, 0):
            grey[place] = stored
        elif dtype.kind == "f":
            grey[place] = stored.astype(np.float64) * scale.slope + scale.intercept
        else:
            grey[place] = stored.astype(np.int64) * int(scale.slope) + int(scale.intercept)
    first = frames[0].pixels
    if not scales[0].inverted and _low_is_bright(first):
        return grey, (
            f"{first.file.path} is to be displayed with low as bright ({_inversion(first)}); its values are quantities "
            "and stay as they are",
        )
    return grey, ()


def _number_type(frames: Sequence[Frame], scales: Sequence[_Scale]) -> np.dtype:
    """The type that holds all grey values: whole numbers where slopes and intercepts allow it, else double."""
    slopes = {scale.slope for scale in scales}
    if len(slopes) > 1 or any(not scale.slope.is_integer() or not scale.intercept.is_integer() for scale in scales):
        return np.dtype(np.float64)
    if all((scale.slope, scale.intercept, scale.lut) == (1, 0, None) for scale in scales):
        kinds = {np.dtype(f"{'i' if f.pixels.signed else 'u'}{f.pixels.bits // 8}") for f in frames}
        return np.result_type(*kinds)
    ends = [scale.slope * end + scale.intercept for scale in scales for end in (scale.low, scale.high)]
    for dtype in (np.uint8, np.int16, np.uint16, np.int32, np.int64):
        if np.iinfo(dtype).min <= min(ends) and max(ends) <= np.iinfo(dtype).max:
            return np.dtype(dtype)
    return np.dtype(np.float64)


def _scale(frame: Frame) -> _Scale:
    pixels, header, path = frame.pixels, frame.pixels.file.dataset, frame.pixels.file.path
    transformation = functional(
        header, frame.index, "PixelValueTransformationSequence", "RescaleSlope", pixels.per_frame
    )
    slope, intercept = number(transformation, "RescaleSlope"), number(transformation, "RescaleIntercept")
    if slope is None and (dose := number(header, "DoseGridScaling")) is not None:
        slope = dose
    if slope is not None and slope == 0:
        raise ImageError(f"{path} has a RescaleSlope of 0, which makes every pixel the same; export it again")
    lut = item(header, "ModalityLUTSequence") if slope is None else None
    low, high = (-(1 << (pixels.stored - 1)), (1 << (pixels.stored - 1)) - 1) if pixels.signed else (
        0, (1 << pixels.stored) - 1
    )  # fmt: skip
    if lut is not None:
        low, high = 0, (1 << (_lut_bits(lut) or 16)) - 1
    quantity = text(header, "SOPClassUID") in _QUANTITIES or text(transformation, "RescaleType") == "HU"
    inverted = _low_is_bright(pixels) and not (quantity and slope is not None)
    return _Scale(1.0 if slope is None else slope, intercept or 0.0, inverted, lut, low, high)


def _low_is_bright(pixels: Pixels) -> bool:
    return pixels.photometric == "MONOCHROME1" or _inversion(pixels) != "MONOCHROME1"


def _inversion(pixels: Pixels) -> str:
    """What says that low is bright; files of MONOCHROME1 may say INVERSE too, and mean it once."""
    shape = text(pixels.file.dataset, "PresentationLUTShape").upper()
    inverse = shape == "INVERSE" and pixels.photometric == "MONOCHROME2"
    return "PresentationLUTShape INVERSE" if inverse else "MONOCHROME1"


def _lut_bits(lut: Dataset) -> int:
    described = numbers(lut, "LUTDescriptor")
    return int(described[2]) if len(described) == 3 and 0 < described[2] <= 16 else 0


def _through_lut(stored: NDArray[Any], lut: Dataset, file: DicomFile) -> NDArray[Any]:
    from pydicom.pixels.processing import apply_modality_lut

    header = type(file.dataset)()
    try:
        header.ModalityLUTSequence = [lut]
        header.PixelRepresentation = whole(file.dataset, "PixelRepresentation")
        with quiet():
            return apply_modality_lut(stored, header)
    except Exception as error:  # of pydicom, on a table that anybody may have written
        raise ImageError(f"{file.path} is damaged: its ModalityLUTSequence cannot be read; export it again") from error
