"""Landmarks of one image in and out, by file name: .mrk.json, .fcsv, .csv, .tsv; in: .sr.dcm, the challenge's .txt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from anatomark.core.grid import Grid, Unit
from anatomark.core.landmarks import Landmarks
from anatomark.errors import LandmarkFileError, UnknownNameError
from anatomark.formats.cephalometric import NAMES, read_cephalometric
from anatomark.formats.dicom_sr import SUFFIX as DICOM_SR
from anatomark.formats.dicom_sr import read_dicom_sr
from anatomark.formats.fcsv import read_fcsv, write_fcsv
from anatomark.formats.frames import FilePoints, Frame, as_frame, from_world, settle_frame
from anatomark.formats.slicer_json import read_slicer_json, write_slicer_json
from anatomark.formats.table import LandmarkTable, read_table, write_table

SUFFIXES = (".mrk.json", ".json", ".fcsv", ".csv", ".tsv", ".txt", DICOM_SR)
WRITTEN = (".mrk.json", ".fcsv", ".csv", ".tsv")
Key = tuple[str, str]  # image, observer


def read_landmarks(
    path: str | Path,
    *,
    frame: str | None = None,
    grid: Grid | None = None,
    names: Sequence[str] | None = None,
) -> Landmarks:
    """The landmarks of one image in world LPS, in the unit of their image where its `grid` is given.

    `frame` (LPS, RAS, pixel) is for files that state none. A Slicer file may also be given as `pixel`: its
    points were then placed on a picture that was opened without its spacing, where Slicer's mm are pixels.
    Pixel coordinates without a grid stay in px. With a 2D grid, points of Slicer lose their z.

    `names` is the wanted order: the result has all of them, NOT_ANNOTATED where the file has none, and a
    name of the file that is not among them raises `UnknownNameError`. A challenge file has no names: it
    takes the 19 standard ones, or `names` in the order of its lines where these are others.

    Raises `LandmarkFileError` and `FrameError`.
    """
    path = Path(path)
    suffix = landmark_suffix(path)
    if suffix in (".mrk.json", ".json", ".fcsv"):
        read = read_fcsv if suffix == ".fcsv" else read_slicer_json
        asked_pixel = frame is not None and as_frame(frame, "the frame given") == "pixel"
        points = read(path, None if asked_pixel else frame)
        if asked_pixel:
            points = FilePoints(points.names, points.coordinates, points.states, "pixel", "px")
    elif suffix == ".txt":
        settle_frame("pixel", frame, path)
        own = names is not None and not set(names) <= set(NAMES)
        points = read_cephalometric(path, tuple(names) if own and names is not None else NAMES)
    elif suffix == DICOM_SR:
        points = read_dicom_sr(path)
        settle_frame(points.frame, frame, path)
    else:
        points = _one_image(read_table(path, frame=frame), path)
    landmarks = points.to_landmarks(grid, path)
    if names is None:
        return landmarks
    unknown = [name for name in landmarks.names if name not in set(names)]
    if unknown:
        raise UnknownNameError(
            f"{path} holds undeclared landmarks: {', '.join(unknown)}; correct their names or declare them"
        )
    return landmarks.select(names)


def write_landmarks(
    landmarks: Landmarks,
    path: str | Path,
    *,
    frame: str = "LPS",
    grid: Grid | None = None,
    notes: Sequence[str] = (),
) -> None:
    """Writes .mrk.json, .fcsv, .csv or .tsv, whole or not at all; reading gives back equal landmarks.

    `frame` is LPS or RAS, or pixel for tables; pixel needs the `grid` of the image for landmarks in mm. In
    a table the image is called as the file is. `notes` (N,) become the descriptions of Slicer's points.
    """
    path = Path(path)
    wanted = as_frame(frame, "the frame given")
    suffix = landmark_suffix(path)
    if suffix == ".mrk.json":
        write_slicer_json(landmarks, path, wanted, notes=notes)
    elif suffix == ".fcsv":
        write_fcsv(landmarks, path, wanted, notes=notes)
    elif suffix in (".csv", ".tsv"):
        grids = None if grid is None else {landmark_name(path): grid}
        write_table(landmarks_table({(landmark_name(path), ""): landmarks}, frame=wanted, grids=grids), path)
    else:
        raise LandmarkFileError(f"{path}: landmarks are not written as {suffix}; wanted one of {', '.join(WRITTEN)}")


def landmark_suffix(path: str | Path) -> str:
    """The ending that tells the format of a landmark file. Raises `LandmarkFileError` where there is none."""
    name = Path(path).name.lower()
    for suffix in SUFFIXES:
        if name.endswith(suffix):
            return suffix
    raise LandmarkFileError(f"{path} is no landmark file by its name; wanted one of {', '.join(SUFFIXES)}")


def landmark_name(path: str | Path) -> str:
    """The name of a landmark file without its ending."""
    return Path(path).name[: -len(landmark_suffix(path))]


def table_landmarks(
    table: LandmarkTable, *, grids: Mapping[str, Grid] | None = None, source: str | Path = "the table"
) -> dict[Key, Landmarks]:
    """{(image, observer): landmarks} of a table, in the order of first appearance.

    `grids` holds the Grids of images; pixel coordinates of an image without one stay in px.
    """
    return {
        key: points.to_landmarks((grids or {}).get(key[0]), f"{source} (image {key[0]})" if key[0] else source)
        for key, points in _placements(table).items()
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
        held = ", ".join(f"{ndim}D in {unit}" for ndim, unit in sorted(kinds))
        raise LandmarkFileError(f"landmarks of several kinds ({held}) do not fit one table; write one for each")
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


def _placements(table: LandmarkTable) -> dict[Key, FilePoints]:
    rows: dict[Key, list[int]] = {}
    for row, key in enumerate(zip(table.image.tolist(), table.observer.tolist(), strict=True)):
        rows.setdefault(key, []).append(row)
    names = table.landmark.tolist()
    return {
        key: FilePoints(
            tuple(names[row] for row in held),
            table.coordinates[held],
            table.states[held],
            table.frame,
            table.unit,
        )
        for key, held in rows.items()
    }


def _one_image(table: LandmarkTable, path: Path) -> FilePoints:
    held = _placements(table)
    if len(held) > 1:
        images, observers = {image for image, _ in held}, {observer for _, observer in held}
        what = f"{len(images)} images" if len(images) > 1 else f"{len(observers)} observers"
        raise LandmarkFileError(f"{path} holds landmarks of {what}, wanted those of one; split it with convert")
    empty = FilePoints((), table.coordinates, table.states, table.frame, table.unit)
    return next(iter(held.values()), empty)


def _text(words: Iterable[str]) -> np.ndarray:
    return np.array(list(words), dtype=str)
