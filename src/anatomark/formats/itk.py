"""SimpleITK calls that stay silent and fail with one line."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Grid
from anatomark.errors import ImageError

_NUMBERED = re.compile(r"[^%]*%[0-9]{0,2}d[^%]*")


class Placed(Protocol):
    """The geometry of a SimpleITK image or header, in ITK's axis order; SimpleITK itself states no types."""

    def GetSize(self) -> tuple[int, ...]: ...
    def GetSpacing(self) -> tuple[float, ...]: ...
    def GetOrigin(self) -> tuple[float, ...]: ...
    def GetDirection(self) -> tuple[float, ...]: ...


class Voxels(Placed, Protocol):
    """A SimpleITK image."""

    def GetNumberOfComponentsPerPixel(self) -> int: ...


class Reader(Placed, Protocol):
    """A SimpleITK ImageFileReader."""

    def GetNumberOfComponents(self) -> int: ...
    def Execute(self) -> Voxels: ...


_lock = threading.Lock()
_inside = 0
_saved_stderr = -1
_collected = -1
_saved_display = True


@contextmanager
def silent() -> Generator[None]:
    """Nothing that ITK and its C libraries print reaches the terminal; their errors still come as exceptions.

    nifti, libjpeg, libtiff and GDCM write to file descriptor 2 and have no switch for it, so it is redirected. Calls
    may overlap in several threads: the first redirects it, the last restores it.
    """
    global _inside, _saved_stderr, _saved_display
    import SimpleITK as sitk

    process: Any = sitk.ProcessObject
    with _lock:
        _inside += 1
        if _inside == 1:
            _saved_display = process.GetGlobalWarningDisplay()
            process.SetGlobalWarningDisplay(False)
            _saved_stderr = _redirect_stderr()
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                process.SetGlobalWarningDisplay(_saved_display)
                if _saved_stderr >= 0:
                    os.dup2(_saved_stderr, 2)
                    os.close(_saved_stderr)


def collect(descriptor: int) -> None:
    """From now on, what libraries print while `silent` goes to `descriptor` instead of nowhere."""
    global _collected
    _collected = descriptor


def print_error(line: str) -> None:
    """A line on standard error, also where another thread is `silent` just now."""
    with _lock:
        if _inside and _saved_stderr >= 0 and _leads_to_descriptor_2():
            os.write(_saved_stderr, (line + "\n").encode(errors="backslashreplace"))
        else:
            print(line, file=sys.stderr, flush=True)


def _leads_to_descriptor_2() -> bool:
    try:
        return sys.stderr.fileno() == 2
    except (AttributeError, OSError, ValueError):  # replaced, for instance by a progress bar, which calls print later
        return False


def _redirect_stderr() -> int:
    """A copy of the standard error's descriptor, which now leads nowhere, or to `collect`; -1 if there is none."""
    try:
        if sys.stderr is not None:
            sys.stderr.flush()
        saved = os.dup(2)
        target = os.open(os.devnull, os.O_WRONLY) if _collected < 0 else os.dup(_collected)
        os.dup2(target, 2)
        os.close(target)
    except (OSError, ValueError):
        return -1
    return saved


def header(path: Path, image_io: str) -> Reader:
    """A Reader that has read the header of `path` with the reader of one format.

    It is named, for ITK tries each on any file, and believes the lengths that a foreign header states.
    """
    import SimpleITK as sitk

    reader: Any = sitk.ImageFileReader()
    if not is_text(path):
        raise ImageError(f"{path} has a name that is no UTF-8, which its reader needs; rename it")
    reader.SetFileName(str(path))
    reader.SetImageIO(image_io)
    try:
        with silent():
            reader.ReadImageInformation()
    except RuntimeError as error:
        raise ImageError(_line(path, error)) from error
    if not reader.GetSize() or min(reader.GetSize()) < 1:
        sizes = " x ".join(map(str, reader.GetSize()))
        raise ImageError(f"{path} has no voxels ({sizes}): its header is damaged; export or copy it again")
    return reader


def require_numbered(data: str, path: Path) -> None:
    """`ImageError` for names of voxel files in which % stands for more than one number: ITK prints by them."""
    if "%" in data and not _NUMBERED.fullmatch(data):
        raise ImageError(f"{path} keeps its voxels in {data:.60}, which is no name with a number; correct its header")


