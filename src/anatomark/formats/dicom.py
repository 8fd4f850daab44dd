"""DICOM: a single file (2D, or a multi-frame volume) and a folder that holds one series (3D)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Grid
from anatomark.errors import ImageError
from anatomark.formats import itk
from anatomark.formats.header import Header

SUFFIXES = (".dcm", ".dicom", ".ima")
_IO = "GDCMImageIO"
_POSITION, _ORIENTATION, _DESCRIPTION = "0020|0032", "0020|0037", "0008|103e"
# PixelSpacing is calibrated; the others are lengths at the detector (CR, DX) or on the scanned film
_PLANE_SPACINGS = ("0028|0030", "0018|1164", "0018|2010")
# SOP classes whose frames are the slices of a volume; the frames of others (XA, US) are a film
_VOLUMES = tuple(
    "1.2.840.10008.5.1.4.1.1." + end
    for end in ("2.1", "2.2", "4.1", "4.4", "128.1", "130", "13.1.1", "13.1.2", "13.1.3", "481.2")
)


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, by its ending or by its first bytes."""
    if path.name.upper() == "DICOMDIR":
        return False
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def read_header(path: Path) -> Header:
    """The Header of a DICOM file or of the one series in a folder (which is read whole). Raises `ImageError`."""
    return Header(read_series(path)[1] if path.is_dir() else _file_grid(itk.header(path, _IO), path))


def read(path: Path) -> tuple[NDArray[Any], Header]:
    """Grey values (*spatial) and Header of a DICOM file or of the one series in a folder. Raises `ImageError`."""
    array, grid = read_series(path) if path.is_dir() else read_file(path)
    return array, Header(grid)


def read_file(path: Path) -> tuple[NDArray[Any], Grid]:
    """Grey values and Grid of a single DICOM file: 2D for one frame, 3D for a multi-frame volume.

    MONOCHROME1 (low is bright) comes turned round from GDCM, so bright is always high. The spacing of a
    projection is that at the detector where the file holds no calibrated one.
    """
    reader = itk.header(path, _IO)
    grid = _file_grid(reader, path)
    image, array = itk.voxels(reader, path)
    array = itk.to_grey(array, image.GetNumberOfComponentsPerPixel(), path)
    return array.reshape(grid.shape), grid


def stacks(folder: Path) -> dict[str, list[Path]]:
    """{series: files} of the series in a folder that have two or more positioned slices."""
    return {
        series: files
        for series, files in _series(folder).items()
        if len(files) > 1 and _has(itk.header(files[0], _IO), _POSITION)
    }


def read_series(folder: Path) -> tuple[NDArray[Any], Grid]:
    """Grey values and Grid of the one series in `folder`; slices in the order of their position.

    Raises `ImageError` for no series, several series, and slices that are not evenly spaced on one straight
    line.
    """
    import SimpleITK as sitk

    series = _series(folder)
    if not series:
        raise ImageError(f"{folder} holds no DICOM series; give an image file or a folder with one series")
    if len(series) > 1:
        held = "; ".join(f"{_describe(files[0])} ({len(files)} files, {name})" for name, files in series.items())
        raise ImageError(f"{folder} holds {len(series)} DICOM series, wanted one; put each in its own folder: {held}")
    files = next(iter(series.values()))
    if len(files) == 1:
        return read_file(files[0])
    files, grid = _stack_grid(files, folder)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(file) for file in files])
    reader.SetImageIO(_IO)
    image, array = itk.voxels(reader, folder)
    return itk.to_grey(array, image.GetNumberOfComponentsPerPixel(), folder), grid


def _series(folder: Path) -> dict[str, list[Path]]:
    import SimpleITK as sitk

    with itk.silent():
        ids = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
        names = {i: sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), i) for i in ids}
    return {i: [Path(name) for name in files] for i, files in names.items()}


