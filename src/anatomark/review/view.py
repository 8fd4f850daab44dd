"""An image for the page's viewer: NIfTI in RAS mm, and the map from our world to the viewer's.

This is the one place where LPS becomes the viewer's RAS; the page applies `viewer_from_world` and its inverse and knows
no frame. A volume keeps its world, with two signs reversed. A 2D image gets a world of its own, in which row 0 is
at the top and column 0 at the left of the screen, whatever its affine, as pictures are displayed.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats, Grid
from anatomark.core.image import Image
from anatomark.formats.images import write_image

LONGEST_2D = 8192  # limit of graphics cards for a side of a picture
LONGEST_3D = 2048  # and of a volume
MAX_VOXELS = 1 << 27  # of memory in a browser
_SHOWN_AS = {"b": np.uint8, "u": np.uint16, "i": np.int16, "f": np.float32}
RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class View:
    """`nifti`, an uncompressed file, whose voxels are every `step`-th of the image.

    `viewer_from_world` (4, 4) takes (x, y, z, 1) in world LPS, with z = 0 in 2D, to the viewer's RAS.
    """

    nifti: bytes
    viewer_from_world: Floats
    step: int


def view_of(image: Image) -> View:
    """The View of an image. Grey values keep their type if NIfTI and the page have it, else become float32."""
    step = _step(image.grid.shape)
    grid = image.grid
    array = _shown(image.array[(slice(None, None, step),) * grid.ndim])
    scaled = grid.affine.copy()
    scaled[:-1, :-1] *= step
    coarse = Grid(array.shape, scaled, "mm")  # px are written as mm, as NIfTI needs; the page shows the right unit
    if grid.ndim == 2:
        array, coarse = array[None, ::-1, ::-1], _upright(coarse)
    return View(_nifti(Image(array, coarse)), viewer_from_world(grid), step)


def viewer_from_world(grid: Grid) -> Floats:
    """(4, 4) from world LPS (x, y, z, 1), with z = 0 in 2D, to the viewer's RAS."""
    if grid.ndim == 3:
        return RAS
    index_from_world = np.linalg.inv(grid.affine)  # (row, column)
    rows, columns = grid.spacing
    matrix = np.diag([0.0, 0.0, 1.0, 1.0])
    matrix[0, [0, 1, 3]] = -columns * index_from_world[1]
    matrix[1, [0, 1, 3]] = -rows * index_from_world[0]
    return matrix


def _upright(grid: Grid) -> Grid:
    """The Grid, in LPS, of a 2D array turned by 180 degrees, so that the viewer's RAS runs along its axes."""
    (height, width), (down, along) = grid.shape, grid.spacing
    affine = np.eye(4)
    affine[0, 2], affine[1, 1], affine[2, 0] = -along, -down, max(along, down)
    affine[:2, 3] = (width - 1) * along, (height - 1) * down
    affine[0, 0] = affine[2, 2] = 0.0
    return Grid((1, height, width), affine)


def _step(shape: tuple[int, ...]) -> int:
    longest = LONGEST_2D if len(shape) == 2 else LONGEST_3D
    step = max(1, -(-max(shape) // longest))
    while np.prod([-(-n // step) for n in shape]) > MAX_VOXELS:
        step += 1
    return step


def _shown(array: NDArray) -> NDArray:
    """The array in a type that the viewer reads, every value finite."""
    kind = _SHOWN_AS.get(array.dtype.kind, np.float32)
    fits = array.dtype.kind in "bui" and array.dtype.itemsize <= np.dtype(kind).itemsize
    shown = array.astype(array.dtype if fits and array.dtype != bool else kind if fits else np.float32)
    if shown.dtype.kind == "f":
        finite = shown[np.isfinite(shown)]
        shown = np.nan_to_num(shown, nan=float(finite.min()) if finite.size else 0.0)
    return shown


def _nifti(image: Image) -> bytes:
    with tempfile.TemporaryDirectory(prefix="anatomark") as folder:
        path = Path(folder) / "image.nii"
        write_image(image, path)
        return path.read_bytes()
