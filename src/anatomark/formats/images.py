"""Images in and out: NIfTI, NRRD, MetaImage, DICOM (a file or a series' folder), PNG, JPEG, TIFF, BMP, WebP.

The world is LPS mm. Files that state no spacing (photo types, whose DPI is no pixel spacing, and headers
without one) come with unit "px", origin zero and straight axes, until the caller gives the spacing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from errno import ENAMETOOLONG, ENOSPC
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.errors import ImageError, OutputError, SpacingError
from anatomark.formats import itk
from anatomark.formats.atomic import replacing
from anatomark.formats.dicom_files import dicom
from anatomark.formats.header import Header, Orientation, tell
from anatomark.formats.picture_files import photos
from anatomark.formats.picture_files.wholeness import require_whole
from anatomark.formats.text import composed
from anatomark.formats.volume_files import nifti, volumes

PHOTOS = photos.SUFFIXES
VOLUMES = volumes.SUFFIXES
SUFFIXES = (*VOLUMES, *PHOTOS, *dicom.SUFFIXES)
WRITTEN = (".nii.gz", ".nii", ".nrrd", ".mha", ".png", ".tif", ".tiff")


def read_image(
    path: str | Path,
    *,
    spacing: Sequence[float] | None = None,
    orientation: Orientation = "shown",
    page: int | None = None,
) -> Image:
    """The grey Image in a file or a DICOM series' folder, in the file's own number type.

    RGB(A) becomes grey. A DICOM file of one frame and a photo type are 2D; other files have the dimension that they
    state. Remarks on how the file was understood go to the log. What the voxels hold is judged by
    `core.image.require_usable`.

    Args:
        path: an image file of any format in docs/formats.md, or the folder of one DICOM series.
        spacing: in mm along x, y[, z], for a file that states none.
        orientation: "shown" turns a picture as its file asks viewers to turn it, "stored" does not.
        page: one picture (from 1) of a file with many: a page of a TIFF, a slice of a stack of X-rays; it is 2D.

    Returns:
        The image: an array of (rows, columns) or (slices, rows, columns) on its Grid. The unit of the Grid is px where
        the spacing is unknown.

    Raises:
        ImageError: it cannot be read: missing, empty, cut short, 4D, several series.
        SpacingError: `spacing` contradicts the file by more than 1 %.

    Examples:
        >>> image = anatomark.read_image("xray.png", spacing=(0.1, 0.1))
        >>> image.array.shape, image.grid.spacing
        ((2400, 1935), (0.1, 0.1))
    """
    image, header = load_image(path, spacing=spacing, orientation=orientation, page=page)
    tell(header.remarks)
    return image


def read_grid(
    path: str | Path,
    *,
    spacing: Sequence[float] | None = None,
    orientation: Orientation = "shown",
    page: int | None = None,
) -> Grid:
    """The Grid that `read_image` would give, from the header alone."""
    header = read_header(path, spacing=spacing, orientation=orientation, page=page)
    tell(header.remarks)
    return header.grid


def load_image(
    path: str | Path,
    *,
    spacing: Sequence[float] | None = None,
    orientation: Orientation = "shown",
    page: int | None = None,
) -> tuple[Image, Header]:
    """As `read_image`, with the Header; nothing goes to the log."""
    path = Path(path)
    kind = _kind(path)
    if kind is volumes:
        array, header = volumes.read(path, page)
    elif kind is photos:
        array, header = photos.read(path, orientation, page)
    else:
        _require_first(page, path)
        array, header = kind.read(path)
    header = header.on(_spaced(header.grid, spacing, path))
    return Image(array.reshape(header.grid.shape), header.grid), header


def read_header(
    path: str | Path,
    *,
    spacing: Sequence[float] | None = None,
    orientation: Orientation = "shown",
    page: int | None = None,
) -> Header:
    """As `read_grid`, with what else the header says; nothing goes to the log."""
    path = Path(path)
    kind = _kind(path)
    if kind is volumes:
        header = volumes.read_header(path, page)
    elif kind is photos:
        header = photos.read_header(path, orientation, page)
    else:
        _require_first(page, path)
        header = kind.read_header(path)
    return header.on(_spaced(header.grid, spacing, path))


def write_image(image: Image, path: str | Path) -> None:
    """Writes .nii, .nii.gz, .nrrd or .mha with the whole Grid, or a 2D .png or .tif, which keep no spacing.

    The file appears whole or not at all.

    Args:
        image: what to write.
        path: the file; its ending says which format.

    Raises:
        ImageError: the format cannot hold numbers of this type.
        SpacingError: the image is in px, and the lengths of the format are mm.
        OutputError: the system refuses.

    Examples:
        >>> anatomark.write_image(anatomark.read_image("series_folder"), "ct.nii.gz")
    """
    import SimpleITK as sitk

    path = Path(path)
    suffix = _suffix(path, WRITTEN)
    if suffix is None:
        raise ImageError(f"{path} cannot be written: its ending is not one of {', '.join(WRITTEN)}")
    grid = image.grid
    array = np.ascontiguousarray(image.array, dtype=np.uint8 if image.array.dtype == bool else None)
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    photo = suffix in PHOTOS
    types = {".png": ("uint8", "uint16")}.get(suffix, ("uint8", "uint16", "float32"))
    if photo and (grid.ndim != 2 or array.dtype.name not in types):
        expected = f"2D {' or '.join(types)}"
        raise ImageError(f"{path} holds {expected}, got {grid.ndim}D {array.dtype}; write .nii.gz, .nrrd or .mha")
    if not photo and grid.unit == "px":
        raise SpacingError(f"{path} would call pixels mm, the image has no spacing; give the spacing, or write .png")
    sheared = not photo and grid.ndim == 3 and not _straight(grid)
    if sheared and suffix == ".mha":
        raise ImageError(f"{path} cannot hold axes that are not at right angles (a shear); write .nii.gz or .nrrd")
    if sheared and suffix in nifti.SUFFIXES:
        with replacing(path, suffix) as temporary:
            nifti.write_sheared(array, grid, temporary, compressed=suffix == ".nii.gz")
        return
    itk_image: Any = sitk.GetImageFromArray(array)
    if not photo:
        itk_image.SetSpacing(grid.spacing[::-1])
        itk_image.SetOrigin(grid.origin.tolist())
        itk_image.SetDirection(grid.direction[:, ::-1].ravel().tolist())
    if not itk.is_text(path):
        raise OutputError(f"{path} is a name that is no UTF-8, which its writer needs; choose another")
    with replacing(path, suffix) as temporary:
        try:
            with itk.silent():
                sitk.WriteImage(itk_image, str(temporary), useCompression=suffix != ".tif")
        except RuntimeError as error:
            raise OSError(f"the {suffix} writer failed ({str(error).strip().splitlines()[-1][:100]})") from error
        try:
            require_whole(temporary)  # on a full disk the NIfTI writer ends without a word
        except ImageError as error:
            raise OSError(ENOSPC, os.strerror(ENOSPC)) from error


def _straight(grid: Grid) -> bool:
    """Whether the axes of a Grid are at right angles, but for rounding."""
    return bool(np.allclose(grid.direction.T @ grid.direction, np.eye(grid.ndim), rtol=0, atol=1e-4))


def is_image(path: str | Path) -> bool:
    """Whether `path` is named or begins like an image, or is a folder that directly holds a DICOM stack."""
    path = Path(path)
    if path.is_dir():
        return dicom.is_stack(path)
    if not path.is_file() or path.name.startswith(".") or path.name.lower().endswith(".sr.dcm"):
        return False  # hidden, or a structured report of ours
    if path.suffix.lower() in (".hdr", ".img"):  # of a pair, the header stands for both
        return path.suffix.lower() == ".hdr" and volumes.is_header_of_pair(path)
    return _suffix(path, (*VOLUMES, *PHOTOS)) is not None or dicom.is_dicom(path)


def list_images(folder: str | Path) -> list[Path]:
    """The images of a folder in natural order (2 before 10): files, and subfolders that hold a DICOM stack.

    A folder that directly holds a DICOM stack is itself an image; its DICOM files are then none of their own.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ImageError(f"{folder} is not a folder; give a folder with images")
    found = sorted((p for p in folder.iterdir() if is_image(p)), key=_natural)
    if is_image(folder):
        return [folder, *(p for p in found if p.is_dir() or not dicom.is_dicom(p))]
    return found


