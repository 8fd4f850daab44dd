"""Landmark sets of Amira and Avizo in ASCII (.landmarkAscii, .am).

A header (`define Markers N`, Parameters, and a declaration `Markers { float[3] Coordinates } @1` for each array), then
the arrays, each after its `@1`. Of a paired set (NumSets 2) the first is read, with a remark. The coordinates are those
of Amira's scene, whose axes the file does not state; a unit that is stated is turned into mm.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from anatomark.errors import FrameError, LandmarkFileError
from anatomark.formats.frames import settle_frame
from anatomark.formats.header import tell
from anatomark.formats.landmark_files.point_lines import coordinates, numbered_lines, ordered_table
from anatomark.formats.landmark_format import GridOf, Head, LandmarkFormat
from anatomark.formats.landmark_table import LandmarkTable
from anatomark.formats.text import read_head

_EXPECTED = "a LandmarkSet in ASCII (.landmarkAscii) of Amira or Avizo"
_FIRST = re.compile(r"#\s*(AmiraMesh|Amira|Avizo|HyperMesh)\b", re.IGNORECASE)
_DECLARED = re.compile(r"Markers\s*\{\s*(\w+)(?:\[(\d+)\])?\s+(\w+)\s*\}\s*=?\s*@(\d+)(?:\s*\((\w+)[^)]*\))?")
_UNIT = re.compile(r"Units\s*\{[^}]*Coordinates\s+\"([^\"]*)\"")
_MILLIMETRES = {
    "mm": 1.0, "um": 1e-3, "\u00b5m": 1e-3, "\u03bcm": 1e-3, "micron": 1e-3, "microns": 1e-3, "nm": 1e-6, "cm": 10.0,
    "m": 1000.0,
}  # fmt: skip


def _recognises(head: Head) -> bool:
    first = next((line.strip() for line in head.lines if line.strip()), "")
    marked = "LandmarkSet" in head.text or re.search(r"define\s+Markers\b", head.text) is not None
    return _FIRST.match(first) is not None and "BINARY" not in first.upper() and marked


def read_amira(path: Path, *, frame: str | None, grid_of: GridOf) -> LandmarkTable:
    """The points of a landmark set in ASCII, in the frame that the caller gives."""
    _refuse_binary(path)
    lines = numbered_lines(path, _EXPECTED)
    if not lines or not _FIRST.match(lines[0][1]):
        raise LandmarkFileError(f"{path} does not begin as a file of Amira or Avizo does; give {_EXPECTED}")
    settled = settle_frame(None, frame, f"{path} (Amira or Avizo landmarks)")
    start = next((k for k, (_, text) in enumerate(lines) if re.fullmatch(r"@[0-9]+", text)), len(lines))
    head = "\n".join(text for _, text in lines[:start] if not text.startswith("#"))
    defined = re.search(r"define\s+Markers\s+([0-9]{1,9})\b", head)
    declared = {name: (kind, width, at, coded) for kind, width, name, at, coded in _DECLARED.findall(head)}
    if defined is None or "Coordinates" not in declared:
        raise LandmarkFileError(
            f"{path} has no 'define Markers' and 'Markers {{ float[3] Coordinates }} @1'; give {_EXPECTED}"
        )
    kind, width, at, coded = declared["Coordinates"]
    if kind not in ("float", "double") or width != "3" or coded:
        raise LandmarkFileError(
            f"{path}: its Coordinates are {kind}[{width}] {coded}, expected float[3]; give {_EXPECTED}"
        )
    scale = _scale(head, path)
    if settled == "pixel" and scale is not None:
        raise FrameError(f"{path} states a unit of length, but pixel was given; give LPS or RAS")
    points = _section(lines, start, at, int(defined[1]), path) * (scale or 1.0)
    if any(name != "Coordinates" and name.startswith("Coordinates") for name in declared):
        tell([f"{path} is a paired landmark set; its first set was taken, its second was not"])
    return ordered_table(points, settled)


def _refuse_binary(path: Path) -> None:
    """Before it is read as text, which a binary file is not."""
    try:
        first = read_head(path, 256).lstrip().split("\n", 1)[0]
    except OSError as error:
        raise LandmarkFileError(f"{path} cannot be read: {error.strerror}; give {_EXPECTED}") from error
    if _FIRST.match(first) and "BINARY" in first.upper():
        raise LandmarkFileError(f"{path} is a binary file of Amira or Avizo; save it there as LandmarkSet ASCII")


def _scale(head: str, path: Path) -> float | None:
    """Millimetres in the file's unit; None where it states none."""
    found = _UNIT.search(head)
    if found is None or not found[1].strip():
        return None
    if found[1].strip() not in _MILLIMETRES:
        raise FrameError(f"{path} is in the unit {found[1]!r}; expected one of {', '.join(_MILLIMETRES)}")
    return _MILLIMETRES[found[1].strip()]


def _section(lines: list[tuple[int, str]], start: int, at: str, count: int, path: Path) -> np.ndarray:
    """(count, 3) of the array after the line `@at`."""
    begin = next((k for k in range(start, len(lines)) if lines[k][1] == f"@{at}"), None)
    if begin is None:
        raise LandmarkFileError(f"{path} ends before its Coordinates (@{at}) begin; it is cut short, save it again")
    points: list[list[float]] = []
    for line, text in lines[begin + 1 :]:
        if text.startswith("@"):
            break
        point = coordinates(text.split(), f"{path}, line {line}")
        if len(point) != 3:
            raise LandmarkFileError(f"{path}, line {line}: {len(point)} coordinates, expected 3; correct it")
        points.append(point)
    if len(points) != count:
        raise LandmarkFileError(f"{path} defines {count} markers and has {len(points)}; it may be cut short")
    return np.array(points, dtype=float).reshape(count, 3)


AMIRA = LandmarkFormat(
    name="amira",
    title="Amira and Avizo landmark sets (.landmarkAscii)",
    endings=(".landmarkascii", ".am"),
    recognises=_recognises,
    read=read_amira,
    frame="not stated: that of the scene, to be given; a stated unit (such as um) is turned into mm",
    missing="cannot be stated: every marker has a position",
    unnamed=True,
)