def voxels(reader: Reader, path: Path) -> tuple[Voxels, NDArray[Any]]:
    """The image of a reader, and its array (*spatial[, components])."""
    import SimpleITK as sitk

    try:
        with silent():
            image = reader.Execute()
    except RuntimeError as error:
        raise ImageError(_line(path, error)) from error
    return image, sitk.GetArrayFromImage(cast("sitk.Image", image))


def to_grey(array: NDArray[Any], components: int, path: Path) -> NDArray[Any]:
    """Grey values (*spatial) of an array (*spatial, components): RGB(A) by the luma of ITU-R BT.601.

    Alpha is left out. Equal channels are taken as they are, so grey pictures stored as RGB stay exact. Whole
    numbers stay whole numbers of the same type.
    """
    if components == 1:
        return array
    if components not in (3, 4) or np.iscomplexobj(array):
        raise ImageError(f"{path} has {components} numbers in each voxel; expected a grey or RGB image")
    red, green, blue = (array[..., k] for k in range(3))
    if np.array_equal(red, green) and np.array_equal(red, blue):
        return np.ascontiguousarray(red)
    luma = 0.299 * red.astype(np.float64) + 0.587 * green + 0.114 * blue
    return np.rint(luma).astype(array.dtype) if array.dtype.kind in "iu" else luma.astype(array.dtype)


def geometry(itk: Placed) -> tuple[Sequence[int], dict[str, Any]]:
    """(shape in array order, other terms of `Grid.from_geometry`) of a SimpleITK image or header."""
    terms = {"spacing": itk.GetSpacing(), "origin": itk.GetOrigin(), "direction": itk.GetDirection()}
    return tuple(reversed(itk.GetSize())), terms


def spatial(shape: Sequence[int], terms: dict[str, Any], path: Path) -> tuple[tuple[int, ...], dict[str, Any]]:
    """`geometry` of the two or three axes of space; further ones may be one long. Raises `ImageError`."""
    shape = tuple(shape)
    d = len(shape)
    while len(shape) > 3 and shape[0] == 1:
        shape = shape[1:]
    kept = len(shape)
    if kept not in (2, 3):
        sizes = " x ".join(str(n) for n in reversed(shape))
        raise ImageError(f"{path} is {kept}D ({sizes}), expected 2D or 3D; split it into single volumes")
    if kept < d:
        direction = np.reshape(terms["direction"], (d, d))[:kept, :kept]
        return shape, {
            "spacing": terms["spacing"][:kept], "origin": terms["origin"][:kept], "direction": direction.ravel()
        }  # fmt: skip
    return shape, dict(terms)


def grid(shape: Sequence[int], terms: dict[str, Any], path: Path) -> Grid:
    """The Grid of a `geometry`. Raises `ImageError` for one that cannot be."""
    try:
        return Grid.from_geometry(shape, **terms)
    except ValueError as error:
        raise ImageError(f"{path} has a geometry that cannot be: {error}; export it again") from error


def grey_of(array: NDArray[Any], components: int, path: Path) -> NDArray[Any]:
    """As `to_grey`, of a volume's file: vectors of floating-point numbers are no colours."""
    if components > 1 and array.dtype.kind == "f":
        raise ImageError(f"{path} holds vectors of {components}, expected grey values; write one component as an image")
    return to_grey(array, components, path)


def _line(path: Path, error: RuntimeError) -> str:
    """What went wrong with `path` in one line, from an ITK exception of many."""
    text = str(error)
    if "Unable to determine ImageIO" in text:
        return f"{path} cannot be read: cut short, or not of the kind its name suggests; export it again"
    last = [line.split("): ", 1)[-1].strip() for line in text.splitlines() if line.strip()][-1]
    # ITK reports an errno of its own making after a short read, and names the path once more
    detail = "" if last.startswith("Reason:") or path.name in last else f" ({last[:120]})"
    return f"{path} cannot be read{detail}: it is damaged or cut short; export or copy it again"


def is_text(path: Path) -> bool:
    """Whether the name of a file is text; the process ends where ITK gets one that is not."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True
