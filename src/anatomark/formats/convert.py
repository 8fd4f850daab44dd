"""From any landmark format to any other, and from any image format to any other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from anatomark.core.grid import Floats, Grid, Unit
from anatomark.core.landmarks import Landmarks
from anatomark.errors import FrameError, LandmarkFileError
from anatomark.formats.frames import Frame, swap_ras, to_dimension, to_world
from anatomark.formats.header import tell
from anatomark.formats.image_names import ImageNames
from anatomark.formats.images import SUFFIXES as IMAGE_SUFFIXES
from anatomark.formats.images import image_name, is_image, list_images, read_grid, read_image, write_image
from anatomark.formats.landmark_files.long_table import LONG_TABLE
from anatomark.formats.landmark_format import LandmarkFormat
from anatomark.formats.landmark_table import LandmarkTable
from anatomark.formats.landmarks import (
    SUFFIXES,
    WRITTEN,
    Key,
    frame_to_write,
    landmark_name,
    landmarks_table,
    named_format,
    read_placements,
    table_landmarks,
    write_placements,
    written_format,
)
from anatomark.formats.missing import NOTHING, MissingValues


def convert(
    source: str | Path,
    target: str | Path,
    *,
    image: str | Path | None = None,
    from_frame: str | None = None,
    to_frame: str | None = None,
    spacing: Sequence[float] | None = None,
    format: str | None = None,
    missing: MissingValues = NOTHING,
) -> list[Path]:
    """Writes `source` again as `target`, in the format that their names stand for.

    - An image (a file or a DICOM series' folder) becomes an image file.
    - A landmark file of any known format, or a folder of landmark files (its subfolders are observers), becomes a
      landmark file. A format for one image takes those of one image and observer.
    - Any of these becomes a folder, with `format`: a file for each image, in a subfolder for each observer if there are
      any. A name without an ending, or one that ends in "/", is a folder.

    Args:
        source: an image, a landmark file, or a folder of landmark files.
        target: the file or folder to write.
        image: the image of the landmarks, or a folder with the images by name; needed between pixel and world
            coordinates.
        from_frame: LPS, RAS or pixel, for sources that state no frame.
        to_frame: LPS, RAS or pixel; by default that of the format, or LPS.
        spacing: in mm along x, y[, z], for images that state none.
        format: a format by name, such as "coco", for endings that several formats share, and for folders.
        missing: points that stand for none, in the numbers of the source.

    Returns:
        The files written.

    Raises:
        LandmarkFileError: the source cannot be read, or the format cannot hold it.
        FrameError: a frame is not stated, or there is no image to change it by.

    Examples:
        >>> anatomark.convert("points.fcsv", "points.mrk.json")
        [PosixPath('points.mrk.json')]
    """
    source = Path(source)
    target_is_folder = str(target).endswith(("/", "\\")) or Path(target).is_dir() or _suffix_or_none(target) is None
    target = Path(target)
    if not source.exists():
        raise LandmarkFileError(f"{source} does not exist; give a landmark file, a table, a folder or an image")
    if target.name.lower().endswith(IMAGE_SUFFIXES) and not target_is_folder and not _holds_landmarks(source):
        write_image(read_image(source, spacing=spacing), target)
        return [target]
    if source.is_file() and target.exists() and target.is_file() and source.samefile(target):
        raise LandmarkFileError(f"{target} is the source itself; write to another name")
    if target_is_folder:
        if format is None:
            expected = ", ".join(WRITTEN)
            raise LandmarkFileError(f"{target} is a folder, so the format must be one of {expected}; got None")
        known, ending = named_format(format)
    else:
        known, ending = written_format(target, format)
    frame = frame_to_write(known, to_frame, target)
    grids = _Grids(image, spacing)
    table = _gather(source, target, from_frame, grids, image, missing)
    _require_single(table, source)
    written = _reframed(table, frame, grids, source)
    if target_is_folder:
        return _write_folder(written, target, known, ending, grids, source)
    count = len(set(zip(written.image.tolist(), written.observer.tolist(), strict=True)))
    if not known.many_images and count > 1:
        raise LandmarkFileError(
            f"{source} holds {count} images or observers, {target.name} takes one; write to a folder"
        )
    _write(written, target, known, grids)
    return [target]


class _Grids(Mapping[str, Grid]):
    """The Grids of the images that the caller gave, by name, each read once; one image goes with any name."""

    def __init__(self, image: str | Path | None, spacing: Sequence[float] | None) -> None:
        self._spacing = spacing
        self._read: dict[Path, Grid] = {}
        self._single: Path | None = None
        self._paths: list[Path] = []
        if image is None:
            return
        path = Path(image)
        if path.is_dir() and not is_image(path):
            self._paths = list_images(path)
            self._names = ImageNames([image_name(p) for p in self._paths], self._paths)
        else:
            self._single = path

    def _path(self, name: str) -> Path | None:
        found = self._names.candidates(name) if self._paths else ()
        return self._single or (self._paths[found[0]] if len(found) == 1 else None)

    def __getitem__(self, name: str) -> Grid:
        path = self._path(name)
        if path is None:
            raise KeyError(name)
        if path not in self._read:
            self._read[path] = read_grid(path, spacing=self._spacing)
        return self._read[path]

    @property
    def single(self) -> bool:
        """Whether one image was given, which goes with any name."""
        return self._single is not None

    def file(self, name: str) -> str:
        """The file name of an image, or `name` where there is none."""
        path = self._path(name)
        return name if path is None else path.name

    def __iter__(self) -> Iterator[str]:
        return iter(map(image_name, [self._single] if self._single else self._paths))

    def __len__(self) -> int:
        return 1 if self._single else len(self._paths)


def _holds_landmarks(source: Path) -> bool:
    """Whether `source` is a landmark file or a folder of them, by its names; the image door judges everything else."""
    if source.is_dir():
        return not is_image(source) and bool(_landmark_files(source))
    return source.name.lower().endswith(SUFFIXES)


def _suffix_or_none(path: str | Path) -> str | None:
    name = Path(path).name.lower()
    return next((s for s in (*SUFFIXES, *IMAGE_SUFFIXES) if name.endswith(s)), None)


def _gather(
    source: Path, target: Path, frame: str | None, grids: _Grids, image: str | Path | None, missing: MissingValues
) -> LandmarkTable:
    """All landmarks of the source in one table."""
    if source.is_dir():
        files = [(p, "") for p in _landmark_files(source)]
        for folder in sorted(p for p in source.iterdir() if p.is_dir()):
            files += [(p, folder.name) for p in _landmark_files(folder)]
        files = [(p, observer) for p, observer in files if p != target]
        if not files:
            raise LandmarkFileError(f"{source} holds no landmark files; expected {', '.join(SUFFIXES)}")
        placements: dict[Key, Landmarks] = {}
        for path, observer in files:
            table = _named(read_placements(path, frame=frame, grid_of=grids.get, missing=missing), landmark_name(path))
            for (name, own), landmarks in table_landmarks(table, grids=grids, source=path).items():
                key = (name, own or observer)
                if key in placements:
                    raise LandmarkFileError(f"{source} holds {name} in several files; keep one of them")
                placements[key] = landmarks
        return landmarks_table(placements)
    table = read_placements(source, frame=frame, grid_of=grids.get, missing=missing)
    images = list(dict.fromkeys(image_name(name) for name in table.image.tolist()))
    if grids.single and len(images) > 1:  # the one image would stand for all
        raise FrameError(f"{source} names {len(images)} images ({', '.join(images[:3])}) and one was given; give all")
    return _named(table, landmark_name(source) if image is None or Path(image).is_dir() else image_name(image))


def _require_single(table: LandmarkTable, source: Path) -> None:
    """A landmark that is there twice has no place: which of both is meant, nobody can tell."""
    columns = (table.image.tolist(), table.observer.tolist(), table.landmark.tolist())
    count = Counter(zip(*columns, strict=True))
    twice = [key for key, number in count.items() if number > 1]
    if twice:
        image, _, landmark = twice[0]
        where = f" in {image}" if image else ""
        raise LandmarkFileError(f"{source} holds {landmark!r} several times{where}; keep one, or rename the others")


def _named(table: LandmarkTable, image: str) -> LandmarkTable:
    """The table with the name of its image, where the file has none."""
    nameless = bool(len(table)) and bool((table.image == "").all())
    return replace(table, image=np.full(len(table), image)) if nameless else table


def _landmark_files(folder: Path) -> list[Path]:
    found = (p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    return sorted(p for p in found if p.name.lower().endswith(SUFFIXES))


def _require_grids(table: LandmarkTable, grids: _Grids, source: Path) -> None:
    """Some images given, others not: their landmarks would come in different units."""
    if len(grids):
        missing = [name for name in dict.fromkeys(table.image.tolist()) if grids.get(name) is None]
        if missing:
            raise FrameError(f"{source}: no image was given for {', '.join(missing[:5])}; give the images of all")


def _write_folder(
    table: LandmarkTable, folder: Path, known: LandmarkFormat, ending: str, grids: _Grids, source: Path
) -> list[Path]:
    files: dict[Path, str] = {}
    rows: dict[Path, list[int]] = {}
    for row, (image, observer) in enumerate(zip(table.image.tolist(), table.observer.tolist(), strict=True)):
        last = image.replace("\\", "/").split("/")[-1]  # many programs write the folders too
        if (image and not last) or any(part in (".", "..") or "/" in part or "\\" in part for part in (last, observer)):
            raise LandmarkFileError(f"{source}: {image!r} by {observer!r} cannot name a file; rename it")
        path = folder / observer / (image_name(last or "landmarks") + ending)
        if files.setdefault(path, image) != image:
            raise LandmarkFileError(f"{source}: {files[path]!r} and {image!r} would share {path}; rename one")
        rows.setdefault(path, []).append(row)
    for path, indices in rows.items():
        part = table.rows(np.array(indices))
        if not known.many_images or known is LONG_TABLE:
            part = replace(part, image=np.full(len(part), image_name(files[path])))
        _write(replace(part, observer=np.full(len(part), "")), path, known, grids)
    return list(files)


def _write(table: LandmarkTable, target: Path, known: LandmarkFormat, grids: _Grids) -> None:
    if known.image_files:
        files = {name: grids.file(name) for name in dict.fromkeys(table.image.tolist())}
        table = replace(table, image=np.array([files[name] for name in table.image.tolist()], dtype=str))
    if known is not LONG_TABLE:
        columns = {"presence": table.presence, "spread": table.spread, "error bound": table.bound}
        left_out = [name for name, values in columns.items() if values is not None and np.isfinite(values).any()]
        if left_out:
            tell([f"{target}: {known.title} has no place for {' and '.join(left_out)}, which are left out"])
    write_placements(table, target, known, grid_of=grids.get)


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
    flat = 0  # images of which z was left out, for they are 2D
    rows: dict[str, list[int]] = {}
    for row, image in enumerate(images):
        rows.setdefault(image, []).append(row)
    for image, indices in rows.items():
        grid = grids.get(image)
        own = table.coordinates[indices]
        if grid is not None:
            own = to_dimension(own, grid.ndim, f"{source} (image {image})" if image else source)
            flat += own.shape[1] < table.ndim
        points, world_unit = to_world(own, table.frame, table.unit, grid, source)
        points, own_unit = _in_frame(points, world_unit, frame, grid, source)
        coordinates[indices, : points.shape[1]] = points
        units.add(own_unit)
        if own_unit != table.unit and grid is not None:
            length = float(np.mean(grid.spacing))
            for lengths in (spread,) if bound is None else (spread, bound):
                lengths[indices] *= length if own_unit == "mm" else 1 / length
    if flat:
        if flat < len(rows):
            raise FrameError(f"{source}: some images are 2D and some 3D; write them to two files")
        coordinates = coordinates[:, :2]
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
