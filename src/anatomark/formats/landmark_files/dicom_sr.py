"""Landmarks as a DICOM structured report (measurement report, TID 1500), written beside DICOM images and read back.

Each landmark is a measurement group whose tracking identifier is the landmark's name. A landmark that is present has a
point: in a volume SCOORD3D, millimetres (LPS) in the images' frame of reference; in a single projection or slice
SCOORD, column and row of the referenced image, where DICOM puts the middle of the first pixel at 0.5. A landmark that
is absent has a group without coordinates and says Absent. Both may have the probability of being there and the bound
of the error as numbers. Codes that the standard does not have are ours (99ANATOMARK).

The extra `dicom-sr` brings highdicom, which writes them; pydicom reads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anatomark import __version__
from anatomark.core.grid import Floats, Grid
from anatomark.core.landmarks import Landmarks, State
from anatomark.errors import ImageError, LandmarkFileError, MissingExtraError
from anatomark.formats.atomic import replacing
from anatomark.formats.dicom_files.dicom_attributes import quiet
from anatomark.formats.dicom_files.dicom_file import is_dicom, is_image, open_dicom
from anatomark.formats.frames import FilePoints, settle_frame
from anatomark.formats.landmark_format import GridOf, Head, LandmarkFormat
from anatomark.formats.landmark_table import LandmarkTable
from anatomark.formats.placements import points_table

if TYPE_CHECKING:
    from highdicom import sr
    from pydicom import Dataset

SUFFIX = ".sr.dcm"
SCHEME = "99ANATOMARK"
PRESENCE = ("ALM001", "Probability that the landmark is in the image")
ERROR_BOUND = ("ALM002", "Length that the error stays below")
IN_IMAGE = ("ALM003", "Landmark in the image")
_TRACKING, _ABSENT = ("112039", "DCM"), ("272519000", "SCT")
# what a report takes over from its images; where these lack it, the report has it empty
_TAKEN_OVER = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip


def require_dicom_sr() -> None:
    """MissingExtraError where highdicom is not installed."""
    if find_spec("highdicom") is None:
        raise MissingExtraError(
            "structured reports need highdicom, which is not installed; install it: pip install 'anatomark[dicom-sr]'"
        )


def require_reportable(source: str | Path, ndim: int) -> None:
    """Passes a DICOM file or folder that a report can be about. Raises as `write_dicom_sr`, before any prediction."""
    require_dicom_sr()
    images = _images(Path(source))
    if ndim == 3:
        _frame_of_reference(images)


def write_dicom_sr(
    landmarks: Landmarks,
    path: str | Path,
    *,
    source: str | Path,
    grid: Grid,
    model: str,
    presence: Floats | None = None,
    error_bound: Floats | None = None,
    coverage: float | None = None,
    remark: str | None = None,
) -> None:
    """Writes a Comprehensive 3D SR about the DICOM file or folder `source`, whole or not at all.

    `grid` is that of the image, `landmarks` lie in its world; those not annotated are left out. `presence` (N,) are
    probabilities, `error_bound` (N,) lengths in the landmarks' unit (NaN: none) that hold for the share `coverage`.
    `remark` is on the image, such as why its points are doubtful; it stands with each landmark.
    The report is of the images' patient and study, preliminary and not verified.

    Raises `ImageError` for a source that is not DICOM or lacks what a report must name, and `MissingExtraError`.
    """
    require_dicom_sr()
    path, images = Path(path), _images(Path(source))
    with quiet():  # values of the images that the standard would not allow are theirs
        report = _report(landmarks, images, grid, model, presence, error_bound, coverage, remark)
        with replacing(path) as temporary:
            report.save_as(temporary)


def read_dicom_sr(path: str | Path) -> FilePoints:
    """The points of all measurement groups of a structured report, by their tracking identifiers.

    Points of volumes are LPS mm, those of single images pixel coordinates. Groups without a point are absent where they
    say so, else not annotated. Raises `LandmarkFileError`.
    """
    path = Path(path)
    try:
        report = open_dicom(path).dataset
    except ImageError as error:
        raise LandmarkFileError(str(error)) from None
    try:
        with quiet():
            _require_whole(report)
            groups = list(_groups(report))
    except Exception:  # pydicom converts at this moment what anybody may have written
        raise LandmarkFileError(f"{path} cannot be read: it is not a complete DICOM file; export it again") from None
    if report.get("Modality") != "SR" or not groups:
        raise LandmarkFileError(f"{path} is not a report with tracked points; give a measurement report (TID 1500)")
    depths = {len(point) for _, point, _ in groups if point is not None} or {3}
    if len(depths) > 1:
        raise LandmarkFileError(f"{path} mixes points of volumes and of single images; keep them in two reports")
    depth = depths.pop()
    coordinates = np.array([[np.nan] * depth if point is None else point for _, point, _ in groups])
    states = np.array([state for _, _, state in groups], dtype=np.uint8)
    names = tuple(name for name, _, _ in groups)
    if depth == 2:
        return FilePoints(names, coordinates - 0.5, states, "pixel", "px")
    return FilePoints(names, coordinates, states, "LPS", "mm")


def _images(source: Path) -> list[Dataset]:
    """The headers of the DICOM images in a file or folder."""
    files = sorted(p for p in source.iterdir() if p.is_file()) if source.is_dir() else [source]
    files = [file for file in files if is_dicom(file)]
    if not files:
        raise ImageError(f"{source} is not DICOM, whose patient and study a report must name; ask for mrk.json or csv")
    images = [image.dataset for image in map(open_dicom, files) if is_image(image)]
    missing = [name for name in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
               if any(not image.get(name) for image in images)]  # fmt: skip
    if missing or not images:
        raise ImageError(
            f"{source} lacks {missing[0] if missing else 'an image'}, which a report must name; export it again"
        )
    for image in images:
        for name in _TAKEN_OVER:
            if name not in image:
                setattr(image, name, None)
    return images


def _report(
    landmarks: Landmarks,
    images: Sequence[Dataset],
    grid: Grid,
    model: str,
    presence: Floats | None,
    error_bound: Floats | None,
    coverage: float | None,
    remark: str | None,
) -> sr.Comprehensive3DSR:
    from highdicom import UID, sr
    from pydicom import Dataset
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    unit = codes.UCUM.Millimeter if landmarks.unit == "mm" else sr.CodedConcept("{pixels}", "UCUM", "Pixels")
    parameters = [f"model: {model}"] + ([] if coverage is None else [f"coverage of the error bounds: {coverage:g}"])
    parameters += [] if remark is None else [f"remark: {remark}"]
    algorithm = sr.AlgorithmIdentification(name="anatomark", version=__version__, parameters=parameters)
    indices = grid.world_to_index(landmarks.points)
    groups: list[sr.PlanarROIMeasurementsAndQualitativeEvaluations | sr.MeasurementsAndQualitativeEvaluations] = []
    for row, (name, state) in enumerate(zip(landmarks.names, landmarks.states.tolist(), strict=True)):
        if state == State.NOT_ANNOTATED:
            continue
        present = state == State.PRESENT
        measured: list[sr.Measurement] = []
        if presence is not None and np.isfinite(presence[row]):
            measured.append(sr.Measurement(_code(PRESENCE), round(float(presence[row]), 4), codes.UCUM.NoUnits))
        if present and error_bound is not None and np.isfinite(error_bound[row]):
            measured.append(sr.Measurement(_code(ERROR_BOUND), round(float(error_bound[row]), 4), unit))
        evaluation = sr.QualitativeEvaluation(_code(IN_IMAGE), codes.SCT.Present if present else codes.SCT.Absent)
        common: dict[str, Any] = {
            "tracking_identifier": sr.TrackingIdentifier(uid=UID(), identifier=name),
            "finding_category": codes.SCT.AnatomicalStructure,
            "algorithm_id": algorithm,
            "measurements": measured or None,
            "qualitative_evaluations": [evaluation],
        }
        if present:
            region = _region(landmarks.points[row], indices[row], images)
            groups.append(sr.PlanarROIMeasurementsAndQualitativeEvaluations(referenced_region=region, **common))
        else:
            groups.append(sr.MeasurementsAndQualitativeEvaluations(**common))
    observer = sr.ObserverContext(
        codes.DCM.Device,
        sr.DeviceObserverIdentifyingAttributes(
            uid=generate_uid(entropy_srcs=["anatomark", __version__, model]), name="anatomark", model_name=model[:64]
        ),
    )
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=codes.SCT.ImagingProcedure,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    report = sr.Comprehensive3DSR(
        evidence=images,
        content=content,
        series_instance_uid=UID(),
        series_number=1000,
        sop_instance_uid=UID(),
        instance_number=1,
        manufacturer="anatomark",
        is_complete=True,
        series_description="anatomark: landmarks",
    )
    scheme = Dataset()
    scheme.CodingSchemeDesignator, scheme.CodingSchemeName = SCHEME, "anatomark"
    report.CodingSchemeIdentificationSequence = [scheme]
    return report


def _region(point: Floats, index: Floats, images: Sequence[Dataset]) -> sr.ImageRegion3D | sr.ImageRegion:
    """The point of one landmark: in space for a volume, else in the one image."""
    from highdicom import sr

    if len(point) == 3:
        return sr.ImageRegion3D("POINT", point[None], _frame_of_reference(images))
    image = sr.SourceImageForRegion(str(images[0].SOPClassUID), str(images[0].SOPInstanceUID))
    return sr.ImageRegion("POINT", index[None, ::-1] + 0.5, image)


def _frame_of_reference(images: Sequence[Dataset]) -> str:
    frames = {str(image.get("FrameOfReferenceUID") or "") for image in images}
    if len(frames) > 1 or not all(frames):
        raise ImageError(
            "the DICOM images do not share a frame of reference (0020,0052), in which a report gives its points; "
            "ask for mrk.json or csv"
        )
    return frames.pop()


def _code(concept: tuple[str, str]) -> sr.CodedConcept:
    from highdicom.sr import CodedConcept

    return CodedConcept(concept[0], SCHEME, concept[1])


def _groups(item: Dataset) -> Iterator[tuple[str, list[float] | None, State]]:
    """(tracking identifier, point or None, state) of every group of a report that has one, anywhere in its tree."""
    children: list[Dataset] = list(item.get("ContentSequence") or [])
    names = [str(child.TextValue) for child in children if _concept(child, "ConceptNameCodeSequence") == _TRACKING]
    if names:
        points = [
            [float(number) for number in child.GraphicData]
            for child in children
            if child.get("ValueType") in ("SCOORD", "SCOORD3D") and child.get("GraphicType") == "POINT"
        ]
        absent = any(_concept(child, "ConceptCodeSequence") == _ABSENT for child in children)
        state = State.PRESENT if points else State.ABSENT if absent else State.NOT_ANNOTATED
        yield names[0], points[0] if points else None, state
        return
    for child in children:
        yield from _groups(child)


def _require_whole(report: Dataset) -> None:
    """Raises EOFError for a file that ends within an element, which pydicom passes over."""
    for raw in (report.get_item(tag) for tag in list(report.keys())):
        length = getattr(raw, "length", None)  # of elements that are not decoded yet
        if length is not None and length != 0xFFFFFFFF and len(raw.value or b"") < length:
            raise EOFError


def _concept(item: Dataset, sequence: str) -> tuple[str, str] | None:
    codes: Sequence[Dataset] | None = item.get(sequence)
    return (str(codes[0].get("CodeValue")), str(codes[0].get("CodingSchemeDesignator"))) if codes else None


def _recognises(head: Head) -> bool:
    return head.name.endswith(SUFFIX)


def _read(path: Path, *, frame: str | None, grid_of: GridOf) -> LandmarkTable:
    points = read_dicom_sr(path)
    settle_frame(points.frame, frame, path)
    return points_table(points)


DICOM_SR = LandmarkFormat(
    name="dicom-sr",
    title="DICOM structured report (.sr.dcm)",
    endings=(SUFFIX,),
    recognises=_recognises,
    read=_read,
    frame="LPS mm; pixel for reports on single images",
    missing="a finding says absent; a group without a point is not annotated",
)
