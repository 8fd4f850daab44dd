"""3D Slicer's markups in JSON (.mrk.json): point lists in, one point list out.

Read: every node of type Fiducial or PointList, each with its own `coordinateSystem` (LPS, RAS, 1, 0) and
`coordinateUnits` (text, or the list of a UCUM code; mm where left out, as the schema says); a remark says what other
nodes there are. A control point that Slicer calls `missing` is absent; `undefined` and `preview` are not annotated. A
point without a label takes its description, or else its id, as its name.

Written: what Slicer 5 writes, so that it opens there. Slicer knows only 3D points in the scene's unit; a
property of our own, which Slicer passes over, says that points were 2D or in px, so that reading gives back
the same.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from anatomark.core.grid import Unit
from anatomark.core.landmarks import Landmarks, State
from anatomark.errors import FrameError, LandmarkFileError
from anatomark.formats.atomic import write_text
from anatomark.formats.frames import FilePoints, Frame, from_world, settle_frame, state_of, swap_ras
from anatomark.formats.header import tell
from anatomark.formats.landmark_files.json_file import JsonObject, finite_numbers, objects_in, read_json
from anatomark.formats.landmark_format import GridOf, Head, LandmarkFormat
from anatomark.formats.landmark_table import LandmarkTable
from anatomark.formats.placements import one_image, slicer_table

# the name, not an address: Slicer before 5.1 reads no other, and later ones read it still
_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)
_SYSTEMS: dict[str, Frame] = {"LPS": "LPS", "RAS": "RAS", "1": "LPS", "0": "RAS"}
_MILLIMETRES = {"mm": 1.0, "um": 1e-3, "cm": 10.0, "m": 1000.0}
_STATUS = {State.PRESENT: "defined", State.ABSENT: "missing", State.NOT_ANNOTATED: "undefined"}
_LISTS = ("Fiducial", "PointList")
_NAMED = ("label", "description", "id")
_OWN = "anatomark"


def read_slicer_json(path: str | Path, frame: str | None = None) -> FilePoints:
    """The control points of all point lists in a .mrk.json, in LPS mm (px where we wrote px).

    `frame` is for files that state no coordinate system. Raises `LandmarkFileError`, `FrameError`.
    """
    path = Path(path)
    nodes = _point_lists(path)
    names: list[str] = []
    rows: list[list[float]] = []
    states: list[State] = []
    units: set[Unit] = set()
    dimensions: set[int] = set()
    for node in nodes:
        system = _system(node, frame, path)
        scale = _scale(node, path)
        stated = node.get(_OWN)
        own: JsonObject = stated if isinstance(stated, dict) else {}
        units.add("px" if own.get("unit") == "px" else "mm")
        dimensions.add(2 if own.get("ndim") == 2 else 3)
        points = objects_in(node.get("controlPoints") or [])
        if points is None:
            raise LandmarkFileError(f"{path}: controlPoints is not a list of points; save it from Slicer again")
        for number, point in enumerate(points, start=1):
            name = next(filter(None, (str(point.get(k) or "").strip() for k in _NAMED)), str(number))
            state, position = _position(point, name, path)
            coordinates = swap_ras(np.array([position])) if system == "RAS" else np.array([position])
            names.append(name)
            rows.append((coordinates[0] * scale).tolist())
            states.append(state)
    if len(units) > 1:
        raise FrameError(f"{path} mixes points in mm and in px; keep them in two files")
    coordinates = np.array(rows, dtype=float).reshape(len(rows), 3)
    if dimensions == {2}:
        coordinates = coordinates[:, :2]
    unit: Unit = "px" if units == {"px"} else "mm"
    return FilePoints(tuple(names), coordinates, np.array(states, dtype=np.uint8), "LPS", unit)


def write_slicer_json(
    landmarks: Landmarks,
    path: str | Path,
    frame: Frame = "LPS",
    *,
    notes: Sequence[str] = (),
    about: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Writes a .mrk.json with one point list, in LPS or RAS; 2D points lie at z = 0. `notes` (N,) are descriptions.

    `about` (who, when) stands in our own property, which other programs pass over.
    """
    if frame == "pixel":
        raise FrameError(f"{path}: Slicer knows no pixel coordinates; write LPS or RAS, or a .csv")
    coordinates = from_world(landmarks, frame, None, path)
    sign = -1.0 if frame == "LPS" else 1.0  # as Slicer writes it: its own axes, seen in the file's frame
    orientation = [sign, 0.0, 0.0, 0.0, sign, 0.0, 0.0, 0.0, 1.0]
    points: list[dict[str, object]] = []
    for number, (name, xyz, state) in enumerate(
        zip(landmarks.names, coordinates.tolist(), landmarks.states.tolist(), strict=True), start=1
    ):
        points.append(
            {
                "id": str(number),
                "label": name,
                "description": notes[number - 1] if notes else "",
                "associatedNodeID": "",
                "position": [*xyz, 0.0][:3] if state == State.PRESENT else [],
                "orientation": orientation,
                "selected": True,
                "locked": False,
                "visibility": True,
                "positionStatus": _STATUS[State(state)],
            }
        )
    node: dict[str, object] = {"type": "Fiducial", "coordinateSystem": frame}
    if landmarks.unit == "mm":
        node["coordinateUnits"] = "mm"
    if landmarks.unit == "px" or landmarks.ndim == 2 or about:
        node[_OWN] = {"ndim": landmarks.ndim, "unit": landmarks.unit, **about}
    node |= {
        "locked": False,
        "fixedNumberOfControlPoints": False,
        "labelFormat": "%N-%d",
        "lastUsedControlPointNumber": len(points),
        "controlPoints": points,
        "measurements": [],
        "display": {
            "visibility": True,
            "pointLabelsVisibility": True,
            "glyphScale": 1.0,
            "useGlyphScale": True,
        },
    }
    text = json.dumps({"@schema": _SCHEMA, "markups": [node]}, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def _point_lists(path: Path) -> list[JsonObject]:
    data = read_json(path, "a .mrk.json of Slicer")
    markups = objects_in(data.get("markups")) if isinstance(data, dict) else None
    if markups is None:
        raise LandmarkFileError(f'{path} holds no Slicer markups (no list "markups"); give a .mrk.json of Slicer')
    lists = [node for node in markups if str(node.get("type", "Fiducial")) in _LISTS]
    if not lists:
        types = ", ".join(sorted({str(node.get("type")) for node in markups})) or "nothing"
        raise LandmarkFileError(f"{path} holds no point list, only {types}; save the landmarks as a point list")
    others = [node for node in markups if str(node.get("type", "Fiducial")) not in _LISTS]
    if others:
        kinds = Counter(str(node.get("type")) for node in others)
        listed = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        names = ", ".join(str(node["name"]) for node in others if node.get("name"))
        tell([f"{path}: only point lists are landmarks; ignored: {listed}" + (f" ({names})" if names else "")])
    return lists


def _system(node: JsonObject, given: str | None, path: Path) -> Frame:
    value = node.get("coordinateSystem")
    if value in (None, ""):
        return settle_frame(None, given, path)
    stated = _SYSTEMS.get(str(value).strip().upper())
    if stated is None:
        raise FrameError(
            f"{path} is in the coordinate system {value!r}; expected LPS or RAS; save it from Slicer in one of these"
        )
    return settle_frame(stated, given, path)


def _scale(node: JsonObject, path: Path) -> float:
    """Millimetres in one unit of the file."""
    value = node.get("coordinateUnits")
    if isinstance(value, list):
        if len(value) > 1 and value[1] not in ("UCUM", ""):
            raise FrameError(f"{path} names its unit in the code {value[1]!r}; expected UCUM, such as mm")
        value = value[0] if value else ""
    if value in (None, ""):
        return 1.0
    match = re.match(r"\(?\s*([^\s,)]+)", str(value))  # also Slicer's text of a code: (mm, UCUM, "millimeter")
    if match is None or match[1] not in _MILLIMETRES:
        raise FrameError(f"{path} is in the unit {value!r}; expected one of {', '.join(_MILLIMETRES)}")
    return _MILLIMETRES[match[1]]


def _position(point: JsonObject, name: str, path: Path) -> tuple[State, list[float]]:
    position = point.get("position")
    status = point.get("positionStatus") or ("defined" if position else "undefined")
    if status not in ("defined", "missing", "undefined", "preview"):
        raise LandmarkFileError(f"{path}: {name} has the status {status!r}; expected defined, undefined or missing")
    state = state_of(status == "defined", status == "missing")
    if state != State.PRESENT:
        return state, [np.nan] * 3
    xyz = finite_numbers(position, 3)
    if xyz is None:
        raise LandmarkFileError(f"{path}: {name} is defined at {str(position)[:60]}; expected three numbers")
    return state, xyz


def _recognises(head: Head) -> bool:
    return head.name.endswith(".mrk.json") or "markups" in head.json


def _read(path: Path, *, frame: str | None, grid_of: GridOf) -> LandmarkTable:
    return slicer_table(read_slicer_json, path, frame)


def _write(table: LandmarkTable, path: Path, *, grid_of: GridOf) -> None:
    write_slicer_json(one_image(table, path).to_landmarks(None, path), path, table.frame)


SLICER_JSON = LandmarkFormat(
    name="mrk.json",
    title="Slicer markups (.mrk.json)",
    endings=(".mrk.json", ".json"),
    recognises=_recognises,
    read=_read,
    write=_write,
    frame="LPS or RAS, as the file states; mm, or the unit it states",
    missing="`missing` is absent; `undefined` and `preview` are not annotated",
)
