"""3D Slicer's older point lists (.fcsv) of Slicer 4.x and 5.

Three lines of header state version and frame: `CoordinateSystem = 0` (RAS) or `1` (LPS) until 4.10, `RAS`
or `LPS` since. A row is id, x, y, z, orientation (4), vis, sel, lock, label, desc, associatedNodeID; Slicer
5 adds the position's status (0 undefined, 1 preview, 2 defined, 3 missing) and whether it was made
automatically. A missing point is absent, an undefined one not annotated. A point without a label takes its
description, or else its id.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from anatomark.core.grid import Unit
from anatomark.core.landmarks import Landmarks, State
from anatomark.errors import FrameError, LandmarkFileError
from anatomark.formats.atomic import write_text
from anatomark.formats.frames import FilePoints, Frame, from_world, settle_frame, state_of, swap_ras
from anatomark.formats.landmark_format import GridOf, Head, LandmarkFormat
from anatomark.formats.landmark_table import LandmarkTable
from anatomark.formats.placements import one_image, slicer_table
from anatomark.formats.text import number, read_text

_SYSTEMS: dict[str, Frame] = {"RAS": "RAS", "LPS": "LPS", "0": "RAS", "1": "LPS"}
_COLUMNS = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"
_LABEL, _DESCRIPTION, _STATUS = 11, 12, 14
_STATUS_OF = {State.NOT_ANNOTATED: "0", State.PRESENT: "2", State.ABSENT: "3"}
_OWN = "anatomark"


def read_fcsv(path: str | Path, frame: str | None = None) -> FilePoints:
    """The points of an .fcsv in LPS mm (px where we wrote px).

    `frame` is for files that state no coordinate system. Raises `LandmarkFileError`, `FrameError`.
    """
    path = Path(path)
    text = read_text(path, "an .fcsv of Slicer").replace("\r\n", "\n").replace("\r", "\n")
    header: dict[str, str] = {}
    names: list[str] = []
    rows: list[list[float]] = []
    states: list[State] = []
    for at, line in enumerate(text.split("\n"), start=1):
        if line.startswith("#"):
            key, _, value = line[1:].partition("=")
            header[key.strip()] = value.strip()
        elif line.strip():
            if "Markups fiducial file version" not in header:
                raise LandmarkFileError(f"{path} has no header of Slicer 4 or 5; give an .fcsv of Slicer, or a .csv")
            name, state, position = _point(line, f"{path}, line {at}")
            names.append(name)
            rows.append(position)
            states.append(state)
    if not header:
        raise LandmarkFileError(f"{path} is empty or no .fcsv; save it from Slicer again")
    coordinates = np.array(rows, dtype=float).reshape(len(rows), 3)
    if _system(header, frame, path) == "RAS":
        coordinates = swap_ras(coordinates)
    own = header.get(_OWN, "").split()
    if "2D" in own:
        coordinates = coordinates[:, :2]
    unit: Unit = "px" if "px" in own else "mm"
    return FilePoints(tuple(names), coordinates, np.array(states, dtype=np.uint8), "LPS", unit)


def write_fcsv(landmarks: Landmarks, path: str | Path, frame: Frame = "LPS", *, notes: Sequence[str] = ()) -> None:
    """Writes an .fcsv in LPS or RAS; 2D points lie at z = 0. `notes` (N,) are descriptions.

    Points that are not present have no coordinates (nan) and Slicer 5's status columns, so that a reader that
    knows no status takes none of them for a point at the origin.
    """
    if frame == "pixel":
        raise FrameError(f"{path}: Slicer knows no pixel coordinates; write LPS or RAS, or a .csv")
    unwritable = [name for name in landmarks.names if "\n" in name or "\r" in name or not name.strip()]
    if unwritable:
        raise LandmarkFileError(f"{path}: the name {unwritable[0]!r} cannot stand in an .fcsv; write .mrk.json")
    text = io.StringIO()
    text.write(f"# Markups fiducial file version = 5.0\n# CoordinateSystem = {frame}\n# columns = {_COLUMNS}\n")
    if landmarks.ndim == 2 or landmarks.unit == "px":
        text.write(f"# {_OWN} = {landmarks.ndim}D {landmarks.unit}\n")
    writer = csv.writer(text, lineterminator="\n")
    all_present = bool(landmarks.present.all())
    coordinates = from_world(landmarks, frame, None, path)
    for at, (name, xyz, state) in enumerate(
        zip(landmarks.names, coordinates.tolist(), landmarks.states.tolist(), strict=True), start=1
    ):
        position = [*xyz, 0.0][:3] if state == State.PRESENT else ["nan"] * 3
        status = [] if all_present else [_STATUS_OF[State(state)], "0"]
        writer.writerow([at, *position, 0, 0, 0, 1, 1, 1, 0, name, notes[at - 1] if notes else "", "", *status])
    write_text(path, text.getvalue())


def _system(header: dict[str, str], given: str | None, path: Path) -> Frame:
    value = header.get("CoordinateSystem")
    if not value:
        return settle_frame(None, given, path)
    stated = _SYSTEMS.get(value.upper())
    if stated is None:
        raise FrameError(
            f"{path} is in the coordinate system {value!r}; expected LPS or RAS; save it from Slicer in one of these"
        )
    return settle_frame(stated, given, path)


def _point(line: str, place: str) -> tuple[str, State, list[float]]:
    try:
        cells = next(csv.reader([line]))
    except csv.Error as error:
        raise LandmarkFileError(f"{place} is not a row of points ({error}); save it from Slicer again") from error
    if len(cells) < 4:
        raise LandmarkFileError(f"{place} has {len(cells)} fields, expected {_COLUMNS}; save it from Slicer again")
    cells += [""] * (_STATUS + 1 - len(cells))
    name = next((c.strip() for c in (cells[_LABEL], cells[_DESCRIPTION], cells[0]) if c.strip()), "")
    if not name:
        raise LandmarkFileError(f"{place} has no label; name the landmark")
    status = cells[_STATUS].strip() or "2"
    if status not in ("0", "1", "2", "3"):
        raise LandmarkFileError(f"{place}: the status of {name} is {status!r}; expected 0, 1, 2 or 3")
    state = state_of(status == "2", status == "3")
    if state != State.PRESENT:
        return name, state, [np.nan] * 3
    try:
        position = [number(cell) for cell in cells[1:4]]
    except ValueError:
        position = [np.nan]
    if not np.isfinite(position).all():
        raise LandmarkFileError(f"{place}: {name} is at {', '.join(cells[1:4])}; expected three numbers")
    return name, state, position


def _recognises(head: Head) -> bool:
    # the lists of Slicer 3 have the ending too, but other lines
    named = head.name.endswith(".fcsv") and not head.text.startswith("# Fiducial List file")
    return named or head.text.startswith("# Markups fiducial file version")


def _read(path: Path, *, frame: str | None, grid_of: GridOf) -> LandmarkTable:
    return slicer_table(read_fcsv, path, frame)


def _write(table: LandmarkTable, path: Path, *, grid_of: GridOf) -> None:
    write_fcsv(one_image(table, path).to_landmarks(None, path), path, table.frame)


FCSV = LandmarkFormat(
    name="fcsv",
    title="Slicer points (.fcsv) of Slicer 4 and 5",
    endings=(".fcsv",),
    recognises=_recognises,
    read=_read,
    write=_write,
    frame="LPS or RAS, as the file states; mm",
    missing="status 3 is absent; 0 and 1 are not annotated",
)
