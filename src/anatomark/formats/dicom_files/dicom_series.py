"""A folder with a DICOM series: which of its files are the slices of one volume.

Only headers are read here, each once. Reports, plans and directories are no images and are passed over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from anatomark.core.grid import Grid
from anatomark.errors import ImageError
from anatomark.formats.dicom_files.dicom_attributes import items, text
from anatomark.formats.dicom_files.dicom_file import DicomFile, frame_count, is_dicom, is_image, open_dicom
from anatomark.formats.dicom_files.dicom_frames import plane_of
from anatomark.formats.dicom_files.dicom_slices import (
    SAME_PLACE,
    Plane,
    axes_of,
    described,
    places_along,
    same_orientation,
    stacked,
)

_FEW = 3  # localizers that may lie within a series
# what slices at one place may differ in
_DIFFERENCES = (
    "EchoTime", "EchoNumbers", "TemporalPositionIdentifier", "TriggerTime", "AcquisitionNumber", "DiffusionBValue",
    "ConvolutionKernel", "ImageType", "FrameReferenceTime", "AcquisitionTime", "ContentTime",
)  # fmt: skip


@dataclass(frozen=True)
class Stack:
    """The slices of a folder in order, the Grid that they make, and remarks on what was left out."""

    files: list[DicomFile]
    grid: Grid
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class _Slice:
    file: DicomFile
    plane: Plane


@dataclass(frozen=True)
class _Unplaced:
    """A file that does not state where its slice lies: it lacks the attributes `missing`."""

    file: DicomFile
    missing: tuple[str, ...]


def is_stack(folder: Path) -> bool:
    """Whether a folder directly holds two or more positioned slices of one series; stops when it has seen them."""
    seen: set[str] = set()
    slices: list[_Slice] = []
    for file in _images(folder, skip_damaged=True):
        one = _sliced(file)
        if not isinstance(one, _Slice):
            continue
        series = text(file.dataset, "SeriesInstanceUID")
        if series in seen:
            return True
        seen.add(series)
        slices.append(one)
    return not _why_not_one_volume(slices)


def read_stack(folder: Path) -> Stack | DicomFile:
    """The Stack of the one series in `folder`, or the one DICOM image that it holds.

    Raises `ImageError` for no series, several series, and slices that are not evenly spaced on one straight line.
    """
    files = list(_images(folder, skip_damaged=False))
    if not files:
        raise ImageError(f"{folder} holds no DICOM series; give an image file or a folder with one series")
    if len(files) == 1:
        return files[0]
    multi_frame = [file for file in files if frame_count(file) > 1]
    if multi_frame:
        raise ImageError(
            f"{folder} holds {len(files)} DICOM images of which {len(multi_frame)} have several frames "
            f"({multi_frame[0].path.name}), so it is not a single volume; give one of its files"
        )
    series = _by_series(_slices(files))
    if len(series) > 1:
        if len(series) == len(files) > 2:
            raise ImageError(
                f"{folder} holds {len(series)} DICOM series, expected one: each slice has its own, and they are not "
                f"plainly one volume ({_why_not_one_volume(_slices(files))}); keep the slices of one volume, or "
                "give its files one by one"
            )
        listed = "; ".join(f"{_series_name(slices)} ({len(slices)} files, {uid})" for uid, slices in series.items())
        raise ImageError(
            f"{folder} holds {len(series)} DICOM series, expected one; put each in its own folder: {listed}"
        )
    slices: list[_Slice] = []
    for one in next(iter(series.values())):
        if isinstance(one, _Unplaced):
            named = " and ".join(one.missing)
            raise ImageError(
                f"{one.file.path} does not state the position of its slice ({named}), so {folder} is no volume; "
                "give its files one by one"
            )
        slices.append(one)
    return _stack(slices, folder)


def _stack(slices: Sequence[_Slice], folder: Path) -> Stack:
    kept, remarks = _without_localizers(slices, folder)
    if len({text(one.file.dataset, "SeriesInstanceUID") for one in kept}) > 1:
        remarks.append(
            f"{folder}: each of its {len(kept)} slices has its own SeriesInstanceUID; they are taken as one "
            "volume, because they share a frame of reference and are evenly spaced"
        )
    kept, copies = _without_copies(kept, folder)
    remarks += copies
    if len(kept) < 2:
        raise ImageError(f"{folder} holds copies of one DICOM slice only; give that file")
    order, grid = stacked([one.plane for one in kept], str(folder), lambda: _differing(kept))
    return Stack([kept[int(k)].file for k in order], grid, tuple(remarks))


def _images(folder: Path, *, skip_damaged: bool) -> Iterator[DicomFile]:
    """The DICOM images directly in a folder, by name."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    except OSError as error:
        raise ImageError(f"{folder} cannot be opened: {error.strerror}; check its permissions") from error
    for path in paths:
        if not is_dicom(path):
            continue
        try:
            file = open_dicom(path)
        except ImageError:
            if skip_damaged:
                continue
            raise
        if is_image(file):
            yield file


def _slices(files: Sequence[DicomFile]) -> list[_Slice | _Unplaced]:
    return [one for one in map(_sliced, files) if one is not None]


def _sliced(file: DicomFile) -> _Slice | _Unplaced | None:
    """Where the one frame of a file lies; None for a file of several."""
    if frame_count(file) > 1:
        return None
    plane, missing = plane_of(file, 0, items(file.dataset, "PerFrameFunctionalGroupsSequence"))
    return _Unplaced(file, tuple(missing)) if plane is None else _Slice(file, plane)


