"""Point sets of MITK (.mps): XML with points by number, in MITK's world, which is ITK's: LPS mm.

The points are kept before the geometry of their time step (`Geometry3D`, the identity in most files), which is applied
here as MITK does on reading. The numbers (`id`) are in the order in which the points were set; names there are none.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from anatomark.core.grid import Floats
from anatomark.errors import LandmarkFileError
from anatomark.formats.frames import settle_frame
from anatomark.formats.header import tell
from anatomark.formats.landmark_files.point_lines import coordinates, ordered_table
from anatomark.formats.landmark_files.xml_file import Element, read_xml
from anatomark.formats.landmark_format import GridOf, Head, LandmarkFormat
from anatomark.formats.landmark_table import LandmarkTable
from anatomark.formats.text import number

_EXPECTED = "a point set (.mps) of MITK"


def _recognises(head: Head) -> bool:
    return "<point_set_file" in head.text


def read_mitk(path: Path, *, frame: str | None, grid_of: GridOf) -> LandmarkTable:
    """The points of the one point set and time step of an .mps, in LPS mm, in the order of their numbers."""
    root = read_xml(path, _EXPECTED)
    if root.tag != "point_set_file":
        raise LandmarkFileError(f"{path} is XML of another kind (<{root.tag[:40]}>); give {_EXPECTED}")
    settle_frame("LPS", frame, f"{path} (MITK point set)")
    steps = [
        step for point_set in root.all("point_set") for step in (list(point_set.all("time_series")) or [point_set])
    ]
    with_points = [step for step in steps if step.first("point") is not None]
    if len(with_points) > 1:
        listed = ", ".join(str(step.line) for step in with_points[:5])
        raise LandmarkFileError(
            f"{path} holds {len(with_points)} point sets or time steps with points (lines {listed}), expected one; "
            "save each in MITK as a file of its own"
        )
    if not with_points:
        return ordered_table(np.empty((0, 3)), "LPS")
    numbered = dict(sorted(_numbered(with_points[0], path).items()))
    if list(numbered) != list(range(len(numbered))):
        tell([f"{path}: the numbers of its points have gaps, as after deleting some; they were taken in their order"])
    return ordered_table(_placed(np.array(list(numbered.values())), with_points[0], path), "LPS")


def _numbered(step: Element, path: Path) -> dict[int, list[float]]:
    """{number: x, y, z} of a time step."""
    found: dict[int, list[float]] = {}
    for point in step.all("point"):
        place = f"{path}, line {point.line}"
        cells = {child.tag: child.text.strip() for child in point.children}
        missing = [tag for tag in ("id", "x", "y", "z") if tag not in cells]
        if missing:
            raise LandmarkFileError(f"{place}: the point has no <{missing[0]}>; save it from MITK again")
        if not cells["id"].isascii() or not cells["id"].isdigit() or len(cells["id"]) > 9:
            raise LandmarkFileError(
                f"{place}: the point's id is {cells['id'][:20]!r}, expected a number; save it again"
            )
        if int(cells["id"]) in found:
            raise LandmarkFileError(f"{place}: duplicate point {cells['id']}; keep one")
        found[int(cells["id"])] = coordinates([cells[axis] for axis in "xyz"], place)
    return found


def _placed(points: Floats, step: Element, path: Path) -> Floats:
    """World points (N, 3) of the points as they are kept."""
    geometry = step.first("Geometry3D")
    if geometry is None:
        return points
    matrix, offset = geometry.first("IndexToWorld"), geometry.first("Offset")
    try:
        if matrix is None or offset is None:
            raise KeyError
        turn = np.array([[number(matrix.attributes[f"m_{r}_{c}"]) for c in range(3)] for r in range(3)])
        shift = np.array([number(offset.attributes[axis]) for axis in "xyz"])
    except (KeyError, ValueError):
        raise LandmarkFileError(
            f"{path}, line {geometry.line}: its Geometry3D has no whole IndexToWorld and Offset; save it in MITK again"
        ) from None
    if np.array_equal(turn, np.eye(3)) and not shift.any():
        return points
    with np.errstate(over="ignore", invalid="ignore"):
        world = points @ turn.T + shift
    if not np.isfinite(world).all() or abs(np.linalg.det(turn)) < 1e-12:
        raise LandmarkFileError(
            f"{path}, line {geometry.line}: its Geometry3D places no points; save it from MITK again"
        )
    return world


MITK = LandmarkFormat(
    name="mitk",
    title="MITK point set (.mps)",
    endings=(".mps",),
    recognises=_recognises,
    read=read_mitk,
    frame="LPS mm, after the file's own Geometry3D",
    missing="cannot be stated: every point has a position",
    unnamed=True,
)
