"""Tables of landmarks as formats: our long table, and Slicer's table of control points."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from anatomark.core.landmarks import State
from anatomark.errors import LandmarkFileError
from anatomark.formats.atomic import write_text
from anatomark.formats.landmark_format import GridOf, Head, LandmarkFormat
from anatomark.formats.landmark_table import LandmarkTable
from anatomark.formats.placements import one_image
from anatomark.formats.table import STATE_WORDS, read_table, write_table

_TABLE_ENDINGS = (".csv", ".tsv")
_SLICER_COLUMNS = "defined,selected,visible,locked,description"


def _header(head: Head) -> set[str]:
    """The columns of a table, in lower case; empty where the first lines are no header."""
    lines = [line for line in head.lines[:3] if line.strip() and not line.lower().startswith(("sep=", '"sep='))]
    if not lines:
        return set()
    separator = max(",\t;", key=lines[0].count)
    try:
        return {name.strip().lower() for name in next(csv.reader([lines[0]], delimiter=separator))}
    except (csv.Error, StopIteration):
        return set()


def _is_long(head: Head) -> bool:
    columns = _header(head)
    whole = (
        bool(columns & {"landmark", "label"}) and bool(columns & {"x", "l", "r"}) and bool(columns & {"y", "p", "a"})
    )
    return whole or head.name.endswith(_TABLE_ENDINGS)


def _read(path: Path, *, frame: str | None, grid_of: GridOf) -> LandmarkTable:
    return read_table(path, frame=frame)


def _write(table: LandmarkTable, path: Path, *, grid_of: GridOf) -> None:
    write_table(table, path)


LONG_TABLE = LandmarkFormat(
    name="csv",
    title="table with a row a landmark (image,landmark,x,y[,z])",
    endings=_TABLE_ENDINGS,
    recognises=_is_long,
    read=_read,
    write=_write,
    frame="its column `frame`, or the one given",
    missing="a row without coordinates is what `state` says: absent, or not annotated (also without `state`)",
    many_images=True,
)


def _is_slicer(head: Head) -> bool:
    columns = _header(head)
    return {"label", "defined"} <= columns and (columns >= {"l", "p", "s"} or columns >= {"r", "a", "s"})


def _write_slicer(table: LandmarkTable, path: Path, *, grid_of: GridOf) -> None:
    """Slicer's own columns. Of a column `state` and `unit`, which it passes over, there are those that are needed: its
    table knows no absent landmarks and no px; 2D points have an empty s."""
    points = one_image(table, path)
    if table.frame == "pixel":
        raise LandmarkFileError(f"{path}: Slicer knows no pixel coordinates; write LPS or RAS, or another .csv")
    axes = "lps" if table.frame == "LPS" else "ras"
    more = ["unit"] * (table.unit == "px") + ["state"] * bool((points.states == State.ABSENT).any())
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["label", *axes, *_SLICER_COLUMNS.split(","), *more])
    for name, xyz, state in zip(points.names, points.coordinates.tolist(), points.states.tolist(), strict=True):
        present = state == State.PRESENT
        extra = {"unit": table.unit, "state": STATE_WORDS[State(state)]}
        position = [*map(repr, xyz), ""][:3] if present else ["0", "0", "0" if table.ndim == 3 else ""]
        writer.writerow([name, *position, int(present), 1, 1, 0, "", *(extra[column] for column in more)])
    write_text(path, text.getvalue())


SLICER_CSV = LandmarkFormat(
    name="slicer-csv",
    title="Slicer control point table (label,l,p,s,defined,...)",
    endings=_TABLE_ENDINGS,
    recognises=_is_slicer,
    read=_read,
    write=_write_slicer,
    frame="LPS or RAS, by the columns l,p,s or r,a,s; mm",
    missing="`defined` 0 is not annotated, whatever its coordinates",
)
