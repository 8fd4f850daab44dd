"""NRRD (.nrrd, .nhdr): ITK reads its numbers; where they lie, and in which unit, is read here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats, Grid
from anatomark.errors import ImageError
from anatomark.formats import itk
from anatomark.formats.header import Header
from anatomark.formats.raw import RawStack
from anatomark.formats.units import PIXELS, mm_of

SUFFIXES = (".nrrd", ".nhdr")
_LONGEST = 1 << 20  # bytes of a header
_TURNED = {"right-anterior-superior": (-1, -1, 1), "left-anterior-superior": (1, -1, 1)}
_TURNED |= {"left-posterior-superior": (1, 1, 1)}
_SHORT = {"ras": "right-anterior-superior", "las": "left-anterior-superior", "lps": "left-posterior-superior"}
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


def read_header(path: Path) -> Header:
    """Where the voxels of a file lie, from its header alone. Raises `ImageError`."""
    return _header(itk.header(path, "NrrdImageIO"), path)


def read(path: Path, page: int | None = None) -> tuple[NDArray[Any], Header]:
    """Grey values (*spatial) and Header of a file; of one slice (1, rows, columns) where a `page` (from 1) is wanted.

    The Header is the whole file's. Raises `ImageError`.
    """
    reader = itk.header(path, "NrrdImageIO")
    header = _header(reader, path)
    components = reader.GetNumberOfComponents()
    stack = None if page is None else _raw(path, header.grid.shape, components)
    if stack is not None and page is not None:
        array = stack.page(page)
    else:
        array = itk.voxels(reader, path)[1]
        array = array.reshape(*header.grid.shape, *([components] if components > 1 else []))
        array = array if page is None else array[page - 1 : page]
    return itk.grey_of(array, components, path), header


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


def _header(reader: Any, path: Path) -> Header:
    found = fields(path)
    shape, terms = itk.geometry(reader)
    if "space directions" in found.stated:
        return _placed(found, shape, path)
    ndim = len(shape)
    shape, terms = itk.spatial(shape, terms, path)
    spacings = [step for step in found.numbers("spacings") if np.isfinite(step)]
    if len(spacings) < len(shape):
        return Header(Grid.without_spacing(shape))
    sizes = found.words("sizes")
    units = found.words("units")
    if units:
        apart = len(sizes) - ndim  # an axis of vectors or colours, which has no spacing
        kept = [unit for unit, step in zip(units, found.numbers("spacings"), strict=False) if np.isfinite(step)]
        units = kept if len(kept) == len(spacings) else units[apart:]
        factors = _factors(units[: len(shape)], len(shape), path)
        if factors is None:
            return Header(Grid.without_spacing(shape))
        terms["spacing"] = [f * step for f, step in zip(factors, terms["spacing"], strict=True)]
        terms["origin"] = [f * place for f, place in zip(factors, terms["origin"], strict=True)]
    remark = (
        f"{path} states a spacing and no space: its axes were taken to lead left, back and up; "
        "points in the world of another program may lie elsewhere"
    )
    return Header(itk.grid(shape, terms, path), (remark,) if len(shape) == 3 else ())


def _placed(found: _Fields, shape: tuple[int, ...], path: Path) -> Header:
    """The Header of a file with space directions; `shape` is that of ITK's image."""
    space = " ".join(found.stated.get("space", "").lower().split())
    space = _SHORT.get(space, _SHORT.get(space.removesuffix("t"), space).removesuffix("-time"))
    vectors = [_vector(word) for word in found.words("space directions")]
    sizes = found.words("sizes")
    along = [(vector, int(size)) for vector, size in zip(vectors, sizes, strict=False) if vector is not None]
    count = max((len(vector) for vector, _ in along), default=0)
    timed = count == 4 or (count == 3 and found.stated.get("space dimension", "").strip() == "" and "time" in space)
    if count == 4:  # three of space and one of time, of which there may be one moment
        along = [(vector[:3], size) for vector, size in along if size > 1 or np.any(vector[:3])]
        count = 3
    own = tuple(size for _, size in reversed(along))
    trimmed = tuple(shape)
    while timed and len(trimmed) > len(own) and trimmed[0] == 1:
        trimmed = trimmed[1:]
    if len(own) not in (2, 3) or len(own) != count or any(len(v) != count for v, _ in along):
        raise ImageError(
            f"{path} has {len(own)} axes in a space of {count} dimensions, wanted 2D or 3D; split it into volumes"
        )
    if trimmed != own:
        raise ImageError(f"{path} does not say the direction of each of its axes; complete its space directions")
    words = found.words("space units")
    factors = _factors(words[:count], count, path) if words else [1.0] * count
    if factors is None:
        return Header(Grid.without_spacing(own))
    affine = np.eye(count + 1)
    affine[:count, :count] = np.stack([vector for vector, _ in reversed(along)], axis=1)
    origin = _vector(found.stated.get("space origin", ""))
    if origin is not None:
        affine[:count, count] = origin[:count]
    affine[:count] *= np.array(factors)[:, None]
    if count == 3:
        affine[:3] *= np.array(_TURNED.get(space, (1, 1, 1)))[:, None]
    remarks = ()
    if count == 3 and space not in _TURNED:
        what = f"the space {space}" if space else "a space without a name"
        remarks = (
            f"{path} lies in {what}, which does not say where left, back and up are; they were taken along x, y "
            "and z (LPS), as by ITK and 3D Slicer",
        )
    try:
        return Header(Grid(own, affine), remarks)
    except ValueError as error:
        raise ImageError(f"{path} has a geometry that cannot be: {error}; export it again") from error


def _factors(words: list[str], count: int, path: Path) -> list[float] | None:
    """mm of each unit, None where lengths are counted in pixels. Raises `ImageError` for a unit that is not known."""
    if len(words) != count:
        raise ImageError(f"{path} states {len(words)} units for {count} axes; correct its header")
    if any(word.strip().lower() in PIXELS for word in words):
        return None
    factors = [mm_of(word) for word in words]
    unknown = [word for word, factor in zip(words, factors, strict=True) if factor is None]
    if unknown:
        raise ImageError(f"{path} states its lengths in {unknown[0]!r}, which is no known unit; correct its header")
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


def _raw(path: Path, shape: tuple[int, ...], components: int) -> RawStack | None:
    """Where the numbers stand, None for files that only ITK reads."""
    found = fields(path)
    stated = found.stated
    kind = next((code for code, names in _TYPES.items() if stated.get("type", "").lower() in names), None)
    packing = {"raw": "none", "gzip": "gzip", "gz": "gzip"}.get(stated.get("encoding", "").lower())
    ahead = [int(size) for size in found.words("sizes")]
    plain = ahead == [*([components] if components > 1 else []), *shape[::-1]]
    elsewhere = {"data file", "datafile", "line skip", "lineskip", "byte skip", "byteskip"} & stated.keys()
    if kind is None or packing is None or not plain or elsewhere or len(shape) != 3:
        return None
    dtype = np.dtype((">" if stated.get("endian", "").lower() == "big" else "<") + kind)
    which = "gzip" if packing == "gzip" else "none"
    return RawStack(path, found.end, which, dtype, (shape[0], shape[1], shape[2]), components)