def _by_series(slices: Sequence[_Slice | _Unplaced]) -> dict[str, list[_Slice | _Unplaced]]:
    """The slices by SeriesInstanceUID; as one series where each has one of its own and they make one stack."""
    series: dict[str, list[_Slice | _Unplaced]] = {}
    for one in slices:
        series.setdefault(text(one.file.dataset, "SeriesInstanceUID"), []).append(one)
    if len(series) == len(slices) and not _why_not_one_volume(slices):
        return {next(iter(series)): list(slices)}
    return series


def _why_not_one_volume(slices: Sequence[_Slice | _Unplaced]) -> str:
    """Why slices of several series are not plainly one volume; empty where they are.

    They are if they share study and frame of reference, and make one straight Grid.
    """
    planes = [one.plane for one in slices if isinstance(one, _Slice)]
    if len(planes) < len(slices):
        return "some do not state their position"
    if len(planes) < 3:
        return "there are fewer than three"
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID"):
        uids = {text(one.file.dataset, keyword) for one in slices}
        if len(uids) > 1 or not all(uids):
            return f"they do not share a {keyword}"
    try:
        stacked(planes, "the slices", lambda: _differing(slices))
    except ImageError as error:
        return str(error).split(";")[0]
    return ""


def _without_localizers(slices: Sequence[_Slice], folder: Path) -> tuple[list[_Slice], list[str]]:
    """The slices without the few localizers of another orientation, and a remark that names these."""
    groups: list[list[_Slice]] = []
    for one in slices:
        for group in groups:
            first = group[0].plane
            if first.shape == one.plane.shape and same_orientation(first.orientation, one.plane.orientation):
                group.append(one)
                break
        else:
            groups.append([one])
    groups.sort(key=len, reverse=True)
    main, others = groups[0], [one for group in groups[1:] for one in group]
    if not others or len(main) <= max(2, len(others)):
        return list(slices), []
    few = len(others) <= _FEW
    unexplained = [one for one in others if not (_is_localizer(one) or (few and _is_turned(one, main[0], folder)))]
    if unexplained:
        raise ImageError(
            f"{folder}: the slices differ in orientation, size or spacing ({described(unexplained[0].plane)}; "
            f"{described(main[0].plane)}); keep only those of one volume"
        )
    named = ", ".join(one.file.path.name for one in others[:5]) + (", ..." if len(others) > 5 else "")
    return main, [f"{folder}: left out {named}: {'localizers' if len(others) > 1 else 'a localizer'} beside the volume"]


def _is_localizer(one: _Slice) -> bool:
    return "LOCALIZER" in text(one.file.dataset, "ImageType").upper()


def _is_turned(one: _Slice, other: _Slice, folder: Path) -> bool:
    """Whether two slices lie in planes that are far from parallel."""
    normals = [axes_of(plane.orientation, f"{folder}: {plane.name}")[:, 2] for plane in (one.plane, other.plane)]
    return abs(float(normals[0] @ normals[1])) < 0.9


def _without_copies(slices: Sequence[_Slice], folder: Path) -> tuple[list[_Slice], list[str]]:
    """Each slice once: files at one place with the same pixels are copies of one."""
    places = places_along([one.plane for one in slices], str(folder))
    order = sorted(
        range(len(slices)), key=lambda k: (places[k], len(slices[k].file.path.name), slices[k].file.path.name)
    )
    kept: list[int] = []
    copies: list[str] = []
    for k in order:
        originals = [j for j in kept[-8:] if places[k] - places[j] < SAME_PLACE and _is_copy(slices[j], slices[k])]
        if originals:
            copies.append(f"{slices[k].file.path.name} of {slices[originals[0]].file.path.name}")
        else:
            kept.append(k)
    if not copies:
        return list(slices), []
    named = ", ".join(copies[:3]) + (", ..." if len(copies) > 3 else "")
    return [slices[k] for k in sorted(kept)], [
        f"{folder}: left out {len(copies)} {'copy' if len(copies) == 1 else 'copies'} of slices ({named})"
    ]


def _is_copy(one: _Slice, other: _Slice) -> bool:
    if one.file.length != other.file.length or one.file.syntax != other.file.syntax:
        return False
    if any(text(one.file.dataset, name) != text(other.file.dataset, name) for name in (*_SCALES, *_DIFFERENCES[:7])):
        return False
    return _digest(one.file) == _digest(other.file)


_SCALES = ("RescaleSlope", "RescaleIntercept", "PhotometricInterpretation", "PixelRepresentation", "BitsStored")


def _digest(file: DicomFile) -> bytes:
    return hashlib.sha256(file.bytes_at(file.start, file.length)).digest()


def _differing(slices: Sequence[_Slice | _Unplaced]) -> str:
    """What slices differ in that may lie at one place, with the values."""
    for keyword in _DIFFERENCES:
        values = list(dict.fromkeys(text(one.file.dataset, keyword) for one in slices))
        if 1 < len(values) <= max(2, len(slices) // 2):
            return f"{keyword} {', '.join(values[:8])}"
    return "times or echoes"


def _series_name(slices: Sequence[_Slice | _Unplaced]) -> str:
    return repr(text(slices[0].file.dataset, "SeriesDescription") or "without a description")
