"""Wide tables (CSV, TSV): a row an image, and for each landmark its columns x, y[, z].

The columns of all landmarks are spelt in one way: `sella_x`, `sella.x`, `sella-x`, `sella x`, `x_sella`, `sella (x)`,
`sellaX` or `x1`, in either case; px or mm may follow (`sella_x_mm`). The image is in a column with one of the usual
names or, where there is none, in the first column if that has no name, as pandas writes an index. Other columns are
passed over, but not one that looks like a landmark without its other coordinate.

What we write has the columns `frame` and `unit` too, so that it says what it is in, and `sella_state` for landmarks
that are absent somewhere.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats, Unit
from anatomark.core.landmarks import State
from anatomark.errors import FrameError, LandmarkFileError
from anatomark.formats.atomic import write_text
from anatomark.formats.frames import FRAMES, Frame, as_frame, settle_frame
from anatomark.formats.header import tell
from anatomark.formats.landmark_files.point_lines import shown, unit_of, without_words
from anatomark.formats.landmark_format import GridOf, Head, LandmarkFormat
from anatomark.formats.landmark_table import LandmarkTable
from anatomark.formats.placements import Key, table_points
from anatomark.formats.table import STATE_WORDS
from anatomark.formats.text import as_sheet, number, numbers, read_sheet

_EXPECTED = "a .csv or .tsv with a row an image and columns such as sella_x, sella_y"
_UNIT = r"(?:[ _.]?[(\[]?(?P<unit>px|pixels?|mm)[)\]]?)?"
_SPELLINGS = (
    *(rf"(?P<name>.+){sep}(?P<axis>[xyz]){_UNIT}" for sep in ("_", r"\.", "-", " ")),
    *(rf"(?P<axis>[xyz]){sep}(?P<name>.+)" for sep in ("_", r"\.", "-", " ")),
    r"(?P<name>.+)\((?P<axis>[xyz])\)",
    r"(?P<name>.+)\[(?P<axis>[xyz])\]",
    r"(?P<axis>[xyz])(?P<name>[0-9]+)",
    r"(?P<name>.*(?-i:[a-z0-9]))(?P<axis>(?-i:[XYZ]))",
)
_PATTERNS = tuple(re.compile(spelling, re.IGNORECASE | re.DOTALL) for spelling in _SPELLINGS)
# what else comes as x, y, z in tables of cases: properties of images
_NO_LANDMARKS = frozenset(("spacing", "pixel_spacing", "voxel_spacing", "size", "image_size", "origin", "offset"))
# what the coordinates of a long table are called
_ANY_LANDMARK = frozenset(
    ("mm", "px", "pixel", "cm", "um", "coord", "coordinate", "pos", "position", "point", "landmark")
)
_IMAGE = (
    "image", "image_name", "image_id", "file", "filename", "file_name", "case", "case_id", "id", "image_path", "path",
    "filepath", "img", "imagename", "scan", "specimen", "sample", "subject", "subject_id", "patient", "patient_id",
    "name",
)  # fmt: skip
_OBSERVER = ("observer", "rater", "reader", "annotator")
_LANDMARK = frozenset(("landmark", "label", "landmark_name", "point", "bodypart", "keypoint"))
_STATES = {word: state for state, word in STATE_WORDS.items()} | {"": None}


@dataclass(frozen=True)
class _Columns:
    """Where things stand: `landmarks` is {name: columns of x, y[, z]}, `unit` what their names say; None for none."""

    landmarks: dict[str, tuple[int, ...]]
    states: dict[str, int]
    unit: Unit | None
    image: int | None
    observer: int | None
    frame: int | None
    own_unit: int | None


def _recognises(head: Head) -> bool:
    if head.text.lstrip()[:1] in ("{", "[", "<"):
        return False
    try:
        header = as_sheet(head.text, head.path).header
    except LandmarkFileError:
        return False
    if len(head.lines) < 2:
        header = header[:-1]  # it may be cut
    lower = {name.lower() for name in header}
    whole = {name.lower() for name, axes in _by_name(header)[0].items() if {"x", "y"} <= set(axes)}
    named = whole - _ANY_LANDMARK
    if _LANDMARK & lower:  # most likely a long table
        return len(named) > 1 and not any(set(axes) <= lower for axes in ("xy", "lp", "ra"))
    return bool(named) or (bool(whole) and {"image", "frame", "unit"} <= lower)


def read_wide_table(path: Path, *, frame: str | None, grid_of: GridOf) -> LandmarkTable:
    """A row an image (and observer) and landmark, in the order of rows and columns.

    Raises `FrameError` where neither the columns nor `frame` say the frame.
    """
    sheet = read_sheet(path, _EXPECTED)
    columns = _columns(sheet.header, path)
    rows = list(sheet.rows)
    line = [number for number, _ in rows]
    cells = list(zip(*(cells for _, cells in rows), strict=True)) or [()] * len(sheet.header)
    settled, unit = _frame_and_unit(columns, cells, frame, path)
    images = [text.strip() for text in cells[columns.image]] if columns.image is not None else [""] * len(rows)
    observers = [text.strip() for text in cells[columns.observer]] if columns.observer is not None else [""] * len(rows)
    _require_once(images, observers, line, columns, path)
    names, count = list(columns.landmarks), len(columns.landmarks)
    points = np.stack(
        [
            _floats([cells[places[axis]] for places in columns.landmarks.values()], line, names, "xyz"[axis], path)
            for axis in range(len(next(iter(columns.landmarks.values()))))
        ],
        axis=2,
    )
    states = _states(points, line, names, path)
    for column, name in enumerate(names):
        if name in columns.states:
            _state(states[:, column], cells[columns.states[name]], line, name, path)
    none = np.full(len(rows) * count, np.nan)
    return LandmarkTable(
        np.repeat(np.array([*images, ""], dtype=str)[:-1], count),
        np.tile(np.array(names, dtype=str), len(rows)),
        points.reshape(len(rows) * count, points.shape[2]),
        states.reshape(-1),
        np.repeat(np.array([*observers, ""], dtype=str)[:-1], count),
        settled,
        unit,
        none,
        none.copy(),
    )


def write_wide_table(table: LandmarkTable, path: Path, *, grid_of: GridOf) -> None:
    """Writes image, frame, unit, observer where there are any, and `name_x`, `name_y`[, `name_z`] of each landmark.

    `name_state` is written for landmarks that are absent in an image. A landmark that an image does not have in the
    table has empty cells. A name that ends in .tsv is separated by tabs.
    """
    by_image = table_points(table)
    names = list(dict.fromkeys(table.landmark.tolist()))
    _require_writable(names, by_image, path)
    rows = {key: dict(zip(points.names, range(len(points.names)), strict=True)) for key, points in by_image.items()}
    for (image, _), points in by_image.items():
        if len(set(points.names)) != len(points.names):
            twice = next(name for name in points.names if points.names.count(name) > 1)
            raise LandmarkFileError(f"{path}: {shown(twice)} is there twice in {shown(image) or 'the image'}; keep one")
    absent = set(table.landmark[table.states == State.ABSENT].tolist())
    axes = "xyz"[: table.ndim]
    with_observer = bool((table.observer != "").any())
    header = ["image", "frame", "unit", *(["observer"] if with_observer else [])]
    header += [f"{name}_{part}" for name in names for part in (*axes, *(["state"] if name in absent else []))]
    text = io.StringIO()
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    # all is quoted where a name holds a separator, for readers go by what parts the header, or \r, which csv forgets
    needs_quotes = any(
        sign in word for word in [*names, *(part for key in by_image for part in key)] for sign in ',;\t"\r'
    )
    quoting = csv.QUOTE_ALL if needs_quotes else csv.QUOTE_MINIMAL
    writer = csv.writer(text, delimiter=separator, lineterminator="\n", quoting=quoting)
    writer.writerow(header)
    for (image, observer), points in by_image.items():
        cells = [image, table.frame, table.unit, *([observer] if with_observer else [])]
        coordinates, states = points.coordinates.tolist(), points.states.tolist()
        for name in names:
            row = rows[image, observer].get(name)
            state = State.NOT_ANNOTATED if row is None else State(states[row])
            present = row is not None and state == State.PRESENT
            cells += map(repr, coordinates[row]) if present else [""] * table.ndim
            cells += [STATE_WORDS[state]] if name in absent else []
        writer.writerow(cells)
    write_text(path, text.getvalue())


def _by_name(header: Sequence[str]) -> tuple[dict[str, dict[str, list[int]]], dict[str, set[str]]]:
    """{name: {axis: columns}} by the first spelling in which a landmark is whole, and {name: units in its columns}."""
    for pattern in _PATTERNS:
        groups: dict[str, dict[str, list[int]]] = {}
        units: dict[str, set[str]] = {}
        for place, column in enumerate(header):
            if not column:
                continue
            match = pattern.fullmatch(column)
            name = match["name"].strip() if match else ""
            if match is None or not name or name.lower() in _NO_LANDMARKS:
                continue
            groups.setdefault(name, {}).setdefault(match["axis"].lower(), []).append(place)
            unit = match.groupdict().get("unit")
            units.setdefault(name, set()).add("" if unit is None else "mm" if unit.lower() == "mm" else "px")
        if any({"x", "y"} <= set(axes) for axes in groups.values()):
            return groups, units
    return {}, {}


def _columns(header: Sequence[str], path: Path) -> _Columns:
    at: dict[str, int] = {}
    for place, column in enumerate(header):
        if column and at.setdefault(column, place) != place:
            raise LandmarkFileError(f"{path} has a duplicate column {column!r}; rename one")
    groups, units = _by_name(header)
    landmarks = _whole(groups, header, path)
    stated = {unit for name in landmarks for unit in units[name]}
    if len(stated) > 1:
        raise FrameError(f"{path} has columns in {' and '.join(sorted(u or 'no unit' for u in stated))}; keep one unit")
    states = {name: at[f"{name}_state"] for name in landmarks if f"{name}_state" in at}
    used = {place for places in landmarks.values() for place in places} | set(states.values())
    unused = ["" if place in used else column for place, column in enumerate(header)]
    others = [name for name, axes in _by_name(unused)[0].items() if {"x", "y"} <= set(axes)]
    if others:
        like = header[next(iter(landmarks.values()))[0]]
        raise LandmarkFileError(
            f"{path} spells the columns of {shown(others[0])} otherwise than {like!r}; spell all alike"
        )
    lower = {column.lower(): place for place, column in reversed(list(enumerate(unused))) if column}
    image = next((lower[name] for name in _IMAGE if name in lower), None)
    if image is None and (header[0] == "" or header[0].startswith("Unnamed: ")):  # as pandas calls it on reading
        image = 0
    observer = next((lower[name] for name in _OBSERVER if name in lower), None)
    ignored = [
        column for place, column in enumerate(unused) if column and place != image and _prefix(column) in landmarks
    ]
    if ignored:
        listed = shown(", ".join(ignored[:4])) + (", ..." if len(ignored) > 4 else "")
        tell([f"{path}: the columns {listed} go with landmarks and were passed over; only coordinates are read"])
    unit: Unit | None = "mm" if "mm" in stated else "px" if "px" in stated else None
    return _Columns(landmarks, states, unit, image, observer, lower.get("frame"), lower.get("unit"))


def _prefix(column: str) -> str:
    """The name before the last separator, such as that of `sella_visible`."""
    return column[: max(0, *(column.rfind(sign) for sign in "_. -"))]


def _whole(groups: dict[str, dict[str, list[int]]], header: Sequence[str], path: Path) -> dict[str, tuple[int, ...]]:
    """{name: columns of x, y[, z]}; a lone x or y, or a z of some landmarks only, is refused."""
    landmarks: dict[str, tuple[int, ...]] = {}
    for name, axes in groups.items():
        twice = next((places for places in axes.values() if len(places) > 1), None)
        if twice is not None:
            raise LandmarkFileError(f"{path} has both {header[twice[0]]!r} and {header[twice[1]]!r}; keep one")
        if {"x", "y"} <= set(axes):
            landmarks[name] = tuple(axes[axis][0] for axis in "xyz" if axis in axes)
        elif {"x", "y"} & set(axes):
            only = next(axis for axis in "xy" if axis in axes)
            raise LandmarkFileError(
                f"{path} has the column {header[axes[only][0]]!r} and none for the {'y' if only == 'x' else 'x'} of "
                f"{shown(name)}; add it, or rename this one"
            )
    if not landmarks:
        raise LandmarkFileError(
            f"{path} has no columns such as sella_x and sella_y, only {shown(', '.join(header), 200)}"
        )
    without_z = [name for name, places in landmarks.items() if len(places) == 2]
    if without_z and len(without_z) < len(landmarks):
        with_z = next(name for name in landmarks if name not in without_z)
        raise LandmarkFileError(
            f"{path} has a column for the z of {shown(with_z)} and none for that of {shown(without_z[0])}; add it"
        )
    return landmarks


def _frame_and_unit(
    columns: _Columns, cells: list[tuple[str, ...]], given: str | None, path: Path
) -> tuple[Frame, Unit]:
    """What our own columns `frame` and `unit` say, or the names of the columns, or who called."""
    words: set[str] = {text.strip().lower() for text in cells[columns.frame]} if columns.frame is not None else set()
    known = {frame.lower() for frame in FRAMES}
    stated: Frame | None = None
    if words & known:  # else the column is of something else, such as the frames of a video
        if len(words) > 1:
            raise FrameError(f"{path} mixes the frames {', '.join(sorted(words))[:80]}; keep one in a table")
        stated = as_frame(words.pop(), path)
    units: set[str] = (
        {text.strip().lower() for text in cells[columns.own_unit]} if columns.own_unit is not None else set()
    )
    units |= {columns.unit} if columns.unit is not None else set()
    units.discard("")
    if units - {"mm", "px"}:
        raise FrameError(f"{path} is in the unit {sorted(units - {'mm', 'px'})[0][:20]!r}; expected mm or px")
    if len(units) > 1:
        raise FrameError(f"{path} mixes the units mm and px; keep one in a table")
    unit = next(iter(units), None)
    settled = settle_frame(stated or ("pixel" if columns.unit == "px" else None), given, f"{path} (wide table)")
    if settled == "pixel" and unit == "mm":
        raise FrameError(f"{path} states pixel coordinates in mm; correct its frame or its unit")
    return settled, "px" if unit == "px" else "mm" if unit == "mm" else unit_of(settled)


def _require_once(images: list[str], observers: list[str], line: list[int], columns: _Columns, path: Path) -> None:
    if columns.image is None and len({*observers}) < len(images):
        raise LandmarkFileError(f"{path} has {len(images)} rows and no column that names the image; add a column image")
    several = len(set(images)) > 1
    first: dict[Key, int] = {}
    for image, observer, at in zip(images, observers, line, strict=True):
        if columns.image is not None and not image and several:
            raise LandmarkFileError(f"{path}, line {at}: the row names no image; name it")
        if (image, observer) in first:
            raise LandmarkFileError(
                f"{path}, line {at}: {shown(image) or 'the image'} was there at line {first[image, observer]}; keep "
                "one row, or name the observers in a column observer"
            )
        first[image, observer] = at


def _floats(columns: list[tuple[str, ...]], line: Sequence[int], names: Sequence[str], axis: str, path: Path) -> Floats:
    """(R, N) numbers in the columns of one axis, NaN where a cell is empty, NA or NaN."""
    texts = [[without_words(text) for text in column] for column in columns]
    try:
        return numbers([text for column in texts for text in column]).reshape(len(names), len(line)).T
    except ValueError:
        for name, column in zip(names, texts, strict=True):
            for text, at in zip(column, line, strict=True):
                try:
                    number(text or "0")
                except ValueError as error:
                    what = f"{axis} of {shown(name)} is {text[:40]!r}"
                    raise LandmarkFileError(f"{path}, line {at}: the {what}; {error}") from None
        raise


def _states(points: Floats, line: Sequence[int], names: Sequence[str], path: Path) -> NDArray[np.uint8]:
    """(R, N) states of landmarks at points (R, N, d): present where there are all coordinates."""
    given = np.isfinite(points)
    located = np.asarray(given.all(axis=2))
    partly = np.argwhere(np.asarray(given.any(axis=2)) & ~located)
    if len(partly):
        row, column = int(partly[0, 0]), int(partly[0, 1])
        raise LandmarkFileError(
            f"{path}, line {line[row]}: a coordinate of {shown(names[column])} is missing; give all or none"
        )
    return np.where(located, State.PRESENT, State.NOT_ANNOTATED).astype(np.uint8)


def _state(states: NDArray[np.uint8], stated: Sequence[str], line: Sequence[int], name: str, path: Path) -> None:
    """Sets the `states` (R,) of a landmark to those that its own column states, where it does."""
    for row, text in enumerate(stated):
        word = text.strip().lower()
        if word not in _STATES:
            raise LandmarkFileError(
                f"{path}, line {line[row]}: the state of {shown(name)} is {word[:40]!r}; "
                f"expected {', '.join(STATE_WORDS.values())}"
            )
        state = _STATES[word]
        if state == State.PRESENT and states[row] != State.PRESENT:
            raise LandmarkFileError(
                f"{path}, line {line[row]}: {shown(name)} is present without coordinates; give them"
            )
        if state is not None:
            states[row] = state


def _require_writable(names: Sequence[str], keys: Iterable[Key], path: Path) -> None:
    for name in names:
        if not name.strip() or name != name.strip() or name.lower() in _NO_LANDMARKS or "\0" in name:
            raise LandmarkFileError(
                f"{path}: the name {name!r} cannot head columns of a wide table; rename it, or write a long table"
            )
    for part in (part for key in keys for part in key):
        if part != part.strip() or "\0" in part:
            raise LandmarkFileError(f"{path}: the image or observer {part!r} cannot stand in a table; rename it")


WIDE_TABLE = LandmarkFormat(
    name="wide",
    title="wide table, with one column for each coordinate (image,sella_x,sella_y,...)",
    endings=(".csv", ".tsv"),
    recognises=_recognises,
    read=read_wide_table,
    write=write_wide_table,
    frame="its column `frame` (written), pixel where the columns are in px (`sella_x_px`), or the one given",
    missing="empty, NA or NaN is not annotated, or what `sella_state` states",
    many_images=True,
)
