"""How a picture is stored turned, as EXIF and TIFF count it (1 to 8), and how it comes upright."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anatomark.errors import ImageError
from anatomark.formats.picture_files import tiff_tags

UPRIGHT = 1
_XMP = re.compile(rb"""tiff:Orientation(?:\s*=\s*["']|>)\s*([0-9])""")


def upright(array: NDArray[Any], stored: int) -> NDArray[Any]:
    """Pixels (rows, columns) as people see them, from those that are stored in orientation `stored`.

    The eight orientations say on which side of the picture the first row and the first column lie: top left (1), top
    right, bottom right, bottom left, left top (5: rows and columns exchanged), right top, right bottom, left bottom.
    """
    if stored >= 5:
        array = array.T
    if stored in (3, 4, 7, 8):
        array = array[::-1]
    if stored in (2, 3, 6, 7):
        array = array[:, ::-1]
    return np.ascontiguousarray(array)


def upright_shape(shape: tuple[int, int], stored: int) -> tuple[int, int]:
    """(rows, columns) as people see them, of a picture that is stored so."""
    return (shape[1], shape[0]) if stored >= 5 else shape


def known(value: object) -> int:
    """The orientation 1 to 8; 1 for what is none: viewers pass over such a tag."""
    return value if isinstance(value, int) and 1 <= value <= 8 else UPRIGHT


def in_exif(exif: bytes) -> int | None:
    """The orientation in a block of EXIF, None where it says none or cannot be read, which viewers pass over."""
    while exif.startswith(b"Exif\0\0"):
        exif = exif[6:]
    try:
        first = next(tiff_tags.directories(io.BytesIO(exif), "the EXIF block"), None)
    except ImageError:
        return None
    values = first.get(tiff_tags.ORIENTATION) if first is not None else None
    return known(values[0]) if values else None


def in_xmp(xmp: bytes) -> int | None:
    """The orientation in a block of XMP, None where it says none."""
    found = _XMP.search(xmp)
    return known(int(found[1])) if found else None
