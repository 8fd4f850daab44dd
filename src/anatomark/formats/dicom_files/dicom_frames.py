"""Where the frames of one DICOM file lie: multi-frame objects as volumes, and the place of a single slice.

Orientation, position and spacing come from wherever the object keeps them: for each frame, shared by all, or at the top
level as dental programs write it. Where only the place of the first frame is stated, the others follow from
GridFrameOffsetVector or SpacingBetweenSlices; of CT, whose slices touch, from SliceThickness, with a remark. What is
still missing is named; nothing is made up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats, Grid
from anatomark.errors import ImageError
from anatomark.formats.dicom_files.dicom_attributes import functional, item, items, number, numbers, text, value, whole
from anatomark.formats.dicom_files.dicom_file import DicomFile, frame_count
from anatomark.formats.dicom_files.dicom_slices import Plane, axes_of, rounding_of, stacked
from anatomark.formats.dicom_files.dicom_spacing import stated_spacing

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_STORED = "1.2.840.10008.5.1.4.1.1."
# CT and X-ray 3D (which cone-beam CT is): slices touch, so that their thickness is the distance between them
_TOUCHING = tuple(_STORED + end for end in ("2", "2.1", "2.2", "13.1.1", "13.1.2"))
# classes whose frames are slices; those of others are a film unless their geometry is stated
_SLICES = (*_TOUCHING, *(_STORED + end for end in ("4", "4.1", "4.4", "20", "128", "128.1", "130", "13.1.3", "481.2")))
_NUCLEAR, _SEGMENTATIONS = _STORED + "20", (_STORED + "66.4", _STORED + "66.7")
# what frames at one place may differ in: (functional group, attribute)
_DIFFERENCES = (
    ("FrameContentSequence", "StackID"),
    ("FrameContentSequence", "TemporalPositionIndex"),
    ("TemporalPositionSequence", "TemporalPositionTimeOffset"),
    ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
    ("MREchoSequence", "EffectiveEchoTime"),
    ("MRDiffusionSequence", "DiffusionBValue"),
    ("MRDiffusionSequence", "DiffusionDirectionality"),
    ("MRTimingAndRelatedParametersSequence", "FlipAngle"),
    ("MRTimingAndRelatedParametersSequence", "RepetitionTime"),
    ("MRImageFrameTypeSequence", "FrameType"),
    ("CTImageFrameTypeSequence", "FrameType"),
    ("PETFrameTypeSequence", "FrameType"),
    ("CTReconstructionSequence", "ConvolutionKernel"),
    ("FrameContentSequence", "FrameAcquisitionDateTime"),
    ("FrameContentSequence", "FrameReferenceDateTime"),
)


def volume(file: DicomFile) -> tuple[NDArray[np.intp], Grid, tuple[str, ...]]:
    """(order, Grid, remarks) of a file of two or more frames: frame `order[k]` is slice k of the volume.

    Raises `ImageError` for frames that are no volume: a film, a geometry that is not stated, several volumes in one.
    """
    header, path, count = file.dataset, file.path, frame_count(file)
    if text(header, "SOPClassUID") in _SEGMENTATIONS:
        raise ImageError(f"{path} is a segmentation, not an image; give the images that it was made from")
    frames = items(header, "PerFrameFunctionalGroupsSequence")
    if frames and len(frames) != count:
        raise ImageError(f"{path} states {count} frames, but describes {len(frames)}; export it again")
    _require_one_stack(file, frames)
    described = len(frames) and any(
        value(item(frame, sequence), keyword) for frame in frames for sequence, keyword in _POSITIONS
    )
    if described:
        planes: list[Plane] = []
        missing: list[str] = []
        for index in range(count):
            plane, absent = plane_of(file, index, frames)
            planes += [plane] if plane is not None else []
            missing += [name for name in absent if name not in missing]
        remarks: tuple[str, ...] = ()
    else:
        first, missing = plane_of(file, 0, frames)
        offsets, remarks = (None, ()) if first is None else _offsets(file, count, frames)
        planes = [] if first is None or offsets is None else _following(first, offsets, str(path))
        if offsets is None and first is not None:
            missing = ["SpacingBetweenSlices"]
    if missing:
        raise ImageError(_not_a_volume(file, count, missing))
    order, grid = stacked(planes, str(path), lambda: _differing(header, frames))
    if _position_keyword(header, frames) == "ImagePositionVolume":
        remarks = (
            *remarks,
            f"{path}: its axes are those of the ultrasound volume; it does not state the patient's position",
        )
    return order, grid, remarks


_POSITIONS = (("PlanePositionSequence", "ImagePositionPatient"), ("PlanePositionVolumeSequence", "ImagePositionVolume"))
_ORIENTATIONS = (
    ("PlaneOrientationSequence", "ImageOrientationPatient"),
    ("PlaneOrientationVolumeSequence", "ImageOrientationVolume"),
)


def plane_of(file: DicomFile, index: int, frames: list[Dataset]) -> tuple[Plane | None, list[str]]:
    """(Plane, missing attributes) of a frame, counted from 0; the Plane is None where something is missing.

    `frames` are the items of PerFrameFunctionalGroupsSequence. Raises `ImageError` for values that cannot be.
    """
    header = file.dataset
    name = f"frame {index + 1}" if frame_count(file) > 1 else file.path.name
    detector = item(header, "DetectorInformationSequence")  # where nuclear medicine keeps it
    stated: list[tuple[Dataset, str]] = []
    for places, length in ((_ORIENTATIONS, 6), (_POSITIONS, 3)):
        for sequence, keyword in places:
            group = functional(header, index, sequence, keyword, frames)
            if group is header and detector is not None and not value(header, keyword):
                group = detector
            if len(numbers(group, keyword)) == length:
                stated.append((group, keyword))
                break
    measures = functional(header, index, "PixelMeasuresSequence", "PixelSpacing", frames)
    spacing = stated_spacing(measures, "PixelSpacing", str(file.path))
    keywords = [keyword for _, keyword in stated]
    missing = [
        keyword
        for keyword in ("ImageOrientationPatient", "ImagePositionPatient")
        if keyword not in keywords and keyword.replace("Patient", "Volume") not in keywords
    ]
    missing += [] if spacing is not None else ["PixelSpacing"]
    if missing or spacing is None:
        return None, missing
    orientation, position = (numbers(group, keyword) for group, keyword in stated)
    shape = (whole(header, "Rows"), whole(header, "Columns"))
    return Plane(name, shape, spacing, orientation, position, rounding_of(*stated[1])), []


def _following(first: Plane, offsets: Floats, source: str) -> list[Plane]:
    """Planes at `offsets` (n,) mm from the first along its normal."""
    normal = axes_of(first.orientation, f"{source}: {first.name}")[:, 2]
    return [
        replace(first, name=f"frame {k + 1}", position=tuple(np.asarray(first.position) + offset * normal))
        for k, offset in enumerate(offsets)
    ]


def _offsets(file: DicomFile, count: int, frames: list[Dataset]) -> tuple[Floats | None, tuple[str, ...]]:
    """((n,) distances of the frames from the first along the normal in mm, remarks); None where they are not stated."""
    header, path = file.dataset, file.path
    stated = numbers(header, "GridFrameOffsetVector")
    if value(header, "GridFrameOffsetVector"):
        if len(stated) != count:
            raise ImageError(f"{path} has {count} frames, but {len(stated)} in GridFrameOffsetVector; export it again")
        return np.asarray(stated) - stated[0], ()  # they begin at 0, or are z itself
    counted = np.arange(count, dtype=float)
    slices = numbers(header, "SliceVector")
    if len(slices) == count:  # nuclear medicine: which slice each frame is, which repeats over times
        counted = np.asarray(slices) - slices[0]
    distance = _measure(header, frames, "SpacingBetweenSlices")
    if distance is not None:
        if distance == 0:
            raise ImageError(f"{path} has a SpacingBetweenSlices of 0, which cannot be; export it again")
        # only nuclear medicine means a direction by its sign
        step = distance if text(header, "SOPClassUID") == _NUCLEAR else abs(distance)
        return counted * step, ()
    thickness = _measure(header, frames, "SliceThickness")
    if thickness and thickness > 0 and text(header, "SOPClassUID") in _TOUCHING:
        return counted * thickness, (
            f"{path} states no spacing between slices: they are taken to touch (SliceThickness {thickness:g} mm), in "
            "stored order along the normal",
        )
    return None, ()


def _measure(header: Dataset, frames: list[Dataset], keyword: str) -> float | None:
    return number(functional(header, 0, "PixelMeasuresSequence", keyword, frames), keyword)


def _require_one_stack(file: DicomFile, frames: list[Dataset]) -> None:
    stacks = Counter(text(item(frame, "FrameContentSequence"), "StackID") for frame in frames)
    if 1 < len(stacks) < len(frames):
        listed = ", ".join(f"StackID {name or 'empty'}: {count} frames" for name, count in stacks.items())
        raise ImageError(f"{file.path} holds {len(stacks)} stacks, expected one ({listed}); export each separately")


def _position_keyword(header: Dataset, frames: list[Dataset]) -> str | None:
    """The attribute that states the position of the first frame."""
    for sequence, keyword in _POSITIONS:
        if value(functional(header, 0, sequence, keyword, frames), keyword):
            return keyword
    return None


def _differing(header: Dataset, frames: Sequence[Dataset]) -> str:
    """What frames differ in that may lie at one place, with the values."""
    for sequence, keyword in _DIFFERENCES:
        values = list(dict.fromkeys(text(item(frame, sequence), keyword) for frame in frames))
        if 1 < len(values) <= max(2, len(frames) // 2):
            return f"{keyword} {', '.join(values[:8])}"
    return "times or echoes"


def _not_a_volume(file: DicomFile, count: int, missing: Sequence[str]) -> str:
    named = " and ".join([", ".join(missing[:-1]), missing[-1]] if len(missing) > 1 else missing)
    if text(file.dataset, "SOPClassUID") not in _SLICES:
        return (
            f"{file.path} holds {count} frames of a film, not a volume (it does not state {named}); give single frames"
        )
    return (
        f"{file.path} holds {count} frames but does not state {named}, without which their positions are unknown; "
        "export it again as slices or with it"
    )
