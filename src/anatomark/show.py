"""A picture of an image with landmarks from files: one set, or two that are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anatomark.core.grid import Floats, Grid
from anatomark.core.image import require_usable
from anatomark.core.landmarks import Landmarks
from anatomark.errors import LandmarkFileError, OutputError, SettingsError
from anatomark.formats.atomic import replacing
from anatomark.formats.image_names import stem
from anatomark.formats.images import read_image
from anatomark.formats.landmarks import read_placements
from anatomark.formats.placements import one_image
from anatomark.formats.table import LandmarkTable
from anatomark.pictures import overlay


@dataclass(frozen=True, eq=False)
class Shown:
    """The picture's path, the sets that are on it, and the distances (M,) between two, by name, in their unit."""

    picture: Path
    sets: tuple[Landmarks, ...]
    distances: dict[str, float]


def show_landmarks(
    image: str | Path,
    landmarks: Sequence[str | Path],
    *,
    out: str | Path,
    frame: str | None = None,
    spacing: Sequence[float] | None = None,
    size: int = 1000,
) -> Shown:
    """Draw the landmarks of one or two files on their image, and write the picture `out`.

    Args:
        image: an image file, or the folder of a DICOM series.
        landmarks: files of any known format; of a table of many images, the rows of this one are taken. The first is
            drawn as crosses, with its error bounds if it has them, the second as rings.
        out: a .png file.
        frame: LPS, RAS or pixel, for files that state none.
        spacing: in mm along x, y[, z], for an image that states none.
        size: about the length of the longer side of a 2D picture; a 3D view gets half of it.

    Returns:
        The path, the sets, and the distance of each landmark that both have.

    Raises:
        SettingsError: there are more than two files.
        LandmarkFileError: a file has no landmarks of this image, or those of several observers.
        OutputError: `out` is no .png.
    """
    image, out = Path(image), Path(out)
    if not 1 <= len(landmarks) <= 2:
        raise SettingsError(f"{len(landmarks)} sets of landmarks; one or two can be shown on a picture")
    if out.suffix.lower() != ".png":
        raise OutputError(f"{out} is no .png; pictures are written as PNG")
    shown = read_image(image, spacing=spacing)
    require_usable(shown, image)
    files = [Path(file) for file in landmarks]
    read = [_of_image(file, image, shown.grid, frame) for file in files]
    sets = tuple(found for found, _ in read)
    picture = overlay(
        shown,
        predicted=sets[0],
        reference=sets[1] if len(sets) == 2 else None,
        radius=read[0][1],
        size=size,
        legend=_legend(files),
    )
    with replacing(out, ".png") as partial:
        picture.save(partial, format="PNG")
    return Shown(out, sets, _distances(*sets) if len(sets) == 2 else {})


def _of_image(file: Path, image: Path, grid: Grid, frame: str | None) -> tuple[Landmarks, Floats | None]:
    """The landmarks that a file has of the image, and their error bounds (N,), NaN where there is none."""
    table = read_placements(file, frame=frame, grid_of=lambda _: grid)
    called = list(dict.fromkeys(table.image.tolist()))
    if len(called) > 1:
        mine = [name for name in called if stem(name) == stem(image.name)]
        if len(mine) != 1:
            told = "none of them is" if not mine else f"{len(mine)} of them are"
            raise LandmarkFileError(
                f"{file} has landmarks of {len(called)} images, and {told} called {stem(image.name)!r}; "
                "rename the image as the file calls it"
            )
        table = table.rows(table.image == mine[0])
    found = one_image(table, file).to_landmarks(grid, file)
    return found, _bounds(table, found)


def _bounds(table: LandmarkTable, landmarks: Landmarks) -> Floats | None:
    if table.bound is None or not np.isfinite(table.bound).any():
        return None
    by_name = dict(zip(table.landmark.tolist(), table.bound.tolist(), strict=True))
    bounds = np.array([by_name.get(name, np.nan) for name in landmarks.names])
    return np.where(np.isfinite(bounds), bounds, np.nan)


def _legend(files: Sequence[Path]) -> tuple[str, str]:
    """What the sets are called: their files, with the folder before them where both have one name."""
    alike = len({file.name for file in files}) < len(files)
    names = [str(Path(file.parent.name) / file.name) if alike else file.name for file in files]
    return names[0], names[-1]


def _distances(first: Landmarks, second: Landmarks) -> dict[str, float]:
    lengths = np.linalg.norm(first.points - second.select(first.names).points, axis=1)
    return {name: float(d) for name, d in zip(first.names, lengths, strict=True) if np.isfinite(d)}
