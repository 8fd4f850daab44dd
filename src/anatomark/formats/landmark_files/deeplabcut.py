"""DeepLabCut's and Lightning Pose's tables (CSV): a header of three lines, scorer, bodyparts, coords.

Projects of several animals have `individuals` too. A row is an image, by its path (`labeled-data/video/img.png`, in one
cell or in three) or, in predictions of videos, by the number of its frame. Under `coords` stand x and y, in pixels from
the top left with centres at whole numbers, and `likelihood` in predictions, which becomes the presence; other columns
(`set`, posterior variances) are passed over. Tables of points in space (x, y, z) do not state their frame.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anatomark.core.grid import Floats
from anatomark.core.landmarks import State
from anatomark.errors import LandmarkFileError
from anatomark.formats.frames import settle_frame
from anatomark.formats.header import tell
from anatomark.formats.landmark_files.point_lines import shown, unit_of, without_words
from anatomark.formats.landmark_format import GridOf, Head, LandmarkFormat
from anatomark.formats.landmark_table import LandmarkTable
from anatomark.formats.text import Sheet, number, numbers, read_sheet

_EXPECTED = "a CSV of DeepLabCut or Lightning Pose"
_LEVELS = ("scorer", "individuals", "bodyparts", "coords")
_AXES = ("x", "y", "z")
_UNIQUE = "single"  # the individual under which DeepLabCut keeps the parts that are of no animal
_Who = tuple[str, str, str]  # scorer, individual, bodypart


@dataclass(frozen=True)
class _Rows:
    """The rows below the header: `line` of each in the file, and the text of each column."""

    line: tuple[int, ...]
    columns: tuple[tuple[str, ...], ...]


def _recognises(head: Head) -> bool:
    lines = [line for line in head.lines[:6] if line.strip() and not line.lower().startswith(("sep=", '"sep='))]
    first = [re.split(r"[,;\t]", line, maxsplit=1)[0].strip().strip('"').lower() for line in lines[:4]]
    return first[:1] == ["scorer"] and "bodyparts" in first[1:3]


def read_deeplabcut(path: Path, *, frame: str | None, grid_of: GridOf) -> LandmarkTable:
    """A row an image and body part; pixel coordinates, and the likelihood of predictions as presence."""
    sheet = read_sheet(path, _EXPECTED)
    levels = _levels(sheet, path)
    index = _index_width(levels)
    listed = list(sheet.rows)
    rows = _Rows(tuple(line for line, _ in listed), tuple(zip(*(cells for _, cells in listed), strict=True)))
    if not listed:
        rows = _Rows((), ((),) * len(sheet.header))
    images = _images(rows, index, path)
    groups = _one_individual(_groups(levels, index, path), rows, path)
    axes = _AXES if all("z" in columns for columns in groups.values()) else _AXES[:2]
    settled = settle_frame("pixel" if len(axes) == 2 else None, frame, f"{path} (DeepLabCut)")
    if axes == _AXES[:2] and any("z" in columns for columns in groups.values()):
        raise LandmarkFileError(f"{path} has z for some body parts only; give all of them x, y, z or x, y")
    scorers = {scorer for scorer, _, _ in groups}
    parts: list[tuple[str, str, Floats, Floats]] = []
    for (scorer, _, part), columns in groups.items():
        points = np.column_stack([_column(rows, columns[axis], f"{part} {axis}", path) for axis in axes])
        _require_whole(points, rows, part, path)
        likelihood = np.full(len(images), np.nan)
        if "likelihood" in columns:
            likelihood = _column(rows, columns["likelihood"], f"{part} likelihood", path)
        parts.append((part, scorer if len(scorers) > 1 else "", points, likelihood))
    count = len(parts)
    coordinates = np.stack([p for _, _, p, _ in parts], axis=1).reshape(len(images) * count, len(axes))
    present = np.isfinite(coordinates).all(axis=1)
    return LandmarkTable(
        np.repeat(np.array(images or [""], dtype=str)[: len(images)], count),
        np.tile(np.array([part for part, _, _, _ in parts], dtype=str), len(images)),
        coordinates,
        np.where(present, State.PRESENT, State.NOT_ANNOTATED).astype(np.uint8),
        np.tile(np.array([scorer for _, scorer, _, _ in parts], dtype=str), len(images)),
        settled,
        unit_of(settled),
        np.where(present, np.stack([p for _, _, _, p in parts], axis=1).reshape(-1), np.nan),
        np.full(len(coordinates), np.nan),
    )


def _levels(sheet: Sheet, path: Path) -> dict[str, list[str]]:
    """{level: its cells, the name of the level first}."""
    levels = {sheet.header[0].lower(): [_named(cell) for cell in sheet.header]}
    expected = {"individuals", "bodyparts", "coords"}
    for line, cells in sheet.rows:
        name = cells[0].strip().lower()
        if name not in expected:
            raise LandmarkFileError(
                f"{path}, line {line}, is {cells[0][:40]!r} where coords was expected; give {_EXPECTED}"
            )
        levels[name] = [_named(cell) for cell in cells]
        expected.discard(name)
        if name == "coords":
            break
    if not {"scorer", "bodyparts", "coords"} <= set(levels):
        raise LandmarkFileError(f"{path} has no lines scorer, bodyparts and coords at its head; give {_EXPECTED}")
    return levels


def _named(cell: str) -> str:
    """The cell of a header, "" for what pandas calls columns without a name."""
    return "" if cell.strip().startswith("Unnamed: ") else cell.strip()


def _index_width(levels: dict[str, list[str]]) -> int:
    """How many columns name the image: one, or one a part of its path, which have no names."""
    width = 1
    while width < len(levels["coords"]) and not any(cells[width] for cells in levels.values()):
        width += 1
    return width


def _images(rows: _Rows, index: int, path: Path) -> list[str]:
    names = zip(*rows.columns[:index], strict=True)
    images = ["/".join(part.strip() for part in parts if part.strip()) for parts in names]
    times = Counter(images)
    for line, image in zip(rows.line, images, strict=True):
        if not image:
            raise LandmarkFileError(f"{path}, line {line}: the row names no image; name it")
        if times[image] > 1:
            raise LandmarkFileError(
                f"{path}, line {line}: the image {shown(image)} is there {times[image]} times; keep one row"
            )
    return images


def _groups(levels: dict[str, list[str]], index: int, path: Path) -> dict[_Who, dict[str, int]]:
    """{body part: {x, y, likelihood: column}}, in the order of the columns."""
    groups: dict[_Who, dict[str, int]] = {}
    for place in range(index, len(levels["coords"])):
        coord = levels["coords"][place].lower()
        if coord not in (*_AXES, "likelihood"):
            continue
        scorer, individual, part = (levels[level][place] if level in levels else "" for level in _LEVELS[:3])
        columns = groups.setdefault((scorer, individual, part), {})
        if not part:
            raise LandmarkFileError(f"{path}: column {place + 1} has a {coord} and no body part; name it")
        if coord in columns:
            raise LandmarkFileError(f"{path} has duplicate column {shown(part)} {coord}; keep one")
        columns[coord] = place
    incomplete = [key for key, columns in groups.items() if not {"x", "y"} <= set(columns)]
    if incomplete or not groups:
        what = f"{shown(incomplete[0][2])} without x or y" if incomplete else "no body part with x and y"
        raise LandmarkFileError(f"{path} has {what}; give {_EXPECTED}")
    return groups


def _one_individual(groups: dict[_Who, dict[str, int]], rows: _Rows, path: Path) -> dict[_Who, dict[str, int]]:
    """The body parts of the one individual that has places, and those of none."""
    with_points = {
        individual
        for (_, individual, _), columns in groups.items()
        if any(without_words(text) for text in rows.columns[columns["x"]])
    }
    individuals = list(dict.fromkeys(individual for _, individual, _ in groups))
    located = [individual for individual in individuals if individual in with_points and individual != _UNIQUE]
    if len(located) > 1:
        raise LandmarkFileError(
            f"{path} has several individuals ({shown(', '.join(located[:5]))}), and an image has one of each landmark; "
            "keep the columns of one, or write one file for each"
        )
    chosen = located or [i for i in individuals if i != _UNIQUE][:1]
    ignored = [individual for individual in individuals if individual not in (*chosen, _UNIQUE)]
    if ignored:
        tell([f"{path}: the individuals {shown(', '.join(ignored[:5]))} have no places and were passed over"])
    columns_of = {key: columns for key, columns in groups.items() if key[1] in (*chosen, _UNIQUE)}
    twice = [key for key, times in Counter((s, part) for s, _, part in columns_of).items() if times > 1]
    if twice:
        raise LandmarkFileError(
            f"{path} has {shown(twice[0][1])} both of {shown(chosen[0])} and as a unique body part; rename one"
        )
    return columns_of


def _column(rows: _Rows, place: int, name: str, path: Path) -> Floats:
    texts = [without_words(text) for text in rows.columns[place]]
    try:
        return numbers(texts)
    except ValueError:
        for line, text in zip(rows.line, texts, strict=True):
            try:
                number(text or "0")
            except ValueError as error:
                raise LandmarkFileError(
                    f"{path}, line {line}: {shown(name)} is {text.strip()[:40]!r}; {error}"
                ) from None
        raise


def _require_whole(points: Floats, rows: _Rows, part: str, path: Path) -> None:
    """Each point (R, d) has all coordinates or none."""
    known = np.isfinite(points)
    partly = np.flatnonzero(known.any(axis=1) & ~known.all(axis=1))
    if partly.size:
        raise LandmarkFileError(
            f"{path}, line {rows.line[partly[0]]}: a coordinate of {shown(part)} is missing; give all or none"
        )


DEEPLABCUT = LandmarkFormat(
    name="deeplabcut",
    title="DeepLabCut and Lightning Pose (.csv)",
    endings=(".csv",),
    recognises=_recognises,
    read=read_deeplabcut,
    frame="pixel; of points in space (x, y, z) not stated, to be given",
    missing="empty (or NaN) is not annotated; a likelihood is the presence",
    many_images=True,
)
