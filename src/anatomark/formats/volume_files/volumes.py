"""Volumes, and pictures with a geometry: NIfTI, NRRD and MetaImage, told apart by what they hold.

A page is one slice of a stack of pictures, such as of many X-rays in one file: a 2D image of its own.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Grid
from anatomark.errors import ImageError
from anatomark.formats.header import Header
from anatomark.formats.volume_files import meta_image, nifti, nrrd
from anatomark.formats.volume_files.nifti_header import begins_as_nifti, header_file
from anatomark.formats.volume_files.packed import first_bytes, is_gzipped

SUFFIXES = (*nifti.SUFFIXES, *nrrd.SUFFIXES, *meta_image.SUFFIXES)
_HEAD = 1 << 12


def read_header(path: Path, page: int | None = None) -> Header:
    """Where the voxels of a file, or of one of its pages (from 1), lie; from its header alone. Raises `ImageError`."""
    header = _kind(path).read_header(path)
    return header if page is None else of_page(header, page, path)


def read(path: Path, page: int | None = None) -> tuple[NDArray[Any], Header]:
    """Grey values (*spatial) and Header of a file, or of one of its pages (from 1). Raises `ImageError`."""
    kind = _kind(path)
    if page is None:
        return kind.read(path)
    whole = kind.read_header(path)
    header = of_page(whole, page, path)
    array, _ = kind.read(path, page if whole.grid.ndim == 3 else None)
    return np.ascontiguousarray(array).reshape(header.grid.shape), header


def of_page(header: Header, page: int, path: Path) -> Header:
    """The Header of a page (from 1) of a stack, which lies on its own plane: no page is above another.

    A spacing of exactly 1 along each axis is what programs write that were told none: the page is then in px.
    """
    grid = header.grid
    if grid.ndim == 2:
        if page != 1:
            raise ImageError(f"{path} has 1 page, page {page} was requested; count them from 1")
        return header
    pages = grid.shape[0]
    if not 1 <= page <= pages:
        raise ImageError(f"{path} has {pages} pages, page {page} was requested; count them from 1")
    spacing = grid.spacing[:0:-1]
    if grid.unit == "px" or np.allclose(grid.spacing, 1.0, rtol=0, atol=1e-9):
        return Header(Grid.without_spacing(grid.shape[1:]), pages=pages)
    return Header(Grid.from_geometry(grid.shape[1:], spacing=spacing), pages=pages)


def is_header_of_pair(path: Path) -> bool:
    """Whether a file named .hdr begins as a NIfTI header; other programs use that name as well."""
    try:
        return begins_as_nifti(first_bytes(path, _HEAD))
    except (OSError, ImageError):
        return False


def _kind(path: Path) -> ModuleType:
    """The module that reads `path`, by its content. Raises `ImageError` where none does."""
    name = path.name.lower()
    head = first_bytes(header_file(path), _HEAD)
    if begins_as_nifti(head):
        return nifti
    packed = is_gzipped(path)
    is_nrrd, is_meta = head.startswith(b"NRRD"), meta_image.begins_as_meta_image(head)
    if packed and (is_nrrd or is_meta):
        raise ImageError(f"{path} is gzipped as a whole; unpack it (gunzip), or write NRRD or MetaImage that compress")
    if is_nrrd:
        return nrrd
    if is_meta and name.endswith(meta_image.SUFFIXES):
        return meta_image
    if is_meta:
        raise ImageError(f"{path} is a MetaImage by its content; name it .mha, or .mhd where its voxels are elsewhere")
    if name.endswith(nifti.SUFFIXES):
        return nifti  # which says what is wrong with it
    kind = "an NRRD" if name.endswith(nrrd.SUFFIXES) else "a MetaImage"
    raise ImageError(f"{path} is not {kind} file, despite its name: it cannot be read; correct its ending")
