"""Between tables of many placements and the landmarks of an image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from anatomark.core.grid import Grid, Unit
from anatomark.core.landmarks import Landmarks, State
from anatomark.errors import LandmarkFileError
from anatomark.formats.frames import FilePoints, Frame, as_frame, from_world
from anatomark.formats.landmark_table import LandmarkTable

Key = tuple[str, str]  # image, observer


def table_landmarks(
    table: LandmarkTable, *, grids: Mapping[str, Grid] | None = None, source: str | Path = "the table"
) -> dict[Key, Landmarks]:
    """{(image, observer): landmarks} of a table, in the order of first appearance.

    `grids` holds the Grids of images; pixel coordinates of an image without one stay in px.
    """
    return {
        key: points.to_landmarks((grids or {}).get(key[0]), f"{source} (image {key[0]})" if key[0] else source)
        for key, points in table_points(table).items()
    }


def landmarks_table(
    placements: Mapping[Key, Landmarks],
    *,
    frame: Frame = "LPS",
    grids: Mapping[str, Grid] | None = None,
) -> LandmarkTable:
    """The table of {(image, observer): landmarks}, all of one dimension and unit."""
    kinds = {(landmarks.ndim, landmarks.unit) for landmarks in placements.values()}
    if len(kinds) > 1:
        listed = ", ".join(f"{ndim}D in {unit}" for ndim, unit in sorted(kinds))
        raise LandmarkFileError(f"landmarks of several kinds ({listed}) do not fit one table; write one for each")
    ndim, unit = kinds.pop() if kinds else (3, "mm")
    parts = {
        key: from_world(landmarks, frame, (grids or {}).get(key[0]), key[0]) for key, landmarks in placements.items()
    }
    counts = [len(landmarks) for landmarks in placements.values()]
    total = sum(counts)
    own_unit: Unit = "px" if frame == "pixel" or unit == "px" else "mm"
    return LandmarkTable(
        np.repeat(np.array([image for image, _ in placements] or [""], dtype=str)[: len(counts)], counts),
        _text(name for landmarks in placements.values() for name in landmarks.names),
        np.concatenate([np.empty((0, ndim)), *parts.values()]),
        np.concatenate([np.empty(0, dtype=np.uint8), *(landmarks.states for landmarks in placements.values())]),
        np.repeat(np.array([observer for _, observer in placements] or [""], dtype=str)[: len(counts)], counts),
        frame,
        own_unit,
        np.full(total, np.nan),
        np.full(total, np.nan),
    )


def table_points(table: LandmarkTable) -> dict[Key, FilePoints]:
    """{(image, observer): its points, as the table has them}, in the order of first appearance."""
    rows: dict[Key, list[int]] = {}
    for row, key in enumerate(zip(table.image.tolist(), table.observer.tolist(), strict=True)):
        rows.setdefault(key, []).append(row)
    names = table.landmark.tolist()
    return {
        key: FilePoints(
            tuple(names[row] for row in own_rows),
            table.coordinates[own_rows],
            table.states[own_rows],
            table.frame,
            table.unit,
        )
        for key, own_rows in rows.items()
    }


def one_image(table: LandmarkTable, path: str | Path) -> FilePoints:
    """The points of the one image and observer that the table holds; `LandmarkFileError` where there are more."""
    by_image = table_points(table)
    if len(by_image) > 1:
        images, observers = {image for image, _ in by_image}, {observer for _, observer in by_image}
        found = f"{len(images)} images" if len(images) > 1 else f"{len(observers)} observers"
        raise LandmarkFileError(f"{path} holds landmarks of {found}, expected those of one; split it with convert")
    empty = FilePoints((), table.coordinates, table.states, table.frame, table.unit)
    return next(iter(by_image.values()), empty)


def points_table(points: FilePoints, image: str = "", observer: str = "") -> LandmarkTable:
    """The points of an image as a table."""
    rows = len(points.names)
    return LandmarkTable(
        np.full(rows, image, dtype=f"<U{max(len(image), 1)}"),
        _text(points.names),
        points.coordinates,
        points.states,
        np.full(rows, observer, dtype=f"<U{max(len(observer), 1)}"),
        points.frame,
        points.unit,
        np.full(rows, np.nan),
        np.full(rows, np.nan),
    )


def pixel_table(rows: Iterable[tuple[str, str, str, State, float, float]]) -> LandmarkTable:
    """The 2D table, in pixel coordinates, of (image, landmark, observer, state, x, y); x and y count where present."""
    listed = list(rows)
    states = np.array([row[3] for row in listed], dtype=np.uint8)
    coordinates = np.array([row[4:] for row in listed], dtype=float).reshape(len(listed), 2)
    coordinates[states != State.PRESENT] = np.nan
    none = np.full(len(listed), np.nan)
    image, landmark = _text(row[0] for row in listed), _text(row[1] for row in listed)
    observer = _text(row[2] for row in listed)
    return LandmarkTable(image, landmark, coordinates, states, observer, "pixel", "px", none, none.copy())


def slicer_table(read: Callable[[Path, str | None], FilePoints], path: Path, frame: str | None) -> LandmarkTable:
    """The table of a file of Slicer's. Asked for as `pixel`, its points were placed on a picture that was opened
    without its spacing, where Slicer's mm are pixels."""
    if frame is None or as_frame(frame, "the frame given") != "pixel":
        return points_table(read(path, frame))
    points = read(path, None)
    return points_table(FilePoints(points.names, points.coordinates, points.states, "pixel", "px"))


def _text(words: Iterable[str]) -> np.ndarray:
    return np.array(list(words), dtype=str)