def _stack_grid(files: list[Path], folder: Path) -> tuple[list[Path], Grid]:
    """The files in the order of their position, and the Grid of the stack."""
    readers = [itk.header(file, _IO) for file in files]
    for file, reader in zip(files, readers, strict=True):
        if len(_numbers(reader, _POSITION)) != 3 or len(_numbers(reader, _ORIENTATION)) != 6:
            raise ImageError(
                f"{file} does not say where its slice lies (ImagePositionPatient), so {folder} is no volume; "
                "give its files one by one"
            )
    orientation = np.array([_numbers(r, _ORIENTATION) for r in readers])  # (n, 6)
    size = [r.GetSize()[:2] for r in readers]
    spacing = [_plane_spacing(r) for r in readers]
    if np.abs(orientation - orientation[0]).max() > 1e-3 or len(set(size)) > 1 or len(set(spacing)) > 1:
        raise ImageError(f"{folder}: the slices differ in orientation, size or spacing; keep only those of one volume")
    if spacing[0] is None:
        raise ImageError(f"{folder}: the slices do not state their PixelSpacing; export them again")
    row, column = orientation[0, :3], orientation[0, 3:]
    normal = np.cross(row, column)
    positions = np.array([_numbers(r, _POSITION) for r in readers])  # (n, 3)
    order = np.argsort(positions @ normal, kind="stable")
    files, positions = [files[k] for k in order], positions[order]
    steps = np.diff(positions @ normal)
    step = float(np.mean(steps))
    if steps.min() < 1e-3:
        raise ImageError(f"{folder} has several slices at one place (times or echoes); keep one of each")
    worst = int(np.abs(steps - np.median(steps)).argmax())
    if abs(steps[worst] - np.median(steps)) > 0.05 * np.median(steps):
        raise ImageError(
            f"{folder}: slices are not evenly spaced ({steps[worst]:.3f} mm between {files[worst].name} and "
            f"{files[worst + 1].name}, {np.median(steps):.3f} mm elsewhere); add what is missing or resample"
        )
    straight = positions[0] + np.arange(len(files))[:, None] * step * normal
    drift = np.abs((positions - straight) @ np.stack([row, column], axis=1)).max()
    if drift > 0.5 * min(spacing[0]):
        raise ImageError(
            f"{folder}: the slices slide sideways by up to {drift:.2f} mm (gantry tilt); resample it first"
        )
    columns, rows = size[0]
    grid = Grid.from_geometry(
        (len(files), rows, columns),
        spacing=(*spacing[0], step),
        origin=positions[0].tolist(),
        direction=np.stack([row, column, normal], axis=1),
    )
    return files, grid


def _file_grid(reader: Any, path: Path) -> Grid:
    shape, terms = itk.geometry(reader)
    if len(shape) == 3 and shape[0] > 1:
        stated = any(_has(reader, tag) for tag in ("0018|0088", "3004|000c"))
        if not stated and _text(reader, "0008|0016") not in _VOLUMES:
            raise ImageError(f"{path} holds {shape[0]} frames of a film, not a volume; give single frames")
        return Grid.from_geometry(shape, **terms)
    shape = shape[-2:]
    spacing = _plane_spacing(reader)
    if spacing is None:
        return Grid.from_geometry(shape, spacing=(1, 1), unit="px")
    direction = np.asarray(terms["direction"]).reshape(3, 3)
    # a slice across the body keeps its place; the plane of any other has no x and y of its own in the patient
    axial = _has(reader, _POSITION) and abs(abs(direction[2, 2]) - 1) < 1e-6
    place = {"origin": terms["origin"][:2], "direction": direction[:2, :2]} if axial else {}
    return Grid.from_geometry(shape, spacing=spacing, **place)


def _plane_spacing(reader: Any) -> tuple[float, float] | None:
    """Spacing (x, y) in mm; the tags hold rows first, that is y, x."""
    for tag in _PLANE_SPACINGS:
        if _has(reader, tag):
            values = _numbers(reader, tag)
            if len(values) == 2 and min(values) > 0:
                return values[1], values[0]
    return None


def _describe(path: Path) -> str:
    return repr(_text(itk.header(path, _IO), _DESCRIPTION) or "without a description")


def _has(reader: Any, tag: str) -> bool:
    return reader.HasMetaDataKey(tag) and bool(_text(reader, tag))


def _text(reader: Any, tag: str) -> str:
    return reader.GetMetaData(tag).strip(" \0") if reader.HasMetaDataKey(tag) else ""


def _numbers(reader: Any, tag: str) -> list[float]:
    try:
        return [float(part) for part in _text(reader, tag).split("\\")]
    except ValueError:
        return []
