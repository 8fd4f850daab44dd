"""Long tables of landmarks (CSV, TSV): one row for each image, landmark and observer.

Columns: image, landmark (or label), x, y[, z] (or r, a, s; or l, p, s, as Slicer exports them), frame,
unit, presence, spread, error_bound_mm or error_bound_px, observer (or rater), state, changed. Only a landmark
and coordinates are a must; other columns are passed over. A row without coordinates is present nowhere: its
`state` says `absent` or `not annotated` (also the default). A row whose `defined` is 0, as Slicer writes it, has no
position whatever its coordinates. A column z in which nothing stands leaves a 2D table. `changed` is when a person last
set the row, as ISO 8601 in UTC; it marks a table of reviews (`anatomark.data.reviews`).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats, Unit
from anatomark.core.landmarks import State
from anatomark.errors import FrameError, LandmarkFileError
from anatomark.formats.atomic import replacing
from anatomark.formats.frames import Frame, as_frame, settle_frame
from anatomark.formats.landmark_table import LandmarkTable, Texts
from anatomark.formats.missing import NOTHING, WORDS, MissingValues, as_missing
from anatomark.formats.text import Sheet, numbers, read_sheet

STATE_WORDS = {State.PRESENT: "present", State.ABSENT: "absent", State.NOT_ANNOTATED: "not annotated"}
_STATES = {word: state for state, word in STATE_WORDS.items()} | {"not_annotated": State.NOT_ANNOTATED}
_TEXTS = {
    "image": ("image",),
    "landmark": ("landmark", "label"),
    "observer": ("observer", "rater"),
    "frame": ("frame",),
    "unit": ("unit",),
    "state": ("state",),
    "changed": ("changed",),
    "defined": ("defined",),
}
_DEFINED = {"0": False, "false": False, "1": True, "true": True, "": True}
_NUMBERS = {
    "x": ("x", "l", "r"),
    "y": ("y", "p", "a"),
    "z": ("z", "s"),
    "presence": ("presence",),
    "spread": ("spread",),
    "bound": ("error_bound_mm", "error_bound_px"),
}
_BLOCK = 1 << 16


def read_table(
    path: str | Path,
    *,
    frame: str | None = None,
    columns: Mapping[str, str] | None = None,
    missing: MissingValues = NOTHING,
) -> LandmarkTable:
    """The placements in a CSV or TSV; the separator (comma, tab, semicolon) is taken from the header.

    `frame` (LPS, RAS, pixel) is for tables that have no `frame` column; `columns` maps our column names to
    the file's, such as {"landmark": "point", "x": "X mm"}. Without a `unit` column world coordinates are
    mm. Points that are `missing` by the numbers or words given are read as if they had no coordinates.

    Raises `FrameError` where nobody says the frame, and `LandmarkFileError`, with the line, for what is no
    number (decimal commas are not guessed), NaN, infinite, incomplete, or there twice.
    """
    path = Path(path)
    return without(missing, _read(read_sheet(path), path, frame, dict(columns or {}), missing.words))


def without(missing: MissingValues, table: LandmarkTable) -> LandmarkTable:
    """`table` with the points that are a code as if they had no row: not annotated and without coordinates."""
    coded = missing.among(table.coordinates)
    if not coded.any():
        return table
    states = np.where(coded, State.NOT_ANNOTATED, table.states).astype(np.uint8)
    return replace(table, coordinates=np.where(coded[:, None], np.nan, table.coordinates), states=states)


def write_table(table: LandmarkTable, path: str | Path) -> None:
    """Writes image,landmark,x,y[,z],frame,unit,presence,spread, and what is known of bound, observer, state, changed.

    The bound's column is error_bound_mm or error_bound_px.

    Numbers are written so that reading gives the same ones. A name that ends in .tsv is separated by tabs.
    """
    path = Path(path)
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        write_rows([table], file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")


def write_rows(tables: Iterable[LandmarkTable], file: TextIO, *, delimiter: str = ",") -> None:
    """The rows of all `tables` below one header, as `write_table` writes those of one; one table is held at a time.

    `file` is open for text without translation of line ends. ValueError where a table has other columns than the first.
    """
    writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
    columns: list[str] = []
    for table in tables:
        header = _header(table)
        if not columns:
            columns = header
            writer.writerow(header)
        if header != columns:
            raise ValueError(f"tables of other columns: {header} after {columns}")
        lengths = [table.spread] if table.bound is None else [table.spread, table.bound]
        numbers = np.column_stack([table.coordinates, table.presence, *lengths])
        with_observer, with_state, d = "observer" in header, "state" in header, table.ndim
        for start in range(0, len(table), _BLOCK):
            part = slice(start, start + _BLOCK)
            rows = zip(
                table.image[part].tolist(),
                table.landmark[part].tolist(),
                numbers[part].tolist(),
                table.observer[part].tolist(),
                table.states[part].tolist(),
                [None] * len(table.image[part]) if table.changed is None else table.changed[part].tolist(),
                strict=True,
            )
            for image, landmark, values, observer, state, changed in rows:
                cells = ["" if value != value else repr(value) for value in values]
                row = [image, landmark, *cells[:d], table.frame, table.unit, *cells[d:]]
                row += [observer] * with_observer + [STATE_WORDS[State(state)]] * with_state
                row += [] if changed is None else [changed]
                writer.writerow(row)


def _header(table: LandmarkTable) -> list[str]:
    """The columns that a table is written with."""
    located = np.isfinite(table.coordinates).all(axis=1)
    with_observer = bool((table.observer != "").any())
    with_state = bool((table.states != np.where(located, State.PRESENT, State.NOT_ANNOTATED)).any())
    header = ["image", "landmark", *"xyz"[: table.ndim], "frame", "unit", "presence", "spread"]
    header += [f"error_bound_{table.unit}"] * (table.bound is not None)
    return header + ["observer"] * with_observer + ["state"] * with_state + ["changed"] * (table.changed is not None)


def _read(
    sheet: Sheet, path: Path, frame: str | None, mapping: dict[str, str], missing: frozenset[str]
) -> LandmarkTable:
    header = sheet.header
    places, stated_frame = _places(header, mapping, path)
    texts: dict[str, tuple[dict[str, int], list[NDArray[np.int32]]]] = {k: ({}, []) for k in places if k in _TEXTS}
    parts_of: dict[str, list[Floats]] = {k: [] for k in places if k in _NUMBERS}
    line_numbers: list[NDArray[np.int64]] = []
    while block := list(islice(sheet.rows, _BLOCK)):
        lines = [line for line, _ in block]
        cells = list(zip(*(row for _, row in block), strict=True))
        line_numbers.append(np.array(lines))
        for name, (index, codes) in texts.items():
            column = cells[places[name]]
            codes.append(np.array([index.setdefault(text.strip(), len(index)) for text in column], dtype=np.int32))
        for name, parts in parts_of.items():
            column = cells[places[name]]
            if missing:
                column = ["" if text.strip().lower() in missing else text for text in column]
            parts.append((_bounds if name == "bound" else _floats)(column, lines, name, path))
    line = _joined(line_numbers, np.int64)
    code = {k: _joined(parts, np.int32) for k, (_, parts) in texts.items()}
    words = {k: list(index) for k, (index, _) in texts.items()}
    number = {k: _joined(parts, np.float64) for k, parts in parts_of.items()}

    count = len(line)
    coordinates = np.column_stack([number.pop(k) for k in "xyz" if k in number])
    if coordinates.shape[1] == 3 and np.isfinite(coordinates[:, :2]).any() and np.isnan(coordinates[:, 2]).all():
        coordinates = coordinates[:, :2]
    coordinates[~_defined(code, words, line, path)] = np.nan
    known = np.isfinite(coordinates)
    partly = known.any(axis=1) & ~known.all(axis=1)
    if partly.any():
        raise LandmarkFileError(f"{path}, line {line[partly][0]}: a coordinate is missing; give all or none")
    states = _states(code, words, np.all(known, axis=1), line, path)
    empty_name = words["landmark"].index("") if "" in words["landmark"] else -1
    if (code["landmark"] == empty_name).any():
        at = line[code["landmark"] == empty_name][0]
        raise LandmarkFileError(f"{path}, line {at}: the landmark has no name; name it")
    _require_once(code, words, line, path)
    own_frame = _one("frame", code, words, path) or stated_frame
    settled = settle_frame(as_frame(own_frame, path) if own_frame else None, frame, path)
    unit = _unit(_one("unit", code, words, path).lower(), settled, path)
    if header[places.get("bound", 0)].lower() == f"error_bound_{'px' if unit == 'mm' else 'mm'}":
        raise FrameError(f"{path} is in {unit}, its bounds in another unit; name their column error_bound_{unit}")
    none = np.broadcast_to(np.nan, count)  # takes no memory
    blank = np.broadcast_to("", count)
    text: dict[str, Texts] = {}
    for k in ("image", "landmark", "observer", "changed"):
        if k in code:
            # rows share the texts of what many have in common; times are compared as text
            text[k] = np.array(words[k] or [""], dtype=str if k == "changed" else object)[code.pop(k)]
    return LandmarkTable(
        text.get("image", blank),
        text["landmark"],
        coordinates,
        states,
        text.get("observer", blank),
        settled,
        unit,
        number.get("presence", none),
        number.get("spread", none),
        number.get("bound"),
        text.get("changed"),
        line,
    )


def _joined(parts: list[NDArray[Any]], kind: type[np.generic]) -> NDArray[Any]:
    """One array of all `parts`, which are emptied: both together would take twice the memory."""
    whole = np.concatenate([np.empty(0, dtype=kind), *parts])
    parts.clear()
    return whole


def _places(header: list[str], mapping: dict[str, str], path: Path) -> tuple[dict[str, int], str]:
    """{our column: its place}, and the frame that columns called r, a, s or l, p, s state."""
    unknown = set(mapping) - set(_TEXTS) - set(_NUMBERS)
    if unknown:
        known = ", ".join([*_TEXTS, *_NUMBERS])
        raise LandmarkFileError(f"{path}: no column is called {', '.join(sorted(unknown))}; ours are {known}")
    at: dict[str, int] = {}
    for place, name in enumerate(header):
        if name and name.lower() in at:
            raise LandmarkFileError(f"{path} has a duplicate column {name!r}; rename one")
        at[name.lower()] = place
    absent = [column for column in mapping.values() if column.strip().lower() not in at]
    if absent:
        raise LandmarkFileError(f"{path} has no column {absent[0]!r}; it has {', '.join(filter(None, header))}")
    places = {ours: at[column.strip().lower()] for ours, column in mapping.items()}
    triple = next((t for t in ("xyz", "lps", "ras") if t[0] in at and t[1] in at), "xyz")
    for ours, names in {**_TEXTS, **_NUMBERS}.items():
        if ours in "xyz":
            names = (triple["xyz".index(ours)],)
        found = next((at[name] for name in names if name in at), None)
        if ours not in places and found is not None:
            places[ours] = found
    missing = [name for name in ("landmark", "x", "y") if name not in places]
    if missing:
        only = " ".join(", ".join(filter(None, header)).split())  # a quoted name may hold line ends
        raise LandmarkFileError(f"{path} has no column {', '.join(missing)}, only {only}; map them")
    from_names = triple != "xyz" and all(places.get(o) == at.get(t) for o, t in zip("xy", triple, strict=False))
    return places, triple.upper() if from_names else ""


def _floats(column: Sequence[str], lines: Sequence[int], name: str, path: Path) -> Floats:
    """Numbers of a column, NaN where it is empty."""
    try:
        return numbers(column)
    except ValueError:
        for cell, line in zip(column, lines, strict=True):
            try:
                numbers([cell])
            except ValueError as error:
                word = cell.strip()
                hint = f"{error}{as_missing(word)}" if word.lower() in WORDS else str(error)
                raise LandmarkFileError(f"{path}, line {line}: {name} is {word!r}; {hint}") from error
        raise


def _bounds(column: Sequence[str], lines: Sequence[int], name: str, path: Path) -> Floats:
    """As `_floats`, with `inf` for points that may be anywhere, as in an unsuitable image."""
    endless = np.array([cell.strip().lower() == "inf" for cell in column], dtype=bool)
    finite = ["" if end else cell for cell, end in zip(column, endless.tolist(), strict=True)]
    return np.where(endless, np.inf, _floats(finite, lines, name, path))


def _defined(
    code: dict[str, NDArray[np.int32]], words: dict[str, list[str]], line: NDArray[np.int64], path: Path
) -> NDArray[np.bool_]:
    """(R,) whether the row has a position, by Slicer's column `defined`."""
    defined = np.ones(len(line), dtype=bool)
    for number, word in enumerate(words["defined"] if "defined" in code else ()):
        rows = code["defined"] == number
        if word.lower() not in _DEFINED:
            raise LandmarkFileError(f"{path}, line {line[rows][0]}: defined is {word!r}; expected 0 or 1")
        defined[rows] = _DEFINED[word.lower()]
    return defined


