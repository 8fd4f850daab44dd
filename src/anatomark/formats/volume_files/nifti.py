"""NIfTI-1 and -2, one file or a pair, gzipped or not: its numbers, and where they lie."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Grid
from anatomark.errors import ImageError
from anatomark.formats import itk
from anatomark.formats.header import Header
from anatomark.formats.volume_files.nifti_header import TYPES, NiftiHeader, nifti_header, number_type
from anatomark.formats.volume_files.nifti_placement import placed
from anatomark.formats.volume_files.packed import first_bytes, packing_of, read_bytes

SUFFIXES = (".nii.gz", ".nii", ".hdr", ".img")
_WORTH_IT = 1 << 20  # bytes


def read_header(path: Path) -> Header:
    """Where the voxels of a file lie, from its header alone. Raises `ImageError`."""
    return _header(nifti_header(path), path)


def read(path: Path, page: int | None = None) -> tuple[NDArray[Any], Header]:
    """Numbers (*spatial) and Header of a file; of one slice (1, rows, columns) where a `page` (from 1) is wanted.

    The Header is the whole file's. Slope and intercept are applied; NaN stays NaN. Raises `ImageError`.
    """
    nifti = nifti_header(path)
    header = _header(nifti, path)
    dtype = number_type(nifti, path)
    shape = nifti.dim[::-1]
    start, count = nifti.offset, math.prod(shape)
    if page is not None:
        shape = (1, *shape[1:])
        count = math.prod(shape)
        start += (page - 1) * count * dtype.itemsize * (nifti.components if nifti.interleaved else 1)
    size = count * nifti.components * dtype.itemsize
    packing = packing_of(nifti.voxels)
    array = None
    if page is None and packing == "gzip" and size >= _WORTH_IT and dtype.isnative and nifti.components == 1:
        array = _by_itk(path, nifti)
    if array is None:
        array = read_bytes(nifti.voxels, start, size, packing=packing, page=page is not None).view(dtype)
        array = array.astype(dtype.newbyteorder("="), copy=False)
    if nifti.components == 1:
        return _scaled(array.reshape(shape), nifti), header
    if nifti.interleaved:
        array = array.reshape(*shape, nifti.components)
    else:
        array = np.moveaxis(array.reshape(nifti.components, *shape), 0, -1)
    return itk.grey_of(array, nifti.components, path), header


def _by_itk(path: Path, nifti: NiftiHeader) -> NDArray[Any] | None:
    """The stored numbers as ITK reads them, whose zlib is some three times as fast as Python's.

    Only where they are exactly what the file holds, by gzip's checksum; else None. ITK refuses some files, applies
    slopes, makes 0 of NaN and reads on where a file has been cut short.
    """
    try:
        array = itk.voxels(itk.header(path, "NiftiImageIO"), path)[1]
    except ImageError:
        return None
    with open(path, "rb") as file:
        file.seek(-8, 2)
        checksum, length = struct.unpack("<2I", file.read(8))
    found = zlib.crc32(array.data, zlib.crc32(first_bytes(path, nifti.offset)))
    return array if (found, nifti.size % 2**32) == (checksum, length) else None


def _header(nifti: NiftiHeader, path: Path) -> Header:
    if len(nifti.dim) not in (2, 3):
        sizes = " x ".join(str(n) for n in nifti.dim)
        raise ImageError(f"{path} is {len(nifti.dim)}D ({sizes}), expected 2D or 3D; split it into single volumes")
    return Header(*placed(nifti, path))


def _scaled(array: NDArray[Any], nifti: NiftiHeader) -> NDArray[Any]:
    """The values that stored numbers stand for: float32 where that holds what is stored exactly, else float64."""
    slope, inter = nifti.scale
    if not math.isfinite(slope) or slope == 0 or (slope, inter) == (1, 0):
        return array
    dtype = np.float32 if array.dtype.itemsize <= 2 or array.dtype == np.float32 else np.float64
    scaled = array.astype(np.float64)
    scaled *= slope
    if math.isfinite(inter):
        scaled += inter
    return scaled.astype(dtype, copy=False)


def write_sheared(array: NDArray[Any], grid: Grid, path: Path, *, compressed: bool) -> None:
    """Writes NIfTI-1 with the sform alone, which can hold axes that are not at right angles; ITK writes none such."""
    kinds = {np.dtype(kind): code for code, kind in TYPES.items() if code not in (128, 2304)}
    head = bytearray(352)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ grid.affine[:, [2, 1, 0, 3]]
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, 3, *array.shape[::-1], 1, 1, 1, 1)
    struct.pack_into("<2h", head, 70, kinds[array.dtype], array.dtype.itemsize * 8)
    struct.pack_into("<8f", head, 76, 1, *grid.spacing[::-1], 0, 0, 0, 0)
    struct.pack_into("<3f", head, 108, 352, 1, 0)
    struct.pack_into("<B", head, 123, 2)
    struct.pack_into("<2h", head, 252, 0, 1)
    struct.pack_into("<12f", head, 280, *affine[:3].ravel())
    head[344:348] = b"n+1\0"
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    with gzip.open(path, "wb", compresslevel=6) if compressed else open(path, "wb") as file:
        file.write(bytes(head))
        file.write(little.data.cast("B"))
