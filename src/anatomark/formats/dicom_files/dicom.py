"""DICOM: a single file (2D, or a multi-frame volume) and a folder that holds one series (3D).

pydicom reads the headers, after `dicom_file` has followed the lengths in them; `dicom_pixels` says who decodes what.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from anatomark.core.grid import Grid
from anatomark.errors import ImageError
from anatomark.formats.dicom_files.dicom_attributes import items
from anatomark.formats.dicom_files.dicom_file import (
    SUFFIXES,
    DicomFile,
    declared_numbers,
    frame_count,
    is_dicom,
    open_dicom,
)
from anatomark.formats.dicom_files.dicom_frames import plane_of, volume
from anatomark.formats.dicom_files.dicom_pixels import Pixels
from anatomark.formats.dicom_files.dicom_series import Stack, is_stack, read_stack
from anatomark.formats.dicom_files.dicom_slices import axes_of, grid_of
from anatomark.formats.dicom_files.dicom_spacing import plane_spacing
from anatomark.formats.dicom_files.dicom_values import Frame, grey_values
from anatomark.formats.header import Header

__all__ = ["SUFFIXES", "declared_numbers", "is_dicom", "is_stack", "read", "read_header"]


def read_header(path: Path) -> Header:
    """The Header of a DICOM file or of the one series in a folder; no pixel is decoded. Raises `ImageError`."""
    return _placed(path)[1]


def read(path: Path) -> tuple[NDArray[Any], Header]:
    """Grey values (*spatial) and Header of a DICOM file or of the one series in a folder. Raises `ImageError`.

    A single frame is 2D, several frames or slices are 3D in the order of their position. Bright is high.
    """
    frames, header = _placed(path)
    array, remarks = grey_values(frames)
    return array.reshape(header.grid.shape), Header(header.grid, (*header.remarks, *remarks))


def _placed(path: Path) -> tuple[list[Frame], Header]:
    """The frames of an image in the order of its slices, and its Header; nothing is decoded yet."""
    image = read_stack(path) if path.is_dir() else open_dicom(path)
    if isinstance(image, Stack):
        frames = [Frame(Pixels(file), 0) for file in image.files]
        if len({frame.pixels.is_grey for frame in frames}) > 1:
            raise ImageError(f"{path}: some slices are grey and some have colours; keep only those of one volume")
        return frames, Header(image.grid, image.remarks)
    pixels = Pixels(image)
    if frame_count(image) == 1:
        return [Frame(pixels, 0)], _single(image)
    order, grid, remarks = volume(image)
    return [Frame(pixels, int(index)) for index in order], Header(grid, remarks)


def _single(file: DicomFile) -> Header:
    """The Header of an image of one frame, which is 2D."""
    shape = Pixels(file).shape
    spacing, remarks = plane_spacing(file)
    if spacing is None:
        return Header(Grid.without_spacing(shape), remarks)
    plane, _ = plane_of(file, 0, items(file.dataset, "PerFrameFunctionalGroupsSequence"))
    origin, direction = None, None
    if plane is not None:
        axes = axes_of(plane.orientation, str(file.path))
        # a slice across the body keeps its place; the plane of any other has no x and y of its own in the patient
        if abs(abs(axes[2, 2]) - 1) < 1e-6:
            origin, direction = plane.position[:2], axes[:2, :2]
    return Header(grid_of(str(file.path), shape, spacing=spacing[::-1], origin=origin, direction=direction), remarks)
