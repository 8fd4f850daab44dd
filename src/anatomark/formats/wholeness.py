"""What ITK passes over in silence: NIfTI, JPEG and BMP files cut short, and NaN or infinite voxels of NIfTI files."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anatomark.errors import ImageError

FLOATS = (16, 64)  # NIfTI's codes of 32 and 64 bit floating-point voxels


@dataclass(frozen=True)
class NiftiHeader:
    """What is wanted of a NIfTI-1 or -2 header: file size and start of the voxels in bytes (uncompressed), number of
    dimensions, pixdim[1:], and the voxels' type where it is a floating-point one."""

    size: int
    ndim: int
    pixdim: tuple[float, ...]
    offset: int
    floats: np.dtype | None


def require_whole(path: Path) -> None:
    """Raises `ImageError` if a NIfTI, JPEG or BMP file ends before its image does; ITK checks other kinds."""
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        _require_whole_nifti(path)
        return
    with open(path, "rb") as file:
        magic = file.read(2)
    if magic == b"\xff\xd8":
        data = path.read_bytes()
        # FF D9 ends an image, FF DA opens its last scan; inside a scan FF is followed by 00 or a restart
        if data.find(b"\xff\xd9", max(data.rfind(b"\xff\xda"), 0)) < 0:
            raise ImageError(_cut(path))
    elif magic == b"BM":
        _require_whole_bmp(path)


def nifti_header(path: Path) -> NiftiHeader | None:
    """The header of a .nii or .nii.gz; None where it is of another kind (a pair of .hdr and .img)."""
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    try:
        with opened(path, "rb") as file:
            head = file.read(540)
    except (OSError, EOFError, zlib.error) as error:
        raise ImageError(_cut(path)) from error
    for order in "<>":
        if len(head) >= 348 and struct.unpack(order + "i", head[:4])[0] == 348:
            dim = struct.unpack(order + "8h", head[40:56])
            code, bits = struct.unpack(order + "2h", head[70:74])
            pixdim = struct.unpack(order + "8f", head[76:108])
            offset = struct.unpack(order + "f", head[108:112])[0]
            break
        if len(head) >= 540 and struct.unpack(order + "i", head[:4])[0] == 540:
            dim = struct.unpack(order + "8q", head[16:80])
            code, bits = struct.unpack(order + "2h", head[12:16])
            pixdim = struct.unpack(order + "8d", head[104:168])
            offset = struct.unpack(order + "q", head[168:176])[0]
            break
    else:
        if len(head) < 348:
            raise ImageError(_cut(path))
        return None
    if not 1 <= dim[0] <= 7:
        raise ImageError(f"{path} is damaged: its NIfTI header speaks of {dim[0]} dimensions; export it again")
    if not math.isfinite(offset):
        raise ImageError(f"{path} is damaged: its NIfTI header says that voxels begin at {offset}; export it again")
    used = dim[1 : dim[0] + 1]
    size = int(offset) + math.prod(max(n, 1) for n in used) * bits // 8
    floats = np.dtype(f"{order}f{bits // 8}") if code in FLOATS else None
    return NiftiHeader(size, dim[0], pixdim[1 : dim[0] + 1], int(offset), floats)


def not_finite(path: Path) -> NDArray[np.bool_] | None:
    """Which voxels of a NIfTI file, in file order, are NaN or infinite: ITK reads them as 0. None where no voxel is."""
    header = nifti_header(path)
    if header is None or header.floats is None:
        return None
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    with opened(path, "rb") as file:
        file.seek(header.offset)
        voxels = np.frombuffer(file.read(header.size - header.offset), dtype=header.floats)
    bad = ~np.isfinite(voxels)
    return bad if bad.any() else None


def _require_whole_nifti(path: Path) -> None:
    header = nifti_header(path)
    if header is None:
        return
    if not path.name.lower().endswith(".gz"):
        if path.stat().st_size < header.size:
            raise ImageError(_cut(path))
        return
    with open(path, "rb") as file:
        file.seek(-4, 2)
        if struct.unpack("<I", file.read(4))[0] == header.size % 2**32:
            return  # the length that gzip wrote last is there: a file cut short does not end with it
    held = 0
    try:  # several gzip members, or padding: count
        with gzip.open(path, "rb") as file:
            while block := file.read(1 << 22):
                held += len(block)
    except (OSError, EOFError, zlib.error) as error:
        raise ImageError(_cut(path)) from error
    if held < header.size:
        raise ImageError(_cut(path))


def _require_whole_bmp(path: Path) -> None:
    with open(path, "rb") as file:
        head = file.read(34)
    if len(head) < 34:
        raise ImageError(_cut(path))
    offset, width, height = struct.unpack("<I4xii", head[10:26])
    bits, compression = struct.unpack("<HI", head[28:34])
    row = (width * bits + 31) // 32 * 4
    if compression == 0 and path.stat().st_size < offset + row * abs(height):
        raise ImageError(_cut(path))


def _cut(path: Path) -> str:
    return f"{path} is cut short or damaged: it ends before its image does; copy or export it again"
