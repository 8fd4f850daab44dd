"""NIfTI, NRRD and MetaImage: volumes, and pictures with a geometry, whose headers say where they lie."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Grid
from anatomark.errors import ImageError
from anatomark.formats import itk
from anatomark.formats.header import Header
from anatomark.formats.wholeness import nifti_header, not_finite, require_whole

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")


def read_header(path: Path) -> Header:
    """Where the voxels of a file lie, from its header alone. Raises `ImageError`."""
    return _header(itk.header(path), path)


def read(path: Path) -> tuple[NDArray[Any], Header]:
    """Grey values (*spatial) and Header of a file. Raises `ImageError`."""
    require_whole(path)
    reader = itk.header(path)
    header = _header(reader, path)
    image, array = itk.voxels(reader, path)
    if path.name.lower().endswith((".nii", ".nii.gz")) and (bad := not_finite(path)) is not None:
        array = np.where(bad.reshape(array.shape), np.nan, array)
    components = image.GetNumberOfComponentsPerPixel()
    if components > 1 and array.dtype.kind == "f":
        raise ImageError(f"{path} holds vectors of {components}, wanted grey values; write one component as an image")
    return itk.to_grey(array, components, path), header


def _header(reader: Any, path: Path) -> Header:
    shape, terms = itk.geometry(reader)
    if len(shape) not in (2, 3):
        sizes = " x ".join(str(n) for n in reversed(shape))
        raise ImageError(f"{path} is {len(shape)}D ({sizes}), wanted 2D or 3D; split it into single volumes")
    if not _states_spacing(path, len(shape)):
        return Header(Grid.without_spacing(shape))
    try:
        return Header(Grid.from_geometry(shape, **terms))
    except ValueError as error:
        raise ImageError(f"{path} has a geometry that cannot be: {error}; export it again") from error


def _states_spacing(path: Path, ndim: int) -> bool:
    """Whether the header speaks of a spacing; ITK alone would say 1 mm."""
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        nifti = nifti_header(path)
        return nifti is None or all(step != 0 and np.isfinite(step) for step in nifti.pixdim[:ndim])
    with open(path, "rb") as file:
        head = file.read(1 << 16)
    if name.endswith((".nrrd", ".nhdr")):
        head = head.split(b"\n\n")[0].split(b"\r\n\r\n")[0].lower()
        spacings = re.search(rb"^spacings:(.*)$", head, re.MULTILINE)
        return b"space directions:" in head or (spacings is not None and b"nan" not in spacings[1])
    return b"ElementSpacing" in head or b"ElementSize" in head
