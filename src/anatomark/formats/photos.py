"""Pictures that ITK reads wrongly or not at all: palettes, one bit, grey with alpha, print colours."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anatomark.errors import ImageError

_KINDS = ("PNG", "JPEG", "TIFF", "BMP")  # Pillow knows more, by the content alone: for PostScript it starts a program
_ODD = ("1", "P", "PA", "LA", "La", "CMYK")


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


def read_odd(picture: Any, path: Path) -> NDArray[np.uint8]:
    """Grey values (rows, columns) of a Pillow image, which is closed."""
    try:
        with picture:
            return np.asarray(picture.convert("L"))
    except (OSError, ValueError, SyntaxError) as error:
        raise ImageError(f"{path} is cut short or damaged ({error}); copy or export it again") from error
