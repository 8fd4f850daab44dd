"""From any landmark format to any other, and from any image format to any other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from anatomark.core.grid import Floats, Grid, Unit
from anatomark.core.landmarks import Landmarks
from anatomark.errors import FrameError, LandmarkFileError
from anatomark.formats.frames import Frame, as_frame, swap_ras, to_world
from anatomark.formats.images import SUFFIXES as IMAGE_SUFFIXES
from anatomark.formats.images import image_name, is_image, list_images, read_grid, read_image, write_image
from anatomark.formats.landmarks import (
    SUFFIXES,
    WRITTEN,
    Key,
    landmark_name,
    landmark_suffix,
    landmarks_table,
    read_landmarks,
    table_landmarks,
    write_landmarks,
)
from anatomark.formats.table import LandmarkTable, read_table, write_table


def convert(
    source: str | Path,
    target: str | Path,
    *,
    image: str | Path | None = None,
    from_frame: str | None = None,
    to_frame: str | None = None,
    spacing: Sequence[float] | None = None,
    format: str | None = None,
) -> list[Path]:
    """Writes `source` again as `target`, by their names; returns the files written.

    - An image (a file or a DICOM series' folder) to an image file.
    - A landmark file, a table, or a folder of landmark files (its subfolders are observers) to a table
      (.csv, .tsv) or to a landmark file (.mrk.json, .fcsv; then of one image and observer).
    - Any of these to a folder, with `format` (mrk.json, fcsv, csv): a file for each image, in a subfolder
      for each observer if there are any. A name without an ending, or one that ends in "/", is a folder.

    `image` is the image of the landmarks, or a folder with the images by name; it is needed between pixel
    and world coordinates, and `spacing` (x, y[, z], mm) goes with images that state none. `from_frame` is
    for sources that state no frame; `to_frame` (LPS, RAS, pixel) is LPS if left out.
    """
    source = Path(source)
    into_folder = str(target).endswith(("/", "\\")) or Path(target).is_dir() or _suffix_or_none(target) is None
    target = Path(target)
    if not source.exists():
        raise LandmarkFileError(f"{source} does not exist; give a landmark file, a table, a folder or an image")
    if _is_image_source(source) and target.name.lower().endswith(IMAGE_SUFFIXES):
        write_image(read_image(source, spacing=spacing), target)
        return [target]
    if source.is_file() and target.exists() and target.is_file() and source.samefile(target):
        raise LandmarkFileError(f"{target} is the source itself; write to another name")
    frame = as_frame(to_frame or "LPS", "the frame to write")
    grids = _Grids(image, spacing)
    table = _gather(source, target, from_frame, grids, image)
    if into_folder:
        return _write_folder(table, target, frame, format, grids, source)
    if format is not None:
        raise LandmarkFileError(f"{target} is a file by its name; the format goes with a folder, leave one out")
    if landmark_suffix(target) in (".csv", ".tsv"):
        write_table(_reframed(table, frame, grids, source), target)
        return [target]
    held = _landmarks(table, grids, source)
    if len(held) > 1:
        raise LandmarkFileError(
            f"{source} holds {len(held)} images or observers, {target.name} takes one; write to a folder"
        )
    for key, landmarks in held.items():
        write_landmarks(landmarks, target, frame=frame, grid=grids.get(key[0]))
    return [target]


class _Grids(Mapping[str, Grid]):
    """The Grids of the images that the caller gave, by name, each read once; one image goes with any name."""

    def __init__(self, image: str | Path | None, spacing: Sequence[float] | None) -> None:
        self._spacing = spacing
        self._read: dict[Path, Grid] = {}
        self._single: Path | None = None
        self._paths: dict[str, Path] = {}
        if image is None:
            return
        path = Path(image)
        if path.is_dir() and not is_image(path):
            self._paths = {image_name(p): p for p in list_images(path)}
        else:
            self._single = path

    def __getitem__(self, name: str) -> Grid:
        path = self._single or self._paths.get(name) or self._paths.get(image_name(name))
        if path is None:
            raise KeyError(name)
        if path not in self._read:
            self._read[path] = read_grid(path, spacing=self._spacing)
        return self._read[path]

    def __iter__(self) -> Iterator[str]:
        return iter([image_name(self._single)] if self._single else self._paths)

    def __len__(self) -> int:
        return 1 if self._single else len(self._paths)


def _is_image_source(source: Path) -> bool:
    if source.is_dir():
        return is_image(source)
    return source.name.lower().endswith(IMAGE_SUFFIXES) or (_suffix_or_none(source) is None and is_image(source))


def _suffix_or_none(path: str | Path) -> str | None:
    name = Path(path).name.lower()
    return next((s for s in (*SUFFIXES, *IMAGE_SUFFIXES) if name.endswith(s)), None)


def _gather(source: Path, target: Path, frame: str | None, grids: _Grids, image: str | Path | None) -> LandmarkTable:
    """All landmarks of the source in one table."""
    if source.is_dir():
        files = [(p, "") for p in _landmark_files(source)]
        for folder in sorted(p for p in source.iterdir() if p.is_dir()):
            files += [(p, folder.name) for p in _landmark_files(folder)]
        files = [(p, observer) for p, observer in files if p != target]
        if not files:
            raise LandmarkFileError(f"{source} holds no landmark files; wanted {', '.join(SUFFIXES)}")
        placements: dict[Key, Landmarks] = {}
        for path, observer in files:
            key = (landmark_name(path), observer)
            if key in placements:
                raise LandmarkFileError(f"{source} holds {key[0]} in several formats; keep one of them")
            placements[key] = read_landmarks(path, frame=frame, grid=grids.get(key[0]))
        return landmarks_table(placements)
    suffix = landmark_suffix(source)
    if suffix in (".csv", ".tsv"):
        table = read_table(source, frame=frame)
        if (table.image == "").all() and len(table):
            name = landmark_name(source) if image is None or Path(image).is_dir() else image_name(image)
            return _renamed(table, name)
        return table
    name = landmark_name(source) if image is None or Path(image).is_dir() else image_name(image)
    return landmarks_table({(name, ""): read_landmarks(source, frame=frame, grid=grids.get(name))})


def _landmark_files(folder: Path) -> list[Path]:
    found = (p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    return sorted(p for p in found if p.name.lower().endswith(SUFFIXES))


def _renamed(table: LandmarkTable, image: str) -> LandmarkTable:
    return replace(table, image=np.full(len(table), image))


def _landmarks(table: LandmarkTable, grids: _Grids, source: Path) -> dict[Key, Landmarks]:
    _require_grids(table, grids, source)
    return table_landmarks(table, grids=grids, source=source)


def _require_grids(table: LandmarkTable, grids: _Grids, source: Path) -> None:
    """Some images given, others not: their landmarks would come in different units."""
    if len(grids):
        lacking = [name for name in dict.fromkeys(table.image.tolist()) if grids.get(name) is None]
        if lacking:
            raise FrameError(f"{source}: no image was given for {', '.join(lacking[:5])}; give the images of all")


def _write_folder(
    table: LandmarkTable, folder: Path, frame: Frame, format: str | None, grids: _Grids, source: Path
) -> list[Path]:
    suffix = "." + (format or "").lower().lstrip(".")
    suffix = ".mrk.json" if suffix == ".json" else suffix
    if suffix not in WRITTEN:
        wanted = ", ".join(s[1:] for s in WRITTEN)
        raise LandmarkFileError(f"{folder} is a folder, so the format must be one of {wanted}; got {format}")
    files: dict[Path, tuple[str, Landmarks]] = {}
    for (image, observer), landmarks in _landmarks(table, grids, source).items():
        if any(part in (".", "..") or "/" in part or "\\" in part for part in (image, observer)):
            raise LandmarkFileError(f"{source}: {image!r} by {observer!r} cannot name a file; rename it")
        path = folder / observer / (image_name(image or "landmarks") + suffix)
        if path in files:
            raise LandmarkFileError(f"{source}: {files[path][0]!r} and {image!r} would share {path}; rename one")
        files[path] = (image, landmarks)
    for path, (image, landmarks) in files.items():
        write_landmarks(landmarks, path, frame=frame, grid=grids.get(image))
    return list(files)


def _reframed(table: LandmarkTable, frame: Frame, grids: _Grids, source: Path) -> LandmarkTable:
    """The table in another frame; presence, spread, bound, observers and the order of rows stay."""
    _require_grids(table, grids, source)
    if not len(grids) and table.frame != "pixel" and frame != "pixel":
        coordinates = table.coordinates if table.frame == frame else swap_ras(table.coordinates)
        return replace(table, coordinates=coordinates, frame=frame)
    images = table.image.tolist()
    coordinates = np.full(table.coordinates.shape, np.nan)
    spread = table.spread.copy()
    bound = None if table.bound is None else table.bound.copy()
    units: set[Unit] = set()
    rows: dict[str, list[int]] = {}
    for row, image in enumerate(images):
        rows.setdefault(image, []).append(row)
    for image, held in rows.items():
        grid = grids.get(image)
        points, world_unit = to_world(table.coordinates[held], table.frame, table.unit, grid, source)
        coordinates[held], own_unit = _in_frame(points, world_unit, frame, grid, source)
        units.add(own_unit)
        if own_unit != table.unit and grid is not None:
            length = float(np.mean(grid.spacing))
            for lengths in (spread,) if bound is None else (spread, bound):
                lengths[held] *= length if own_unit == "mm" else 1 / length
    unit = next(iter(units), "px" if frame == "pixel" else table.unit)
    if len(units) > 1:
        raise FrameError(f"{source}: some images have a spacing and some have none; give the spacing")
    return replace(table, coordinates=coordinates, frame=frame, unit=unit, spread=spread, bound=bound)


def _in_frame(points: Floats, unit: Unit, frame: Frame, grid: Grid | None, source: Path) -> tuple[Floats, Unit]:
    if frame == "LPS":
        return points, unit
    if frame == "RAS":
        return swap_ras(points), unit
    if grid is not None:
        return grid.world_to_index(points)[:, ::-1], "px"
    if unit == "px":
        return points, "px"
    raise FrameError(f"{source}: pixel coordinates of landmarks in mm need their images; give them, or write LPS")
