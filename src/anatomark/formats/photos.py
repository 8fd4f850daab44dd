"""Pictures: PNG, JPEG, TIFF, BMP; 2D, and without a spacing, for their density speaks of printing.

ITK reads most; Pillow those that ITK reads wrongly or not at all: palettes, one bit, grey with alpha, print colours.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Grid
from anatomark.errors import ImageError
from anatomark.formats import itk
from anatomark.formats.header import Header, Orientation
from anatomark.formats.wholeness import require_whole

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
_KINDS = ("PNG", "JPEG", "TIFF", "BMP")  # Pillow knows more, by the content alone: for PostScript it starts a program
_ODD = ("1", "P", "PA", "LA", "La", "CMYK")


def read_header(path: Path, orientation: Orientation = "shown") -> Header:
    """The Header of a picture, its pixels not read. Raises `ImageError`."""
    if picture := odd(path):
        with picture:
            return Header(Grid.without_spacing(picture.size[::-1]))
    return _header(itk.header(path))


def read(path: Path, orientation: Orientation = "shown") -> tuple[NDArray[Any], Header]:
    """Grey values (rows, columns) and Header of a picture. Raises `ImageError`."""
    if picture := odd(path):
        array = _read_odd(picture, path)
        return array, Header(Grid.without_spacing(array.shape))
    require_whole(path)
    reader = itk.header(path)
    header = _header(reader)
    image, array = itk.voxels(reader, path)
    array = itk.to_grey(array, image.GetNumberOfComponentsPerPixel(), path)
    return array.reshape(header.grid.shape), header


def _header(reader: Any) -> Header:
    shape, _ = itk.geometry(reader)
    return Header(Grid.without_spacing(shape[-2:] if shape[0] == 1 else shape))


def odd(path: Path) -> Any | None:
    """The Pillow image of such a picture, its pixels not yet read; None for one that ITK reads."""
    import PIL.Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its size and its faults are judged on reading
            picture = PIL.Image.open(path, formats=_KINDS)
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError):
        return None
    if picture.mode in _ODD and getattr(picture, "n_frames", 1) == 1:
        return picture
    picture.close()
    return None


def _read_odd(picture: Any, path: Path) -> NDArray[np.uint8]:
    """Grey values (rows, columns) of a Pillow image, which is closed."""
    try:
        with picture:
            return np.asarray(picture.convert("L"))
    except (OSError, ValueError, SyntaxError) as error:
        raise ImageError(f"{path} is cut short or damaged ({error}); copy or export it again") from error
