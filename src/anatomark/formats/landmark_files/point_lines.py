"""Text files with a point a line, and points that have an order but no names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from anatomark.core.grid import Unit
from anatomark.errors import LandmarkFileError
from anatomark.formats.frames import Frame
from anatomark.formats.landmark_table import LandmarkTable
from anatomark.formats.text import number, read_text

NOT_A_NUMBER = ("na", "nan", "n/a", "#n/a", "null")
"""What R, pandas and spreadsheets write, in lower case, where there is no number."""


def numbered_lines(path: Path, expected: str) -> list[tuple[int, str]]:
    """(number in the file, line without white space around it) of each line in which something stands."""
    lines = re.split(r"\r\n|\n|\r", read_text(path, expected))
    return [(k, line.strip()) for k, line in enumerate(lines, start=1) if line.strip()]


def coordinates(cells: Sequence[str], place: str) -> list[float]:
    """The numbers in `cells`; `place` (file and line) begins the line on what is none. Raises `LandmarkFileError`."""
    values: list[float] = []
    for cell in cells:
        try:
            values.append(number(cell))
        except ValueError as error:
            raise LandmarkFileError(f"{place}: {cell!r} is not a coordinate ({error}); correct it") from None
    return values


def unit_of(frame: Frame) -> Unit:
    """The unit of coordinates in a file that names none: px in the pixel frame, else mm."""
    return "px" if frame == "pixel" else "mm"


def ordered_table(points: ArrayLike, frame: Frame, names: Sequence[str] | None = None) -> LandmarkTable:
    """The table of the points (N, d) of one image, called by `names` or, in their order, "1" to "N"."""
    points = np.asarray(points, dtype=float)
    called = [str(k) for k in range(1, len(points) + 1)] if names is None else names
    rows = [("", name, point) for name, point in zip(called, points.tolist(), strict=True)]
    return LandmarkTable.from_rows(rows, frame=frame, unit=unit_of(frame), ndim=points.shape[1])


def without_words(text: str) -> str:
    """The text of a cell, "" where it is a word for no number (NA, NaN)."""
    return "" if text.strip().lower() in NOT_A_NUMBER else text.strip()


def shown(name: str, most: int = 60) -> str:
    """A name out of a file as it may stand in a line: without line ends, and not too long."""
    plain = " ".join(name.split())
    return plain if len(plain) <= most else plain[: most - 3] + "..."
