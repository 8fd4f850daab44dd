"""TPS files of geometric morphometrics (tpsDig, tpsUtil; geomorph reads and writes them).

A specimen is `LM=N` (`LM3=N` in 3D), N lines of coordinates, then lines such as IMAGE=, ID=, SCALE=; curves follow
with CURVES= and POINTS=. In 2D, x counts pixels from the left and y from the bottom of the image (tpsDig has its
origin at the lower left), so that a point lies at column x and row height - y, as other converters take it; nobody says
whether the origin is the corner or the centre of a pixel. SCALE is a length, in a unit that is not stated, by which
other programs multiply; pixel coordinates are left as they are.

A missing landmark is NA (geomorph) or, in 2D, -1 -1 (tpsDig). Landmarks have an order and no names; those that we write
keep their names, and which are absent, in a COMMENT, which other programs pass over. A place, or its lack, counts more
than that comment, for another program may have set it since.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal
from pathlib import Path

import numpy as np

from anatomark.core.grid import Grid
from anatomark.core.landmarks import State
from anatomark.errors import FrameError, LandmarkFileError
from anatomark.formats.atomic import write_text
from anatomark.formats.frames import FilePoints, Frame, settle_frame
from anatomark.formats.header import tell
from anatomark.formats.json_text import parsed
from anatomark.formats.landmark_files.json_file import JsonValue, texts_in
from anatomark.formats.landmark_files.point_lines import NOT_A_NUMBER, coordinates, numbered_lines, unit_of
from anatomark.formats.landmark_format import GridOf, Head, LandmarkFormat
from anatomark.formats.landmark_table import LandmarkTable, join_tables
from anatomark.formats.placements import points_table, table_points
from anatomark.formats.text import number

_EXPECTED = "a TPS file (LM=, coordinates, IMAGE=)"
_KEY = re.compile(r"([A-Za-z][A-Za-z0-9_]*)\s*=\s*(.*)")
_BEGIN = re.compile(r"\s*LM3?\s*=\s*[0-9]+\s*", re.IGNORECASE)
_OWN = "anatomark "
_UNITS_IN_MM = (1.0, 10.0, 1000.0, 1e-3, 25.4)  # a SCALE may be in mm, cm, m, um or inch
_EXACT = Context(prec=800)  # the digits that the difference of a height and any float may have, written out


@dataclass
class _Specimen:
    """One specimen: `cells` are (line, coordinates as text) of its landmarks, `keys` the values by name."""

    line: int
    d: int
    cells: list[tuple[int, list[str]]] = field(default_factory=list[tuple[int, list[str]]])
    keys: dict[str, str] = field(default_factory=dict[str, str])
    curve_points: int = 0

    def named(self) -> str:
        return self.keys.get("IMAGE") or self.keys.get("ID") or ""


def _recognises(head: Head) -> bool:
    first = next((line for line in head.lines if line.strip()), "")
    return _BEGIN.fullmatch(first) is not None


def read_tps(path: Path, *, frame: str | None, grid_of: GridOf) -> LandmarkTable:
    """The landmarks of a TPS file: 2D ones in pixel coordinates, 3D ones in the frame that the caller gives.

    2D ones need the height of each image, so `grid_of` must know the images.
    """
    specimens = list(_specimens(numbered_lines(path, _EXPECTED), path))
    _require_one_kind(specimens, path)
    d = specimens[0].d
    own = [_own(specimen, path) for specimen in specimens]
    stated: Frame | None = "pixel" if d == 2 else own[0].frame
    settled = settle_frame(stated, frame, f"{path} (TPS file)")
    tables: list[LandmarkTable] = []
    remarks = _remarks(specimens, path)
    for specimen, comment in zip(specimens, own, strict=True):
        if not specimen.cells:
            continue
        image, count = specimen.named(), len(specimen.cells)
        names = comment.landmarks or [str(k) for k in range(1, count + 1)]
        points = _points(specimen, path)
        if d == 2:
            grid = _grid(grid_of, image, path)
            points = _turned(specimen, points, grid.shape[0])
            remarks += _scale_remark(specimen, grid, path)
        elif settled != "pixel" and _scale(specimen) != 1:
            raise FrameError(
                f"{path}: {image or 'the specimen'} has 3D landmarks and SCALE={specimen.keys['SCALE']}, whose unit is "
                "not stated; apply the scale (tpsUtil) and delete the line"
            )
        missing = np.isnan(points).any(axis=1)
        absent = missing & np.isin(names, comment.absent)
        states = np.select([absent, missing], [State.ABSENT, State.NOT_ANNOTATED], State.PRESENT).astype(np.uint8)
        file_points = FilePoints(tuple(names), points, states, settled, unit_of(settled))
        tables.append(points_table(file_points, image, comment.observer))
    tell(dict.fromkeys(remarks))
    if not tables:
        raise LandmarkFileError(
            f"{path} has no landmarks: LM=0 in each of its {len(specimens)} specimens; digitise them"
        )
    return join_tables(tables)


def write_tps(table: LandmarkTable, path: Path, *, grid_of: GridOf) -> None:
    """Writes a specimen an image, in pixel coordinates; 2D ones need the images' heights, through `grid_of`.

    Landmarks without a place are NA. SCALE, mm a pixel, is written where the pixels of the image are square.
    """
    if table.frame != "pixel":
        raise FrameError(f"{path}: TPS files are in pixel coordinates, got {table.frame}; write pixel")
    lines: list[str] = []
    images: set[str] = set()
    by_image = table_points(table)
    if len(by_image) > 1 and any(not image for image, _ in by_image):
        raise LandmarkFileError(f"{path}: an image has no name, and TPS files tell several apart by it; name it")
    for count, ((image, observer), points) in enumerate(by_image.items()):
        if image in images:
            raise LandmarkFileError(
                f"{path}: {image or 'the image'} has several observers, TPS files hold one; keep one"
            )
        if image != image.strip() or "\n" in image or "\r" in image:
            raise LandmarkFileError(f"{path}: the image name {image!r} cannot stand in a TPS file; rename it")
        images.add(image)
        grid = _grid(grid_of, image, path) if table.ndim == 2 else None
        lines.append(f"LM{'' if table.ndim == 2 else '3'}={len(points.names)}")
        for point, state in zip(points.coordinates.tolist(), points.states.tolist(), strict=True):
            cells = [repr(value) for value in point] if state == State.PRESENT else ["NA"] * table.ndim
            if grid is not None and state == State.PRESENT:
                cells[1] = _from_other_side(grid.shape[0], cells[1])
            lines.append(" ".join(cells))
        lines += [f"IMAGE={image}", f"ID={count}"] if image else []  # an ID alone would name the image
        lines.append(f"COMMENT={_OWN}{_own_text(points, observer)}")
        if grid is not None and grid.unit == "mm" and np.ptp(grid.spacing) < 1e-6 * grid.spacing[0]:
            lines.append(f"SCALE={grid.spacing[0]!r}")
    write_text(path, "\r\n".join([*lines, ""]))


def _specimens(lines: list[tuple[int, str]], path: Path) -> Iterator[_Specimen]:
    if not lines or not _BEGIN.fullmatch(lines[0][1]):
        raise LandmarkFileError(f"{path} does not begin with LM= or LM3=; give {_EXPECTED}")
    specimen, left, curve = _Specimen(0, 2), 0, 0  # landmarks and points of a curve that are still to come
    for line, text in lines:
        key = _KEY.fullmatch(text)
        if key is None:
            if not left and not curve:
                raise LandmarkFileError(
                    f"{path}, line {line}: {text[:40]!r} where a key such as IMAGE= was expected; "
                    "correct LM= or the line"
                )
            if left:
                specimen.cells.append((line, text.split()))
                left -= 1
            else:
                specimen.curve_points += 1
                curve -= 1
            continue
        name, value = key[1].upper(), key[2].strip()
        if left or curve:
            counted = "landmarks that LM= counts" if left else "points that POINTS= counts"
            raise LandmarkFileError(
                f"{path}, line {line}: {left or curve} of the {counted} are missing; correct the count or the points"
            )
        if name in ("LM", "LM3", "POINTS", "POINTS3") and not re.fullmatch(r"[0-9]{1,9}", value):
            raise LandmarkFileError(f"{path}, line {line}: {text[:40]!r} is not a number of points; correct it")
        if name in ("LM", "LM3"):
            if specimen.line:
                yield specimen
            specimen, left = _Specimen(line, 3 if name == "LM3" else 2), int(value)
        elif name in ("POINTS", "POINTS3"):
            curve = int(value)
        elif name == "COMMENT" and value.startswith(_OWN):
            specimen.keys[_OWN] = value[len(_OWN) :]
        else:
            specimen.keys[name] = value
    if left or curve:
        raise LandmarkFileError(f"{path} ends with {left or curve} points still to come; it is cut short")
    yield specimen


def _require_one_kind(specimens: list[_Specimen], path: Path) -> None:
    """One dimension; a name an image; and, where the order is all that names landmarks, as many in each."""
    if len({specimen.d for specimen in specimens}) > 1:
        raise LandmarkFileError(f"{path} has both LM= and LM3=; keep 2D and 3D specimens in files of their own")
    with_points = [specimen for specimen in specimens if specimen.cells]
    first: dict[str, _Specimen] = {}
    for specimen in with_points:
        image = specimen.named()
        if not image and len(with_points) > 1:
            raise LandmarkFileError(
                f"{path}, line {specimen.line}: the specimen has no IMAGE= and no ID=; name its image"
            )
        if image in first:
            raise LandmarkFileError(
                f"{path}, line {specimen.line}: {image} was there before, at line {first[image].line}; "
                "an image has one set of landmarks, keep one"
            )
        first[image] = specimen
        if len(specimen.cells) != len(with_points[0].cells) and not (
            _OWN in specimen.keys and _OWN in with_points[0].keys
        ):
            raise LandmarkFileError(
                f"{path}, line {specimen.line}: {len(specimen.cells)} landmarks, in the first specimen "
                f"{len(with_points[0].cells)}; their order is their only name, write NA NA for one that is missing"
            )


def _points(specimen: _Specimen, path: Path) -> np.ndarray:
    """(N, d) as the file has them, NaN where it says that they are missing."""
    points = np.full((len(specimen.cells), specimen.d), np.nan)
    for row, (line, cells) in enumerate(specimen.cells):
        if len(cells) == specimen.d and all(cell.lower() in NOT_A_NUMBER for cell in cells):
            continue
        values = coordinates(cells, f"{path}, line {line}")
        if len(values) != specimen.d:
            raise LandmarkFileError(
                f"{path}, line {line}: {len(values)} coordinates, expected {specimen.d}; correct it"
            )
        if values != [-1.0, -1.0]:
            points[row] = values
    return points


def _turned(specimen: _Specimen, points: np.ndarray, height: int) -> np.ndarray:
    """(N, 2) pixel coordinates, rows counted from the top, of points counted from the bottom."""
    below = zip(specimen.cells, points[:, 1].tolist(), strict=True)
    rows = [_from_other_side(height, cells[1]) if np.isfinite(y) else "nan" for (_, cells), y in below]
    return np.column_stack([points[:, 0], np.array(rows, dtype=float)])


def _from_other_side(height: int, text: str) -> str:
    """`height` minus the number in `text`, to the last digit: what is written is read back the same."""
    return str(_EXACT.subtract(Decimal(height), Decimal(text if float(text) else "0")))


def _grid(grid_of: GridOf, image: str, path: Path) -> Grid:
    grid = grid_of(image)
    called = f"the image {image}" if image else "its image"
    if grid is None:
        raise FrameError(
            f"{path}: TPS files count y from the bottom of the image, so its height is needed; "
            f"give {called} (--image, or the folder that it is in)"
        )
    if grid.ndim != 2:
        raise FrameError(f"{path}: its TPS landmarks are 2D, {called} is {grid.ndim}D; give the image they belong to")
    return grid


def _own_text(points: FilePoints, observer: str) -> str:
    """What TPS has no place for, as JSON without "=", for other programs look for keys anywhere in a line."""
    comment: dict[str, object] = {"landmarks": list(points.names)}
    pairs = zip(points.names, points.states.tolist(), strict=True)
    if absent := [name for name, state in pairs if state == State.ABSENT]:
        comment["absent"] = absent
    if points.coordinates.shape[1] == 3:
        comment["frame"] = points.frame
    return json.dumps(comment | ({"observer": observer} if observer else {})).replace("=", "\\u003d")


@dataclass(frozen=True)
class _Own:
    """Our own comment on a specimen; without one, its landmarks have no names and all are annotated."""

    landmarks: Sequence[str] = ()
    absent: Sequence[str] = ()
    observer: str = ""
    frame: Frame | None = None


def _own(specimen: _Specimen, path: Path) -> _Own:
    """Our own comment, checked."""
    if _OWN not in specimen.keys:
        return _Own()
    try:
        own: JsonValue = parsed(specimen.keys[_OWN])
    except ValueError:
        own = None
    comment = own if isinstance(own, dict) else {}
    names, absent = texts_in(comment.get("landmarks")), texts_in(comment.get("absent", []))
    observer = comment.get("observer", "")
    if (
        names is None
        or absent is None
        or len(names) != len(specimen.cells)
        or not set(absent) <= set(names)
        or comment.get("frame", "pixel") != "pixel"
        or not isinstance(observer, str)
    ):
        raise LandmarkFileError(
            f"{path}, line {specimen.line}: the comment that names the specimen's {len(specimen.cells)} landmarks no "
            "longer fits them; delete the COMMENT line, and the landmarks are called 1, 2, ..."
        )
    return _Own(names, absent, observer, "pixel" if "frame" in comment else None)


def _remarks(specimens: list[_Specimen], path: Path) -> list[str]:
    remarks: list[str] = []
    if curves := sum(specimen.curve_points for specimen in specimens):
        remarks.append(f"{path}: the {curves} points of its curves and outlines (semilandmarks) were not taken")
    if empty := sum(not specimen.cells for specimen in specimens):
        remarks.append(f"{path}: {empty} of {len(specimens)} specimens have no landmarks (LM=0) and were passed over")
    return remarks


def _scale_remark(specimen: _Specimen, grid: Grid, path: Path) -> list[str]:
    """A line where SCALE is not the spacing of the image, in no usual unit; a line a file where there is no spacing."""
    text, scale = specimen.keys.get("SCALE"), _scale(specimen)
    if text is None:
        return []
    if scale is None:
        return [f"{path}: SCALE={text[:40]} of {specimen.named() or 'its image'} is not a number and was ignored"]
    if grid.unit == "px":
        return [f"{path} has a SCALE, which is not used; its points are in px: give the spacing of the images for mm"]
    if any(abs(scale * unit / spacing - 1) <= 0.01 for unit in _UNITS_IN_MM for spacing in grid.spacing):
        return []
    spacing = " x ".join(f"{value:g}" for value in grid.spacing[::-1])
    return [f"{path}: SCALE={text} of {specimen.named()} is not the spacing of its image, {spacing} mm, which is used"]


def _scale(specimen: _Specimen) -> float | None:
    """What SCALE says, 1 where there is none; None where it is no number."""
    try:
        return number(specimen.keys.get("SCALE", "1"))
    except ValueError:
        return None


TPS = LandmarkFormat(
    name="tps",
    title="TPS (tpsDig, tpsUtil, geomorph)",
    endings=(".tps",),
    recognises=_recognises,
    read=read_tps,
    write=write_tps,
    frame="pixel, y counted from the bottom (row = height - y), so the images are needed; of LM3= not stated, "
    "to be given",
    missing="NA NA (written so) and, in 2D, -1 -1 are not annotated; our own files state in a comment which are absent",
    written_frame="pixel",
    many_images=True,
    unnamed=True,
    image_files=True,
)
