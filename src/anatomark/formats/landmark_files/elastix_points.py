"""Points of elastix and transformix: the points file of either, and transformix's outputpoints.txt.

A points file begins with `point` (world coordinates, which are ITK's: LPS mm) or `index` (voxel indices x, y[, z]: the
pixel frame), then has the number of points and their coordinates. Without the first word elastix takes the numbers as
indices, and so do we, with a remark. elastix reads no further than the last point, so the names of landmarks stand
after it, in a line of our own; files of others have an order only.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np

from anatomark.core.landmarks import State
from anatomark.errors import LandmarkFileError
from anatomark.formats.atomic import write_text
from anatomark.formats.frames import Frame, settle_frame
from anatomark.formats.header import tell
from anatomark.formats.json_text import parsed
from anatomark.formats.landmark_files.json_file import JsonValue, texts_in
from anatomark.formats.landmark_files.point_lines import coordinates, numbered_lines, ordered_table, shown
from anatomark.formats.landmark_format import GridOf, Head, LandmarkFormat
from anatomark.formats.landmark_table import LandmarkTable

_EXPECTED = "a points file of elastix or transformix"
_OWN = "anatomark "
_TRANSFORMED = re.compile(r"Point\s+\d+\s*;")
_OUTPUT = re.compile(r"(?<!\w)OutputPoint\s*=\s*\[([^\]]*)\]")
_NUMBERS = re.compile(r"(?:[-+0-9.eE]+\s+){1,2}[-+0-9.eE]+\s*")
_Lines = list[tuple[int, str]]


def _recognises(head: Head) -> bool:
    lines = [line.strip() for line in head.lines[:20] if line.strip()]
    if not lines or not head.name.endswith((".txt", ".pts")):
        return False
    if _TRANSFORMED.match(lines[0]) or re.fullmatch(r"(point|index)(\s+\d+.*)?", lines[0]):
        return True
    return len(lines) > 1 and re.fullmatch(r"\d+", lines[0]) is not None and bool(_NUMBERS.fullmatch(lines[1]))


def read_elastix(path: Path, *, frame: str | None, grid_of: GridOf) -> LandmarkTable:
    """The points of a file of elastix or transformix, in LPS mm or pixel coordinates as it says."""
    lines = numbered_lines(path, _EXPECTED)
    if not lines:
        raise LandmarkFileError(f"{path} is empty; give {_EXPECTED}")
    if _TRANSFORMED.match(lines[0][1]):
        settle_frame("LPS", frame, f"{path} (transformix points)")
        points = _transformed(lines, path)
        tell([f"{path}: the points after the transform (OutputPoint, in the moving image's space) were taken"])
        return ordered_table(points, "LPS")
    stated: Frame = "LPS" if lines[0][1].split()[0] == "point" else "pixel"
    settled = settle_frame(stated, frame, f"{path} (elastix points)")
    names, lines = _own_names(lines, path)
    points = _points(lines, path)
    if names is not None and len(names) != len(points):
        raise LandmarkFileError(f"{path} has {len(names)} names for {len(points)} points; give each its own")
    if lines[0][1].split()[0] not in ("point", "index"):
        tell([f"{path} does not begin with point or index; as elastix does, its numbers were taken as voxel indices"])
    return ordered_table(points, settled, names)


def write_elastix(table: LandmarkTable, path: Path, *, grid_of: GridOf) -> None:
    """Writes the points of one image, as `point` in LPS mm, or as `index` where the unit is px.

    The format holds places only, so `LandmarkFileError` is raised for landmarks that have none.
    """
    if len(set(zip(table.image.tolist(), table.observer.tolist(), strict=True))) > 1:
        raise LandmarkFileError(f"{path}: elastix points are of one image and observer; write to a folder")
    if table.frame != "LPS" and not (table.frame == "pixel" and table.unit == "px"):
        raise LandmarkFileError(f"{path}: elastix points are in LPS, got {table.frame}; write LPS")
    missing = table.landmark[table.states != State.PRESENT].tolist()
    if missing:
        raise LandmarkFileError(
            f"{path}: elastix points hold positions only, and {shown(', '.join(missing[:3]))} "
            f"({len(missing)} of {len(table)}) have none; write a table, or leave these landmarks out"
        )
    names = table.landmark.tolist()
    lines = ["index" if table.unit == "px" else "point", str(len(table))]
    lines += [" ".join(map(repr, point)) for point in table.coordinates.tolist()]
    if names != [str(k) for k in range(1, len(names) + 1)]:
        lines.append(_OWN + json.dumps({"landmarks": names}))
    write_text(path, "\n".join(lines) + "\n")


def _points(lines: _Lines, path: Path) -> np.ndarray:
    """(N, d) of a points file; as elastix does, coordinates are taken as they come, whatever the ends of lines."""
    cells = [(line, cell) for line, text in lines for cell in text.split()]
    if cells[0][1] in ("point", "index"):
        cells = cells[1:]
    if not cells or not re.fullmatch(r"[0-9]{1,9}", cells[0][1]):
        line, found = cells[0] if cells else (lines[-1][0], "nothing")
        raise LandmarkFileError(
            f"{path}, line {line}: {found} where the number of points was expected; give {_EXPECTED}"
        )
    count, cells = int(cells[0][1]), cells[1:]
    values = [coordinates([cell], f"{path}, line {line}")[0] for line, cell in cells]
    widths = {line: 0 for line, _ in cells}
    for line, _ in cells:
        widths[line] += 1
    wide = set(widths.values())
    for d in (2, 3):
        if wide <= {d} and cells:
            if len(cells) != count * d:
                raise LandmarkFileError(f"{path} states {count} points, but has {len(cells) // d}; it may be cut short")
            return np.array(values).reshape(count, d)
    for d in (2, 3):
        if len(cells) == count * d:
            return np.array(values).reshape(count, d)
    bad = next((line for line, width in widths.items() if width not in (2, 3)), cells[-1][0] if cells else lines[-1][0])
    raise LandmarkFileError(
        f"{path}, line {bad}: {len(cells)} numbers in total are not {count} points of 2 or 3 coordinates; correct it"
    )


def _transformed(lines: _Lines, path: Path) -> np.ndarray:
    points: list[list[float]] = []
    for line, text in lines:
        found = _OUTPUT.search(text)
        if found is None:
            raise LandmarkFileError(
                f"{path}, line {line}: no OutputPoint = [ ... ]; give transformix's outputpoints.txt"
            )
        point = coordinates(found[1].split(), f"{path}, line {line}")
        if len(point) not in (2, 3) or (points and len(point) != len(points[0])):
            raise LandmarkFileError(
                f"{path}, line {line}: {len(point)} coordinates, expected {len(points[0]) if points else '2 or 3'}"
            )
        points.append(point)
    return np.array(points)


def _own_names(lines: _Lines, path: Path) -> tuple[list[str] | None, _Lines]:
    """The names in our own last line, None where there is none, and the other lines."""
    line, text = lines[-1]
    if not text.startswith(_OWN):
        return None, lines
    try:
        own: JsonValue = parsed(text[len(_OWN) :])
    except (ValueError, RecursionError):
        own = None
    names = texts_in(own.get("landmarks")) if isinstance(own, dict) else None
    if names is None:
        raise LandmarkFileError(
            f"{path}, line {line}: no names of landmarks are after {_OWN.strip()!r}; delete the line"
        )
    if len(lines) == 1:
        raise LandmarkFileError(f"{path} has names and no points; give {_EXPECTED}")
    return names, lines[:-1]


ELASTIX = LandmarkFormat(
    name="elastix",
    title="elastix and transformix points (.txt)",
    endings=(".txt", ".pts"),
    recognises=_recognises,
    read=read_elastix,
    write=write_elastix,
    frame="LPS where it begins with `point`; pixel (voxel indices) where it begins with `index` or with neither; "
    "of transformix's outputpoints.txt, OutputPoint in LPS",
    missing="cannot be stated: landmarks without a position are refused",
    written_frame="LPS",
    unnamed=True,
)