def _states(
    code: dict[str, NDArray[np.int32]],
    words: dict[str, list[str]],
    located: NDArray[np.bool_],
    line: NDArray[np.int64],
    path: Path,
) -> NDArray[np.uint8]:
    states = np.where(located, State.PRESENT, State.NOT_ANNOTATED).astype(np.uint8)
    if "state" not in code:
        return states
    for number, word in enumerate(words["state"]):
        rows = code["state"] == number
        if not word:
            continue
        if word.lower() not in _STATES:
            expected = ", ".join(STATE_WORDS.values())
            raise LandmarkFileError(f"{path}, line {line[rows][0]}: the state is {word!r}; expected {expected}")
        states[rows] = _STATES[word.lower()]
    unlocated = (states == State.PRESENT) & ~located
    if unlocated.any():
        raise LandmarkFileError(f"{path}, line {line[unlocated][0]}: present without coordinates; give them")
    return states


def _require_once(
    code: dict[str, NDArray[np.int32]], words: dict[str, list[str]], line: NDArray[np.int64], path: Path
) -> None:
    key = np.zeros(len(line), dtype=np.int64)
    for name in ("image", "observer", "landmark"):
        if name in code:
            key = key * max(len(words[name]), 1) + code[name]
    order = np.argsort(key, kind="stable")
    again = np.flatnonzero(key[order][1:] == key[order][:-1])
    if again.size:
        row = order[again[0] + 1]
        labels = {k: words[k][code[k][row]] for k in ("landmark", "image", "observer") if k in code}
        listed = ", ".join(f"{k} {v}" for k, v in labels.items() if v)
        raise LandmarkFileError(f"{path}, line {line[row]}: duplicate row for {listed}; keep one")


def _one(name: str, code: dict[str, NDArray[np.int32]], words: dict[str, list[str]], path: Path) -> str:
    """The one word in a column, "" where there is no column or nothing in it."""
    stated = words.get(name, []) if name in code else []
    if len({word.lower() for word in stated}) > 1:
        raise FrameError(f"{path} mixes the {name}s {', '.join(repr(w) for w in stated)}; keep one in a table")
    return stated[0] if stated else ""


def _unit(stated: str, frame: Frame, path: Path) -> Unit:
    if stated not in ("", "mm", "px"):
        raise FrameError(f"{path} is in the unit {stated!r}; expected mm or px")
    if frame == "pixel":
        if stated == "mm":
            raise FrameError(f"{path} states pixel coordinates in mm; correct its frame or its unit")
        return "px"
    return "px" if stated == "px" else "mm"