def image_name(path: str | Path) -> str:
    """The case's id: the name of a file without its image ending, or the whole name of a folder; composed Unicode."""
    path = Path(path)
    suffix = _suffix(path, SUFFIXES)
    return composed(path.name if suffix is None or path.is_dir() else path.name[: -len(suffix)])


def _natural(path: Path) -> list[tuple[int, int | str]]:
    parts = re.split(r"(\d+)", composed(path.name).lower())
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts if part]


def _suffix(path: Path, among: Sequence[str]) -> str | None:
    name = path.name.lower()
    return next((s for s in among if name.endswith(s) and len(name) > len(s)), None)


def _kind(path: Path) -> ModuleType:
    """The module that reads `path`, which is there and not empty."""
    try:
        if path.is_dir():
            return dicom
        if not path.exists():
            raise ImageError(f"{path} does not exist; give an image file or the folder of a DICOM series")
        size = path.stat().st_size
        with open(path, "rb"):
            pass
    except OSError as error:
        todo = "give a shorter name" if error.errno == ENAMETOOLONG else "check its permissions"
        raise ImageError(f"{path} cannot be opened: {error.strerror}; {todo}") from error
    if size == 0:
        raise ImageError(f"{path} is empty (0 bytes); copy or export it again")
    if _suffix(path, PHOTOS):
        return photos
    if _suffix(path, VOLUMES):
        return volumes
    if dicom.is_dicom(path):
        return dicom
    raise ImageError(f"{path} is not a readable image; expected DICOM or one of {', '.join((*VOLUMES, *PHOTOS))}")


def _require_first(page: int | None, path: Path) -> None:
    if page not in (None, 1):
        raise ImageError(f"{path} has 1 page, page {page} was requested; count them from 1")


_LARGEST_STEP = 1e9  # mm; the smallest one is its inverse, as far from what images have


def _spaced(grid: Grid, spacing: Sequence[float] | None, path: Path) -> Grid:
    """The Grid with the spacing (x, y[, z]) that the caller states, if the file states none or agrees."""
    if spacing is None:
        return grid
    stated = np.asarray(spacing, dtype=float)
    if stated.shape != (grid.ndim,) or not ((stated > 1 / _LARGEST_STEP) & (stated < _LARGEST_STEP)).all():
        expected = "x,y" if grid.ndim == 2 else "x,y,z"
        raise SpacingError(f"{path} is {grid.ndim}D and needs a spacing {expected} in mm above 0, got {list(spacing)}")
    if grid.unit == "px":
        return Grid.from_geometry(grid.shape, spacing=stated.tolist())
    in_file = np.asarray(grid.spacing[::-1])
    if (np.abs(stated / in_file - 1) > 0.01).any():
        raise SpacingError(
            f"{path} states a spacing of {_listed(in_file)} mm, but {_listed(stated)} was given; correct one"
        )
    return grid


def _listed(values: NDArray[np.float64]) -> str:
    return " x ".join(f"{value:.5g}" for value in values)
