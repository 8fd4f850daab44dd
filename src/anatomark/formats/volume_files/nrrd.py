"""NRRD (.nrrd, .nhdr). Rare encodings and types of numbers are left to ITK, where they lie never is."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats, Grid
from anatomark.errors import ImageError
from anatomark.formats import itk
from anatomark.formats.header import Header
from anatomark.formats.on_disk import is_file
from anatomark.formats.units import PIXELS, mm_of
from anatomark.formats.volume_files.packed import Packing
from anatomark.formats.volume_files.raw import RawStack

SUFFIXES = (".nrrd", ".nhdr")
_T = TypeVar("_T")
_LONGEST = 1 << 20  # bytes of a header
_LONGEST_VALUE = 400  # characters of a field that is left to ITK
_TURNED = {
    "right-anterior-superior": (-1, -1, 1), "left-anterior-superior": (1, -1, 1), "left-posterior-superior": (1, 1, 1),
}  # fmt: skip
_SHORT = {"ras": "right-anterior-superior", "las": "left-anterior-superior", "lps": "left-posterior-superior"}
_OF_SPACE = ("domain", "space", "time", "none", "???", "")  # the kinds of axes that are not numbers within a voxel
_DATA = ("data file", "datafile")
_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "f4": ("float",),
    "f8": ("double",),
}


@dataclass(frozen=True)
class _Fields:
    """A header: {field: value} in lower case without extra spaces, and the byte after it."""

    stated: dict[str, str]
    end: int

    def words(self, field: str) -> list[str]:
        """The values of a field with one for each axis; quotes are taken off."""
        text = self.stated.get(field, "")
        return [quoted if bare == "" else bare for quoted, bare in re.findall(r'"([^"]*)"|(\([^)]*\)|[^\s"]+)', text)]

    def numbers(self, field: str) -> list[float]:
        """As `words`, as numbers; NaN for what is none."""
        return [_number(word) for word in self.words(field)]


@dataclass(frozen=True)
class _Layout:
    """Sizes of all axes, fastest first; `space` (1 to 3) are the axes of space among them, `parts` that of components,
    None where voxels are single numbers. The others are one element long."""

    sizes: tuple[int, ...]
    space: tuple[int, ...]
    parts: int | None

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.sizes[axis] for axis in reversed(self.space))

    @property
    def components(self) -> int:
        return 1 if self.parts is None else self.sizes[self.parts]


def read_header(path: Path) -> Header:
    """Where the voxels of a file lie, from its header alone. Raises `ImageError`."""
    found = fields(path)
    return _header(found, _layout(found, path), path)


def read(path: Path, page: int | None = None) -> tuple[NDArray[Any], Header]:
    """Grey values (*spatial) and Header of a file; of one slice (1, rows, columns) where a `page` (from 1) is wanted.

    The Header is the whole file's. Raises `ImageError`.
    """
    found = fields(path)
    layout = _layout(found, path)
    header = _header(found, layout, path)
    stack = _raw(found, layout, path)
    if stack is None:
        _require_known(found, path)
        array = itk.voxels(itk.header(path, "NrrdImageIO"), path)[1]  # components last, as here
        array = array.reshape(*layout.shape, *([layout.components] if layout.components > 1 else []))
        array = array if page is None else array[page - 1 : page]
    elif page is not None and layout.parts in (None, 0):
        array = stack.page(page)
    else:
        array = stack.whole()
        if layout.parts not in (None, 0):
            array = np.moveaxis(array.reshape(layout.sizes[::-1]), len(layout.sizes) - 1 - layout.parts, -1)
            array = array.reshape(*layout.shape, layout.components)
        array = array if page is None else array[page - 1 : page]
    return itk.grey_of(array, layout.components, path), header


def declared(path: Path) -> int:
    """How many numbers a header states. Raises `ImageError`."""
    return math.prod(_sizes(fields(path), path))


def fields(path: Path) -> _Fields:
    """The fields of a header; keys and values of its own (`key:=value`) and comments are passed over."""
    with open(path, "rb") as file:
        head = file.read(_LONGEST)
    stated: dict[str, str] = {}
    at = 0
    while (end := head.find(b"\n", at)) >= 0:
        line = head[at:end].rstrip(b"\r")
        at = end + 1
        if not line:
            break
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            text = line.decode("latin-1")
        field, colon, value = text.partition(": ")
        if not colon:
            field, colon, value = text.partition(":")
        if colon and not text.startswith("#") and not value.startswith("="):
            stated.setdefault(" ".join(field.lower().split()), value.strip())
    return _Fields(stated, at)


def _sizes(found: _Fields, path: Path) -> tuple[int, ...]:
    sizes = found.words("sizes")
    if not sizes or any(not size.isascii() or not size.isdecimal() or int(size) < 1 for size in sizes):
        stated = found.stated.get("sizes", "none")
        raise ImageError(f"{path} is damaged: its NRRD header states the sizes {stated:.60}; export or copy it again")
    return tuple(int(size) for size in sizes)


def _layout(found: _Fields, path: Path) -> _Layout:
    sizes = _sizes(found, path)
    kinds = [kind.lower() for kind in found.words("kinds")] or [""] * len(sizes)
    vectors: list[Floats | None] = [_vector(word) for word in found.words("space directions")]
    has_directions = bool(vectors)
    vectors = vectors or [np.zeros(0)] * len(sizes)
    if len(kinds) != len(sizes) or len(vectors) != len(sizes):
        raise ImageError(f"{path} is damaged: its NRRD header does not speak of each of its axes; export it again")
    space = [k for k in range(len(sizes)) if kinds[k] in _OF_SPACE and not (has_directions and vectors[k] is None)]
    if missing := [
        k for k in range(len(sizes)) if has_directions and vectors[k] is None and kinds[k] in ("domain", "space")
    ]:
        raise ImageError(f"{path} does not state the direction of its axis {missing[0] + 1}; complete space directions")
    while len(space) > 3 and sizes[space[-1]] == 1:  # one moment of time
        space.pop()
    if len(space) not in (2, 3):
        listed = " x ".join(str(sizes[axis]) for axis in space)
        raise ImageError(f"{path} is {len(space)}D ({listed}), expected 2D or 3D; split it into single volumes")
    others = [axis for axis in range(len(sizes)) if axis not in space and sizes[axis] > 1]
    if len(others) > 1:
        raise ImageError(
            f"{path} holds {sizes[others[0]]} x {sizes[others[1]]} numbers in each voxel; expected grey values"
        )
    return _Layout(sizes, tuple(space), others[0] if others else None)


def _header(found: _Fields, layout: _Layout, path: Path) -> Header:
    """The Header of a file, by its space directions or by its spacings alone."""
    shape = layout.shape
    if "space directions" in found.stated:
        affine, remarks = _placed(found, layout, path)
    else:
        affine, remarks = _spaced(found, layout, path)
    if affine is None:
        return Header(Grid.without_spacing(shape))
    d = len(shape)
    try:
        return Header(Grid(shape, affine[:, [*range(d - 1, -1, -1), d]]), remarks)
    except ValueError as error:
        raise ImageError(f"{path} has a geometry that cannot be: {error}; export it again") from error


def _spaced(found: _Fields, layout: _Layout, path: Path) -> tuple[Floats | None, tuple[str, ...]]:
    """(d+1, d+1) from indices x, y[, z] to LPS mm of a file with spacings alone, None where it has none; remarks."""
    d = len(layout.space)
    steps, starts = _of(layout, found.numbers("spacings")), _of(layout, found.numbers("axis mins"))
    if steps is None or not np.isfinite(steps).all():
        return None, ()
    units = _of(layout, found.words("units"), "units", path)
    factors = [1.0] * d if units is None else _factors(units, path)
    if factors is None:
        return None, ()
    affine = np.diag([*steps, 1.0])
    if starts is not None and np.isfinite(starts).all():  # of the border of a cell, or of a node itself
        centerings = _of(layout, found.words("centerings")) or [""] * d
        half = [0.0 if centering.lower() == "node" else 0.5 for centering in centerings]
        affine[:d, d] = np.array(starts) + np.array(half) * steps
    affine[:d] *= np.array(factors)[:, None]
    remark = (
        f"{path} states a spacing and no space: its axes were taken to lead left, back and up; "
        "points in the world of another program may lie elsewhere"
    )
    return affine, (remark,) if d == 3 else ()


def _of(layout: _Layout, values: Sequence[_T], field: str = "", path: Path | None = None) -> list[_T] | None:
    """Those of an axis each that are of space; None where the field is not there."""
    if len(values) == len(layout.sizes):
        return [values[axis] for axis in layout.space]
    if values and field:
        raise ImageError(f"{path} states {len(values)} {field} for {len(layout.sizes)} axes; correct its header")
    return None


def _placed(found: _Fields, layout: _Layout, path: Path) -> tuple[Floats | None, tuple[str, ...]]:
    """As `_spaced`, of a file with space directions."""
    space = " ".join(found.stated.get("space", "").lower().split())
    space = _SHORT.get(space, _SHORT.get(space.removesuffix("t"), space).removesuffix("-time"))
    directions = [_vector(word) for word in found.words("space directions")]
    vectors = [vector for vector in _of(layout, directions) or [] if vector is not None]
    origin = _vector(found.stated.get("space origin", ""))
    d = len(layout.space)
    count = {len(vector) for vector in (*vectors, *([] if origin is None else [origin]))}
    if count == {4}:
        vectors, origin = [v[:3] for v in vectors], None if origin is None else origin[:3]
    elif count != {d}:
        listed = " and ".join(map(str, sorted(count)))
        raise ImageError(f"{path} states the direction of {d} axes in a space of {listed} dimensions; expected as many")
    words = found.words("space units")
    if words and len(words) != max(count):
        raise ImageError(f"{path} states {len(words)} space units for {max(count)} axes; correct its header")
    factors = _factors(words[:d], path) if words else [1.0] * d
    if factors is None:
        return None, ()
    affine = np.eye(d + 1)
    affine[:d, :d] = np.stack(vectors, axis=1)
    if origin is not None:
        affine[:d, d] = origin
    affine[:d] *= np.array(factors)[:, None]
    if d == 2:
        return affine, ()
    affine[:3] *= np.array(_TURNED.get(space, (1, 1, 1)))[:, None]
    if space in _TURNED:
        return affine, ()
    what = f"the space {space}" if space else "a space without a name"
    return affine, (
        f"{path} lies in {what}, which does not state where left, back and up are; they were taken along x, y "
        "and z (LPS), as by ITK and 3D Slicer",
    )


def _factors(words: list[str], path: Path) -> list[float] | None:
    """mm of each unit, None where lengths are counted in pixels. Raises `ImageError` for a unit that is not known."""
    if any(word.strip().lower() in PIXELS for word in words):
        return None
    factors = [mm_of(word) for word in words]
    unknown = [word for word, factor in zip(words, factors, strict=True) if factor is None]
    if unknown:
        raise ImageError(f"{path} states its lengths in {unknown[0]!r}, which is not a known unit; correct its header")
    return [factor for factor in factors if factor is not None]


def _vector(word: str) -> Floats | None:
    """The numbers of "(1,0,0)", None for "none" or NaN."""
    numbers = np.array([_number(part) for part in word.strip("() ").split(",")])
    return numbers if np.isfinite(numbers).all() else None


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return float("nan")


def _require_known(found: _Fields, path: Path) -> None:
    """`ImageError` for what ITK cannot know: its reader copies words of any length into a buffer, to speak of them."""
    for field in _DATA:
        itk.require_numbered(found.stated.get(field, ""), path)
    wanted = {"encoding": ("raw", "gzip", "gz", "ascii", "text", "txt", "hex"), "endian": ("little", "big", "")}
    for field, words in wanted.items():
        word = found.stated.get(field, "").lower()
        if word not in words:
            listed = ", ".join(filter(None, words))
            raise ImageError(f"{path} states the {field} {word!r:.60}, expected one of {listed}; export it again")
    field = next((field for field, value in found.stated.items() if len(value) > _LONGEST_VALUE), None)
    if field is not None or any(len(field) > _LONGEST_VALUE for field in found.stated):
        raise ImageError(f"{path} is damaged: the field {field!r:.60} of its header is far too long; export it again")


def _raw(found: _Fields, layout: _Layout, path: Path) -> RawStack | None:
    """Where the numbers stand, None for files that are left to ITK."""
    stated = found.stated
    kind = next((code for code, names in _TYPES.items() if stated.get("type", "").lower() in names), None)
    encoding = stated.get("encoding", "").lower()
    data = next((stated[field] for field in _DATA if field in stated), "")
    skipped = {"line skip", "lineskip", "byte skip", "byteskip"} & stated.keys()
    endian = stated.get("endian", "").lower()
    if encoding in ("bzip2", "bz2"):
        raise ImageError(f"{path} is compressed with bzip2, which is not read; write it with the encoding gzip or raw")
    if kind is None or encoding not in ("raw", "gzip", "gz") or skipped or " " in data or data == "LIST":
        return None
    if endian not in ("little", "big") and kind[1] != "1":
        return None
    voxels = path.parent / data if data else path
    if not is_file(voxels):
        raise ImageError(f"{path} keeps its voxels in {data:.60}, which is not beside it; bring that file as well")
    packing: Packing = "none" if encoding == "raw" else "gzip"
    dtype = np.dtype((">" if endian == "big" else "<") + kind)
    return RawStack(voxels, 0 if data else found.end, packing, dtype, layout.shape, layout.components)
