"""The layout of the cephalometric X-ray challenges (ISBI 2014, 2015): AnnotationsByMD/400_senior/001.txt.

Each file has 19 lines `x,y`, in pixels of the original image (1935 x 2400), then lines with the classes of
the clinical analysis, which are passed over. The challenge does not say where a pixel's centre lies;
coordinates are taken as 0-based with centres at whole numbers, column then row, as they come. If they were
1-based, points would be off by one original pixel, 0.1 mm, less than what two readers differ by.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from anatomark.core.landmarks import State
from anatomark.errors import LandmarkFileError
from anatomark.formats.frames import FilePoints, settle_frame
from anatomark.formats.landmark_format import GridOf, Head, LandmarkFormat
from anatomark.formats.landmark_table import LandmarkTable
from anatomark.formats.placements import points_table
from anatomark.formats.text import number, read_text

NAMES = (
    "sella",
    "nasion",
    "orbitale",
    "porion",
    "subspinale_A",
    "supramentale_B",
    "pogonion",
    "menton",
    "gnathion",
    "gonion",
    "lower_incisor_tip",
    "upper_incisor_tip",
    "upper_lip",
    "lower_lip",
    "subnasale",
    "soft_tissue_pogonion",
    "posterior_nasal_spine",
    "anterior_nasal_spine",
    "articulare",
)
SPACING = (0.1, 0.1)  # mm, of the original images; their files do not state it


def read_cephalometric(path: str | Path, names: Sequence[str] = NAMES) -> FilePoints:
    """The landmarks of a challenge file in pixel coordinates, called `names` in the order of its lines."""
    path = Path(path)
    lines = read_text(path, "a file of the challenge").splitlines()
    rows: list[list[float]] = []
    for at, line in enumerate(lines, start=1):
        cells = line.split(",")
        if len(cells) != 2:
            break
        try:
            row = [number(cell) for cell in cells]
        except ValueError:
            row = [np.nan]
        if not np.isfinite(row).all():
            raise LandmarkFileError(f"{path}, line {at}: {line!r} is not x,y; correct the line")
        rows.append(row)
    rest = [line.strip() for line in lines[len(rows) :] if line.strip()]
    if len(rows) != len(names) or any("," in line or "." in line for line in rest):
        raise LandmarkFileError(
            f"{path} has {len(rows)} lines x,y, expected {len(names)}; give a file of the challenge"
        )
    states = np.full(len(rows), State.PRESENT, dtype=np.uint8)
    return FilePoints(tuple(names), np.array(rows), states, "pixel", "px")


def _recognises(head: Head) -> bool:
    first = next((line for line in head.lines if line.strip()), "")
    return head.name.endswith(".txt") and re.fullmatch(r"\s*-?[0-9.]+\s*,\s*-?[0-9.]+\s*", first) is not None


def _read(path: Path, *, frame: str | None, grid_of: GridOf) -> LandmarkTable:
    settle_frame("pixel", frame, path)
    return points_table(read_cephalometric(path))


CEPHALOMETRIC = LandmarkFormat(
    name="isbi",
    title="cephalometric challenge ISBI 2014/2015 (.txt)",
    endings=(".txt",),
    recognises=_recognises,
    read=_read,
    frame="pixel",
    missing="has none: every point is there",
)
